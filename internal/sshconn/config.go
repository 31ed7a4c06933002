package sshconn

import (
	"context"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// Config is what a Pool knows of all hosts. What is said nearest to a host counts: the user and port of
// [user@]address[:port], the entry in Hosts, Defaults, ssh_config, Environment. For a jump host, ssh_config counts
// before Defaults.
type Config struct {
	// Defaults hold for every host; its Address means nothing.
	Defaults route.Settings
	// Environment holds for every host of which nothing else says it.
	Environment route.Settings
	// SSHConfig are files in the form of ssh_config(5), the first of which wins, a missing one is no error. With any, the
	// keys in their usual places (~/.ssh/id_ed25519 and so on) are tried where no key is named. They are read when the
	// first host is asked for.
	SSHConfig []string
	// NoSSHConfigCommands says that no command is run which ssh_config names, by ProxyCommand,
	// KnownHostsCommand or Match exec.
	NoSSHConfigCommands bool
	// Hosts are the hosts that have a name here.
	Hosts map[string]route.Settings
	// Unknown are the names of hosts that have settings which are not known yet. No way leads to or through one of them.
	Unknown map[string]bool
	// ConnectTimeout limits one try to connect: TCP, handshake, login and the start of the shell, but for sudo and doas,
	// which get a minute at least; when zero, ssh_config's for the host, else FallbackConnectTimeout, else 15 s.
	ConnectTimeout, FallbackConnectTimeout time.Duration
	// Timeout limits Conn.Wait; 5 min when zero.
	Timeout time.Duration
	// IdleTimeout is how long a connection that nobody uses stays open; 60 s when zero.
	IdleTimeout time.Duration
	// ReplyTimeout is how long a host may send nothing while it runs a script or changes a file; 2 min when zero.
	ReplyTimeout time.Duration
	// LockTimeout is how long a change waits while another process changes the host; 2 min when zero.
	LockTimeout time.Duration
	// SFTP has files travel by SFTP where the host offers it, in place of the shell: the same guarantees, in more round
	// trips.
	SFTP bool
	// MaxConnections is how many hosts may be connected at once, jump hosts apart; 100 when zero. An idle connection ends
	// for one that is needed.
	MaxConnections int
	// Log, where set, is told what happens on the connections. It is never given a secret or the data of a request.
	Log func(ctx context.Context, msg string, fields map[string]any)
}

func (c Config) sources() route.Sources {
	return route.Sources{Defaults: c.Defaults, Environment: c.Environment, SSHConfig: c.SSHConfig, Hosts: c.Hosts,
		Unknown: c.Unknown, NoCommands: c.NoSSHConfigCommands}
}
