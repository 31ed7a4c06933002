package host

// host_sysctl on a host: read its layers, set it, take it back.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// Sysctl is what a host_sysctl asks of a host.
type Sysctl struct {
	Key   sysctl.Key
	Value string
	// Module is the module that the configuration says owns the key; may be empty.
	Module string
	// FileName is the drop-in's name in /etc/sysctl.d.
	FileName string
	// Persist false means no drop-in: the running value alone.
	Persist bool
}

// SysctlState is what a host has of a Sysctl, a layer a field. A nil pointer says that the layer says nothing.
type SysctlState struct {
	// Running is the value in /proc/sys; nil when there is no such key now.
	Running *string
	// Boot is what the next boot leaves, given every file on the host, and BootSource the path:line that decides; Boot is nil when the value is lost.
	Boot, BootSource *string
	// Original is the value from before Terraform first wrote the key.
	Original *string
}

const (
	sysctlDir = "/etc/sysctl.d/"
	// owned begins the first line of each file this provider writes.
	owned = "Managed by Terraform: "
	// before begins the comment of a drop-in that keeps the value from before Terraform, so that it outlives the state.
	before = "Value before Terraform: "
)

// Path is the drop-in's path.
func (s Sysctl) Path() string { return sysctlDir + s.FileName }

// Source is the path:line of the drop-in's assignment.
func (s Sysctl) Source() string { return s.Path() + ":3" }

func (s Sysctl) dropIn(original string) string {
	return sysctl.Format(s.Key, s.Value, s.mark(), before+strings.ReplaceAll(original, "\n", " "))
}

func (s Sysctl) mark() string { return owned + "host_sysctl " + s.Key.String() }

// ReadSysctl reads the layers of s. prior's spelling of a value is kept where the kernel means the same.
func (h *Host) ReadSysctl(ctx context.Context, s Sysctl) (SysctlState, error) {
	snap, err := h.read(ctx, s.Key.Path())
	if err != nil {
		return SysctlState{}, err
	}
	if sysctl.Secret(s.Key) {
		return SysctlState{}, h.secret(s.Key)
	}
	return sysctlState(snap, s), nil
}

func (h *Host) secret(k sysctl.Key) *Error {
	return h.errorf(KeySecret, "%s holds a secret, which would stand in Terraform's state and in a file that every user of the host may read. Set it by a means "+
		"made for secrets.", k)
}

func sysctlState(snap *boot.Snapshot, s Sysctl) SysctlState {
	var st SysctlState
	same := func(text string) *string {
		if sysctl.Equal(s.Key, text, s.Value) {
			text = s.Value
		}
		return &text
	}
	if r := snap.Values[s.Key.Path()]; !r.Absent && r.Unread == "" {
		st.Running = same(r.Text)
	}
	if s.Persist {
		st.Boot, st.BootSource = bootLayer(snap, s)
	}
	if st.Boot != nil {
		st.Boot = same(*st.Boot)
	}
	if f, ok := snap.File(s.Path()); ok {
		st.Original = originalIn(f, s)
	}
	return st
}

// originalIn is the value from before Terraform that our drop-in remembers.
func originalIn(f confdir.File, s Sysctl) *string {
	first, rest, _ := strings.Cut(f.Text, "\n")
	if first != "# "+s.mark() {
		return nil
	}
	second, _, _ := strings.Cut(rest, "\n")
	if v, ok := strings.CutPrefix(second, "# "+before); ok {
		return &v
	}
	return nil
}

