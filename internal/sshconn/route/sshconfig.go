package route

// What ssh_config(5) says of a host, read as OpenSSH's ssh reads it.

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/hostkey"
)

// sshConfig is the text of some files, the first of which wins.
type sshConfig struct {
	files []*sshConfigFile
	local sshLocal

	// exec runs a command of Match exec, and says whether it succeeds. Where it is nil no command is run, and a host for
	// which such a command would decide is refused.
	exec func(command string) (bool, error)
	// networks are the addresses of the interfaces that are up, for Match localnetwork.
	networks func() ([]netip.Addr, error)
	// version is what Match version compares.
	version string

	mu sync.Mutex // guards what follows
	// included are the files that an Include has named, by their path; those that do not exist are nil.
	included map[string]*sshConfigFile
	// matched are the paths that a pattern of an Include matches.
	matched map[string][]string
}

// sshLocal is what ssh_config may ask of the machine that it stands on.
type sshLocal struct {
	// home is what ~ and %d stand for, hostname what %l does.
	home, hostname, user, uid string
	// homeOf finds the home directory of another user.
	homeOf func(name string) (string, error)
}

// sshConfigFile is the text of one file.
type sshConfigFile struct {
	name string
	// system says that it is for all users: then Include looks in /etc/ssh, and takes no path that begins with ~.
	system bool
	// own says that it counts only if nobody else can write it, nor what it includes.
	own   bool
	lines []sshConfigLine
}

// sshGiven is what is said of a host outside of ssh_config, and comes before what stands there.
type sshGiven struct {
	user string
	port int
	// otherwise is the user of a host for which nothing names one.
	otherwise string
}

// sshHost is what ssh_config says of one host. Paths, names and commands hold their tokens still, until expanded.
type sshHost struct {
	// said are the keywords that the files set for the host, in small letters.
	said map[string]bool
	// at is where the line stands that sets a keyword: FILE:LINE.
	at map[string]string
	// address is the host's name or address, with HostName and its tokens taken into account.
	address string

	hostName, user, hostKeyAlias, tag string
	port                              int

	// proxyJump are the jump hosts in ProxyJump, with a comma between them, or none. If there are any, proxyCommand is
	// not set.
	proxyJump, proxyCommand, proxyUseFdpass string
	// jumpHost is the name of the last of them.
	jumpHost string
	// proxyDoubt is set where nobody knows whether that is the way. It says why.
	proxyDoubt error

	identities, certificates      []string
	identitiesOnly, identityAgent string
	known, knownGlobal, revoked   []string
	knownHostsCommand             string
	hashKnownHosts, checkHostIP   string

	strictHostKeyChecking, verifyHostKeyDNS, noHostAuthentication string

	connectTimeout                            time.Duration
	connectionAttempts                        int
	addressFamily, bindAddress, bindInterface string
	controlPath, controlMaster, sessionType   string
	pubkey, password, keyboardInteractive     string
	preferredAuthentications, batchMode       string
	passwordPrompts, requiredRSASize          int
	hostKeyAlgorithms, pubkeyAlgorithms       string
	caSignatureAlgorithms, ciphers, macs      string
	kexAlgorithms, ignoreUnknown              string
	canonicalize, canonicalizeFallback        string
	canonicalDomains, permittedCNAMEs         []string
	canonicalizeMaxDots                       int
}

// includesAtMost is how deep ssh follows Include.
const includesAtMost = 16

// usualSSHConfig is the file that ssh reads without being told so, as long as nobody else can write it.
const usualSSHConfig = "~/.ssh/config"

// systemSSHDirs are the directories with files for all users.
var systemSSHDirs = []string{"/etc/ssh/", "/usr/etc/ssh/"}

// readSSHConfig reads files; one that is missing is no error. What is wrong in them is an error of the hosts that it
// concerns.
func readSSHConfig(files []string) (*sshConfig, error) {
	c := &sshConfig{local: thisMachine(), networks: localNetworks, version: sshVersion,
		included: map[string]*sshConfigFile{}, matched: map[string][]string{}}
	for _, name := range files {
		own := name == usualSSHConfig
		name = expandHome(name)
		f, err := readSSHConfigFile(name, own)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		f.system = slices.ContainsFunc(systemSSHDirs, func(dir string) bool { return strings.HasPrefix(name, dir) })
		c.files = append(c.files, f)
	}
	return c, nil
}

func thisMachine() sshLocal {
	l := sshLocal{uid: strconv.Itoa(os.Getuid()), homeOf: func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.HomeDir, nil
	}}
	l.home, _ = os.UserHomeDir()
	l.hostname, _ = os.Hostname()
	if u, err := user.Current(); err == nil {
		l.user = u.Username
	}
	return l
}

// expandHome replaces a ~ at the beginning of a path.
func expandHome(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return path
}

func readSSHConfigFile(name string, own bool) (*sshConfigFile, error) {
	text, err := os.ReadFile(name)
	if err == nil && own {
		err = checkOwn(name)
	}
	if errors.Is(err, syscall.EISDIR) {
		err = nil // a directory that a pattern matches has no lines
	}
	if err != nil {
		return nil, err
	}
	return &sshConfigFile{name: name, own: own, lines: sshConfigLines(string(text))}, nil
}

