package route

// What ssh_config(5) says of a host. The library parses; Include, tokens and the checks of values, which it leaves out,
// are done here.

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kevinburke/ssh_config"
)

// sshConfig is the text of some files, the first of which wins.
type sshConfig struct{ files []*sshConfigFile }

// sshConfigFile is one file, with those that it includes by the line that does so.
type sshConfigFile struct {
	name     string
	parsed   *ssh_config.Config
	includes map[int][]*sshConfigFile
	// byHostName says of each block of parsed that it is for those whose HostName so far, and not what the user calls
	// them, matches.
	byHostName []bool
}

// sshHost is what ssh_config says of one host; paths and names hold their tokens still.
type sshHost struct {
	hostName, user, hostKeyAlias    string
	port                            int
	identities, certificates, known []string
	identitiesOnly                  bool
	connectTimeout                  time.Duration
	// proxyJump is ProxyJump's value, and proxyCommand where a ProxyCommand stands that comes before any.
	proxyJump, proxyCommand string
}

// includesAtMost is how deep ssh follows Include.
const includesAtMost = 16

// readSSHConfig reads files; one that is missing is no error. What is in them and cannot be honoured is one.
func readSSHConfig(files []string) (*sshConfig, error) {
	c := &sshConfig{}
	for _, name := range files {
		f, err := readSSHConfigFile(expandHome(name), 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c.files = append(c.files, f)
	}
	return c, nil
}

func readSSHConfigFile(name string, depth int) (*sshConfigFile, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	// what stands before the first Host is a block too
	f := &sshConfigFile{name: name, includes: map[int][]*sshConfigFile{}, byHostName: []bool{false}}
	// The library drops a last line without a newline.
	lines := bytes.Split(append(text, '\n'), []byte("\n"))
	for i, l := range lines {
		keyword, value := sshConfigLine(string(l))
		switch keyword {
		case "host": // the library takes quotes for a part of the name
			lines[i], f.byHostName = []byte("Host "+strings.Join(configWords(value), " ")), append(f.byHostName, false)
		case "match":
			var byHostName bool
			if lines[i], byHostName, err = matchLine(value); err != nil {
				return nil, fmt.Errorf("%s:%d has '%s', %w", name, i+1, strings.TrimSpace(string(l)), err)
			}
			f.byHostName = append(f.byHostName, byHostName)
		case "include":
			if depth == includesAtMost {
				return nil, fmt.Errorf("%s:%d includes files too deep", name, i+1)
			}
			if f.includes[i+1], err = includedFiles(name, value, depth+1); err != nil {
				return nil, err
			}
			lines[i] = []byte("Included here") // the library would look for the files elsewhere
		}
	}
	if f.parsed, err = ssh_config.DecodeBytes(bytes.Join(lines, []byte("\n"))); err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", name, err)
	}
	if len(f.parsed.Hosts) != len(f.byHostName) {
		return nil, fmt.Errorf("%s cannot be read: a Host or Match is hidden in another line", name)
	}
	return f, nil
}

// sshConfigLine splits a line into its keyword, in small letters, and its value.
func sshConfigLine(line string) (keyword, value string) {
	line = strings.TrimSpace(line)
	i := strings.IndexAny(line, " \t=")
	if i < 0 {
		return strings.ToLower(line), ""
	}
	return strings.ToLower(line[:i]), strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line[i:]), "="))
}

// matchLine gives the library a Match line that it judges as ssh does, by the HostName so far or by what the user calls
// the host. It would take further criteria for patterns.
func matchLine(value string) (line []byte, byHostName bool, err error) {
	words := strings.Fields(value)
	switch {
	case len(words) == 1 && strings.EqualFold(words[0], "all"):
		return []byte("Match all"), false, nil
	case len(words) == 2 && (strings.EqualFold(words[0], "host") || strings.EqualFold(words[0], "originalhost")):
		return []byte("Match host " + strings.ReplaceAll(strings.Trim(words[1], `"`), ",", " ")),
			strings.EqualFold(words[0], "host"), nil
	default:
		return nil, false, errors.New("and of Match only 'host' and 'all' are understood here")
	}
}

// includedFiles reads what an Include names: patterns, relative to ~/.ssh, or to /etc/ssh in a file there.
func includedFiles(from, value string, depth int) ([]*sshConfigFile, error) {
	var files []*sshConfigFile
	for _, pattern := range configWords(value) {
		path := expandHome(pattern)
		switch {
		case filepath.IsAbs(path):
		case strings.HasPrefix(from, "/etc/ssh/"):
			path = filepath.Join("/etc/ssh", path)
		default:
			path = expandHome("~/.ssh/" + path)
		}
		names, err := filepath.Glob(path)
		if err != nil {
			return nil, fmt.Errorf("%s includes %s: %w", from, pattern, err)
		}
		for _, name := range names {
			f, err := readSSHConfigFile(name, depth)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
				continue // as ssh does
			}
			if err != nil {
				return nil, err
			}
			files = append(files, f)
		}
	}
	return files, nil
}

