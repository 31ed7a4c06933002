package host

// host_sysctls on a host: keys that share a drop-in, read, set and taken back together.

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// Sysctls is what a host_sysctls asks of a host.
type Sysctls struct {
	// Resource is the type of the resource, and Name what it is called on the host. The drop-in's first line holds both.
	Resource, Name string
	// Settings are the keys with their values, each key once, in any order.
	Settings []Setting
	// Modules are the modules that the configuration says own keys; may be empty.
	Modules []string
	// FileName is the drop-in's name in /etc/sysctl.d.
	FileName string
	// Persist false means no drop-in: the running values alone.
	Persist bool
	// Restore says that a key which is taken back gets the value that holds without this resource.
	Restore bool
}

// Setting is one key and the value it is to have.
type Setting struct {
	Key   sysctl.Key
	Value string
}

// SysctlState is what a host has of one key, a layer a field. A nil pointer says that the layer says nothing.
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
func (s Sysctls) Path() string { return sysctlDir + s.FileName }

func (s Sysctls) mark() string { return owned + s.Resource + " " + s.Name }

// dropIn is the text of the drop-in: the values in the order in which they are written, each under the value from before.
func (s Sysctls) dropIn(originals map[sysctl.Key]string) string {
	var text strings.Builder
	text.WriteString("# " + s.mark() + "\n")
	for _, v := range s.inOrder() {
		text.WriteString(sysctl.Format(v.Key, v.Value, before+originals[v.Key]))
	}
	return text.String()
}

// inOrder are the settings in the order in which to write them.
func (s Sysctls) inOrder() []Setting {
	return slices.SortedFunc(slices.Values(s.Settings), func(a, b Setting) int { return sysctl.Compare(a.Key, b.Key) })
}

// paths are the files of the keys under /proc/sys.
func (s Sysctls) paths() []string {
	var all []string
	for _, v := range s.Settings {
		all = append(all, v.Key.Path())
	}
	return all
}

// without are the settings whose keys s does not have.
func (s *Sysctls) without(other Sysctls) []Setting {
	if s == nil {
		return nil
	}
	keys := map[sysctl.Key]bool{}
	for _, v := range other.Settings {
		keys[v.Key] = true
	}
	return slices.DeleteFunc(s.inOrder(), func(v Setting) bool { return keys[v.Key] })
}

// moved reports whether s writes another drop-in than prior did.
func (s Sysctls) moved(prior *Sysctls) bool {
	return s.Persist && (prior == nil || !prior.Persist || prior.FileName != s.FileName)
}

// ReadSysctls reads the layers of each key of s. The spelling of a value in s is kept where the kernel means the same.
func (h *Host) ReadSysctls(ctx context.Context, s Sysctls) (map[sysctl.Key]SysctlState, error) {
	if !s.Persist {
		h.looseEnds()
	}
	snap, err := h.read(ctx, s.paths()...)
	if err != nil {
		return nil, err
	}
	if faults := h.secrets(s); len(faults) > 0 {
		return nil, several(faults)
	}
	return sysctlStates(snap, s), nil
}

func (h *Host) secrets(s Sysctls) []*Error {
	var faults []*Error
	for _, v := range s.Settings {
		if sysctl.Secret(v.Key) {
			faults = append(faults, h.errorf(KeySecret, "%s holds a secret, which would stand in Terraform's state and in a file that every user of the host may read. "+
				"Set it by a means made for secrets.", v.Key))
		}
	}
	return faults
}

func sysctlStates(snap *boot.Snapshot, s Sysctls) map[sysctl.Key]SysctlState {
	next := boot.Predict(snap)
	file, _ := snap.File(s.Path())
	own, originals := assigned(file, s), s.originalsIn(file)
	states := make(map[sysctl.Key]SysctlState, len(s.Settings))
	for _, v := range s.Settings {
		var st SysctlState
		same := func(text string) *string {
			if sysctl.Equal(v.Key, text, v.Value) {
				text = v.Value
			}
			return &text
		}
		if r := snap.Values[v.Key.Path()]; !r.Absent && r.Unread == "" {
			st.Running = same(r.Text)
		}
		if s.Persist {
			st.Boot, st.BootSource = bootLayer(next.Key(v.Key, v.Value), own[v.Key])
		}
		if st.Boot != nil {
			st.Boot = same(*st.Boot)
		}
		if original, ok := originals[v.Key]; ok {
			st.Original = &original
		}
		states[v.Key] = st
	}
	return states
}

