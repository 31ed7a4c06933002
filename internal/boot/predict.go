package boot

import (
	"maps"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// Prediction is what the next boot of one host leaves.
type Prediction struct {
	s        *Snapshot
	cmd      commandLine
	init     initSystem
	sysctls  *sysctlPlan
	modules  []*modulePlan // one for each kernel that may boot next, the likeliest first
	pending  bool          // the running kernel's module tree is gone
	failures []UnitFailure
}

// UnitFailure is a line that makes a unit fail at boot. The unit still does what its other lines ask for. The Source is
// the path:line, or the path if the file itself is at fault.
type UnitFailure struct {
	// Unit is systemd-sysctl.service or systemd-modules-load.service.
	Unit string
	Cause
}

// lineFails returns the failure of a unit because of the line, or the file, at source.
func lineFails(unit, source, detail string) UnitFailure {
	return UnitFailure{unit, Cause{UnitFails, source, detail}}
}

// Predict returns what the next boot leaves if systemd-modules-load and then systemd-sysctl apply the files of the
// snapshot. It does not know what else happens at a boot, such as a service that writes keys or loads modules.
func Predict(s *Snapshot) *Prediction {
	cmd := parseCommandLine(s.Cmdline)
	if s.NoModules { // a container's init is not given the machine's command line
		cmd = parseCommandLine("")
	}
	init := initOf(s, cmd)
	by := init.programs()
	files := parseFiles(s, by)
	p := &Prediction{s: s, cmd: cmd, init: init, sysctls: planSysctls(s, files, by)}
	trees, pending := s.candidates()
	p.pending = pending
	for _, t := range trees {
		p.modules = append(p.modules, planModules(s, cmd, t, files, by, init.modulesOff()))
	}
	p.failures = init.failures(p)
	return p
}

// Failures returns the lines that certainly make systemd-sysctl.service or systemd-modules-load.service fail at boot. A
// value that the kernel refuses does so too, but only one that is no number, for a key of numbers, is known in advance.
func (p *Prediction) Failures() []UnitFailure { return p.failures }

// Keys returns all keys that a file sets, or that a pattern of a file matches on this host, in the order of their
// names. It leaves out names that are no keys.
func (p *Prediction) Keys() []sysctl.Key {
	found := map[sysctl.Key]bool{}
	note := func(below string) {
		if k, ok := keyAt(below); ok {
			found[k] = true
		}
	}
	for below := range p.sysctls.named {
		note(below)
	}
	for _, a := range p.sysctls.conf {
		note(a.Pattern)
	}
	for below := range p.cmd.sysctls {
		note(below)
	}
	for path, r := range p.s.Values {
		below, ok := strings.CutPrefix(path, "/proc/sys/")
		if !ok || r.Absent {
			continue
		}
		k, ok := keyAt(below)
		sets := func(o *option) bool { return o.HasValue && o.Matches(k) }
		if ok && slices.ContainsFunc(p.sysctls.patterns, sets) {
			found[k] = true
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b sysctl.Key) int {
		return strings.Compare(a.String(), b.String())
	})
}

// keyAt returns the key of a path below /proc/sys; ok is false if the path is no key, such as a pattern.
func keyAt(below string) (k sysctl.Key, ok bool) {
	k, err := sysctl.ParseKey(below)
	return k, err == nil && k.Path() == "/proc/sys/"+below
}

// Modules returns all modules that a file or the command line asks for, sorted, as they are spelled there.
func (p *Prediction) Modules() []string {
	found := map[string]bool{}
	for _, plan := range p.modules {
		for _, a := range plan.asked {
			found[a.Name] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// Resolve returns the modules that a name stands for in the kernel that boots next: itself, those of an alias, or none.
func (p *Prediction) Resolve(name string) []string {
	if len(p.modules) == 0 {
		return nil
	}
	return p.modules[0].resolve(name)
}

// Units returns the systemd units whose work is predicted, in the order in which systemd starts them. It returns none
// with another init system.
func (p *Prediction) Units() []string { return p.init.programs().units }

// Order returns what is known of the order in which sysctl.d is applied.
func (p *Prediction) Order() Order { return p.init.programs().order }
