package vmtest

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Recording is what wrote to /proc/sys and which modules were loaded since the kernel started, in the order in which it
// happened.
type Recording struct {
	All   []Write
	Loads []Load
}

// Actor is the task that did something, and when: Time is that of CLOCK_MONOTONIC, as in systemd's timestamps.
type Actor struct {
	Time time.Duration
	PID  int    // of the thread
	Comm string // at most 15 bytes; "swapper/0" is the kernel before it starts the first program
	Unit string // the systemd unit in whose cgroup the task was started or moved; "" for the kernel and the initramfs
}

// Write is a call of write(2) for a file below /proc/sys.
type Write struct {
	Actor
	Path  string // "/proc/sys/vm/swappiness"
	Value string // without the newline at its end
	Known bool   // false if the recorder could not read the value
	Errno int    // why the kernel refused the value; 0 if it accepted it
}

// Load is a module that came to its init function. Modules in the kernel's image are not loaded.
type Load struct {
	Actor
	Module string
	Errno  int // why the init function failed; 0 if it did not
}

// Writes returns the writes to a file below /proc/sys, in the order in which they happened.
func (r *Recording) Writes(path string) (found []Write) {
	for _, w := range r.All {
		if w.Path == path {
			found = append(found, w)
		}
	}
	return found
}

// Last returns the last write to a file that the kernel accepted. ok is false if there is none.
func (r *Recording) Last(path string) (last Write, ok bool) {
	for _, w := range r.Writes(path) {
		if w.Errno == 0 {
			last, ok = w, true
		}
	}
	return last, ok
}

func (a Actor) String() string {
	return fmt.Sprintf("%11.6f %s[%d] %s", a.Time.Seconds(), a.Comm, a.PID, cmp.Or(a.Unit, "-"))
}

func (w Write) String() string {
	value := "?"
	if w.Known {
		value = strconv.Quote(w.Value)
	}
	return fmt.Sprintf("%s %s=%s%s", w.Actor, w.Path, value, refused(w.Errno))
}

func (l Load) String() string {
	return fmt.Sprintf("%s loads %s%s", l.Actor, l.Module, refused(l.Errno))
}

func refused(errno int) string {
	if errno == 0 {
		return ""
	}
	return fmt.Sprintf(" refused with errno %d", errno)
}

// The names of the recorder's events. record_linux.go sets their probes.
const (
	eventWrite   = "sysctl"
	eventWritten = "sysctl_done"
	eventLoad    = "module"
	eventLoaded  = "module_done"
	eventFork    = "fork"
	eventMoved   = "cgroup_attach_task" // a tracepoint of the kernel's

	// The buffers that are read, of the kernel's enum iter_type: that of write(2), and that of kernel_write, by which the
	// kernel sets the sysctls of its command line.
	iterUser, iterKernel = "0", "3"
)

var (
	// eventHead is how an event begins in the tracing file "trace": the task, the CPU, flags, the time, the event's name.
	eventHead = regexp.MustCompile(`(?m)^ *.*-(\d+) +\[\d+\] \S+ +(\d+\.\d{6}): (\w+): `)

	// The arguments of an event. Nothing is escaped in a string, and "(fault)" is one that could not be read.
	writeArguments = regexp.MustCompile(`(?s)comm="(.*?)" iter=(\d+) count=(\d+) (name0=.*?) ` +
		`kernel=(?:"(.*)"|\(fault\)) user=(?:"(.*)"|\(fault\))$`)
	nameArgument   = regexp.MustCompile(`name\d="([^"]*)"`)
	loadArguments  = regexp.MustCompile(`comm="(.*?)" module="(.*?)"`)
	forkArguments  = regexp.MustCompile(`pid=(\d+) cgroup="(.*?)" parent=(?:"(.*?)"|\(fault\))`)
	movedArguments = regexp.MustCompile(`dst_path=(\S+) pid=(\d+) `)
	doneArguments  = regexp.MustCompile(` error=(-?\d+)`)

	unitName = regexp.MustCompile(`\.(service|scope|socket|mount|swap)$`)
)