// SetSysctl makes the host hold s: the running value first, then the drop-in. prior is what Terraform last recorded, nil when it creates. On failure the host
// is as it was, or the error says what may be left (MayHaveChanged).
func (h *Host) SetSysctl(ctx context.Context, s Sysctl, prior *Sysctl, original *string) (st SysctlState, err error) {
	release, err := h.hold(ctx, s.Path())
	if err != nil {
		return SysctlState{}, err
	}
	defer release()
	snap, err := h.fresh(ctx, s.Key.Path())
	if err != nil {
		return SysctlState{}, err
	}
	was := s
	if prior != nil {
		was = *prior
	}
	had := snap.Values[s.Key.Path()]
	if err := h.settable(s, had, snap); err != nil {
		return SysctlState{}, err
	}
	file, exists := snap.File(s.Path())
	if s.Persist {
		if err := h.aboutOneKey(s, file); err != nil {
			return SysctlState{}, err
		}
	}
	if exists && s.Persist && (prior == nil || !prior.Persist || prior.FileName != s.FileName) && !adoptable(file, s) {
		return SysctlState{}, h.errorf(DropInForeign, "%s exists and this resource did not write it. To manage it, import it: terraform import "+
			"host_sysctl.<name> '%s/%s'. Else remove the file, or choose another file_name.", s.Path(), h.name, s.Key)
	}
	if s.Persist {
		if lost := h.keyLost(s, boot.Predict(s.pretend(snap, prior)).Key(s.Key, s.Value)); lost != nil {
			return SysctlState{}, lost
		}
	}
	if old, ok := snap.File(was.Path()); original == nil && ok {
		original = originalIn(old, was)
	}
	if original == nil {
		original = &had.Text
	}

	c := h.begin()
	defer func() { err = c.end(ctx, err) }()
	if !sysctl.Equal(s.Key, had.Text, s.Value) {
		if err := h.run(ctx, c, s, had.Text); err != nil {
			return SysctlState{Original: original}, err
		}
	}
	if v := s.ownValue(file); s.Persist && (v == nil || !sysctl.Equal(s.Key, *v, s.Value)) {
		if err := c.replace(ctx, s.Path(), s.dropIn(*original), file.Text, exists); err != nil {
			return SysctlState{Original: original}, err
		}
	}
	if prior != nil && prior.Persist && (!s.Persist || prior.FileName != s.FileName) {
		if old, ok := snap.File(prior.Path()); ok {
			if err := c.remove(ctx, old.Path, old.Text); err != nil {
				return SysctlState{Original: original}, err
			}
		}
	}
	return h.verifySysctl(ctx, s, original)
}

// other is what else a file sets beside the key; "" when nothing.
func (s Sysctl) other(f confdir.File) string {
	all, _ := sysctl.ParseFile(f.Path, f.Text)
	for _, a := range all {
		if a.IsGlob() || !a.Matches(s.Key) {
			return strings.ReplaceAll(a.Pattern, "/", ".")
		}
	}
	return ""
}

// aboutOneKey says why a file can be no drop-in of s: what else it sets would be lost.
func (h *Host) aboutOneKey(s Sysctl, f confdir.File) error {
	other := s.other(f)
	if other == "" {
		return nil
	}
	return h.errorf(DropInForeign, "%s also sets %s, and a host_sysctl keeps one key in a file of its own. Move the line of %s to another file, or choose another "+
		"file_name.", f.Path, other, s.Key)
}

// settable says why the key cannot be managed as it is now.
func (h *Host) settable(s Sysctl, had boot.Reading, snap *boot.Snapshot) error {
	switch {
	case sysctl.WriteOnly(s.Key):
		return h.errorf(KeyUnreadable, "%s is a trigger: writing it does something once, and it cannot be read, so there is nothing to keep or to compare. "+
			"Use a provisioner or a one-off command for it.", s.Key)
	case had.Absent:
		return h.errorf(KeyMissing, "%s does not exist. %s", s.Key, h.missing(s, snap))
	case had.Unread != "":
		return h.errorf(KeyUnreadable, "%s cannot be read: %s. A value that cannot be read cannot be compared or restored. Connect as root or set sudo = true; "+
			"if it is so for root too, this key cannot be managed.", s.Key, had.Unread)
	}
	if sysctl.Secret(s.Key) {
		return h.secret(s.Key)
	}
	return nil
}

