package boot

import (
	"fmt"

	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// initSystem is what starts the services of a host at boot, as far as it decides what becomes of the files. Each init
// system is a file of its own, and the rest of the package does not ask which one a host has. What the rest predicts is
// what systemd would do; an init system says what of that is certain.
type initSystem interface {
	// programs are the programs that it starts, as far as they differ.
	programs() programs
	// modulesOff returns what keeps anything from loading the modules of modules-load.d; no Reason if nothing does.
	modulesOff() Cause
	// sysctlsOff returns what keeps anything from applying sysctl.d to k; no Reason if nothing does.
	sysctlsOff(k sysctl.Key) Cause
	// module returns what is certain of m, the prediction of what systemd-modules-load would do.
	module(m ModulePrediction) ModulePrediction
	// late returns why a module that is loaded at boot may come after sysctl.d is applied; no Reason if it does not. The
	// Detail continues a sentence about the module.
	late(m ModulePrediction) Cause
	// key returns why it may not do with a key what systemd-sysctl would; no Reason if it does that.
	key(j *judgement) Cause
	// failures are the lines that make a unit fail.
	failures(p *Prediction) []UnitFailure
}

// programs are how the programs of an init system read a host's files. A version that does so in another way is
// another value, chosen in the file of its init system.
type programs struct {
	// sysctl, modulesLoad and modprobe parse a file of sysctl.d, modules-load.d and modprobe.d.
	sysctl      func(file, text string) ([]sysctl.Assignment, []sysctl.BadLine)
	modulesLoad func(file, text string) []kmod.LoadLine
	modprobe    func(file, text string) ([]kmod.Directive, []kmod.BadLine)
	// etcModules parses /etc/modules; nil if none of them reads that file.
	etcModules func(file, text string) []kmod.LoadLine
	// loopsMask reports whether a link that leads to itself hides a weaker file of its name in sysctl.d; directories, and
	// links that lead nowhere, always do. loadMasks reports whether any of the three does in modules-load.d, and
	// kmodLinksMask whether one of the links does in modprobe.d.
	loopsMask, loadMasks, kmodLinksMask bool
	// refusalFails reports whether the unit fails if the kernel refuses a module by module_blacklist=.
	refusalFails bool
	// credentialFails reports whether the unit fails because of a bad line in the credential sysctl.extra.
	credentialFails bool
	// longestLine is the length in bytes, with the line's end, at which they stop reading a file of sysctl.d or
	// modules-load.d.
	longestLine int
	// order is the order in which sysctl.d is applied.
	order Order
	// units are the systemd units that apply the files, in the order in which systemd starts them.
	units []string
}

// Order is what is known of the order in which an init system applies the files of sysctl.d.
type Order int

// The orders.
const (
	// OrderByName: by the names of the files, whatever their directories.
	OrderByName Order = iota
	// OrderByVersion: each version of the init system has its own, so that only what all agree on is certain.
	OrderByVersion
	// OrderUnknown: nothing is known of it.
	OrderUnknown
)

// initOf returns the init system of a host.
func initOf(s *Snapshot, cmd commandLine) initSystem {
	switch s.Init {
	case "systemd":
		return newSystemd(s, cmd)
	case "openrc":
		return openRC{s}
	}
	return unknownInit{}
}

// anyInit reports whether a prediction for a module is the same whatever loads the modules of modules-load.d.
func anyInit(m ModulePrediction) bool {
	switch m.Reason {
	case NotLoaded, ServiceOff, Unread, KernelPending:
		return true
	}
	return m.Builtin
}

// serviceOff is the cause of what a masked or disabled service would do at boot.
func serviceOff(by, format string, args ...any) Cause {
	return Cause{ServiceOff, by, fmt.Sprintf(format, args...)}
}
