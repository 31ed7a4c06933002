package boot

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// sysctlPlan is what systemd-sysctl writes at boot.
type sysctlPlan struct {
	// named has the assignments to one key by their path below /proc/sys, patterns the others, in the order they are written.
	named    map[string]*option
	patterns []*option
	// unread are files that may say anything, with their places in the order of files.
	unread []unreadFile
	// masked are the assignments of files that a file of the same name hides, each with the path of that file.
	masked []maskedAssignment
	// conf are the assignments of /etc/sysctl.conf; confRead says that a link makes systemd read it too.
	conf     []sysctl.Assignment
	confRead bool
	// alpineOrder are the assignments as Alpine's OpenRC makes them.
	alpineOrder []sysctl.Assignment
	failures    []UnitFailure
}

// option is what systemd-sysctl keeps of all lines for one name or pattern.
type option struct {
	sysctl.Assignment
	// order is its number in the order of writes, and file that of its file among the files.
	order, file int
	// overruled are the lines with a value for the same name that stand before it.
	overruled []sysctl.Assignment
}

type unreadFile struct {
	path string
	file int
}

type maskedAssignment struct {
	sysctl.Assignment
	by string
}

// planSysctls plans what systemd-sysctl writes on a host with these files.
func planSysctls(s *Snapshot, files *contents) *sysctlPlan {
	p := &sysctlPlan{named: map[string]*option{}, failures: fileFailures(files.sysctl.broken, sysctlUnit)}
	patterns := map[string]*option{}
	order := 0
	for i, f := range files.sysctl.order {
		p.confRead = p.confRead || leadsTo(f, "/etc/sysctl.conf")
		if f.Unread != "" {
			p.unread = append(p.unread, unreadFile{f.Path, i})
			continue
		}
		lines := files.sysctl.lines[f.Path]
		if s.Extra == nil || f.Path != s.Extra.Path { // systemd-sysctl ignores bad lines of the credential
			p.failures = append(p.failures, badLines(lines)...)
		}
		for _, a := range lines.read {
			order++
			options := p.named
			if a.IsGlob() {
				options = patterns
			}
			options[a.Pattern] = (&option{Assignment: a, order: order, file: i}).after(options[a.Pattern])
		}
	}
	p.patterns = slices.SortedFunc(maps.Values(patterns), func(a, b *option) int { return a.order - b.order })
	p.alpineOrder = alpineOrder(s, files.sysctl.lines)
	for _, f := range s.Sysctl {
		if by, ok := files.sysctl.hidden[f.Path]; ok {
			for _, a := range files.sysctl.lines[f.Path].all {
				p.masked = append(p.masked, maskedAssignment{a, by})
			}
		}
	}
	if f := s.SysctlConf; f != nil && f.Unread == "" {
		p.conf = files.sysctl.lines[f.Path].all
	}
	p.findFailures(s)
	return p
}

// badLines are the failures of systemd-sysctl because of lines that it cannot read.
func badLines(lines sysctlLines) (failures []UnitFailure) {
	if lines.tooLong != nil {
		failures = append(failures, tooLongFails(sysctlUnit, *lines.tooLong))
	}
	for _, b := range lines.bad {
		failures = append(failures, lineFails(sysctlUnit, b.At.String(), "The line is no assignment."))
	}
	return failures
}

// after makes an option of a line that follows old, which may be nil, for the same name.
func (o *option) after(old *option) *option {
	if old == nil {
		return o
	}
	o.overruled = old.overruled
	if old.HasValue == o.HasValue && old.Value == o.Value {
		o.order, o.Ignore = old.order, old.Ignore || o.Ignore
	} else if old.HasValue {
		o.overruled = append(old.overruled, old.Assignment) //nolint:gocritic // old is given up: a copy a line would be quadratic
	}
	return o
}

// leadsTo says whether a file is a link to this path; a relative target counts from the link's directory, and only one link is followed.
func leadsTo(f confdir.File, target string) bool {
	if f.Target == "" {
		return false
	}
	if path.IsAbs(f.Target) {
		return path.Clean(f.Target) == target
	}
	return path.Join(path.Dir(f.Path), f.Target) == target
}