// missing says why a key may not be there, and what to do.
func (h *Host) missing(s Sysctl, snap *boot.Snapshot) string {
	module := s.Module
	if owner, ok := kmod.Owner(s.Key); ok {
		module = owner
	}
	right, vlan := boot.VLANSpelling(s.Key)
	switch {
	case vlan:
		return fmt.Sprintf("If its interface has a dot in the name, the key is %s.", right)
	case module == "":
		return "Check its spelling. If a kernel module brings it, declare a host_kernel_module for that module and set " +
			"module = host_kernel_module.<name>.name."
	case snap.Has(module):
		return fmt.Sprintf("The kernel module %s, which brings it elsewhere, is in kernel %s of this host, so this kernel has no such key. Check its spelling "+
			"and the kernel version.", module, snap.Kernel)
	default:
		return fmt.Sprintf("It belongs to the kernel module %s, which is not loaded. Declare a host_kernel_module for it and set "+
			"module = host_kernel_module.<name>.name.", module)
	}
}

// adoptable reports whether a drop-in is just what a create whose reply was lost would have written.
func adoptable(f confdir.File, s Sysctl) bool {
	a, ok := sysctl.Effective([]confdir.File{f}, s.Key)
	return ok && originalIn(f, s) != nil && sysctl.Equal(s.Key, a.Value, s.Value)
}

// run writes the running value and judges what the kernel made of it.
func (h *Host) run(ctx context.Context, c *change, s Sysctl, had string) error {
	kept, err := c.write(ctx, s.Key.Path(), s.Value, had)
	var no *refusal
	switch {
	case errors.As(err, &no) && readOnly(no.reason):
		return h.errorf(KeyReadOnly, "%s cannot be written: %s. It stays %s. Connect as root or set sudo = true; if it is so for root too, the key is read-only "+
			"in this kernel, or /proc/sys is mounted read-only, as in a container.", s.Key, no.reason, quoted(had))
	case errors.As(err, &no):
		return h.errorf(ValueRefused, "the kernel refused %s for %s: %s. It stays %s. %s", quoted(s.Value), s.Key, no.reason, quoted(had),
			refusedBecause(s, no.reason))
	case err != nil:
		return err
	case !sysctl.Equal(s.Key, kept, s.Value):
		return h.errorf(ValueChanged, "%s was written to %s, but the kernel kept %s. %s It was put back to %s. Write the value the kernel keeps.",
			quoted(s.Value), s.Key, quoted(kept), sysctl.Explain(s.Key, s.Value, kept), quoted(had))
	}
	return nil
}

func readOnly(reason string) bool {
	return reason == "Permission denied" || reason == "Read-only file system"
}

func refusedBecause(s Sysctl, reason string) string {
	module, named := kmod.ForValue(s.Key, s.Value)
	switch {
	case reason == "No such file or directory" && named:
		return fmt.Sprintf("The key exists; the value names something the kernel does not have, here the kernel module %s. Check that this kernel has it.", module)
	case reason == "No such file or directory":
		return "The key exists; the value names something the kernel does not have. Check its spelling, and that its kernel module is loaded."
	case reason == "Operation not permitted":
		return "Some keys go one way only until the next boot."
	default:
		return "Look up the range and form of the key in the kernel's documentation (Documentation/admin-guide/sysctl)."
	}
}

// verifySysctl reads everything anew and says whether the promise is kept.
func (h *Host) verifySysctl(ctx context.Context, s Sysctl, original *string) (SysctlState, error) {
	snap, err := h.fresh(ctx, s.Key.Path())
	if err != nil {
		return SysctlState{Original: original}, err
	}
	st := sysctlState(snap, s)
	st.Original = original
	switch {
	case st.Running == nil || *st.Running != s.Value:
		return st, h.errorf(NotKept, "%s was set to %s, but reads %s a moment later. Something else on the host writes it; find out what, and let one of the two "+
			"own the key.", s.Key, quoted(s.Value), shown(st.Running))
	case s.Persist && (st.Boot == nil || *st.Boot != s.Value):
		return st, h.errorf(NotKept, "%s was written, but a moment later the next boot would set %s to %s. Something else on the host writes these files.", s.Path(), s.Key,
			shown(st.Boot))
	}
	return st, nil
}

