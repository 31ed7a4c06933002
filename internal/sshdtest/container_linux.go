package sshdtest

import (
	"archive/tar"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/debiantest"
)

//go:embed scripts/tree.sh
var treeScript string

//go:embed scripts/container.sh
var containerScript string

// containerCapabilities are what systemd-nspawn takes away from a container, as far as they would reach the machine.
const containerCapabilities = "-sys_module,-sys_rawio,-sys_time,-sys_pacct,-syslog,-wake_alarm,-block_suspend"

// containerTree returns the tree of a container.
func containerTree() debiantest.Tree {
	return debiantest.Tree{
		Name: "container", Suite: "bookworm", Hook: treeScript,
		Packages: []string{"iproute2", "kmod", "openssh-server", "procps", "sudo", "systemd", "systemd-sysv"},
	}
}

// Container is a Debian that systemd-nspawn boots: a host with a systemd of its own, which loads no modules and may write no key but its network's. Its methods may be
// called from several goroutines.
type Container struct {
	inside
	link                *link
	cgroups             cgroups
	hostKey, privateKey string
	init                *exec.Cmd // the first process of its outer PID namespace
	stdin               *os.File  // the container ends when this is closed
	leader              atomic.Int64

	logDone chan struct{}
	logMu   sync.Mutex
	log     strings.Builder

	closeOnce sync.Once
	closeErr  error
}

// StartContainer starts a container, building its tree first where the cache does not have it, and returns when it has booted. The error is an *Error, which is Lacking
// where containers cannot be started.
func StartContainer(ctx context.Context) (*Container, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*startTimeout)
	defer cancel()
	const what = "a container could not be started"
	if os.Getuid() != 0 {
		return nil, &Error{What: what, Err: errNotRoot, Next: runAsRoot, Lacking: true}
	}
	for name, pkg := range map[string]string{"systemd-nspawn": "systemd-container", "mmdebstrap": "mmdebstrap", "unshare": "util-linux"} {
		if _, err := program(name); err != nil {
			return nil, &Error{What: what, Err: err, Next: "On Debian: apt-get install " + pkg, Lacking: true}
		}
	}
	tree, err := containerTree().Dir(ctx)
	if err != nil {
		return nil, &Error{What: "the tree of a container could not be built", Err: err, Lacking: true}
	}
	c, err := startContainer(ctx, tree)
	if err != nil {
		return nil, &Error{What: what, Err: err, Lacking: Available() != nil} // such as a Docker without privileges
	}
	return c, nil
}

func startContainer(ctx context.Context, tree string) (c *Container, err error) {
	var r, w [3]*os.File // standard input, archive, log
	for i := range r {
		if r[i], w[i], err = os.Pipe(); err != nil {
			closeAll(r[0], w[0], r[1], w[1])
			return nil, err
		}
	}
	c = &Container{stdin: w[0], logDone: make(chan struct{})}
	c.inside = inside{pid: func() int { return int(c.leader.Load()) }, name: func() string { return c.link.hostName() }, caps: containerCapabilities}
	c.init = exec.Command("/bin/sh", "-c", containerScript, "container", tree)
	c.init.Env = []string{"PATH=" + searchPath, "LC_ALL=C"}
	c.init.Dir = "/"
	c.init.Stdin, c.init.Stdout, c.init.Stderr = r[0], w[2], w[2]
	c.init.ExtraFiles = []*os.File{r[1]}
	c.init.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET}
	err = c.init.Start()
	closeAll(r[0], r[1], w[2])
	if err != nil {
		closeAll(w[0], w[1], r[2])
		return nil, err
	}
	go c.readLog(r[2])
	// The other end of its link waits here, which keeps the number, until the container has a network namespace.
	if c.link, err = newLink(c.init.Process.Pid); err == nil {
		c.cgroups, err = newCgroups(c.link.name(), c.init.Process.Pid)
	}
	if err == nil {
		err = c.files(w[1])
	}
	closeAll(w[1])
	if err == nil {
		err = c.booted(ctx)
	}
	if err == nil {
		return c, nil
	}
	err = errors.Join(err, c.Close())
	return nil, fmt.Errorf("%w; it said:\n%s", err, c.Log())
}

func (c *Container) readLog(r *os.File) {
	defer close(c.logDone)
	defer closeAll(r)
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		c.logMu.Lock()
		c.log.Write(buf[:n])
		c.logMu.Unlock()
		if err != nil {
			return
		}
	}
}

