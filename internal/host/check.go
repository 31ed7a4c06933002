package host

// Checks of sysctls, and their errors: before anything is touched, after the kernel has answered, and after the host is
// read again.

import (
	"fmt"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/errno"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// checkSecrets returns an error for each key that holds a secret.
func (h *Host) checkSecrets(s Sysctls) []*Error {
	var faults []*Error
	for _, v := range s.Settings {
		if sysctl.Secret(v.Key) {
			faults = append(faults, h.errorf(KeySecret,
				"%s holds a secret, which would stand in Terraform's state and in a file that every user of the host may read. "+
					"Set it by a means made for secrets.",
				v.Key))
		}
	}
	return faults
}

// checkSettable says what stands against s, before anything is touched.
func (h *Host) checkSettable(snap *boot.Snapshot, s Sysctls, prior *Sysctls, held map[sysctl.Key][]holding) error {
	if err := h.checkSeen(s.Path(), s.othersFiles(snap, held)); err != nil {
		return err
	}
	var faults []*Error
	for _, v := range s.inOrder() {
		if fault := h.checkKey(v.Key, s.Modules, snap); fault != nil {
			faults = append(faults, fault)
		}
		if !s.Persist && waits(snap, v.Key) {
			faults = append(faults, h.errorf(KeyMissing, "%s does not exist: there is no such interface now, and without "+
				"persist nothing would set the key when it appears.", v.Key))
		}
	}
	if len(faults) > 0 {
		return several(faults)
	}
	if !s.Persist {
		return nil
	}
	if err := h.checkDropIn(snap, s, prior, false); err != nil {
		return err
	}
	next := h.predict(s.pretendIn(snap, prior, held))
	for _, v := range s.inOrder() {
		if lost := h.keyLost(v, s.Path(), next.Key(v.Key, v.Value)); lost != nil {
			faults = append(faults, lost)
		}
	}
	return several(faults)
}

// checkDropIn says why the file at s's path can be no drop-in of s. replaced says that another resource of the run has
// that path, which a destroy may free.
func (h *Host) checkDropIn(snap *boot.Snapshot, s Sysctls, prior *Sysctls, replaced bool) error {
	for _, all := range s.holdings(snap, prior) {
		for _, other := range all {
			if err := h.checkNoLink(other.file); err != nil {
				return err
			}
		}
	}
	file, exists := snap.File(s.Path())
	if !exists {
		return nil
	}
	if o, _ := ownerOf(file); o.Instance != "" && o.Instance != s.Instance {
		return h.checkNoLink(file) // the other instance's destroy restores what this one does not declare
	}
	if err := h.checkNoLink(file); err != nil {
		return err
	}
	if err := h.checkOwnership(s, prior, file); err != nil {
		return err
	}
	if o, _ := ownerOf(file); s.moved(prior) && o.Instance == "" && !s.adoptable(file) && !replaced {
		return h.errorf(DropInForeign, "%s exists and this resource did not write it. To manage it, import it: terraform "+
			"import %s.<name> '%s/%s'. Else remove the file, or "+
			"choose another file_name.", s.Path(), s.Resource, h.name, s.importedAs())
	}
	return nil
}

// checkNoLink says that a drop-in is a link, which a change would replace.
func (h *Host) checkNoLink(f confdir.File) error {
	if f.Target == "" {
		return nil
	}
	return h.errorf(DropInForeign, "%s is a link to %s, and a change would put a file in its place. Remove the link, or "+
		"choose another file_name.", f.Path, f.Target)
}

// importedAs is what follows HOST/ in the import id of s.
func (s Sysctls) importedAs() string {
	if s.Resource == "host_sysctls" {
		return s.FileName
	}
	return s.Name
}

// checkOwnership returns an error if f sets a key that neither s nor prior has, because that line would be lost.
func (h *Host) checkOwnership(s Sysctls, prior *Sysctls, f confdir.File) error {
	other := s.otherKey(f, prior)
	switch {
	case other == "":
		return nil
	case s.Resource == "host_sysctls":
		return h.errorf(DropInForeign,
			"%s also sets %s, which is none of the settings and would be lost. Add it to them, move its line to another file, "+
				"or choose another file_name.",
			f.Path, other)
	}
	return h.errorf(DropInForeign,
		"%s also sets %s, and a host_sysctl keeps one key in a file of its own. Move the line of %s to another file, or "+
			"import the file as a host_sysctls, which keeps many: terraform import host_sysctls.<name> '%s/%s'.",
		f.Path, other, other, h.name, s.FileName)
}

// checkKey returns an error if a key cannot be managed as it is now: it must exist, be readable, and hold no secret.
func (h *Host) checkKey(k sysctl.Key, modules []string, snap *boot.Snapshot) *Error {
	had := snap.Values[k.Path()]
	switch {
	case sysctl.WriteOnly(k):
		return h.errorf(KeyUnreadable, "%s is a trigger: writing it does something once, and it cannot be read, so there is "+
			"nothing to keep or to compare. Use a provisioner or a one-off command for it.", k)
	case waits(snap, k):
	case had.Absent:
		return h.errorf(KeyMissing, "%s does not exist. %s", k, h.whyMissing(k, modules, snap))
	case strings.Contains(had.Text, "\n"):
		return h.errorf(KeyUnreadable, "%s holds several lines, which one value cannot restore, so it cannot be managed.", k)
	case had.Unread != "":
		return h.errorf(KeyUnreadable,
			"%s cannot be read: %s. A value that cannot be read cannot be compared or restored. Connect as root or set sudo = "+
				"true; if it is so for root too, this key cannot be managed.",
			k, had.Unread)
	}
	if secrets := h.checkSecrets(Sysctls{Settings: []Setting{{Key: k}}}); len(secrets) > 0 {
		return secrets[0]
	}
	return nil
}

// whyMissing says why a key may not exist, and what to do. modules are those that the configuration names for it.
func (h *Host) whyMissing(k sysctl.Key, modules []string, snap *boot.Snapshot) string {
	module := ""
	if len(modules) == 1 {
		module = modules[0]
	}
	if owner, ok := kmod.Owner(k); ok {
		module = owner
	}
	right, vlan := boot.VLANSpelling(k)
	switch {
	case vlan:
		return fmt.Sprintf("If its interface has a dot in the name, the key is %s.", right)
	case module == "":
		return "Check its spelling. If a kernel module brings it, declare a host_kernel_module for that module and set " +
			"module = host_kernel_module.<name>.name."
	case snap.Has(module):
		return fmt.Sprintf(
			"The kernel module %s, which brings it elsewhere, is in kernel %s of this host, so this kernel has no such key. "+
				"Check its spelling and the kernel version.",
			module, snap.Kernel)
	default:
		return fmt.Sprintf(
			"It belongs to the kernel module %s, which is not loaded. Declare a host_kernel_module for it and set module = "+
				"host_kernel_module.<name>.name.",
			module)
	}
}

// checkWritten returns an error if the kernel refused a wanted value or changed it. had is the value before.
func (h *Host) checkWritten(v Setting, had string, r writeResult) *Error {
	switch {
	case r.absent:
		return h.errorf(KeyMissing, "%s was there a moment ago, and was gone when it was to be written: something took away "+
			"the module or the interface that brings it. Nothing of it is left to restore. Find out what removes it, and plan "+
			"again.", v.Key)
	case errno.ReadOnly(r.refused):
		return h.errorf(KeyReadOnly,
			"%s cannot be written: %s. It stays %s. Connect as root or set sudo = true; if it is so for root too, the key is "+
				"read-only in this kernel, or /proc/sys is mounted read-only, as in a container.",
			v.Key, r.refused, quoted(had))
	case r.refused != "":
		return h.errorf(
			ValueRefused, "the kernel refused %s for %s: %s. It stays %s. %s", quoted(v.Value), v.Key, r.refused, quoted(had),
			refusalAdvice(v, r.refused))
	case !sysctl.Equal(v.Key, r.value, v.Value):
		return h.errorf(ValueChanged,
			"%s was written to %s, but the kernel kept %s. %s It was put back to %s. Write the value the kernel keeps.",
			quoted(v.Value), v.Key, quoted(r.value), sysctl.Explain(v.Key, v.Value, r.value), quoted(had))
	}
	return nil
}

// checkKept says what is wrong with a key that follows one of the settings, or may inherit one, and was written again,
// so that it stays what a file of the host sets; nil when nothing is, or when its interface has gone meanwhile.
func (h *Host) checkKept(v Setting, settings []Setting, r writeResult) *Error {
	if r.absent || r.refused == "" && sysctl.Equal(v.Key, r.value, v.Value) {
		return nil
	}
	var leaders []string
	for _, l := range settings {
		if follows(l.Key, v.Key) || inherits(l.Key, v.Key) {
			leaders = append(leaders, l.Key.String())
		}
	}
	why := "it now reads " + quoted(r.value)
	if r.refused != "" {
		why += ", and the kernel refused its value: " + r.refused
	}
	return h.errorf(KeysFight, "%s, which a file or another resource sets, changes with %s, and could not be kept at %s: "+
		"%s. Leave one of the two to the kernel.", v.Key, strings.Join(leaders, " and "), quoted(v.Value), why)
}

// checkRestored says what is wrong with a value that was put back to what holds without the resource; nil when nothing
// is.
func (h *Host) checkRestored(v Setting, r writeResult) *Error {
	switch {
	case r.refused != "":
		return h.errorf(NotRestored,
			"%s stays %s: the kernel refused %s, the value from before: %s. Terraform manages it no longer all the same; it "+
				"lasts until the next boot, or until it is set by hand.",
			v.Key, quoted(r.value), quoted(v.Value), r.refused)
	case !sysctl.Equal(v.Key, r.value, v.Value):
		return h.errorf(NotRestored,
			"%s reads %s after %s, the value from before, was written. Terraform manages it no longer all the same.",
			v.Key, quoted(r.value), quoted(v.Value))
	}
	return nil
}

// refusalAdvice says what to do after the kernel refused a value for this reason.
func refusalAdvice(v Setting, reason string) string {
	module, named := kmod.ForValue(v.Key, v.Value)
	switch {
	case reason == errno.NoEntry && named:
		return fmt.Sprintf(
			"The key exists; the value names something the kernel does not have, here the kernel module %s. Check that this "+
				"kernel has it.",
			module)
	case reason == errno.NoEntry:
		return "The key exists; the value names something the kernel does not have. Check its spelling, and that its " +
			"kernel module is loaded."
	case reason == errno.NotPermitted:
		return "Some keys go one way only until the next boot."
	default:
		return "Look up the range and form of the key in the kernel's documentation (Documentation/admin-guide/sysctl)."
	}
}

// checkApplied returns the state of a host that was read again after the change. It returns an error if the host does
// not hold what was applied.
func (h *Host) checkApplied(snap *boot.Snapshot, s Sysctls) (map[sysctl.Key]SysctlState, error) {
	states := h.sysctlStates(snap, s)
	var faults []*Error
	for _, v := range s.inOrder() {
		st := states[v.Key]
		switch {
		case st.Waits:
		case st.Running == nil || *st.Running != v.Value:
			faults = append(faults, h.errorf(NotKept,
				"%s was set to %s, but reads %s a moment later. Something else on the host writes it; find out what, and let one "+
					"of the two own the key.",
				v.Key, quoted(v.Value), shown(st.Running)))
		case s.Persist && st.Reason != boot.OtherWriter && st.Reason != boot.OverwrittenAtBoot &&
			(st.Boot == nil || *st.Boot != v.Value):
			faults = append(faults, h.errorf(NotKept,
				"%s was written, but a moment later the next boot would set %s to %s. Something else on the host writes these "+
					"files.",
				s.Path(), v.Key, shown(st.Boot)))
		}
	}
	return states, several(faults)
}

// shown returns a value for an error message, and "nothing" if there is none.
func shown(v *string) string {
	if v == nil {
		return "nothing"
	}
	return quoted(*v)
}
