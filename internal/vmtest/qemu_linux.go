package vmtest

// QEMU as a process, and its monitor.

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	_ "embed"
)

//go:embed scripts/guard.sh
var guardScript string

const (
	searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

	// cmdline leaves out what only costs time without KVM, and leaves the same out with it, so that tests meet one kernel: checks of ciphers, guards against neighbours
	// on the same CPU, and random addresses (kernel.randomize_va_space is 0), for which QEMU translates a program's code anew each time that it starts, two thirds of
	// the time of starting it.
	cmdline = "console=ttyS0 quiet net.ifnames=0 mitigations=off cryptomgr.notests norandmaps"
)

// accel is how QEMU runs the guest's instructions; name and cpu are arguments of its, properties included.
type accel struct{ program, name, cpu, cpus string }

// virtualizes matches the flags of a CPU that runs guests itself. Where it does not, KVM may still be offered by a host that takes only kernels made for it
// (PVM), and interprets Debian's kernel so slowly that it never comes up.
var virtualizes = regexp.MustCompile(`(?m)^flags\s*:.* (vmx|svm)( |$)`)

// findQEMU returns how to run QEMU here, and its version. Whether KVM works is tried, because the device may exist without it.
func findQEMU(ctx context.Context) (accel, string, error) {
	program, err := lookPath("qemu-system-x86_64")
	if err != nil {
		return accel{}, "", err
	}
	version, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return accel{}, "", fmt.Errorf("%s --version: %w", program, err)
	}
	kvm := accel{program: program, name: "kvm", cpu: "host", cpus: "2"}
	try := exec.CommandContext(ctx, program, append(kvm.args("", ""), "-S", "-qmp", "stdio")...)
	try.Stdin = strings.NewReader(`{"execute":"qmp_capabilities"}{"execute":"quit"}`)
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return accel{}, "", err
	}
	if virtualizes.Match(info) && try.Run() == nil {
		return kvm, string(version), nil
	}
	// With two CPUs, QEMU's emulation on a busy machine now and then hangs in a lock of the kernel's, and is no faster. What it keeps of translated code is
	// few MB, since every write into a page that once held such code is slow: without a limit, a machine that boots again clears its memory for minutes. Without
	// erms the kernel clears by words, not by bytes; without smap and smep it switches no guards, and without la57 it walks four levels of page tables.
	return accel{program: program, name: "tcg,tb-size=64", cpu: "max,-erms,-smap,-smep,-la57", cpus: "1"}, string(version), nil
}

// args is the machine, without what a single VM adds to it.
func (a accel) args(disk, more string) []string {
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-M", "q35,usb=off,smbus=off,sata=off,vmport=off", "-m", "512",
		"-accel", a.name, "-cpu", a.cpu, "-smp", a.cpus,
	}
	if disk != "" {
		args = append(args, "-drive", "if=none,id=disk,format=raw,file="+strings.ReplaceAll(disk, ",", ",,")+more, "-device", "virtio-blk-pci,drive=disk")
	}
	return args
}

// lookPath finds a program also where PATH leaves out the directories for root's commands.
func lookPath(name string) (string, error) {
	for dir := range strings.SplitSeq(searchPath, ":") {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", &Error{What: "virtual machines cannot be run here", Err: fmt.Errorf("the command %s is missing", name),
		Next: "On Debian: apt-get install --no-install-recommends qemu-system-x86 mmdebstrap e2fsprogs (and uidmap, where you are not root)"}
}

// qemu is a running QEMU. It is killed when this process ends.
type qemu struct {
	guard   *exec.Cmd
	stdin   *os.File // the guard kills QEMU when this is closed
	monitor net.Conn
	replies chan reply
	gone    chan struct{} // closed when QEMU is no more

	boots   chan struct{} // gets one each time the machine says that it is up
	readers sync.WaitGroup

	mu     sync.Mutex
	log    strings.Builder
	before int // how much of log is from earlier boots

	calls sync.Mutex // one command of the monitor at a time
}

type reply struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Desc string `json:"desc"`
	} `json:"error"`
}

// startQEMU runs QEMU with these arguments. memory, if not nil, is what the machine goes on from.
func startQEMU(ctx context.Context, program string, args []string, memory *os.File, tmp string) (*qemu, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "monitor"), os.NewFile(uintptr(pair[1]), "monitor")
	q := &qemu{replies: make(chan reply, 1), gone: make(chan struct{}), boots: make(chan struct{}, 1000)}
	q.monitor, err = net.FileConn(ours)
	closeAll(ours)
	if err != nil {
		closeAll(theirs)
		return nil, err
	}
	stdin, inside, err := os.Pipe()
	if err != nil {
		closeAll(theirs)
		return nil, errors.Join(err, q.monitor.Close())
	}
	console, said, err := os.Pipe()
	if err != nil {
		closeAll(stdin, inside, theirs)
		return nil, errors.Join(err, q.monitor.Close())
	}
	args = append(args, "-chardev", "socket,id=monitor,fd=3", "-mon", "chardev=monitor,mode=control", "-serial", "stdio")
	files := []*os.File{theirs}
	if memory != nil {
		args, files = append(args, "-incoming", "fd:4"), append(files, memory)
	}
	q.stdin = inside
	q.guard = exec.Command("/bin/sh", append([]string{"-c", guardScript, "guard", program}, args...)...)
	q.guard.Stdin, q.guard.Stdout, q.guard.Stderr, q.guard.ExtraFiles = stdin, said, said, files
	q.guard.Env = []string{"PATH=" + searchPath, "LC_ALL=C", "TMPDIR=" + tmp}
	q.guard.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a ^C at the terminal is for the test
	err = q.guard.Start()
	closeAll(stdin, said, theirs) // the monitor ends with QEMU only if nobody else has its other end
	if err != nil {
		closeAll(inside, console)
		return nil, errors.Join(err, q.monitor.Close())
	}
	q.readers.Add(2)
	go q.readMonitor()
	go q.readConsole(console)
	if _, err := q.call(ctx, "qmp_capabilities", nil); err != nil {
		return nil, errors.Join(err, q.close())
	}
	return q, nil
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		_ = f.Close() // pipes and sockets, which have nothing to lose
	}
}

