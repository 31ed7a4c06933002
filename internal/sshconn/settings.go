package sshconn

import (
	"cmp"
	"context"
	"net"
	"strconv"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/hostkey"
)

// Settings is how one host is reached. A zero field leaves it to the next source: see Config.
type Settings struct {
	// Address is a name or an IP address without a port; in a hosts entry, empty means the entry's own name.
	Address string
	Login
	Root
	// Bastion is the jump host that the host is reached through; nil: none.
	Bastion *Bastion
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
	// Agent says whether the agent at SSH_AUTH_SOCK is asked for keys; nil: where that variable is set.
	Agent *bool
	// HostKey is the one key the host may show, "TYPE BASE64", its fingerprint, "SHA256:BASE64", or the authority whose
	// certificates count, "@cert-authority TYPE BASE64"; empty: the known_hosts files say.
	HostKey string
	// HostKeyChecking says what becomes of a key that no known_hosts file has; Strict when empty.
	HostKeyChecking hostkey.Checking
	// KnownHosts are files in the form of known_hosts, a missing one is no error; nil: ~/.ssh/known_hosts and
	// /etc/ssh/ssh_known_hosts.
	KnownHosts []string
}

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
	// Host is what Pool.Conn takes, or NoBastion.
	Host string
	Login
	// via is the jump host before this one in a chain of ProxyJump.
	via *Bastion
}

// NoBastion is the Host of a Bastion for a host that is dialled directly although the defaults name a jump host.
const NoBastion = "none"

// Config is what a Pool knows of all hosts. What is said nearest to a host counts: the user and port of [user@]address[:port], the entry in Hosts, Defaults, ssh_config,
// Environment. For a jump host, ssh_config counts before Defaults.
type Config struct {
	// Defaults hold for every host; its Address means nothing.
	Defaults Settings
	// Environment holds for every host of which nothing else says it.
	Environment Settings
	// SSHConfig are files in the form of ssh_config(5), the first of which wins, a missing one is no error. With any, the keys in their usual places (~/.ssh/id_ed25519
	// and so on) are tried where no key is named. They are read when the first host is asked for.
	SSHConfig []string
	// Hosts are the hosts that have a name here.
	Hosts map[string]Settings
	// Unknown are the names of hosts that have settings which are not known yet. No way leads to or through one of them.
	Unknown map[string]bool
	// ConnectTimeout limits one try to connect: TCP, handshake, login and the start of the shell, but for sudo and doas, which get a minute at least; when zero,
	// ssh_config's for the host, else FallbackConnectTimeout, else 15 s.
	ConnectTimeout, FallbackConnectTimeout time.Duration
	// Timeout limits Conn.Wait; 5 min when zero.
	Timeout time.Duration
	// IdleTimeout is how long a connection that nobody uses stays open; 60 s when zero.
	IdleTimeout time.Duration
	// ReplyTimeout is how long a host may send nothing while it runs a script or changes a file; 2 min when zero.
	ReplyTimeout time.Duration
	// LockTimeout is how long a change waits while another process changes the host; 2 min when zero.
	LockTimeout time.Duration
	// SFTP has files travel by SFTP where the host offers it, in place of the shell: the same guarantees, in more round trips.
	SFTP bool
	// MaxConnections is how many hosts may be connected at once, jump hosts apart; 100 when zero. An idle connection ends for one that is needed.
	MaxConnections int
	// Log, where set, is told what happens on the connections. It is never given a secret or the data of a request.
	Log func(ctx context.Context, msg string, fields map[string]any)
}

// withDefaults returns s with its zero fields taken from d.
func (s Settings) withDefaults(d Settings) Settings {
	s.Login, s.Root = s.Login.withDefaults(d.Login), s.Root.withDefaults(d.Root)
	if s.Bastion == nil {
		s.Bastion = d.Bastion
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

// target is the address to dial.
func (s Settings) target() string { return net.JoinHostPort(s.Address, strconv.Itoa(s.Port)) }

// root is the program that makes root of the user, "sudo" or "doas", and empty where everything runs as the user.
func (s Settings) root() string {
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

const systemKnownHosts = "/etc/ssh/ssh_known_hosts"

// knownHostsFiles are the files to look for the host's key in.
func (s Settings) knownHostsFiles() []string {
	files := s.KnownHosts
	if files == nil {
		files = []string{"~/.ssh/known_hosts", systemKnownHosts}
	}
	out := make([]string, 0, len(files))
	for _, f := range files {
		out = append(out, expandHome(f))
	}
	return out
}