// originalsIn are the values from before Terraform that our drop-in remembers, each in the line above the key's own.
func (s Sysctls) originalsIn(f confdir.File) map[sysctl.Key]string {
	lines := slices.Collect(confdir.Lines(f.Text))
	if len(lines) == 0 || lines[0] != "# "+s.mark() {
		return nil
	}
	found := map[sysctl.Key]string{}
	all, _ := sysctl.ParseFile(f.Path, f.Text)
	for _, a := range all {
		k, err := sysctl.ParseKey(a.Pattern)
		if err != nil || a.Line < 2 {
			continue
		}
		if v, ok := strings.CutPrefix(lines[a.Line-2], "# "+before); ok {
			found[k] = v
		}
	}
	return found
}

// assigned is what a file alone sets the keys of s to. A pattern sets a key that no line names.
func assigned(f confdir.File, s Sysctls) map[sysctl.Key]*string {
	all, _ := sysctl.ParseFile(f.Path, f.Text)
	named := map[string]sysctl.Assignment{}
	var patterns []sysctl.Assignment
	for _, a := range all {
		if a.IsGlob() {
			patterns = append(patterns, a)
		} else {
			named["/proc/sys/"+a.Pattern] = a
		}
	}
	values := make(map[sysctl.Key]*string, len(s.Settings))
	for _, v := range s.Settings {
		a, ok := named[v.Key.Path()]
		for i := len(patterns) - 1; !ok && i >= 0; i-- {
			a, ok = patterns[i], patterns[i].HasValue && patterns[i].Matches(v.Key)
		}
		if ok && a.HasValue {
			values[v.Key] = &a.Value
		}
	}
	return values
}

// holds reports whether a file alone sets every key of s to its value.
func (s Sysctls) holds(f confdir.File) bool {
	own := assigned(f, s)
	return !slices.ContainsFunc(s.Settings, func(v Setting) bool { return own[v.Key] == nil || !sysctl.Equal(v.Key, *own[v.Key], v.Value) })
}

// says reports whether a file sets just what s wants, so that it stays as it is.
func (s Sysctls) says(f confdir.File) bool { return s.holds(f) && s.other(f, nil) == "" }

// other is what else a file sets, beside the keys of s and of prior; "" when nothing.
func (s Sysctls) other(f confdir.File, prior *Sysctls) string {
	ours := map[string]bool{}
	for _, p := range slices.Concat(s.paths(), prior.keys()) {
		ours[p] = true
	}
	all, _ := sysctl.ParseFile(f.Path, f.Text)
	for _, a := range all {
		if a.IsGlob() || !ours["/proc/sys/"+a.Pattern] {
			return strings.ReplaceAll(a.Pattern, "/", ".")
		}
	}
	return ""
}

func (s *Sysctls) keys() []string {
	if s == nil {
		return nil
	}
	return s.paths()
}

// adoptable reports whether a drop-in is just what a create whose reply was lost would have written.
func (s Sysctls) adoptable(f confdir.File) bool {
	originals := s.originalsIn(f)
	return s.holds(f) && !slices.ContainsFunc(s.Settings, func(v Setting) bool { _, ok := originals[v.Key]; return !ok })
}

// originals are the values from before Terraform: those that the state knows, else those that the drop-in remembers, else what the host has now.
func (s Sysctls) originals(snap *boot.Snapshot, settings []Setting, known map[sysctl.Key]string) map[sysctl.Key]string {
	file, _ := snap.File(s.Path())
	remembered := s.originalsIn(file)
	all := make(map[sysctl.Key]string, len(settings))
	for _, v := range settings {
		original, ok := known[v.Key]
		if there, inFile := remembered[v.Key]; inFile && (!ok || strings.ContainsRune(original, utf8.RuneError)) {
			original, ok = there, true // the state holds text only; the file holds every byte
		}
		if !ok {
			original = snap.Values[v.Key.Path()].Text
		}
		all[v.Key] = original
	}
	return all
}

