// Package hosttest simulates a Linux host in process: an SSH server with SFTP and a shell on loopback, a file tree, a kernel with sysctls and
// modules, reboots and faults on demand. It needs no root and touches nothing of the machine it runs on but one TCP port.
package hosttest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// Sudo is what the sudoers file grants a user.
type Sudo int

// The grants.
const (
	SudoNone       Sudo = iota // not in the sudoers file
	SudoNoPassword             // NOPASSWD: ALL
	SudoPassword               // ALL, for the user's own password
)

// User is an account. The one named root is root.
type User struct {
	Name     string
	Password string // empty: no login with a password
	Keys     []ssh.PublicKey
	Sudo     Sudo
}

// Options say what host Start makes; the zero value is a Debian 12 that root reaches with Host.PrivateKey.
type Options struct {
	Users []User // none: root, with a key made for it

	NoSFTP          bool              // neither an sftp subsystem nor an sftp-server program
	ReadOnlyProcSys bool              // /proc/sys is mounted read-only, as in many containers
	Interfaces      []string          // network interfaces beside lo; none: eth0
	Files           map[string]string // files to put on the disk before the first boot

	MaxSessions int // sessions a connection may have at once; 0: 10
	// MaxAuthTries is how many failed attempts a connection may make, 6 when zero. Unlike OpenSSH's, as many keys may be
	// offered in vain besides.
	MaxAuthTries int
	BannerText   string // sent before authentication
	LoginNoise   string // printed to standard output before every command, as a careless shell profile does
	ForceCommand string // run in place of whatever a client asks for
}

// Host is a running simulated host. Its methods may be called from any goroutine.
type Host struct {
	m          *machine
	opts       Options
	config     *ssh.ServerConfig
	listener   net.Listener
	hostKey    string
	privateKey string
	accepting  sync.WaitGroup

	life sync.RWMutex // held by what runs at the console, and alone by a reboot

	mu       sync.Mutex
	down     bool // rebooting or closed
	conns    map[*serverConn]bool
	serving  sync.WaitGroup
	total    int
	attempts int
}

// Start boots a host and lets it listen on a free port of 127.0.0.1.
func Start(o Options) (*Host, error) {
	h := &Host{opts: o, conns: map[*serverConn]bool{}}
	if len(o.Users) == 0 {
		public, err := h.makeUserKey()
		if err != nil {
			return nil, err
		}
		o.Users = []User{{Name: "root", Keys: []ssh.PublicKey{public}}}
	}
	if len(o.Interfaces) == 0 {
		o.Interfaces = []string{"eth0"}
	}
	h.m = &machine{accounts: o.Users, interfaces: o.Interfaces, readOnlyPS: o.ReadOnlyProcSys, defs: keyDefs(),
		cmdline: "BOOT_IMAGE=/boot/vmlinuz-" + kernelRelease + " root=/dev/vda1 ro quiet"}
	h.m.install(o.NoSFTP)
	for path, text := range o.Files {
		h.m.put(path, text, 0o644)
	}
	if err := h.configure(); err != nil {
		return nil, err
	}
	var err error
	if h.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("simulated host: %w", err)
	}
	h.m.ctx, h.m.stop = context.WithCancel(context.Background())
	h.m.mu.Lock()
	h.m.boot()
	h.m.mu.Unlock()
	h.accepting.Go(h.accept)
	return h, nil
}

func (h *Host) makeUserKey() (ssh.PublicKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "root@sim")
	if err != nil {
		return nil, err
	}
	h.privateKey = string(pem.EncodeToMemory(block))
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, err
	}
	return signer.PublicKey(), nil
}

// Close ends every connection and waits for everything the host runs.
func (h *Host) Close() error {
	h.life.Lock()
	defer h.life.Unlock()
	err := h.listener.Close()
	h.disconnect()
	h.accepting.Wait()
	return err
}

// disconnect cuts all connections, ends what they run and refuses new ones.
func (h *Host) disconnect() {
	h.mu.Lock()
	h.down = true
	h.m.stop()
	for c := range h.conns {
		reset(c.tcp)
	}
	h.mu.Unlock()
	h.serving.Wait()
	h.m.procs.Wait()
}

// Reboot cuts all connections, stores what is on its way to the disk, and boots: the kernel's state is back to its defaults and /run is empty;
// then modules-load.d and sysctl.d are applied. It returns when the host accepts logins again.
func (h *Host) Reboot() { h.restart(true) }