// host gathers what the files say of the host that a user calls alias.
func (c *sshConfig) host(alias string, given sshGiven) (sshHost, error) {
	r := sshReading{sshConfig: c, alias: alias, given: given, matches: alias}
	r.h.said, r.h.at = map[string]bool{}, map[string]string{}
	r.h.address = alias
	if c == nil {
		return r.h, nil
	}
	if err := r.pass(); err != nil {
		return r.h, err
	}
	address, err := r.target()
	if err != nil {
		return r.h, err
	}
	r.h.address = canonicalAddress(address, r.h.addressFamily)
	if c := r.h.canonicalize; r.wantsFinal || c != "" && c != no {
		r.final, r.matches = true, r.h.address
		if err := r.pass(); err != nil {
			return r.h, err
		}
	}
	return r.h, nil
}

// canonicalAddress writes a name in small letters, and an address of the family in its usual form.
func canonicalAddress(address, family string) string {
	if ip, err := netip.ParseAddr(address); err == nil {
		if strings.EqualFold(ip.String(), address) || family == "inet" && ip.Is6() {
			return address
		}
		return ip.String()
	}
	return strings.ToLower(address)
}

// sshReading is the state of one reading of all files for one host.
type sshReading struct {
	*sshConfig
	h     sshHost
	alias string
	given sshGiven
	// matches is what Host compares: the alias, and in the final pass the address.
	matches string
	// final is the second pass, which wantsFinal says is wanted.
	final, wantsFinal bool
}

func (r *sshReading) pass() error {
	for _, f := range r.files {
		if err := r.read(f, sshBlock{active: true}, 0); err != nil {
			return err
		}
	}
	return nil
}

// sshBlock is what Host, Match or the Include of a file has decided on the lines that follow.
type sshBlock struct {
	active bool
	// doubt is set where nobody knows whether the block is active. It says why.
	doubt error
}

