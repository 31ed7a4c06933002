package sshdtest

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

	// lostCapabilities are what no process of a host has: root could change the machine's kernel, its clock or its disks with them, or make /proc/sys writable.
	lostCapabilities = "-sys_module,-sys_admin,-sys_rawio,-sys_time,-sys_boot,-sys_pacct,-sys_tty_config,-syslog,-mknod,-mac_admin,-mac_override"

	// startTimeout is for a machine so busy that something must be wrong.
	startTimeout = time.Minute
)

//go:embed scripts/root.sh
var rootScript string

//go:embed scripts/init.sh
var initScript string

// Host is a running host. Its methods may be called from several goroutines.
type Host struct {
	inside
	files *files
	link  *link
	init  *exec.Cmd // the first process; not waited for before Close, so that its id stays ours
	stdin *os.File  // the host ends when this is closed
	own   map[int]bool

	started chan error    // nil when sshd listens, or why it never will
	logDone chan struct{} // closed when no process of the host is left to say anything
	logMu   sync.Mutex
	log     strings.Builder

	closeOnce sync.Once
	closeErr  error
}

// Start starts a host and returns when its sshd listens. It is safe to start several at once. The error is an *Error.
func Start(o Options) (*Host, error) {
	if err := o.check(); err != nil {
		return nil, &Error{What: "a host cannot be started with these options", Err: err}
	}
	h, err := start(o)
	if err != nil {
		return nil, &Error{What: "a host could not be started", Err: err, Next: "Available says whether this machine can run any."}
	}
	return h, nil
}

func start(o Options) (*Host, error) {
	h, archive, err := launch(o.Shell)
	if err != nil {
		return nil, err
	}
	err = h.setUp(o, archive)
	closeAll(archive)
	if err == nil {
		return h, nil
	}
	err = errors.Join(err, h.Close())
	if said := strings.TrimSpace(h.Log()); said != "" {
		err = fmt.Errorf("%w; it said:\n%s", err, said)
	}
	return nil, err
}

// launch starts the first process of a host, in namespaces of its own. It makes the root file system, then waits for its network and for archive, its files.
func launch(shell string) (h *Host, archive *os.File, err error) {
	var r, w [3]*os.File // standard input, archive, log
	for i := range r {
		if r[i], w[i], err = os.Pipe(); err != nil {
			closeAll(r[0], w[0], r[1], w[1])
			return nil, nil, err
		}
	}
	h = &Host{stdin: w[0], own: map[int]bool{}, logDone: make(chan struct{}), started: make(chan error, 1)}
	h.inside = inside{pid: func() int { return h.init.Process.Pid }, name: func() string { return h.link.hostName() }, caps: lostCapabilities}
	h.init = exec.Command("/bin/sh", "-c", rootScript, "init", lostCapabilities, initScript, shell)
	h.init.Env = []string{"PATH=" + searchPath, "LC_ALL=C"}
	h.init.Dir = "/"
	h.init.Stdin, h.init.Stdout, h.init.Stderr = r[0], w[2], w[2]
	h.init.ExtraFiles = []*os.File{r[1]}
	h.init.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true, // a ^C at the terminal is for the test
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	err = h.init.Start()
	closeAll(r[0], r[1], w[2])
	if err != nil {
		closeAll(w[0], w[1], r[2])
		return nil, nil, err
	}
	go h.readLog(r[2])
	return h, w[1], nil
}

// setUp gives a launched host its network and its files, and waits for its sshd.
func (h *Host) setUp(o Options, archive *os.File) (err error) {
	if h.link, err = newLink(h.init.Process.Pid); err != nil {
		return err
	}
	if h.files, err = newFiles(o, h.link.hostName()); err != nil {
		return err
	}
	// These fail only if the first process has ended, and why it did is worth more.
	_, _ = fmt.Fprintf(h.stdin, "%s %s\n", h.link.hostName(), h.link.inside)
	_, _ = archive.Write(h.files.archive.Bytes())
	closeAll(archive)

	timer := time.NewTimer(startTimeout)
	defer timer.Stop()
	select {
	case err = <-h.started:
	case <-timer.C:
		err = fmt.Errorf("sshd did not listen within %s", startTimeout)
	}
	for _, p := range h.processes() {
		h.own[p.id] = true
	}
	return err
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		_ = f.Close() // pipes, which have nothing to lose; a nil file is an error too
	}
}

// readLog collects what the host's first process and sshd say until none of them is left. It sends one value on started.
func (h *Host) readLog(r *os.File) {
	defer close(h.logDone)
	defer closeAll(r)
	said := func(err error) {
		select {
		case h.started <- err:
		default:
		}
	}
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		h.logMu.Lock()
		h.log.WriteString(line)
		h.logMu.Unlock()
		switch {
		case strings.HasPrefix(line, "Server listening on "), strings.HasSuffix(line, " Not backgrounding\n"): // sshd, dropbear
			said(nil)
		case strings.HasPrefix(line, "host: sshd ended"):
			said(errors.New("sshd ended"))
		case err != nil:
			said(errors.New("its first process ended"))
			return
		}
	}
}

// Addr is where sshd listens, as ADDRESS:PORT.
func (h *Host) Addr() string { return h.link.hostAddress() + ":22" }

// HostKey is sshd's only host key, as in known_hosts: "ssh-ed25519 AAAA...".
func (h *Host) HostKey() string { return h.files.hostKey }

// PrivateKey is the key made for root where Options name no users, in OpenSSH's form; else empty.
func (h *Host) PrivateKey() string { return h.files.privateKey }

// Log is what sshd has said so far.
func (h *Host) Log() string {
	h.logMu.Lock()
	defer h.logMu.Unlock()
	return h.log.String()
}

// Close ends every process of the host and returns when its mounts and network are gone too. A second call does nothing and returns the same.
func (h *Host) Close() error {
	h.closeOnce.Do(func() {
		h.closeErr = h.stdin.Close()
		if err := h.init.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			h.closeErr = errors.Join(h.closeErr, err)
		}
		// The first process of a PID namespace is gone only when all others are.
		var exit *exec.ExitError
		if err := h.init.Wait(); err != nil && !errors.As(err, &exit) {
			h.closeErr = errors.Join(h.closeErr, err)
		}
		<-h.logDone
		if h.link != nil {
			h.closeErr = errors.Join(h.closeErr, h.link.remove())
		}
	})
	return h.closeErr
}

// program is the path of a command of the machine, also where the caller's PATH leaves out the directories for root's commands.
func program(name string) (string, error) {
	for dir := range strings.SplitSeq(searchPath, ":") {
		if fi, err := os.Stat(filepath.Join(dir, name)); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return filepath.Join(dir, name), nil
		}
	}
	return "", fmt.Errorf("the command %s is missing", name)
}