// SetSysctls makes the host hold s: the running values first, in one exchange, then the drop-in. prior is what Terraform last recorded, nil when it creates; a key
// that only prior has is taken back. originals are the values from before Terraform, as far as the state knows them. If a value is refused, all are put back. On
// failure the host is as it was, or the error says what may be left (MayHaveChanged); an error of the kind NotRestored alone says that s holds all the same.
func (h *Host) SetSysctls(ctx context.Context, s Sysctls, prior *Sysctls, originals map[sysctl.Key]string) (states map[sysctl.Key]SysctlState, err error) {
	release, err := h.hold(ctx, s.Path())
	if err != nil {
		return nil, err
	}
	defer release()
	gone := Sysctls{Settings: prior.without(s)}
	snap, err := h.fresh(ctx, slices.Concat(s.paths(), gone.paths())...)
	if err != nil {
		return nil, err
	}
	file, exists := snap.File(s.Path())
	if err := h.maySet(snap, s, prior, file, exists); err != nil {
		return nil, err
	}
	was := s
	if prior != nil {
		was = *prior
	}
	originals = was.originals(snap, slices.Concat(s.Settings, gone.Settings), originals)
	states = map[sysctl.Key]SysctlState{}
	for _, v := range s.Settings {
		original := originals[v.Key]
		states[v.Key] = SysctlState{Original: &original}
	}

	c := h.begin()
	defer func() { err = c.end(ctx, err) }()
	var restored []Setting
	if s.Restore {
		restored = gone.restored(snap, originals, s.Path(), was.Path())
	}
	notRestored, err := h.run(ctx, c, snap, s.Settings, restored)
	if err != nil {
		return states, err
	}
	var written []shell.File
	var removed []string
	if s.Persist && !s.says(file) {
		written = []shell.File{{Path: s.Path(), Content: s.dropIn(originals)}}
	}
	if prior != nil && prior.Persist && (!s.Persist || prior.FileName != s.FileName) {
		removed = []string{prior.Path()}
	}
	snap, err = c.files(ctx, snap, written, removed, s.paths())
	if err != nil {
		return states, err
	}
	now, err := h.judgeSysctls(snap, s)
	if err != nil {
		return states, err
	}
	for k, st := range now {
		st.Original = states[k].Original
		states[k] = st
	}
	c.undos = nil
	return states, several(notRestored)
}

// maySet says what stands against s, before anything is touched.
func (h *Host) maySet(snap *boot.Snapshot, s Sysctls, prior *Sysctls, file confdir.File, exists bool) error {
	var faults []*Error
	for _, v := range s.inOrder() {
		if fault := h.settable(v.Key, s.Modules, snap); fault != nil {
			faults = append(faults, fault)
		}
	}
	if len(faults) > 0 {
		return several(faults)
	}
	if !s.Persist {
		return nil
	}
	if err := h.onlyOurs(s, prior, file); err != nil {
		return err
	}
	if exists && s.moved(prior) && !s.adoptable(file) {
		return h.errorf(DropInForeign, "%s exists and this resource did not write it. To manage it, import it: terraform import %s.<name> '%s/%s'. Else remove the file, or "+
			"choose another file_name.", s.Path(), s.Resource, h.name, s.importedAs())
	}
	next := boot.Predict(s.pretend(snap, prior))
	for _, v := range s.inOrder() {
		if lost := h.keyLost(v, s.Path(), next.Key(v.Key, v.Value)); lost != nil {
			faults = append(faults, lost)
		}
	}
	return several(faults)
}

// importedAs is what follows HOST/ in the import id of s.
func (s Sysctls) importedAs() string {
	if s.Resource == "host_sysctls" {
		return s.FileName
	}
	return s.Name
}

// onlyOurs says why a file can be no drop-in of s: what else it sets, beside the keys of s and of prior, would be lost.
func (h *Host) onlyOurs(s Sysctls, prior *Sysctls, f confdir.File) error {
	other := s.other(f, prior)
	switch {
	case other == "":
		return nil
	case s.Resource == "host_sysctls":
		return h.errorf(DropInForeign, "%s also sets %s, which is none of the settings and would be lost. Add it to them, move its line to another file, or choose another "+
			"file_name.", f.Path, other)
	}
	return h.errorf(DropInForeign, "%s also sets %s, and a host_sysctl keeps one key in a file of its own. Move the line of %s to another file, or import the "+
		"file as a host_sysctls, which keeps many: terraform import host_sysctls.<name> '%s/%s'.", f.Path, other, other, h.name, s.FileName)
}

// settable says why a key cannot be managed as it is now; nil when it can.
func (h *Host) settable(k sysctl.Key, modules []string, snap *boot.Snapshot) *Error {
	had := snap.Values[k.Path()]
	switch {
	case sysctl.WriteOnly(k):
		return h.errorf(KeyUnreadable, "%s is a trigger: writing it does something once, and it cannot be read, so there is nothing to keep or to compare. "+
			"Use a provisioner or a one-off command for it.", k)
	case had.Absent:
		return h.errorf(KeyMissing, "%s does not exist. %s", k, h.missing(k, modules, snap))
	case had.Unread != "":
		return h.errorf(KeyUnreadable, "%s cannot be read: %s. A value that cannot be read cannot be compared or restored. Connect as root or set sudo = true; "+
			"if it is so for root too, this key cannot be managed.", k, had.Unread)
	}
	if secrets := h.secrets(Sysctls{Settings: []Setting{{Key: k}}}); len(secrets) > 0 {
		return secrets[0]
	}
	return nil
}