// PowerCut is Reboot without a shutdown: file contents that were never fsynced, and creations, renames and removals with no fsync or sync after
// them, are lost.
func (h *Host) PowerCut() { h.restart(false) }

func (h *Host) restart(clean bool) {
	h.life.Lock()
	defer h.life.Unlock()
	h.disconnect()
	h.m.mu.Lock()
	if clean {
		h.m.root.save(true)
	}
	h.m.root.revert()
	h.m.boot()
	h.m.mu.Unlock()
	h.mu.Lock()
	h.m.ctx, h.m.stop = context.WithCancel(context.Background())
	h.down = false
	h.mu.Unlock()
}

// Addr is where the host listens: 127.0.0.1:PORT.
func (h *Host) Addr() string { return h.listener.Addr().String() }

// HostKey is the host's public key, as a line of known_hosts has it after the name.
func (h *Host) HostKey() string { return h.hostKey }

// PrivateKey is root's private key in OpenSSH's format; empty when Options.Users is set.
func (h *Host) PrivateKey() string { return h.privateKey }

// Sh runs a script as root at the console and returns what it prints, standard error included, and its exit status.
func (h *Host) Sh(script string) (out string, status int) {
	h.life.RLock()
	defer h.life.RUnlock()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err.Error(), 127
	}
	defer null.Close()
	var b lockedBuffer
	p := h.m.newProcess(h.m.ctx, rootCred, null, &b, &b, nil)
	status = p.script(strings.NewReader(script), null, nil)
	return b.String(), status
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// ReadFile returns the content of a file as root reads it; ok is false if it cannot be read.
func (h *Host) ReadFile(path string) (content string, ok bool) {
	f, err := h.m.open(rootCred, path, os.O_RDONLY, 0)
	if err != nil {
		return "", false
	}
	b, err := f.readAll()
	return string(b), err == nil
}

// WriteFile puts a file in place as if it had been there at the last shutdown: mode 0644, root's, directories are made. Below /proc/sys and
// /sys it is one write to the kernel; a refusal is recorded in Unknown. /proc/cmdline is the command line from now on.
func (h *Host) WriteFile(path, content string) { h.m.put(path, content, 0o644) }

// RemoveFile removes a file, or a directory with all that is in it.
func (h *Host) RemoveFile(path string) { h.m.drop(path) }

// List returns the sorted names in a directory; nil if it is not there.
func (h *Host) List(dir string) []string {
	all, err := h.m.list(rootCred, dir)
	if err != nil {
		return nil
	}
	names := make([]string, len(all))
	for i, info := range all {
		names[i] = info.name
	}
	return names
}

// Journal is what systemd-modules-load and systemd-sysctl said at the last boot, line by line in their words.
func (h *Host) Journal() []string {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	return slices.Clone(h.m.journal)
}

// FailedUnits are the units that failed at the last boot.
func (h *Host) FailedUnits() []string {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	return slices.Clone(h.m.failedUnits)
}

// Unknown lists what was asked for that is not simulated: programs, flags, shell features. A test of a script wants it empty.
func (h *Host) Unknown() []string {
	h.m.faults.mu.Lock()
	defer h.m.faults.mu.Unlock()
	return slices.Clone(h.m.unknowns)
}

// Exchanges counts what clients sent so far: exec and subsystem requests, batches on the standard input of a shell, SFTP packets.
func (h *Host) Exchanges() int {
	h.m.faults.mu.Lock()
	defer h.m.faults.mu.Unlock()
	return h.m.faults.exchanges
}

// Batches counts the batches of shell sessions alone.
func (h *Host) Batches() int {
	h.m.faults.mu.Lock()
	defer h.m.faults.mu.Unlock()
	return h.m.faults.batches
}

// Connections counts the logins: those that are open, and all so far.
func (h *Host) Connections() (open, total int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.conns {
		if c.user != "" {
			open++
		}
	}
	return open, h.total
}

// AuthAttempts counts the authentication attempts so far, the successful ones included; the method "none" does not count.
func (h *Host) AuthAttempts() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.attempts
}

// Inject makes something go wrong until undo is called. Faults add up.
func (h *Host) Inject(f Fault) (undo func()) { return h.m.faults.inject(f) }