// configWords splits a value into words, each of which may stand in double quotes; a comment ends it.
func configWords(value string) (words []string) {
	for value = strings.TrimSpace(value); value != "" && value[0] != '#'; value = strings.TrimSpace(value) {
		var word string
		if rest, ok := strings.CutPrefix(value, `"`); ok {
			word, value, _ = strings.Cut(rest, `"`)
		} else if i := strings.IndexAny(value, " \t"); i >= 0 {
			word, value = value[:i], value[i:]
		} else {
			word, value = value, ""
		}
		words = append(words, word)
	}
	return words
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

// each calls do with every setting for alias, in order, and where it stands. What was done so far decides on the host's
// name.
func (f *sshConfigFile) each(alias string, hostName func() string, do func(keyword, value, place string) error) error {
	for i, block := range f.parsed.Hosts {
		name := alias
		if f.byHostName[i] {
			name = hostName()
		}
		if !block.Matches(name) {
			continue
		}
		for _, node := range block.Nodes {
			kv, ok := node.(*ssh_config.KV)
			if !ok {
				continue
			}
			line := kv.Pos().Line
			for _, included := range f.includes[line] {
				if err := included.each(alias, hostName, do); err != nil {
					return err
				}
			}
			if err := do(strings.ToLower(kv.Key), kv.Value, f.name+":"+strconv.Itoa(line)); err != nil {
				return err
			}
		}
	}
	return nil
}

// host gathers what the files say of the host that a user calls alias.
func (c *sshConfig) host(alias string) (sshHost, error) {
	var h sshHost
	if c == nil {
		return h, nil
	}
	seen := map[string]bool{}
	hostName := func() string {
		name, err := h.address(alias)
		if err != nil {
			return h.hostName // whoever takes the address says so
		}
		return name
	}
	for _, f := range c.files {
		err := f.each(alias, hostName, func(keyword, value, place string) error {
			first := !seen[keyword]
			seen[keyword] = true
			if err := h.take(keyword, value, place, first); err != nil {
				return fmt.Errorf("%s has %s %s, %w", place, keyword, value, err)
			}
			return nil
		})
		if err != nil {
			return h, err
		}
	}
	return h, nil
}

// address is the HostName of the host that a user calls alias.
func (h *sshHost) address(alias string) (string, error) {
	if h.hostName == "" {
		return alias, nil
	}
	return expandTokens(h.hostName, map[byte]string{'%': "%", 'h': alias})
}

// take adds one setting; first says that it is the first of its keyword, which alone counts for most.
func (h *sshHost) take(keyword, value, place string, first bool) (err error) {
	switch keyword {
	case "identityfile":
		h.identities = append(h.identities, strings.Trim(value, `"`))
		return nil
	case "certificatefile":
		h.certificates = append(h.certificates, strings.Trim(value, `"`))
		return nil
	}
	if !first {
		return nil
	}
	switch keyword {
	case "hostname":
		h.hostName = value
	case "user":
		h.user = value
	case "hostkeyalias":
		h.hostKeyAlias = value
	case "port":
		if h.port, err = strconv.Atoi(value); err != nil || h.port < 1 || h.port > 65535 {
			return errors.New("which is no TCP port")
		}
	case "identitiesonly":
		h.identitiesOnly, err = yesOrNo(value)
	case "userknownhostsfile":
		h.known = configWords(value)
	case "connecttimeout":
		h.connectTimeout, err = seconds(value)
	case "proxyjump":
		if h.proxyCommand == "" {
			h.proxyJump = value
		}
	case "proxycommand":
		if h.proxyJump == "" && !strings.EqualFold(value, "none") {
			h.proxyCommand = place
		}
	}
	return err
}

func yesOrNo(value string) (bool, error) {
	switch strings.ToLower(value) {
	case "yes", "true":
		return true, nil
	case "no", "false":
		return false, nil
	}
	return false, errors.New("which is neither yes nor no")
}

// seconds reads a time of ssh_config: seconds, or numbers with the units s, m, h.
func seconds(value string) (time.Duration, error) {
	if strings.EqualFold(value, "none") {
		return 0, nil
	}
	if n, err := strconv.Atoi(value); err == nil && n >= 0 {
		return time.Duration(n) * time.Second, nil
	}
	d, err := time.ParseDuration(strings.ToLower(value))
	if err != nil || d < 0 {
		return 0, errors.New("which is no time")
	}
	return d, nil
}

// expandTokens replaces ~, ${NAME} and the %-tokens of ssh_config(5).
func expandTokens(value string, tokens map[byte]string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(value); i++ {
		switch {
		case value[i] == '%' && i+1 < len(value):
			i++
			t, ok := tokens[value[i]]
			if !ok {
				return "", fmt.Errorf("the token %%%c is not understood here", value[i])
			}
			out.WriteString(t)
		case strings.HasPrefix(value[i:], "${"):
			name, _, ok := strings.Cut(value[i+2:], "}")
			text, set := os.LookupEnv(name)
			if !ok || !set {
				return "", fmt.Errorf("the environment has no %s", name)
			}
			out.WriteString(text)
			i += len(name) + 2
		default:
			out.WriteByte(value[i])
		}
	}
	return expandHome(out.String()), nil
}