func (q *qemu) readMonitor() {
	defer q.readers.Done()
	defer close(q.gone)
	in := bufio.NewScanner(q.monitor)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var r reply
		if json.Unmarshal(in.Bytes(), &r) == nil && (r.Return != nil || r.Error != nil) { // else the greeting, or an event
			select {
			case q.replies <- r:
			default: // who asked has given up
			}
		}
	}
}

// ready is what the machine says when it is up (scripts/image.sh).
const ready = "vmtest: ready"

func (q *qemu) readConsole(r *os.File) {
	defer q.readers.Done()
	defer closeAll(r)
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadBytes('\n')
		q.mu.Lock()
		q.log.Write(line)
		q.mu.Unlock()
		if bytes.Contains(line, []byte(ready)) {
			q.boots <- struct{}{}
		}
		if err != nil {
			return
		}
	}
}

// said is the serial console and QEMU's own words so far.
func (q *qemu) said() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.log.String()
}

// hung are words of a kernel that comes to nothing any more.
var hung = regexp.MustCompile(`soft lockup|detected stalls|Kernel panic`)

// lockedUp says whether the kernel has said in this boot that it hangs.
func (q *qemu) lockedUp() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return hung.MatchString(q.log.String()[q.before:])
}

// forget has lockedUp and boots say nothing of boots before now.
func (q *qemu) forget() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.before = q.log.Len()
	for len(q.boots) > 0 {
		<-q.boots
	}
}

// pressReset resets the machine.
func (q *qemu) pressReset(ctx context.Context) error {
	_, err := q.call(ctx, "system_reset", nil)
	q.forget()
	return err
}

// spent is the CPU time that the machine's processors have taken.
func (q *qemu) spent(ctx context.Context) (time.Duration, error) {
	text, err := q.call(ctx, "query-cpus-fast", nil)
	if err != nil {
		return 0, err
	}
	var cpus []struct {
		Thread int `json:"thread-id"`
	}
	if err := json.Unmarshal(text, &cpus); err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, c := range cpus {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.Thread))
		if err != nil {
			return 0, err
		}
		_, fields, _ := strings.Cut(string(stat), ") ") // the name before it may hold anything
		for _, ticks := range strings.Fields(fields)[11:13] {
			n, err := strconv.Atoi(ticks)
			if err != nil {
				return 0, err
			}
			sum += time.Duration(n) * time.Second / 100 // USER_HZ is 100 on x86
		}
	}
	return sum, nil
}

// call runs a command of QEMU's monitor.
func (q *qemu) call(ctx context.Context, command string, arguments map[string]any) (json.RawMessage, error) {
	q.calls.Lock()
	defer q.calls.Unlock()
	if arguments == nil {
		arguments = map[string]any{}
	}
	text, err := json.Marshal(map[string]any{"execute": command, "arguments": arguments})
	if err != nil {
		return nil, err
	}
	if _, err := q.monitor.Write(append(text, '\n')); err != nil {
		return nil, fmt.Errorf("QEMU, %s: %w\n%s", command, err, tail(q.said()))
	}
	select {
	case r := <-q.replies:
		if r.Error != nil {
			return nil, fmt.Errorf("QEMU, %s: %s", command, r.Error.Desc)
		}
		return r.Return, nil
	case <-q.gone:
		return nil, fmt.Errorf("QEMU, %s: it has ended\n%s", command, tail(q.said()))
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// state waits until what a query says in its "status" is one of these.
func (q *qemu) state(ctx context.Context, query string, wanted ...string) (string, error) {
	for {
		text, err := q.call(ctx, query, nil)
		if err != nil {
			return "", err
		}
		var s struct {
			Status string `json:"status"`
		}
		if err := json.Unmarshal(text, &s); err != nil {
			return "", err
		}
		for _, w := range wanted {
			if s.Status == w {
				return w, nil
			}
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return "", fmt.Errorf("QEMU, %s is %q: %w", query, s.Status, ctx.Err())
		}
	}
}

// forwarded is the port on loopback that leads to this port of the machine. QEMU had the kernel choose it, so no two VMs want the same.
func (q *qemu) forwarded(ctx context.Context, port string) (string, error) {
	text, err := q.call(ctx, "human-monitor-command", map[string]any{"command-line": "info usernet"})
	if err != nil {
		return "", err
	}
	var table string
	if err := json.Unmarshal(text, &table); err != nil {
		return "", err
	}
	m := regexp.MustCompile(`127\.0\.0\.1 +(\d+) +10\.0\.2\.15 +` + port + ` `).FindStringSubmatch(table)
	if m == nil {
		return "", fmt.Errorf("QEMU forwards no port to %s:\n%s", port, table)
	}
	return m[1], nil
}

// close kills QEMU and returns when it is gone.
func (q *qemu) close() error {
	err := q.stdin.Close()
	var exit *exec.ExitError
	if waited := q.guard.Wait(); waited != nil && !errors.As(waited, &exit) { // the guard's status is that of the child it killed
		err = errors.Join(err, waited)
	}
	err = errors.Join(err, q.monitor.Close())
	q.readers.Wait()
	return err
}
