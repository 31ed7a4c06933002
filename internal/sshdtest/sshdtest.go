// Package sshdtest starts real OpenSSH servers, and dropbears, for tests. Each is a host of its own: a network namespace with its own net.* keys, a copy-on-write root
// file system, its own processes and users, and no way to change the machine's kernel. Linux and root only.
//
// Nothing outlives Close, nor the process that called Start: the first process of a host ends when its standard input does, and the kernel then ends
// all others in its PID namespace, after which its mounts and its network go too.
//
// A Container is more of a machine: a Debian with a systemd of its own, which systemd-nspawn boots. Its root file system is built once, into the user's cache.
//
// One thing of the machine is within reach: a kernel with modules loads some by itself when a key, such as net.ipv4.tcp_congestion_control, or a netlink
// request names what they provide. It takes them from the machine, not from the host's empty /lib/modules.
package sshdtest

import "errors"

// Options say what a host is like. The zero value is a host as Debian installs it, where root logs in with a key made for it.
type Options struct {
	// Users may log in. Empty: root alone, with the key that PrivateKey returns.
	Users []User
	// NoSFTP is a host with neither the sftp subsystem nor an sftp-server program.
	NoSFTP bool
	// SSHDConfig holds lines of sshd_config(5) that go before the others, so that they win. Start needs LogLevel INFO or more and port 22.
	SSHDConfig string
	// Sudoers holds lines of sudoers(5) that go after the others, so that they win.
	Sudoers string
	// Shell is "" for the machine's /bin/sh and commands, or "busybox" for BusyBox's.
	Shell string
	// Server is "" for OpenSSH's sshd, or "dropbear", which reads neither SSHDConfig nor passwords.
	Server string
}

// User is an account of a host. "root" is the one that is always there; any other gets a home directory and bash, where there is one.
type User struct {
	Name string
	// Password is good for sshd and for sudo; none is accepted where it is empty.
	Password string
	// AuthorizedKeys are lines of authorized_keys.
	AuthorizedKeys []string
	// Sudo is "" for a user who is not in sudoers, "nopasswd" or "password" for one who may do all.
	Sudo string
}

// The users of a container, who all log in with PrivateKey.
const (
	Root   = "root"
	Sudoer = "ops" // may do all by sudo, without a password
	NoSudo = "dev" // is not in sudoers
)

// Error says what could not be done, why, and what to do next.
type Error struct {
	What string
	Err  error
	Next string
	// Lacking is true where the machine has not what it takes, so that no test can tell anything.
	Lacking bool
}

// Lacking reports whether err is an *Error of a machine that has not what it takes.
func Lacking(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Lacking
}

func (e *Error) Error() string {
	s := e.What
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Next != "" {
		s += "\n" + e.Next
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }
