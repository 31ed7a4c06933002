package boot

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// The units that load modules and apply sysctls.
const (
	modulesUnit = "systemd-modules-load.service"
	sysctlUnit  = "systemd-sysctl.service"
)

// maxLine is the length at which systemd stops reading a file: LONG_LINE_MAX, in bytes, with the line's end.
const maxLine = 1 << 20

// systemd does everything as predicted, unless a unit is masked.
type systemd struct {
	s *Snapshot
	// off are the masked units, each with what masks it.
	off map[string]string
}

// newSystemd returns systemd with the units that the kernel command line masks in addition.
func newSystemd(s *Snapshot, cmd commandLine) systemd {
	off := map[string]string{}
	maps.Copy(off, s.Off)
	for _, unit := range cmd.masked {
		off[unit] = cmp.Or(off[unit], fromCommandLine)
	}
	return systemd{s, off}
}

// The versions that read files in another way than those before them. Systemd 252, 257 and 262 and kmod 30 and 34 were
// compared; what lies between may have changed earlier. An unknown version counts as the oldest.
const (
	systemdAcceptsRefusals = 254 // a module that the kernel refuses is no failure
	// ";" begins no comment of sysctl.d, bad lines of the credential fail, and fewer broken entries hide others.
	systemdReadsPlainly = 259
	kmodPassesLinks     = 34 // a link of modprobe.d that leads nowhere hides nothing
)

func (i systemd) programs() programs {
	p := programs{
		sysctl: parseSysctlD(sysctl.ParseFile), modulesLoad: kmod.ParseLoad, modprobe: kmod.ParseModprobe,
		longestLine: maxLine, order: OrderByName, units: []string{modulesUnit, sysctlUnit},
		loopsMask: true, loadMasks: true, kmodLinksMask: i.s.Kmod < kmodPassesLinks,
		refusalFails: i.s.Systemd < systemdAcceptsRefusals,
	}
	if i.s.Systemd >= systemdReadsPlainly {
		p.sysctl, p.credentialFails = parseSysctlD(sysctl.ParsePlainFile), true
		p.loopsMask, p.loadMasks = false, false
	}
	return p
}

func (i systemd) modulesOff() Cause {
	if by := i.off[modulesUnit]; by != "" {
		return serviceOff(by, "%s is masked by %s, so nothing loads the modules of modules-load.d at boot.", modulesUnit, by)
	}
	return Cause{}
}

// sysctlsOff leaves out the keys of network interfaces: udev applies them all the same.
func (i systemd) sysctlsOff(k sysctl.Key) Cause {
	by := i.off[sysctlUnit]
	if _, udev := Interface(k); by == "" || udev {
		return Cause{}
	}
	return serviceOff(by, "%s is masked by %s, so nothing applies sysctl.d at boot.", sysctlUnit, by)
}

func (systemd) module(m ModulePrediction) ModulePrediction { return m }

func (systemd) late(ModulePrediction) Cause { return Cause{} }

func (systemd) key(*judgement) Cause { return Cause{} }

func (i systemd) failures(p *Prediction) []UnitFailure {
	var failures []UnitFailure
	if i.off[sysctlUnit] == "" && !i.s.ProcSysReadOnly {
		failures = slices.Clone(p.sysctls.failures)
	}
	if len(p.modules) > 0 && !i.s.NoModules {
		failures = append(failures, p.modules[0].failures...)
	}
	return failures
}

// sysctlParser parses a file of sysctl.d.
type sysctlParser func(file, text string) ([]sysctl.Assignment, []sysctl.BadLine)

// parseSysctlD parses a file as systemd-sysctl does, which takes a line without a name for an assignment.
func parseSysctlD(parse sysctlParser) sysctlParser {
	return func(file, text string) ([]sysctl.Assignment, []sysctl.BadLine) {
		assignments, bad := parse(file, text)
		rest := bad[:0]
		for _, b := range bad {
			if a, ok := assignsNothing(b); ok {
				assignments = append(assignments, a)
			} else {
				rest = append(rest, b)
			}
		}
		return assignments, rest
	}
}

// assignsNothing returns what a line such as "= 1" is to systemd-sysctl: an assignment to /proc/sys itself. It returns
// false for any other bad line.
func assignsNothing(b sysctl.BadLine) (a sysctl.Assignment, ok bool) {
	rest, ignore := strings.CutPrefix(b.Text, "-")
	name, value, hasValue := strings.Cut(rest, "=")
	if !hasValue && !ignore {
		return a, false
	}
	pattern := ""
	if strings.Trim(name, confdir.Blanks) != "" { // separators alone, which are another name than none
		pattern = "/"
	}
	value = strings.Trim(value, confdir.Blanks)
	return sysctl.Assignment{
		Pattern: pattern, Value: value, HasValue: hasValue, Ignore: ignore && hasValue, At: b.At,
	}, true
}