// read reads one file, which stands in the block in.
func (r *sshReading) read(f *sshConfigFile, in sshBlock, depth int) error {
	block := in
	for i := range f.lines {
		line := &f.lines[i]
		if line.err != nil {
			return line.wrong(f, line.err)
		}
		var err error
		switch line.keyword {
		case "host":
			block, err = r.hostLine(f, line, in)
		case "match":
			block, err = r.matchLine(f, line, in)
		case "include":
			err = r.include(f, line, block, depth)
		default:
			err = r.set(f, line, block)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// wrong says where a line stands that err is the trouble with.
func (l *sshConfigLine) wrong(f *sshConfigFile, err error) error {
	return fmt.Errorf("%s:%d has %s %s, %w", f.name, l.number, l.keyword, l.rest, err)
}

// wrongMatch is wrong for a Match.
func (l *sshConfigLine) wrongMatch(f *sshConfigFile, err error) error {
	return fmt.Errorf("%s:%d has '%s', %w", f.name, l.number, l.text, err)
}

// hostLine decides whether a Host is for the host.
func (r *sshReading) hostLine(f *sshConfigFile, line *sshConfigLine, in sshBlock) (sshBlock, error) {
	block := sshBlock{doubt: in.doubt}
	for _, pattern := range line.args {
		if pattern == "" {
			return block, line.wrong(f, errEmptyArgument)
		}
		if !in.active {
			break
		}
		pattern, negated := strings.CutPrefix(pattern, "!")
		if !hostkey.MatchPattern(r.matches, pattern) {
			continue
		}
		if block.active = !negated; negated {
			break
		}
	}
	return block, nil
}

// sshSettled are the keywords that count in the first pass only.
var sshSettled = map[string]bool{
	"hostname": true, "canonicalizehostname": true, "canonicalizefallbacklocal": true, "canonicalizemaxdots": true,
}

// set takes one setting, if it is the first of its keyword.
func (r *sshReading) set(f *sshConfigFile, line *sshConfigLine, block sshBlock) error {
	name := cmp.Or(sshAliases[line.keyword], line.keyword)
	keyword, ok := sshKeywords[name]
	if !ok {
		if sshIgnored[name] || hostkey.MatchPatternList(name, r.h.ignoreUnknown, true) {
			return nil
		}
		return line.wrong(f, errors.New("which is no keyword of ssh_config; IgnoreUnknown would pass over it"))
	}
	assign, err := keyword.parse(line)
	if err != nil {
		return line.wrong(f, err)
	}
	if assign == nil || !block.active {
		return nil
	}
	switch {
	case !keyword.accumulates && r.h.said[name], r.final && sshSettled[name],
		keyword.unless != nil && keyword.unless(&r.h):
		return nil
	case keyword.unless != nil:
		r.h.proxyDoubt = cmp.Or(r.h.proxyDoubt, block.doubt)
	case block.doubt != nil:
		return block.doubt
	}
	if err := assign(&r.h); err != nil {
		return line.wrong(f, err)
	}
	r.h.said[name], r.h.at[name] = true, f.name+":"+strconv.Itoa(line.number)
	return nil
}

// include reads the files that an Include names: patterns, relative to ~/.ssh, or to /etc/ssh in a file for all users.
// Those in a block that is not for the host are read too, for their mistakes and because of Match final.
func (r *sshReading) include(f *sshConfigFile, line *sshConfigLine, block sshBlock, depth int) error {
	for _, pattern := range line.args {
		if pattern == "" {
			return line.wrong(f, errEmptyArgument)
		}
		t, err := r.tokens()
		if err != nil {
			return line.wrong(f, err)
		}
		pattern, err = t.expand(pattern, pathTokens, true)
		if errors.As(err, new(noVariable)) {
			continue // as ssh does
		}
		if err != nil {
			return line.wrong(f, err)
		}
		switch tilde := strings.HasPrefix(pattern, "~"); {
		case tilde && f.system:
			return line.wrong(f, errors.New("which has a home directory in a file for all users"))
		case tilde:
			if pattern, err = r.local.expandTilde(pattern); err != nil {
				continue // it matches nothing
			}
		case filepath.IsAbs(pattern):
		case f.system:
			pattern = "/etc/ssh/" + pattern
		default:
			pattern = r.local.home + "/.ssh/" + pattern
		}
		for _, name := range r.glob(pattern) {
			if depth == includesAtMost {
				return fmt.Errorf("%s:%d includes files too deep", f.name, line.number)
			}
			included, err := r.open(name, f.system, f.own)
			if err != nil {
				return line.wrong(f, err)
			}
			if included == nil {
				continue
			}
			if err := r.read(included, block, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// open reads a file once. One that does not exist is nil.
func (c *sshConfig) open(name string, system, own bool) (*sshConfigFile, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := name
	if system {
		key = "system " + name
	} else if own {
		key = "own " + name
	}
	f, ok := c.included[key]
	if ok {
		return f, nil
	}
	f, err := readSSHConfigFile(name, own)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	if f != nil {
		f.system = system
	}
	c.included[key] = f
	return f, nil
}

// glob is the paths that a pattern matches, as glob(3) has them: in order, and a leading dot only where it is written.
func (c *sshConfig) glob(pattern string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok := c.matched[pattern]
	if !ok {
		found = globPaths(filepath.ToSlash(pattern))
		c.matched[pattern] = found
	}
	return found
}

func globPaths(pattern string) []string {
	found := []string{""}
	for i, part := range strings.Split(pattern, "/") {
		var next []string
		for _, dir := range found {
			if i > 0 {
				dir += "/"
			}
			if !strings.ContainsAny(part, `*?[\`) {
				if _, err := os.Lstat(dir + part); part == "" || err == nil {
					next = append(next, dir+part)
				}
				continue
			}
			entries, _ := os.ReadDir(cmp.Or(dir, ".")) // sorted
			for _, e := range entries {
				if globMatches(part, e.Name()) {
					next = append(next, dir+e.Name())
				}
			}
		}
		found = next
	}
	return found
}

// globMatches matches the name of one file.
func globMatches(pattern, name string) bool {
	if strings.HasPrefix(name, ".") && !strings.HasPrefix(strings.TrimPrefix(pattern, `\`), ".") {
		return false
	}
	ok, err := filepath.Match(strings.ReplaceAll(pattern, "[!", "[^"), name)
	if err != nil { // a bracket that nothing closes stands for itself
		ok, _ = filepath.Match(strings.ReplaceAll(pattern, "[", `\[`), name)
	}
	return ok
}

// localNetworks are the addresses of this machine.
func localNetworks() ([]netip.Addr, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var found []netip.Addr
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addresses, err := i.Addrs()
		if err != nil {
			return nil, err
		}
		for _, a := range addresses {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				found = append(found, prefix.Addr().WithZone(""))
			}
		}
	}
	return found, nil
}

// runsProxy says whether a ProxyCommand leads to the host.
func (h *sshHost) runsProxy() bool {
	return h.proxyCommand != "" && !strings.EqualFold(h.proxyCommand, none)
}

// canonicalizes says whether ssh would look for another name of the host in the DNS. direct is said of a host that is
// reached without a jump host.
func (h *sshHost) canonicalizes(direct bool) bool {
	if _, err := netip.ParseAddr(h.address); err == nil || !direct && h.canonicalize != always {
		return false
	}
	if c := h.permittedCNAMEs; len(c) > 0 && c[0] != none {
		return true
	}
	if h.canonicalize == "" || h.canonicalize == no {
		return false
	}
	if strings.HasSuffix(h.address, ".") {
		return true
	}
	dots := 1
	if h.said["canonicalizemaxdots"] {
		dots = h.canonicalizeMaxDots
	}
	domains := len(h.canonicalDomains) > 0 && h.canonicalDomains[0] != none
	return strings.Count(h.address, ".") <= dots && (domains || h.canonicalizeFallback == no)
}