// findFailures finds the assignments whose write fails for sure: what is left to the kernel, such as a value it refuses, nobody can know before.
func (p *sysctlPlan) findFailures(s *Snapshot) {
	files, directories := map[string]bool{}, map[string]bool{"": true}
	for name, r := range s.Values {
		below, ok := strings.CutPrefix(name, "/proc/sys/")
		if !ok || r.Absent {
			continue
		}
		files[below] = true
		for i, c := range []byte(below) {
			if c == '/' {
				directories[below[:i]] = true
			}
		}
	}
	fail := func(o *option, problem string) {
		p.failures = append(p.failures, lineFails(sysctlUnit, o.At.String(), problem))
	}
	for name, o := range p.named {
		if !o.HasValue || o.Ignore {
			continue
		}
		switch {
		case !isPath(name):
			fail(o, "The line does not name a file below /proc/sys.")
		case name == "", name == "/":
			fail(o, "The line names no key.")
		case directories[name]:
			fail(o, "The line names a directory of keys, not a key.")
		case files[existingParent(name, files)]:
			fail(o, "The line names something below a key.")
		default:
			k, ok := keyAt(name)
			if _, owned := kmod.Owner(k); ok && !owned && notNumbers(k, s.Values[k.Path()].Text, o.Value) {
				fail(o, noNumber)
			}
		}
	}
	for _, o := range p.patterns {
		if !o.HasValue || o.Ignore {
			continue
		}
		if !isPath(o.Pattern) {
			if !leadsOn(o.Pattern, directories) {
				continue
			}
			a := sysctl.Assignment{Pattern: path.Clean(o.Pattern)}
			matched := func(below string) bool { return below != "" && matchesPath(a, below) }
			if slices.ContainsFunc(slices.Collect(maps.Keys(files)), matched) || slices.ContainsFunc(slices.Collect(maps.Keys(directories)), matched) {
				fail(o, "The pattern does not stay below /proc/sys.")
			}
			continue
		}
		for d := range directories {
			if d != "" && p.named[d] == nil && matchesPath(o.Assignment, d) {
				fail(o, "The pattern matches a directory of keys.")
				break
			}
		}
	}
	slices.SortFunc(p.failures, func(a, b UnitFailure) int { return strings.Compare(a.Source, b.Source) })
}

// leadsOn says whether each part of a pattern that a ".." leaves again is a directory: else nothing matches it.
func leadsOn(pattern string, directories map[string]bool) bool {
	var parts []string
	for part := range strings.SplitSeq(pattern, "/") {
		if part != ".." {
			parts = append(parts, part)
			continue
		}
		if n := len(parts); n > 0 {
			left := path.Clean(strings.Join(parts, "/"))
			if !confdir.IsGlob(left) && !directories[left] {
				return false
			}
			parts = parts[:n-1]
		}
	}
	return true
}

// isPath says whether systemd-sysctl takes this for a path below /proc/sys.
func isPath(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." || len(part) > 255 {
			return false
		}
	}
	return len("/proc/sys/")+len(name) < 4096
}

// existingParent is the shortest proper prefix of a path that is among files, "" if none is.
func existingParent(name string, files map[string]bool) string {
	for i := range len(name) {
		if name[i] == '/' && files[name[:i]] {
			return name[:i]
		}
	}
	return ""
}

func matchesPath(a sysctl.Assignment, below string) bool {
	patterns, parts := strings.Split(a.Pattern, "/"), strings.Split(below, "/")
	return slices.EqualFunc(patterns, parts, confdir.Match)
}

// decision is what the files make of one key.
type decision struct {
	// option decides; nil if no line does.
	option *option
	// excludes is the line "-KEY" that stands in the way when option is nil.
	excludes *option
	// overruled are lines with a value for the key that do not count, in the order they are read.
	overruled []sysctl.Assignment
	// unread is a file that may decide otherwise.
	unread string
}

func (p *sysctlPlan) decide(k sysctl.Key) decision {
	var d decision
	var patterns []*option
	for _, o := range p.patterns {
		if o.HasValue && o.Matches(k) {
			patterns = append(patterns, o)
		}
	}
	beaten := func(o *option) {
		d.overruled = append(d.overruled, o.overruled...)
		d.overruled = append(d.overruled, o.Assignment)
	}
	named := p.named[belowProcSys(k)]
	if named != nil {
		for _, o := range patterns {
			beaten(o)
		}
		d.overruled = append(d.overruled, named.overruled...)
		d.option = named
		if !named.HasValue {
			d.option, d.excludes = nil, named
		}
	} else if n := len(patterns); n > 0 {
		for _, o := range patterns[:n-1] {
			beaten(o)
		}
		d.option = patterns[n-1]
		d.overruled = append(d.overruled, d.option.overruled...)
	}
	for _, f := range p.unread {
		// An earlier file can overrule a pattern, by naming the key; but not the key's own line.
		if named == nil || f.file > named.file {
			d.unread = f.path
		}
	}
	return d
}

// procps is what `sysctl --system` would leave: it reads /etc/sysctl.conf again, last, and a line "-KEY" without a value takes nothing back.
func (p *sysctlPlan) procps(k sysctl.Key) (a sysctl.Assignment, ok bool) {
	below := belowProcSys(k)
	excluded := false
	for _, c := range slices.Backward(p.conf) {
		if c.Pattern == below && c.HasValue {
			return c, true
		}
		excluded = excluded || c.Pattern == below
	}
	if o := p.named[below]; o != nil {
		if o.HasValue {
			return o.Assignment, true
		}
		if n := len(o.overruled); n > 0 {
			return o.overruled[n-1], true
		}
		return sysctl.Assignment{}, false
	}
	if excluded {
		return sysctl.Assignment{}, false
	}
	for _, c := range slices.Backward(p.conf) {
		if c.IsGlob() && c.HasValue && c.Matches(k) {
			return c, true
		}
	}
	if d := p.decide(k); d.option != nil {
		return d.option.Assignment, true
	}
	return sysctl.Assignment{}, false
}
