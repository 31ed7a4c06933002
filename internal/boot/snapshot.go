// Package boot says what a Linux host is and what its files make of it at boot. Pure: a Snapshot in, answers out.
package boot

import (
	"maps"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// Snapshot is one host at one moment: its files that count at boot, its modules, and the values that were asked for.
type Snapshot struct {
	// Kernel is the running release, as uname -r prints it.
	Kernel string
	// Sysctl, ModulesLoad and Modprobe are the files of the three families, of every directory, in no order.
	Sysctl, ModulesLoad, Modprobe []confdir.File
	// SysctlConf is /etc/sysctl.conf, which procps reads and systemd reads only through a link; nil when there is none.
	SysctlConf *confdir.File
	// Loaded are the modules of /proc/modules, SysModules the names in /sys/module, Builtin those of modules.builtin: all in canonical spelling.
	Loaded, SysModules, Builtin map[string]bool
	// Values are the files under /proc/sys and /sys/module that were read, by path.
	Values map[string]Reading
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
	return s.Builtin[m] || s.SysModules[m] && !s.Loaded[m]
}

// Has reports whether the module is in the running kernel, loaded or built in.
func (s *Snapshot) Has(module string) bool {
	return s.Loaded[kmod.Canonical(module)] || s.IsBuiltin(module)
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

// Assigned is what the sysctl.d files, in the order systemd-sysctl reads them, set the key to when the file at path except is not there.
func (s *Snapshot) Assigned(k sysctl.Key, except string) (sysctl.Assignment, bool) {
	var rest []confdir.File
	for _, f := range s.Sysctl {
		if f.Path != except {
			rest = append(rest, f)
		}
	}
	return sysctl.Effective(rest, k)
}