// missing says why a key may not be there, and what to do. modules are those that the configuration names for it.
func (h *Host) missing(k sysctl.Key, modules []string, snap *boot.Snapshot) string {
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
		return fmt.Sprintf("The kernel module %s, which brings it elsewhere, is in kernel %s of this host, so this kernel has no such key. Check its spelling "+
			"and the kernel version.", module, snap.Kernel)
	default:
		return fmt.Sprintf("It belongs to the kernel module %s, which is not loaded. Declare a host_kernel_module for it and set "+
			"module = host_kernel_module.<name>.name.", module)
	}
}

// run writes the running values in one exchange, those that are wanted and those that are restored, and judges what the kernel made of them.
func (h *Host) run(ctx context.Context, c *change, snap *boot.Snapshot, wanted, restored []Setting) (notRestored []*Error, err error) {
	isRestored := map[sysctl.Key]bool{}
	for _, v := range restored {
		isRestored[v.Key] = true
	}
	var settings []Setting
	var writes []write
	follows := false // a key that others follow is written, so the value of each later one is open
	for _, v := range (Sysctls{Settings: slices.Concat(wanted, restored)}).inOrder() {
		had := snap.Values[v.Key.Path()]
		if !follows && sysctl.Equal(v.Key, had.Text, v.Value) {
			continue
		}
		follows = follows || sysctl.Leads(v.Key)
		settings, writes = append(settings, v), append(writes, write{v.Key.Path(), v.Value, had.Text})
	}
	results, err := c.write(ctx, writes)
	if err != nil {
		return nil, err
	}
	var faults []*Error
	for i, r := range results {
		switch v := settings[i]; {
		case isRestored[v.Key]:
			if e := h.judgeRestored(v, r); e != nil {
				notRestored = append(notRestored, e)
			}
		default:
			if e := h.judge(v, writes[i].before, r); e != nil {
				faults = append(faults, e)
			}
		}
	}
	return notRestored, several(faults)
}

// judge says what is wrong with what the kernel made of a wanted value; nil when nothing is.
func (h *Host) judge(v Setting, had string, r written) *Error {
	switch {
	case readOnly(r.refused):
		return h.errorf(KeyReadOnly, "%s cannot be written: %s. It stays %s. Connect as root or set sudo = true; if it is so for root too, the key is read-only "+
			"in this kernel, or /proc/sys is mounted read-only, as in a container.", v.Key, r.refused, quoted(had))
	case r.refused != "":
		return h.errorf(ValueRefused, "the kernel refused %s for %s: %s. It stays %s. %s", quoted(v.Value), v.Key, r.refused, quoted(had), refusedBecause(v, r.refused))
	case !sysctl.Equal(v.Key, r.kept, v.Value):
		return h.errorf(ValueChanged, "%s was written to %s, but the kernel kept %s. %s It was put back to %s. Write the value the kernel keeps.",
			quoted(v.Value), v.Key, quoted(r.kept), sysctl.Explain(v.Key, v.Value, r.kept), quoted(had))
	}
	return nil
}

// judgeRestored says what is wrong with a value that was put back to what holds without the resource; nil when nothing is.
func (h *Host) judgeRestored(v Setting, r written) *Error {
	switch {
	case r.refused != "":
		return h.errorf(NotRestored, "%s stays %s: the kernel refused %s, the value from before: %s. The resource is gone all the same; the value lasts until "+
			"the next boot, or until it is set by hand.", v.Key, quoted(r.kept), quoted(v.Value), r.refused)
	case !sysctl.Equal(v.Key, r.kept, v.Value):
		return h.errorf(NotRestored, "%s reads %s after %s, the value from before, was written. The resource is gone all the same.", v.Key, quoted(r.kept),
			quoted(v.Value))
	}
	return nil
}

func readOnly(reason string) bool {
	return reason == "Permission denied" || reason == "Read-only file system"
}

