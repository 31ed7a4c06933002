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
	// named are the lines for one key, by its path below /proc/sys. patterns are the others, in the order of writes.
	named    map[string]*option
	patterns []*option
	// unread are files that could not be read.
	unread []unreadFile
	// masked are the assignments of files that a file of the same name hides, each with the path of that file.
	masked []maskedAssignment
	// conf are the assignments of /etc/sysctl.conf. confRead reports whether a link makes systemd read it too.
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
	// overruled are the earlier lines with a value for the same name.
	overruled []sysctl.Assignment
}

// unreadFile is a file that could not be read, and its number among the files.
type unreadFile struct {
	path string
	file int
}

// maskedAssignment is a line of a file that another file hides.
type maskedAssignment struct {
	sysctl.Assignment
	by string
}

// planSysctls plans what systemd-sysctl writes on a host with these files.
func planSysctls(s *Snapshot, files *contents, by programs) *sysctlPlan {
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
		if s.Extra == nil || f.Path != s.Extra.Path || by.credentialFails {
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

// after returns the option of a line that follows old, which may be nil, for the same name.
func (o *option) after(old *option) *option {
	if old == nil {
		return o
	}
	o.overruled = old.overruled
	if old.HasValue == o.HasValue && old.Value == o.Value {
		o.order, o.Ignore = old.order, old.Ignore || o.Ignore
	} else if old.HasValue {
		//nolint:gocritic // nobody uses old any more, and a copy for each line would be quadratic
		o.overruled = append(old.overruled, old.Assignment)
	}
	return o
}

// leadsTo reports whether a file is a link to this path. A relative target starts in the link's directory, and only one
// link is followed.
func leadsTo(f confdir.File, target string) bool {
	if f.Target == "" {
		return false
	}
	if path.IsAbs(f.Target) {
		return path.Clean(f.Target) == target
	}
	return path.Join(path.Dir(f.Path), f.Target) == target
}

// procSys is what a snapshot shows of /proc/sys, as paths below it.
type procSys struct{ files, directories map[string]bool }

// procSysOf returns what a snapshot shows of /proc/sys.
func procSysOf(s *Snapshot) procSys {
	tree := procSys{map[string]bool{}, map[string]bool{"": true}}
	for name, r := range s.Values {
		below, ok := strings.CutPrefix(name, "/proc/sys/")
		if !ok || r.Absent {
			continue
		}
		tree.files[below] = true
		for i, c := range []byte(below) {
			if c == '/' {
				tree.directories[below[:i]] = true
			}
		}
	}
	return tree
}

// findFailures finds the lines whose write certainly fails. Nobody knows in advance what else the kernel refuses.
func (p *sysctlPlan) findFailures(s *Snapshot) {
	tree := procSysOf(s)
	add := func(o *option, problem string) {
		if problem != "" && o.HasValue && !o.Ignore {
			p.failures = append(p.failures, lineFails(sysctlUnit, o.At.String(), problem))
		}
	}
	for name, o := range p.named {
		add(o, tree.nameProblem(s, name, o.Value))
	}
	for _, o := range p.patterns {
		add(o, p.patternProblem(tree, o.Assignment))
	}
	slices.SortFunc(p.failures, func(a, b UnitFailure) int { return strings.Compare(a.Source, b.Source) })
}

// nameProblem returns why writing a value to the file of this name fails; "" if it may not.
func (tree procSys) nameProblem(s *Snapshot, name, value string) string {
	switch {
	case !isPath(name):
		return "The line does not name a file below /proc/sys."
	case name == "", name == "/":
		return "The line names no key."
	case tree.directories[name]:
		return "The line names a directory of keys, not a key."
	case tree.files[existingParent(name, tree.files)]:
		return "The line names something below a key."
	}
	k, ok := keyAt(name)
	if _, owned := kmod.Owner(k); ok && !owned && notNumbers(k, s.Values[k.Path()].Text, value) {
		return noNumber
	}
	return ""
}

// patternProblem returns why writing to what a pattern matches fails; "" if it may not.
func (p *sysctlPlan) patternProblem(tree procSys, a sysctl.Assignment) string {
	if isPath(a.Pattern) {
		for d := range tree.directories {
			if d != "" && p.named[d] == nil && matchesPath(a, d) {
				return "The pattern matches a directory of keys."
			}
		}
		return ""
	}
	if !leadsOn(a.Pattern, tree.directories) {
		return ""
	}
	a.Pattern = path.Clean(a.Pattern)
	for _, paths := range []map[string]bool{tree.files, tree.directories} {
		for below := range paths {
			if below != "" && matchesPath(a, below) {
				return "The pattern does not stay below /proc/sys."
			}
		}
	}
	return ""
}

// leadsOn reports whether each part of a pattern that a ".." leaves again is a directory. If not, nothing matches it.
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

// isPath reports whether systemd-sysctl takes this for a path below /proc/sys.
func isPath(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." || len(part) > 255 {
			return false
		}
	}
	return len("/proc/sys/")+len(name) < 4096
}

// existingParent returns the shortest proper prefix of a path that is among files, or "" if none is.
func existingParent(name string, files map[string]bool) string {
	for i := range len(name) {
		if name[i] == '/' && files[name[:i]] {
			return name[:i]
		}
	}
	return ""
}

// matchesPath reports whether a pattern matches a path, part by part.
func matchesPath(a sysctl.Assignment, below string) bool {
	parts := strings.Split(below, "/")
	return slices.ContainsFunc(confdir.Braces(a.Pattern), func(pattern string) bool {
		return slices.EqualFunc(strings.Split(pattern, "/"), parts, confdir.Match)
	})
}

// decision is what the files make of one key.
type decision struct {
	// option decides; nil if no line does.
	option *option
	// excludes is the line "-KEY" because of which option is nil.
	excludes *option
	// overruled are lines with a value for the key that do not count, in the order they are read.
	overruled []sysctl.Assignment
	// unread is a file that may decide otherwise.
	unread string
}

// decide returns what the files make of k: the one rule for which line decides. A line for the key itself beats every
// pattern, whatever the order; else the pattern that is written last wins. A line "-KEY" voids what was set before it,
// and keeps patterns away.
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

// procps returns the line that decides about k for `sysctl --system`: it reads /etc/sysctl.conf again, last, and a line
// "-KEY" voids nothing.
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