func shown(v *string) string {
	if v == nil {
		return "nothing"
	}
	return quoted(*v)
}

// UnsetSysctl takes s back: the running value to what the remaining files set, else to original, then the drop-in. With restore false the running value stays.
// A value that the kernel will not take back is a *Error of kind NotRestored beside which all else was done.
func (h *Host) UnsetSysctl(ctx context.Context, s Sysctl, original *string, restore bool) (err error) {
	release, err := h.hold(ctx, s.Path())
	if err != nil {
		return err
	}
	defer release()
	snap, err := h.fresh(ctx, s.Key.Path())
	if err != nil {
		return err
	}
	c := h.begin()
	defer func() { err = c.end(ctx, err) }()
	var notRestored error
	if restore {
		notRestored, err = h.restore(ctx, c, s, snap, original)
		if err != nil {
			return err
		}
	}
	if f, ok := snap.File(s.Path()); ok && s.Persist {
		if err := h.aboutOneKey(s, f); err != nil {
			return err
		}
		if err := c.remove(ctx, f.Path, f.Text); err != nil {
			return err
		}
	}
	c.undos = nil
	return notRestored
}

// restore puts the running value to what holds without s.
func (h *Host) restore(ctx context.Context, c *change, s Sysctl, snap *boot.Snapshot, original *string) (notRestored, err error) {
	had := snap.Values[s.Key.Path()]
	if f, ok := snap.File(s.Path()); ok && original != nil && strings.ContainsRune(*original, utf8.RuneError) {
		original = originalIn(f, s) // the state holds text only; the file holds every byte
	}
	if a, ok := snap.Assigned(s.Key, s.Path()); ok {
		original = &a.Value
	}
	if had.Absent || had.Unread != "" || original == nil || sysctl.Equal(s.Key, had.Text, *original) {
		return nil, nil
	}
	kept, err := c.write(ctx, s.Key.Path(), *original, had.Text)
	var no *refusal
	switch {
	case errors.As(err, &no):
		return h.errorf(NotRestored, "%s stays %s: the kernel refused %s, the value from before: %s. The resource is gone all the same; the value lasts until "+
			"the next boot, or until it is set by hand.", s.Key, quoted(no.kept), quoted(*original), no.reason), nil
	case err != nil:
		return nil, err
	case !sysctl.Equal(s.Key, kept, *original):
		return h.errorf(NotRestored, "%s reads %s after %s, the value from before, was written. The resource is gone all the same.", s.Key, quoted(kept),
			quoted(*original)), nil
	}
	return nil, nil
}

// FindDropIn returns the name of the file in /etc/sysctl.d that an import of k takes over: the default one, else one that sets this key and no other, else the
// default one, which then is still to be written.
func (h *Host) FindDropIn(ctx context.Context, k sysctl.Key) (string, error) {
	snap, err := h.read(ctx, k.Path())
	if err != nil {
		return "", err
	}
	s := Sysctl{Key: k, FileName: k.DropInName()}
	if f, ok := snap.File(s.Path()); ok {
		return s.FileName, h.aboutOneKey(s, f)
	}
	if snap.Values[k.Path()].Absent {
		return "", h.errorf(KeyMissing, "%s does not exist. %s", k, h.missing(s, snap))
	}
	for _, f := range confdir.Order(snap.Sysctl) {
		name, ok := strings.CutPrefix(f.Path, sysctlDir)
		if !ok || f.Target != "" {
			continue
		}
		if all, bad := sysctl.ParseFile(f.Path, f.Text); len(all) == 1 && len(bad) == 0 && !all[0].IsGlob() && all[0].Matches(k) {
			return name, nil
		}
	}
	return s.FileName, nil
}
