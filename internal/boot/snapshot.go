// Package boot predicts what the next boot leaves of a Linux host: Predict makes a Prediction of a Snapshot. It does no
// I/O.
package boot

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
	"github.com/host-provider/terraform-provider-host/internal/writer"
)

// Snapshot is one host at one moment: the files that count at boot, the modules, and the values that were asked for.
type Snapshot struct {
	// Machine tells this machine, or container, from all others until its next boot: the boot id, and the namespaces
	// that it shares with no other. It is empty if the machine does not say.
	Machine string
	// Kernel is the running release, as uname -r prints it.
	Kernel string
	// Sysctl, ModulesLoad and Modprobe are the files of the three families, of every directory, in no order.
	Sysctl, ModulesLoad, Modprobe []confdir.File
	// SysctlConf is /etc/sysctl.conf; nil if there is none. procps reads it, and systemd only through a link.
	SysctlConf *confdir.File
	// Modules is /etc/modules; nil if there is none. systemd reads it only through a link in modules-load.d, and other
	// init systems read it themselves.
	Modules *confdir.File
	// Extra is the credential sysctl.extra of the machine; nil if there is none. systemd-sysctl reads it last.
	Extra *confdir.File
	// LoadedNow are the modules of /proc/modules, SysModules the names in /sys/module, and Builtin those of
	// modules.builtin, all in canonical spelling.
	LoadedNow, SysModules, Builtin map[string]bool
	// Values are the files under /proc/sys and /sys/module that were read, by path.
	Values map[string]Reading
	// AllKeys reports whether Values has all keys, including those of each interface.
	AllKeys bool

	// Cmdline is the kernel command line, as cat /proc/cmdline prints it.
	Cmdline string
	// Init is the init system: "systemd" if /run/systemd/system is a directory, "openrc" if /run/openrc is one, and "" for
	// any other.
	Init string
	// Off are the services that would apply the files at boot but do not start, each with the reason: systemd's units that
	// are masked, with the file that masks them, and OpenRC's "modules" and "sysctl" that no runlevel has.
	Off map[string]string
	// OpenRC is what is known of OpenRC's services, if Init is "openrc".
	OpenRC OpenRC
	// ProcSysReadOnly reports whether /proc/sys/net is mounted read-only, as in a container. systemd-sysctl is then not
	// started. /proc/mounts tells, and [ -w ] on a directory does not.
	ProcSysReadOnly bool
	// OthersReadOnly reports the same of the keys outside /proc/sys/net, or that root is not the machine's.
	// systemd-sysctl then ignores those keys without an error.
	OthersReadOnly bool
	// NoModules reports whether nothing can load a module, as in a container: the first process lacks CAP_SYS_MODULE, or
	// root is not the machine's.
	NoModules bool
	// Systemd and Kmod are the major versions of these programs; 0 if they are not known, or not there.
	Systemd, Kmod int
	// Writes are the lines by which something other than what applies sysctl.d writes keys at boot, and Enabled the names
	// of the units that are enabled.
	Writes  []writer.Write
	Enabled []string
	// Evidence is what this boot has shown; nil if nobody asked.
	Evidence *Evidence
	// Trees are the kernels in /lib/modules, with the lines of their files that were searched for; nil if nobody looked.
	Trees []Tree
	// LookedFor are the modules, in canonical spelling, for which every tree was searched, in addition to all tcp_* and
	// sch_* and those that modules-load.d and the command line name. A tree may have others without showing them.
	LookedFor map[string]bool
}

// Reading is the result of reading one file of /proc/sys or /sys/module.
type Reading struct {
	// Text is the content without its final newline.
	Text string
	// Absent reports whether there is no such file.
	Absent bool
	// Unread is the kernel's word for why it could not be read, such as "Permission denied"; "" if it could.
	Unread string
	// Writable reports whether its mode lets root write it.
	Writable bool
}

// WithValues returns a copy of s that also holds these readings.
func (s *Snapshot) WithValues(more map[string]Reading) *Snapshot {
	c := *s
	c.Values = maps.Clone(s.Values)
	maps.Copy(c.Values, more)
	return &c
}

// IsBuiltin reports whether the kernel has this module built in. Without modules.builtin, such a module still shows in
// /sys/module, but never in /proc/modules.
func (s *Snapshot) IsBuiltin(module string) bool {
	m := kmod.Canonical(module)
	return s.Builtin[m] || s.SysModules[m] && !s.LoadedNow[m]
}

// ReadOnly reports whether a key cannot be written because of how /proc/sys is mounted.
func (s *Snapshot) ReadOnly(k sysctl.Key) bool {
	if strings.HasPrefix(k.Path(), "/proc/sys/net/") {
		return s.ProcSysReadOnly
	}
	return s.OthersReadOnly
}

// Has reports whether the module is in the running kernel, loaded or built in.
func (s *Snapshot) Has(module string) bool {
	return s.LoadedNow[kmod.Canonical(module)] || s.IsBuiltin(module)
}

// Searched reports whether the module trees were searched for this module.
func (s *Snapshot) Searched(module string) bool {
	m := kmod.Canonical(module)
	shows := func(t Tree) bool { return t.Dep[m] != nil || t.Alias[m] != nil || t.Builtin[m] }
	return s.LookedFor[m] || slices.ContainsFunc(s.Trees, shows)
}

// File returns the file at this path, of whichever family.
func (s *Snapshot) File(path string) (confdir.File, bool) {
	for _, family := range [][]confdir.File{s.Sysctl, s.ModulesLoad, s.Modprobe} {
		for _, f := range family {
			if f.Path == path {
				return f, true
			}
		}
	}
	return confdir.File{}, false
}

// WithFile returns a copy of s with f at its path, in the family of its directory: the host after a change.
func (s *Snapshot) WithFile(f confdir.File) *Snapshot {
	c := *s
	family := c.family(f.Path)
	if family == nil {
		return s
	}
	same := func(old confdir.File) bool { return old.Path == f.Path }
	*family = append(slices.DeleteFunc(slices.Clone(*family), same), f)
	return &c
}

// WithoutFile returns a copy of s without the file at this path.
func (s *Snapshot) WithoutFile(p string) *Snapshot {
	c := *s
	if family := c.family(p); family != nil {
		*family = slices.DeleteFunc(slices.Clone(*family), func(f confdir.File) bool { return f.Path == p })
	}
	return &c
}

// extraPath is where systemd puts the credential for a service. If it is not there, one of the credential stores may
// have it (systemd.exec(5), LoadCredential=).
const extraPath = "/run/credentials/@system/sysctl.extra"

// AddFile adds a file that was read to its family, or to the field for the one file at its path.
func (s *Snapshot) AddFile(f confdir.File) {
	if family := s.family(f.Path); family != nil {
		*family = append(*family, f)
		return
	}
	switch {
	case path.Base(f.Path) == path.Base(extraPath):
		s.Extra = &f
	case f.Path == "/etc/modules":
		s.Modules = &f
	default:
		s.SysctlConf = &f
	}
}

// family returns the list to which a path belongs by its directory's name; nil if there is none.
func (s *Snapshot) family(p string) *[]confdir.File {
	switch path.Base(path.Dir(p)) {
	case "sysctl.d":
		return &s.Sysctl
	case "modules-load.d":
		return &s.ModulesLoad
	case "modprobe.d":
		return &s.Modprobe
	}
	return nil
}
