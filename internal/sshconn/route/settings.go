package route

import (
	"cmp"
	"net"
	"strconv"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/hostkey"
)

// Settings is how one host is reached. A zero field leaves it to the next source: see Sources.
type Settings struct {
	// Address is a name or an IP address without a port; in a hosts entry, empty means the entry's own name.
	Address string
	Login
	Root
	// Bastion is the jump host that the host is reached through; nil: none.
	Bastion *Bastion
	// ProxyCommand is a command whose standard input and output lead to the host, with tokens as in ssh_config, or
	// NoCommand; empty: none. Bastion and ProxyCommand are one choice: a source that makes it leaves nothing to the next.
	ProxyCommand string
}

// Login is how to log in to a host, be it a jump host: the port, which key the host may show, who logs in, and with
// what.
type Login struct {
	// Port is the TCP port, 22 when zero.
	Port int
	// User is who logs in, root when empty.
	User string
	// PrivateKey is a private key's text, in a form that ssh.ParsePrivateKey reads. PrivateKeyPassphrase is what it is
	// encrypted with.
	PrivateKey, PrivateKeyPassphrase string
	// Certificate is an OpenSSH certificate for the private key, or for a key of the agent: the text of a file such as
	// id_ed25519-cert.pub.
	Certificate string
	// Password logs in where no key is accepted.
	Password string
	// Agent says whether the agent at SSH_AUTH_SOCK, or that of Windows, is asked for keys; nil: if there is one.
	Agent *bool
	// HostKey is the one key the host may show, "TYPE BASE64", its fingerprint, "SHA256:BASE64", or the authority whose
	// certificates count, "@cert-authority TYPE BASE64"; empty: the known_hosts files say.
	HostKey string
	// HostKeyChecking says what becomes of a key that no known_hosts file has; Strict when empty.
	HostKeyChecking hostkey.Checking
	// KnownHosts are files in the form of known_hosts, a missing one is no error; nil: ~/.ssh/known_hosts and
	// /etc/ssh/ssh_known_hosts.
	KnownHosts []string
	// ControlPath is the socket at which an ssh of the user shares its connection, with tokens as in ssh_config. If it is
	// NoControl, no connection is shared, and if it is empty, ssh_config says.
	ControlPath string
}

// NoControl is the ControlPath of a host whose connection is not shared with ssh.
const NoControl = "none"

// Root is how the user becomes root. It means nothing if root logs in.
type Root struct {
	// Sudo says whether everything runs under sudo.
	Sudo *bool
	// SudoPassword is the user's password for sudo, where sudo asks for one.
	SudoPassword string
	// Doas says whether everything runs under doas, which takes no password here. Sudo and Doas are one choice: a
	// source that makes it leaves nothing to the next.
	Doas *bool
}

// Bastion is a jump host: a host by its name, and how the login there differs from what is known of that host.
type Bastion struct {
	// Host is what Resolve takes, or NoBastion.
	Host string
	Login
	// ProxyCommand leads to the jump host, as for a host.
	ProxyCommand string
	// via is the jump host before this one in a chain of ProxyJump.
	via *Bastion
}

// NoBastion is the Host of a Bastion for a host that is dialled directly although the defaults name a jump host.
const NoBastion = "none"

// NoCommand is the ProxyCommand of a host that is dialled although the defaults have a command.
const NoCommand = "none"

// withDefaults returns s with its zero fields taken from d.
func (s Settings) withDefaults(d Settings) Settings {
	s.Login, s.Root = s.Login.withDefaults(d.Login), s.Root.withDefaults(d.Root)
	if s.Bastion == nil && s.ProxyCommand == "" {
		s.Bastion, s.ProxyCommand = d.Bastion, d.ProxyCommand
	}
	return s
}

func (l Login) withDefaults(d Login) Login {
	l.Port = cmp.Or(l.Port, d.Port)
	l.User = cmp.Or(l.User, d.User)
	if l.PrivateKey == "" {
		l.PrivateKey, l.PrivateKeyPassphrase = d.PrivateKey, cmp.Or(l.PrivateKeyPassphrase, d.PrivateKeyPassphrase)
	}
	l.Certificate = cmp.Or(l.Certificate, d.Certificate)
	l.Password = cmp.Or(l.Password, d.Password)
	l.HostKey = cmp.Or(l.HostKey, d.HostKey)
	l.ControlPath = cmp.Or(l.ControlPath, d.ControlPath)
	l.HostKeyChecking = cmp.Or(l.HostKeyChecking, d.HostKeyChecking)
	if l.Agent == nil {
		l.Agent = d.Agent
	}
	if l.KnownHosts == nil {
		l.KnownHosts = d.KnownHosts
	}
	return l
}

func (r Root) withDefaults(d Root) Root {
	r.SudoPassword = cmp.Or(r.SudoPassword, d.SudoPassword)
	if r.Sudo == nil && r.Doas == nil {
		r.Sudo, r.Doas = d.Sudo, d.Doas
	}
	return r
}

// Secrets are the texts that must not be quoted.
func (s Settings) Secrets() []string {
	return []string{s.Password, s.SudoPassword, s.PrivateKeyPassphrase, s.PrivateKey}
}

// Addr is the address to dial.
func (s Settings) Addr() string { return net.JoinHostPort(s.Address, strconv.Itoa(s.Port)) }

// RootBy is the program that makes root of the user, "sudo" or "doas", and empty where everything runs as the user.
func (s Settings) RootBy() string {
	switch {
	case s.User == "root":
		return ""
	case s.Sudo != nil && *s.Sudo:
		return "sudo"
	case s.Doas != nil && *s.Doas:
		return "doas"
	}
	return ""
}

// The usual known_hosts files.
const (
	userKnownHosts   = "~/.ssh/known_hosts"
	systemKnownHosts = "/etc/ssh/ssh_known_hosts"
)

// KnownHostsFiles are the files to look for the host's key in.
func (s Settings) KnownHostsFiles() []string {
	files := s.KnownHosts
	if files == nil {
		files = []string{userKnownHosts, systemKnownHosts}
	}
	out := make([]string, 0, len(files))
	for _, f := range files {
		out = append(out, expandHome(f))
	}
	return out
}