func refusedBecause(v Setting, reason string) string {
	module, named := kmod.ForValue(v.Key, v.Value)
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

// judgeSysctls says whether the promise is kept on a host that was read anew after the change.
func (h *Host) judgeSysctls(snap *boot.Snapshot, s Sysctls) (map[sysctl.Key]SysctlState, error) {
	states := sysctlStates(snap, s)
	var faults []*Error
	for _, v := range s.inOrder() {
		st := states[v.Key]
		switch {
		case st.Running == nil || *st.Running != v.Value:
			faults = append(faults, h.errorf(NotKept, "%s was set to %s, but reads %s a moment later. Something else on the host writes it; find out what, and let one of the "+
				"two own the key.", v.Key, quoted(v.Value), shown(st.Running)))
		case s.Persist && (st.Boot == nil || *st.Boot != v.Value):
			faults = append(faults, h.errorf(NotKept, "%s was written, but a moment later the next boot would set %s to %s. Something else on the host writes these files.",
				s.Path(), v.Key, shown(st.Boot)))
		}
	}
	return states, several(faults)
}

func shown(v *string) string {
	if v == nil {
		return "nothing"
	}
	return quoted(*v)
}

// UnsetSysctls takes s back: with Restore the running values to what the remaining files set, else to originals, then the drop-in. Without, they stay. An error of
// the kind NotRestored says that s is gone all the same.
func (h *Host) UnsetSysctls(ctx context.Context, s Sysctls, originals map[sysctl.Key]string) (err error) {
	release, err := h.hold(ctx, s.Path())
	if err != nil {
		return err
	}
	defer release()
	snap, err := h.fresh(ctx, s.paths()...)
	if err != nil {
		return err
	}
	if file, _ := snap.File(s.Path()); s.Persist {
		if err := h.onlyOurs(s, nil, file); err != nil {
			return err
		}
	}
	c := h.begin()
	defer func() { err = c.end(ctx, err) }()
	var restored []Setting
	if s.Restore {
		restored = s.restored(snap, s.originals(snap, s.Settings, originals), s.Path())
	}
	notRestored, err := h.run(ctx, c, snap, nil, restored)
	if err != nil {
		return err
	}
	if s.Persist {
		if err := c.remove(ctx, snap, s.Path()); err != nil {
			return err
		}
	}
	c.undos = nil
	return several(notRestored)
}

// restored are the values that hold without the resource, whose files are left out: what the others set, else what was there before.
func (s Sysctls) restored(snap *boot.Snapshot, originals map[sysctl.Key]string, files ...string) []Setting {
	for _, f := range files {
		snap = snap.WithoutFile(f)
	}
	var all []Setting
	for _, v := range s.Settings {
		had, value := snap.Values[v.Key.Path()], originals[v.Key]
		if a, ok := sysctl.Effective(snap.Sysctl, v.Key); ok {
			value = a.Value
		}
		if !had.Absent && had.Unread == "" && !sysctl.Equal(v.Key, had.Text, value) {
			all = append(all, Setting{v.Key, value})
		}
	}
	return all
}

// FindSysctls is what an import of a drop-in takes over. name is a host_sysctls' name, or the name of any file in /etc/sysctl.d, which ends in .conf.
func (h *Host) FindSysctls(ctx context.Context, name string) (Sysctls, error) {
	s := Sysctls{Resource: "host_sysctls", Name: name, FileName: name, Persist: true}
	snap, err := h.read(ctx)
	if err != nil {
		return s, err
	}
	if base, ok := strings.CutSuffix(name, ".conf"); ok {
		s.Name = strings.TrimPrefix(base, SysctlsPrefix)
	} else {
		s.FileName = SysctlsFileName(name)
	}
	f, ok := snap.File(s.Path())
	if !ok || f.Target != "" || f.Unread != "" {
		return s, h.errorf(NothingToImport, "there is no file %s that can be read, or it is a link. Check its name, or let Terraform create it.", s.Path())
	}
	all, bad := sysctl.ParseFile(f.Path, f.Text)
	for _, b := range bad {
		return s, h.errorf(NothingToImport, "%s:%d sets nothing: %s. Mend the line first.", b.File, b.Line, b.Problem)
	}
	for _, a := range all {
		k, err := sysctl.ParseKey(a.Pattern)
		if err != nil || !a.HasValue {
			return s, h.errorf(NothingToImport, "%s:%d is a pattern or excludes a key, which no resource holds. Move that line to a file of its own first.", a.File, a.Line)
		}
		s.Settings = slices.DeleteFunc(s.Settings, func(v Setting) bool { return v.Key == k })
		s.Settings = append(s.Settings, Setting{k, a.Value})
	}
	if len(s.Settings) == 0 {
		return s, h.errorf(NothingToImport, "%s sets no key.", s.Path())
	}
	return s, nil
}

// SysctlsPrefix begins the file name of a host_sysctls by default.
const SysctlsPrefix = "90-terraform-"

// SysctlsFileName is the drop-in of the host_sysctls of this name, where the configuration names none.
func SysctlsFileName(name string) string { return SysctlsPrefix + name + ".conf" }
