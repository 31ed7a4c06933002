package sshdtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// inside is the inside of a host's namespaces.
type inside struct {
	// pid is a process there, and name what the host is called.
	pid  func() int
	name func() string
	// caps are the capabilities that nothing has there, as setpriv names them.
	caps string
}

// Sh runs a POSIX shell script as root on the host, without SSH, and returns its output, standard error included, and its exit status: 127 and the
// reason where it cannot be run. It does not wait for what the script leaves in the background.
func (h *inside) Sh(script string) (out string, status int) {
	return h.run("exec 2>&1\n"+script, "")
}

// ReadFile returns a file's content; false where it cannot be read.
func (h *inside) ReadFile(path string) (string, bool) {
	out, status := h.run(`cat -- "$1" 2>/dev/null`, "", path)
	if status != 0 {
		return "", false
	}
	return out, true
}

// WriteFile writes a file and makes the directories it is in. It panics with the host's words if that fails: a test would go on with a host it does not mean.
func (h *inside) WriteFile(path, content string) {
	h.must("write "+path, `exec 2>&1; case $1 in */*) mkdir -p -- "${1%/*}/" || exit ;; esac; cat >"$1"`, content, path)
}

// RemoveFile removes a file, or does nothing where there is none. It panics with the host's words if that fails.
func (h *inside) RemoveFile(path string) {
	h.must("remove "+path, `exec 2>&1; rm -f -- "$1"`, "", path)
}

// List returns the names in a directory, sorted; none where there is no such directory.
func (h *inside) List(dir string) []string {
	out, status := h.run(`cd -- "$1" 2>/dev/null && ls -A`, "", dir)
	if status != 0 {
		return nil
	}
	names := strings.FieldsFunc(out, func(r rune) bool { return r == '\n' })
	slices.Sort(names)
	return names
}

func (h *inside) must(what, script, stdin string, args ...string) {
	if out, status := h.run(script, stdin, args...); status != 0 {
		panic(&Error{What: "sshdtest: " + what + " on " + h.name(), Err: fmt.Errorf("exit status %d: %s", status, strings.TrimSpace(out))})
	}
}

// apart refuses to run anything while the host's root is still the machine's: entering the mount namespace alone does not lead into it from a chroot.
func (h *inside) apart() error {
	ours, err := os.Stat("/")
	if err != nil {
		return err
	}
	theirs, err := os.Stat("/proc/" + strconv.Itoa(h.pid()) + "/root")
	if err != nil {
		return err
	}
	if os.SameFile(ours, theirs) {
		return errors.New("the host's root is the machine's: nothing is run there")
	}
	return nil
}

// run runs a script inside the host with the capabilities that everything there has.
func (h *inside) run(script, stdin string, args ...string) (out string, status int) {
	nsenter, err := program("nsenter")
	if err != nil {
		return err.Error(), 127
	}
	setpriv, err := program("setpriv") // by its path: BusyBox has one that is less
	if err != nil {
		return err.Error(), 127
	}
	if err := h.apart(); err != nil {
		return err.Error(), 127
	}
	// A file, not a pipe: a process left in the background would hold a pipe open.
	fd, err := unix.MemfdCreate("output", unix.MFD_CLOEXEC)
	if err != nil {
		return err.Error(), 127
	}
	output := os.NewFile(uintptr(fd), "output")
	defer closeAll(output)
	cmd := exec.Command(nsenter, append([]string{"--target", strconv.Itoa(h.pid()), "--mount", "--net", "--pid", "--uts", "--ipc", "--root", "--wd", "--",
		setpriv, "--bounding-set", h.caps, "--", "/bin/sh", "-c", script, "sh"}, args...)...)
	cmd.Env = []string{"PATH=" + searchPath, "LC_ALL=C", "HOME=/root"}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = output, output
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin)
	}
	err = cmd.Run()
	if cmd.ProcessState == nil {
		return err.Error(), 127
	}
	text, err := readAll(output)
	if err != nil {
		return err.Error(), 127
	}
	return text, cmd.ProcessState.ExitCode()
}

// readAll returns a file's content from its start.
func readAll(f *os.File) (string, error) {
	fi, err := f.Stat()
	if err != nil {
		return "", err
	}
	b := make([]byte, fi.Size())
	n, err := f.ReadAt(b, 0)
	if n < len(b) {
		return "", err
	}
	return string(b), nil
}

// Connections returns the number of SSH connections that are open now, logged in or not.
func (h *Host) Connections() (open int) {
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", h.init.Process.Pid, table))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			// sl local_address rem_address st ..., proc_pid_net(5): 01 is ESTABLISHED, 0016 is port 22.
			if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[1], ":0016") && f[3] == "01" {
				open++
			}
		}
	}
	return open
}

// Processes returns the command lines of the host's processes, apart from sshd's and those it started with: what sessions left.
func (h *Host) Processes() []string {
	var lines []string
	for _, p := range h.processes() {
		if !h.own[p.id] && !strings.HasPrefix(p.name, "sshd") && p.name != "dropbear" {
			lines = append(lines, p.line)
		}
	}
	return lines
}

type process struct {
	id         int // as the machine numbers it
	name, line string
}

// processes are all processes of the host that have not ended.
func (h *Host) processes() []process {
	space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", h.init.Process.Pid))
	if err != nil {
		return nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []process
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		dir := "/proc/" + e.Name()
		if s, err := os.Readlink(dir + "/ns/pid"); err != nil || s != space {
			continue
		}
		line, err := os.ReadFile(dir + "/cmdline")
		if err != nil || len(line) == 0 {
			continue
		}
		name, _ := os.ReadFile(dir + "/comm")
		words := strings.TrimRight(string(line), "\x00")
		found = append(found, process{id, strings.TrimSpace(string(name)), strings.ReplaceAll(words, "\x00", " ")})
	}
	return found
}
