package host

// host_sysctls on a host: keys that share a drop-in and are read, set and removed together.

import (
	"context"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// Sysctls is what a host_sysctls wants of a host.
type Sysctls struct {
	// Resource is the type of the resource, and Name its name on the host. The drop-in's first line holds both.
	Resource, Name string
	// Settings are the keys with their values, each key once, in any order.
	Settings []Setting
	// Modules are the modules that own keys according to the configuration. It may be empty.
	Modules []string
	// FileName is the drop-in's name in /etc/sysctl.d.
	FileName string
	// Persist is false if there is no drop-in, and only the running values are set.
	Persist bool
	// Restore is true if a removed key gets the value that holds without this resource.
	Restore bool
}

// Setting is a key and its wanted value.
type Setting struct {
	Key   sysctl.Key
	Value string
}

// SysctlState is the state of one key on a host, a field for each layer. A nil pointer means that the layer has no
// value.
type SysctlState struct {
	// Running is the value in /proc/sys. It is nil if the key does not exist now.
	Running *string
	// Boot is the value after the next boot, given every file on the host, and BootSource the path:line that decides. Boot
	// is nil if the value is lost.
	Boot, BootSource *string
	// Original is the value from before Terraform first wrote the key.
	Original *string
}

// inOrder returns the settings in the order in which they must be written.
func (s Sysctls) inOrder() []Setting {
	return slices.SortedFunc(slices.Values(s.Settings), func(a, b Setting) int { return sysctl.Compare(a.Key, b.Key) })
}

// paths returns the files of the keys under /proc/sys.
func (s Sysctls) paths() []string {
	var all []string
	for _, v := range s.Settings {
		all = append(all, v.Key.Path())
	}
	return all
}

// without returns the settings whose keys other does not have. s may be nil.
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

// ReadSysctls reads the layers of each key of s. If the kernel treats a value as equal to the one in s, it returns the
// spelling in s.
func (h *Host) ReadSysctls(ctx context.Context, s Sysctls) (map[sysctl.Key]SysctlState, error) {
	if !s.Persist {
		h.readEverything()
	}
	snap, err := h.read(ctx, s.paths()...)
	if err != nil {
		return nil, err
	}
	if faults := h.checkSecrets(s); len(faults) > 0 {
		return nil, several(faults)
	}
	return h.sysctlStates(snap, s), nil
}

// sysctlStates returns the state of each key of s in a snapshot.
func (h *Host) sysctlStates(snap *boot.Snapshot, s Sysctls) map[sysctl.Key]SysctlState {
	next := h.predict(snap)
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

// originals returns the values from before Terraform: from the state if it knows them, else from the drop-in, else what
// the host has now.
func (s Sysctls) originals(snap *boot.Snapshot, settings []Setting, known map[sysctl.Key]string) map[sysctl.Key]string {
	file, _ := snap.File(s.Path())
	remembered := s.originalsIn(file)
	all := make(map[sysctl.Key]string, len(settings))
	for _, v := range settings {
		original, ok := known[v.Key]
		if there, inFile := remembered[v.Key]; inFile && (!ok || strings.ContainsRune(original, utf8.RuneError)) {
			original, ok = there, true // the state can hold text only, but the file holds every byte
		}
		if !ok {
			original = snap.Values[v.Key.Path()].Text
		}
		all[v.Key] = original
	}
	return all
}

// SetSysctls applies s: first the running values, in one exchange, then the drop-in. prior is what Terraform recorded
// last; it is nil if s is created. A key that only prior has is removed. originals are the values from before Terraform
// that the state knows. If a value is refused, all values are restored. After an error the host is as it was, or the
// error says what may remain (MayHaveChanged). If all errors are of the kind NotRestored, s is applied all the same.
func (h *Host) SetSysctls(
	ctx context.Context, s Sysctls, prior *Sysctls, originals map[sysctl.Key]string,
) (states map[sysctl.Key]SysctlState, err error) {
	release, err := h.lock(ctx, s.Path())
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
	if err := h.checkSettable(snap, s, prior, file, exists); err != nil {
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
	notRestored, err := h.writeRunningValues(ctx, c, snap, s.Settings, restored)
	if err != nil {
		return states, err
	}
	var written []shell.File
	var removed []string
	if s.Persist && !s.isExactly(file) {
		written = []shell.File{{Path: s.Path(), Content: s.dropIn(originals)}}
	}
	if prior != nil && prior.Persist && (!s.Persist || prior.FileName != s.FileName) {
		removed = []string{prior.Path()}
	}
	snap, err = c.files(ctx, snap, written, removed, s.paths())
	if err != nil {
		return states, err
	}
	now, err := h.checkApplied(snap, s)
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

// writeRunningValues writes the wanted and the restored running values in one exchange, and checks what the kernel made
// of them.
func (h *Host) writeRunningValues(
	ctx context.Context, c *change, snap *boot.Snapshot, wanted, restored []Setting,
) (notRestored []*Error, err error) {
	isRestored := map[sysctl.Key]bool{}
	for _, v := range restored {
		isRestored[v.Key] = true
	}
	var settings []Setting
	var writes []write
	follows := false // if a key that others follow is written, the value of each later one is unknown
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
			if e := h.checkRestored(v, r); e != nil {
				notRestored = append(notRestored, e)
			}
		default:
			if e := h.checkWritten(v, writes[i].before, r); e != nil {
				faults = append(faults, e)
			}
		}
	}
	return notRestored, several(faults)
}

// UnsetSysctls removes s. If s.Restore is set, it first restores the running values: to what the remaining files set,
// else to originals. Then it removes the drop-in. If all errors are of the kind NotRestored, s is removed all the same.
func (h *Host) UnsetSysctls(ctx context.Context, s Sysctls, originals map[sysctl.Key]string) (err error) {
	release, err := h.lock(ctx, s.Path())
	if err != nil {
		return err
	}
	defer release()
	snap, err := h.fresh(ctx, s.paths()...)
	if err != nil {
		return err
	}
	if file, _ := snap.File(s.Path()); s.Persist {
		if err := h.checkOwnership(s, nil, file); err != nil {
			return err
		}
	}
	c := h.begin()
	defer func() { err = c.end(ctx, err) }()
	var restored []Setting
	if s.Restore {
		restored = s.restored(snap, s.originals(snap, s.Settings, originals), s.Path())
	}
	notRestored, err := h.writeRunningValues(ctx, c, snap, nil, restored)
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

// restored returns the values that hold without the resource and its files: what other files set, else the value from
// before.
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

// FindSysctls returns what an import of a drop-in takes over. name is the name of a host_sysctls, or the name of any
// file in /etc/sysctl.d, which ends in .conf.
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
		return s, h.errorf(NothingToImport,
			"there is no file %s that can be read, or it is a link. Check its name, or let Terraform create it.",
			s.Path())
	}
	all, bad := sysctl.ParseFile(f.Path, f.Text)
	for _, b := range bad {
		return s, h.errorf(NothingToImport, "%s:%d sets nothing: %s. Mend the line first.", b.File, b.Line, b.Problem)
	}
	for _, a := range all {
		k, err := sysctl.ParseKey(a.Pattern)
		if err != nil || !a.HasValue {
			return s, h.errorf(NothingToImport,
				"%s:%d is a pattern or excludes a key, which no resource holds. Move that line to a file of its own first.",
				a.File, a.Line)
		}
		s.Settings = slices.DeleteFunc(s.Settings, func(v Setting) bool { return v.Key == k })
		s.Settings = append(s.Settings, Setting{k, a.Value})
	}
	if len(s.Settings) == 0 {
		return s, h.errorf(NothingToImport, "%s sets no key.", s.Path())
	}
	return s, nil
}
