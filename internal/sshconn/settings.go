package sshconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/crypto/ssh"
)

// Settings is how one host is reached. In Config the zero fields of a hosts entry take the defaults'.
type Settings struct {
	// Address is a name or an IP address without a port; in a hosts entry, empty means the entry's own name.
	Address string
	// Port is the TCP port, 22 when zero.
	Port int
	// User is who logs in, root when empty.
	User string
	// PrivateKey is a private key's text, in a form that ssh.ParsePrivateKey reads, and PrivateKeyPassphrase what it is encrypted with.
	PrivateKey, PrivateKeyPassphrase string
	// Password logs in where no key is accepted.
	Password string
	// Agent says whether the agent at SSH_AUTH_SOCK is asked for keys; nil: where that variable is set.
	Agent *bool
	// HostKey is the one key the host may show, "TYPE BASE64"; empty: the known_hosts files say.
	HostKey string
	// KnownHosts are files in the form of known_hosts, a missing one is no error; nil: ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts.
	KnownHosts []string
	// Sudo says whether everything runs under sudo; it means nothing where root logs in.
	Sudo *bool
	// SudoPassword is the user's password for sudo, where sudo asks for one.
	SudoPassword string
}

// Config is what a Pool knows of all hosts.
type Config struct {
	// Defaults hold for every host; its Address means nothing.
	Defaults Settings
	// Hosts are the hosts that have a name here.
	Hosts map[string]Settings
	// ConnectTimeout limits one try to connect: TCP, handshake, login and the start of the shell; 15 s when zero.
	ConnectTimeout time.Duration
	// Timeout limits Conn.Wait; 5 min when zero.
	Timeout time.Duration
	// IdleTimeout is how long a connection that nobody uses stays open; 60 s when zero.
	IdleTimeout time.Duration
	// SFTP has files travel by SFTP where the host offers it, in place of the shell: the same guarantees, in more round trips.
	SFTP bool
	// Log, where set, is told what happens on the connections. It is never given a secret or the data of a request.
	Log func(ctx context.Context, msg string, fields map[string]any)
}

// withDefaults returns s with its zero fields taken from d.
func (s Settings) withDefaults(d Settings) Settings {
	first := func(a, b string) string {
		if a != "" {
			return a
		}
		return b
	}
	if s.Port == 0 {
		s.Port = d.Port
	}
	s.User = first(s.User, d.User)
	if s.PrivateKey == "" {
		s.PrivateKey, s.PrivateKeyPassphrase = d.PrivateKey, first(s.PrivateKeyPassphrase, d.PrivateKeyPassphrase)
	}
	s.Password = first(s.Password, d.Password)
	s.HostKey = first(s.HostKey, d.HostKey)
	s.SudoPassword = first(s.SudoPassword, d.SudoPassword)
	if s.Agent == nil {
		s.Agent = d.Agent
	}
	if s.Sudo == nil {
		s.Sudo = d.Sudo
	}
	if s.KnownHosts == nil {
		s.KnownHosts = d.KnownHosts
	}
	return s
}

// resolve finds how host is reached: a name in Hosts, or [user@]address[:port].
func (c Config) resolve(host string) (Settings, error) {
	malformed := func(why, next string) error {
		return &Error{Kind: Misconfigured, Host: strconv.Quote(host), Why: why, Next: next}
	}
	s, named := c.Hosts[host]
	switch {
	case !named:
		var err error
		if s, err = parseTarget(host); err != nil {
			return s, malformed(err.Error(), "A host is a name in the provider's hosts, or [user@]address[:port], with an IPv6 address in brackets where a port follows")
		}
	case s.Address == "":
		s.Address = host
	}
	s = s.withDefaults(c.Defaults)
	if s.Port == 0 {
		s.Port = 22
	}
	if s.User == "" {
		s.User = "root"
	}
	s.Address = strings.TrimSuffix(strings.TrimPrefix(s.Address, "["), "]")
	if err := checkAddress(s.Address); err != nil {
		return s, malformed(err.Error(), "An address is a host name or an IP address, without user or port")
	}
	if s.Port < 1 || s.Port > 65535 {
		return s, malformed(fmt.Sprintf("%d is no TCP port", s.Port), "A port is a number from 1 to 65535")
	}
	if strings.ContainsAny(s.SudoPassword, "\r\n\x00") {
		return s, malformed("its sudo_password holds a line break, after which it would be a command", "Where it comes from a file, use chomp(file(...))")
	}
	if s.HostKey != "" {
		if _, err := parseHostKey(s.HostKey); err != nil {
			return s, malformed("its host_key is not a public key ("+err.Error()+")", hostKeyForm)
		}
	}
	return s, nil
}

// hostKeyForm is what to do about a malformed host_key.
const hostKeyForm = "Give it as the host's /etc/ssh/ssh_host_ed25519_key.pub has it: ssh-ed25519 AAAA..."

func parseHostKey(line string) (ssh.PublicKey, error) {
	key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err == nil && len(rest) > 0 {
		err = errors.New("more than one line")
	}
	return key, err
}

// parseTarget reads [user@]address[:port].
func parseTarget(host string) (Settings, error) {
	var s Settings
	rest := host
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		if s.User, rest = host[:i], host[i+1:]; s.User == "" {
			return s, errors.New("nothing stands before the @")
		}
		if strings.ContainsFunc(s.User, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
			return s, errors.New("the user holds white space")
		}
	}
	if _, err := netip.ParseAddr(rest); err == nil {
		s.Address = rest
		return s, nil
	}
	bracketed := strings.HasPrefix(rest, "[")
	switch {
	case bracketed && strings.HasSuffix(rest, "]"):
		s.Address = rest[1 : len(rest)-1]
	case strings.Contains(rest, ":"):
		address, port, err := net.SplitHostPort(rest)
		if err != nil {
			return s, errors.New("address and port cannot be told apart")
		}
		n, err := strconv.Atoi(port)
		if err != nil || n < 1 || n > 65535 {
			return s, fmt.Errorf("%q is no TCP port", port)
		}
		s.Address, s.Port = address, n
	default:
		s.Address = rest
	}
	if bracketed {
		if _, err := netip.ParseAddr(s.Address); err != nil {
			return s, errors.New("the brackets hold no IP address")
		}
	}
	return s, checkAddress(s.Address)
}

func checkAddress(a string) error {
	if a == "" {
		return errors.New("the address is empty")
	}
	if _, err := netip.ParseAddr(a); err == nil {
		return nil
	}
	if strings.ContainsFunc(a, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r) || strings.ContainsRune(`/\@:[]'"`+"`", r)
	}) {
		return errors.New("the address holds a character that no host name has")
	}
	return nil
}

// target is the address to dial.
func (s Settings) target() string { return net.JoinHostPort(s.Address, strconv.Itoa(s.Port)) }

// sudo reports whether commands run under sudo.
func (s Settings) sudo() bool { return s.Sudo != nil && *s.Sudo && s.User != "root" }

// knownHostsFiles are the files to look for the host's key in.
func (s Settings) knownHostsFiles() []string {
	files := s.KnownHosts
	if files == nil {
		files = []string{"~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts"}
	}
	out := make([]string, 0, len(files))
	for _, f := range files {
		if rest, ok := strings.CutPrefix(f, "~/"); ok {
			home, err := os.UserHomeDir()
			if err != nil {
				continue
			}
			f = filepath.Join(home, rest)
		}
		out = append(out, f)
	}
	return out
}