// ParseTrace reads the text of the tracing file "trace" that holds the recorder's events. It skips other events.
func ParseTrace(text string) (*Recording, error) {
	p := parser{units: map[string]string{}, writes: map[string]int{}, loads: map[string]int{}}
	heads := eventHead.FindAllStringSubmatchIndex(text, -1)
	for i, h := range heads {
		end := len(text)
		if i+1 < len(heads) {
			end = heads[i+1][0] // a value may have several lines
		}
		at, err := time.ParseDuration(text[h[4]:h[5]] + "s")
		if err != nil {
			return nil, err
		}
		e := event{pid: text[h[2]:h[3]], at: at, name: text[h[6]:h[7]], arguments: strings.TrimSuffix(text[h[1]:end], "\n")}
		if err := p.read(e); err != nil {
			return nil, fmt.Errorf("the recorder's event %q: %w", text[h[0]:end], err)
		}
	}
	return &p.Recording, nil
}

type event struct {
	pid, name, arguments string
	at                   time.Duration
}

// parser holds the state at one point of the trace. Its maps are keyed by the digits of a PID.
type parser struct {
	Recording
	units  map[string]string // of tasks that were started or moved
	writes map[string]int    // the last write of a task, in All
	loads  map[string]int    // the last load of a task, in Loads
}

var errArguments = errors.New("its arguments are not those that the recorder asks for")

func (p *parser) read(e event) error {
	switch e.name {
	case eventWrite:
		return p.write(e)
	case eventLoad:
		m := loadArguments.FindStringSubmatch(e.arguments)
		if m == nil {
			return errArguments
		}
		p.loads[e.pid] = len(p.Loads)
		p.Loads = append(p.Loads, Load{Actor: p.actor(e, m[1]), Module: m[2]})
	case eventWritten, eventLoaded:
		m := doneArguments.FindStringSubmatch(e.arguments)
		if m == nil {
			return errArguments
		}
		p.done(e, m[1])
	case eventFork:
		m := forkArguments.FindStringSubmatch(e.arguments)
		if m == nil {
			return errArguments
		}
		p.units[m[1]] = unitOf(m[3], m[2])
	case eventMoved:
		m := movedArguments.FindStringSubmatch(e.arguments)
		if m == nil {
			return errArguments
		}
		p.units[m[2]] = unitOf(strings.Split(m[1], "/")...)
	}
	return nil
}

func (p *parser) write(e event) error {
	m := writeArguments.FindStringSubmatch(e.arguments)
	if m == nil {
		return errArguments
	}
	w := Write{Actor: p.actor(e, m[1]), Path: "/proc"}
	names := nameArgument.FindAllStringSubmatch(m[4], -1)
	root := slices.IndexFunc(names, func(n []string) bool { return n[1] == "/" })
	if root < 1 || names[root-1][1] != "sys" {
		return errors.New("its names do not end in /proc/sys: the offsets of the probe are not those of this kernel")
	}
	for _, n := range slices.Backward(names[:root]) {
		w.Path += "/" + n[1]
	}
	count, err := strconv.Atoi(m[3])
	if err != nil {
		return err
	}
	value, known := "", true
	switch m[2] {
	case iterUser:
		// The buffer goes on after the value, up to a byte that is zero.
		value, known = m[6], !strings.HasSuffix(e.arguments, "=(fault)")
	case iterKernel:
		value = m[5]
	default:
		known = false
	}
	w.Value, w.Known = strings.TrimSuffix(value[:min(count, len(value))], "\n"), known
	p.writes[e.pid] = len(p.All)
	p.All = append(p.All, w)
	return nil
}

func (p *parser) actor(e event, comm string) Actor {
	pid, _ := strconv.Atoi(e.pid) // which the expression takes digits for
	return Actor{Time: e.at, PID: pid, Comm: comm, Unit: p.units[e.pid]}
}

// done notes the result of the last write or load of a task. Only a negative one is an error.
func (p *parser) done(e event, result string) {
	errno := 0
	if digits, failed := strings.CutPrefix(result, "-"); failed {
		errno, _ = strconv.Atoi(digits) // which the expression takes digits for
	}
	if i, ok := p.writes[e.pid]; ok && e.name == eventWritten {
		p.All[i].Errno = errno
	}
	if i, ok := p.loads[e.pid]; ok && e.name == eventLoaded {
		p.Loads[i].Errno = errno
	}
}

// unitOf returns the innermost of a cgroup's path that is a unit: a unit may have groups of its own below it.
func unitOf(cgroup ...string) string {
	for _, name := range slices.Backward(cgroup) {
		if unitName.MatchString(name) {
			return name
		}
	}
	return ""
}
