// Package boot says what a Linux host is and what its files make of it at boot. Pure: a Snapshot in, answers out.
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

// Snapshot is one host at one moment: its files that count at boot, its modules, and the values that were asked for.
type Snapshot struct {
	// Machine tells this machine, or container, from all others until its next boot: the boot id, and the namespaces
	// that it shares with no other. It is empty if the machine does not say.
	Machine string
	// Kernel is the running release, as uname -r prints it.
	Kernel string
	// Sysctl, ModulesLoad and Modprobe are the files of the three families, of every directory, in no order.
	Sysctl, ModulesLoad, Modprobe []confdir.File
	// SysctlConf is /etc/sysctl.conf, which procps reads and systemd reads only through a link; nil when there is none.
	SysctlConf *confdir.File
	// Modules is /etc/modules, which systemd reads only through a link in modules-load.d, and other inits themselves; nil when there is none.
	Modules *confdir.File
	// Extra is the credential sysctl.extra that the machine was given, which systemd-sysctl reads last; nil when there is none.
	Extra *confdir.File
	// LoadedNow are the modules of /proc/modules, SysModules the names in /sys/module, and Builtin those of
	// modules.builtin, all in canonical spelling.
	LoadedNow, SysModules, Builtin map[string]bool
	// Values are the files under /proc/sys and /sys/module that were read, by path.
	Values map[string]Reading
	// AllKeys says that Values has all keys, those of each interface among them.
	AllKeys bool

	// Cmdline is the kernel command line, as cat /proc/cmdline prints it.
	Cmdline string
	// Init names what starts services: "systemd" where /run/systemd/system is a directory, "openrc" where /run/openrc is one; "" for anything else.
	Init string
	// Off are the services that would apply the files at boot and are kept from it, each with what keeps it: systemd's units that are masked, and OpenRC's
	// "modules" and "sysctl" where no runlevel has them.
	Off map[string]string
	// OpenRC is what is known of OpenRC's services, if Init is "openrc".
	OpenRC OpenRC
	// ProcSysReadOnly says that /proc/mounts shows the mount that holds /proc/sys/net as ro, as in a container: systemd-sysctl is then not started. What
	// [ -w ] says of a directory there means nothing.
	ProcSysReadOnly bool
	// OthersReadOnly says the same of the mount that holds the keys outside /proc/sys/net, or that root is not the machine's: systemd-sysctl passes over those keys
	// without a word.
	OthersReadOnly bool
	// NoModules says that nothing can load a module, as in a container: the first process lacks CAP_SYS_MODULE, or root is not the machine's.
	NoModules bool
	// Writes are the lines by which something other than what applies sysctl.d writes keys at boot, and Enabled the names
	// of the units that are enabled.
	Writes  []writer.Write
	Enabled []string
	// Evidence is what this boot has shown; nil if nobody asked.
	Evidence *Evidence
	// Trees are the kernels with a directory in /lib/modules, each with what grep finds in its modules.dep and modules.alias; nil when nobody looked.
	Trees []Tree
	// LookedFor are the modules, in canonical spelling, that every tree was searched for besides those that modules-load.d files and the command line
	// name and all tcp_* and sch_*: of any other, a tree's silence says nothing.
	LookedFor map[string]bool
}

// Reading is what reading one file of /proc/sys or /sys/module gave.
type Reading struct {
	// Text is the content without its final newline.
	Text string
	// Absent says that there is no such file.
	Absent bool
	// Unread is the kernel's word for why it could not be read, such as "Permission denied"; empty when it could.
	Unread string
	// Writable says that its mode lets root write it.
	Writable bool
}

// WithValues returns a copy of s that also holds these readings.
func (s *Snapshot) WithValues(more map[string]Reading) *Snapshot {
	c := *s
	c.Values = maps.Clone(s.Values)
	maps.Copy(c.Values, more)
	return &c
}

// IsBuiltin reports whether the kernel has this module built in. A built-in module without modules.builtin still shows in /sys/module, but never in /proc/modules.
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
	return s.LookedFor[m] || slices.ContainsFunc(s.Trees, func(t Tree) bool { return t.Dep[m] != nil || t.Alias[m] != nil || t.Builtin[m] })
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

// WithFile returns a copy of s in which f stands at its path, in the family of its directory: a change before it is made.
func (s *Snapshot) WithFile(f confdir.File) *Snapshot {
	c := *s
	family := c.family(f.Path)
	if family == nil {
		return s
	}
	*family = append(slices.DeleteFunc(slices.Clone(*family), func(old confdir.File) bool { return old.Path == f.Path }), f)
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

// extraPath is where systemd puts the credential for a service to take; where it is not there, one of the credential stores may have it (systemd.exec(5),
// LoadCredential=).
const extraPath = "/run/credentials/@system/sysctl.extra"

// AddFile puts a file that was read into its family, or where the one file at its path belongs.
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

// family is the list that a path belongs to, by its directory's name.
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