// files sends what a container has beside its tree: keys, its name and its address.
func (c *Container) files(to *os.File) error {
	public, private, err := newKey()
	if err != nil {
		return err
	}
	hostPublic, hostPrivate, err := newKey()
	if err != nil {
		return err
	}
	c.hostKey, c.privateKey = hostPublic, private
	w := &treeWriter{tw: tar.NewWriter(to)}
	w.file("etc/ssh/ssh_host_ed25519_key", 0o600, 0, 0, hostPrivate)
	w.file("etc/ssh/ssh_host_ed25519_key.pub", 0o644, 0, 0, hostPublic+"\n")
	w.file("etc/hostname", 0o644, 0, 0, c.link.hostName()+"\n")
	w.file("etc/hosts", 0o644, 0, 0, "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 "+c.link.hostName()+"\n")
	w.file("etc/container-address", 0o644, 0, 0, c.link.inside+"\n")
	for i, home := range []string{"root", "home/ops", "home/dev"} {
		uid := 0
		if i > 0 {
			uid = 999 + i // as useradd gave them
		}
		w.dir(home+"/.ssh", 0o700, uid)
		w.file(home+"/.ssh/authorized_keys", 0o600, uid, uid, public+"\n")
	}
	if w.err == nil {
		w.err = w.tw.Close()
	}
	return w.err
}

// booted waits for a container that has just been started: for its first process, which gets its network, for its units, and for its sshd.
func (c *Container) booted(ctx context.Context) error {
	old := c.leader.Load()
	for c.leader.Load() == old || c.leader.Load() == 0 {
		if err := c.pause(ctx, "no first process"); err != nil {
			return err
		}
		c.leader.Store(int64(firstProcess(c.init.Process.Pid)))
	}
	for {
		// The old interface goes away with the network namespace that its other end was in, a moment later.
		err := errors.Join(c.link.remove(), c.link.make(c.pid()))
		if err == nil {
			break
		}
		if !taken(err) {
			return err
		}
		if err := c.pause(ctx, err.Error()); err != nil {
			return err
		}
	}
	for {
		said, _ := c.Sh("systemctl is-system-running --wait")
		if said == "running\n" || said == "degraded\n" {
			break
		}
		if err := c.pause(ctx, "systemd says "+said); err != nil {
			return err
		}
	}
	for {
		conn, err := net.DialTimeout("tcp", c.Addr(), time.Second)
		if err == nil {
			return conn.Close()
		}
		if err := c.pause(ctx, err.Error()); err != nil {
			return err
		}
	}
}

// pause is between two looks at a condition.
func (c *Container) pause(ctx context.Context, seen string) error {
	select {
	case <-time.After(20 * time.Millisecond):
		return nil
	case <-c.logDone:
		return errors.New("it ended")
	case <-ctx.Done():
		return fmt.Errorf("it did not boot (%s): %w", seen, ctx.Err())
	}
}

// firstProcess is the process that is the first of a PID namespace below the one that outer begins; 0 if there is none yet.
func firstProcess(outer int) int {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", outer, outer))
	if err != nil {
		return 0
	}
	for _, text := range strings.Fields(string(children)) {
		child, err := strconv.Atoi(text)
		if err != nil {
			continue
		}
		if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", child)); err == nil {
			_, ids, _ := strings.Cut(string(status), "\nNSpid:")
			ids, _, _ = strings.Cut(ids, "\n")
			// It is systemd-nspawn's until it has become systemd, with its root in place.
			if f := strings.Fields(ids); len(f) > 2 && f[len(f)-1] == "1" && strings.HasPrefix(string(status), "Name:\tsystemd\n") {
				return child
			}
		}
		if found := firstProcess(child); found != 0 {
			return found
		}
	}
	return 0
}

// Addr is where sshd listens, as ADDRESS:PORT. It stays the same over reboots.
func (c *Container) Addr() string { return c.link.hostAddress() + ":22" }

// HostKey is sshd's only host key, as in known_hosts: "ssh-ed25519 AAAA...".
func (c *Container) HostKey() string { return c.hostKey }

// PrivateKey is the key of every user, in OpenSSH's form.
func (c *Container) PrivateKey() string { return c.privateKey }

// Log is what the container has said on its console.
func (c *Container) Log() string {
	c.logMu.Lock()
	defer c.logMu.Unlock()
	return c.log.String()
}

// Reboot shuts the container down and boots it again, with the same files and a new network namespace.
func (c *Container) Reboot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if out, status := c.Sh("systemctl --no-block poweroff"); status != 0 {
		return fmt.Errorf("systemctl poweroff: %s", out)
	}
	return c.booted(ctx)
}

// Close ends the container and returns when nothing of it is left. A second call does nothing and returns the same.
func (c *Container) Close() error {
	c.closeOnce.Do(func() {
		c.closeErr = c.stdin.Close()
		if err := c.init.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			c.closeErr = errors.Join(c.closeErr, err)
		}
		var exit *exec.ExitError
		if err := c.init.Wait(); err != nil && !errors.As(err, &exit) {
			c.closeErr = errors.Join(c.closeErr, err)
		}
		<-c.logDone
		c.closeErr = errors.Join(c.closeErr, c.cgroups.remove())
		if c.link != nil {
			c.closeErr = errors.Join(c.closeErr, c.link.remove())
		}
	})
	return c.closeErr
}
