package host

// What a plan shows of a change: the prediction for the snapshot as it would be after the change.

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// Plan is what a plan shows of the next boot after a change. If it comes with an error, no other file was read, and
// Source is the line of our own file.
type Plan struct {
	// Source is the path:line that will decide. It is nil if only the apply can tell, because other files may decide too.
	Source *string
	// Warnings are reasons against the change, and notes on it. Apply returns those as errors that mean a loss.
	Warnings []*Error
}

// SysctlsPlan is what a plan shows of the next boot after a change of many keys. If it comes with an error, it is as a
// Plan with one.
type SysctlsPlan struct {
	// Own are the keys that our own drop-in will decide. For the others only the apply can tell, because other files may
	// decide too.
	Own map[sysctl.Key]bool
	// Warnings are as a Plan's.
	Warnings []*Error
}

// PlanSysctl plans s as PlanSysctls does.
func (h *Host) PlanSysctl(ctx context.Context, s Sysctl, prior *Sysctl) (Plan, error) {
	all, err := h.PlanSysctls(ctx, *s.alone(), prior.alone())
	p := Plan{Warnings: all.Warnings}
	if source := s.Source(); all.Own[s.Key] {
		p.Source = &source
	}
	return p, err
}

// PlanSysctls predicts the next boot as if s and the host_kernel_module resources for its Modules were applied. prior
// is what Terraform recorded last; it is nil if s is to be created.
func (h *Host) PlanSysctls(ctx context.Context, s Sysctls, prior *Sysctls) (SysctlsPlan, error) {
	if !s.Persist || prior == nil {
		h.readEverything()
	}
	p := SysctlsPlan{Own: map[sysctl.Key]bool{}, Warnings: h.conflicts(s)}
	snap, err := h.readForPlan(ctx, s.paths()...)
	if err != nil {
		for _, v := range s.Settings {
			p.Own[v.Key] = s.Persist
		}
		return p, err
	}
	if s.Persist {
		now := h.predict(snap)
		for _, module := range s.Modules {
			if !now.Module(module).Loaded {
				snap = snap.WithFile(Module{Name: module}.pretended())
			}
		}
		next := h.predict(s.pretendIn(snap, prior))
		for _, v := range s.inOrder() {
			h.addPrediction(&p, v, s.Path(), next.Key(v.Key, v.Value))
		}
	}
	for _, v := range s.inOrder() {
		if !s.Persist && snap.ReadOnly(v.Key) && !sysctl.Equal(v.Key, snap.Values[v.Key.Path()].Text, v.Value) {
			p.Warnings = append(p.Warnings, h.errorf(KeyReadOnly,
				"%s cannot be written: /proc/sys is mounted read-only there. %s",
				v.Key, boot.ReadOnly.Remedy()))
		}
		if harm := sysctl.Dangerous(v.Key, v.Value); harm != "" {
			p.Warnings = append(p.Warnings, h.errorf(Dangerous,
				"%s = %s is accepted by the kernel, but %s Choose a higher value.",
				v.Key, v.Value, harm))
		}
		if had := snap.Values[v.Key.Path()]; sysctl.OneWay(v.Key, v.Value) && !sysctl.Equal(v.Key, had.Text, v.Value) {
			p.Warnings = append(p.Warnings, h.errorf(OneWay,
				"%s goes one way: once it is %s, the kernel takes nothing back before the next boot, so destroy cannot restore it.",
				v.Key, quoted(v.Value)))
		}
	}
	return p, nil
}

// addPrediction adds the prediction for one key to the plan. path is the path of our drop-in.
func (h *Host) addPrediction(p *SysctlsPlan, v Setting, path string, o boot.KeyOutcome) {
	if lost := h.keyLost(v, path, o); lost != nil {
		p.Warnings = append(p.Warnings, lost)
	}
	p.Own[v.Key] = len(o.Shadows) == 0 && (within(o.Source, path) || !o.Known)
	for _, n := range o.Notes {
		p.Warnings = append(p.Warnings, h.errorf(BootNote, "%s: %s %s", v.Key, n.Detail, n.Reason.Remedy()))
	}
}

// PlanModule predicts the next boot as if m were applied.
func (h *Host) PlanModule(ctx context.Context, m Module) (Plan, error) {
	h.searchFor(m.Name)
	source := m.Source()
	var p Plan
	snap, err := h.readForPlan(ctx)
	if err != nil {
		if m.Persist {
			p.Source = &source
		}
		return p, err
	}
	if !m.Persist {
		if o := h.predict(snap).Module(m.Name); o.Known && o.Reason == boot.Container {
			p.Warnings = []*Error{h.cannotLoad(o)}
		}
		return p, nil
	}
	o := h.predict(snap.WithFile(m.pretended())).Module(m.Name)
	if lost := h.moduleLost(m, o, snap.Kernel); lost != nil {
		p.Warnings = append(p.Warnings, lost)
	}
	for _, n := range o.Notes {
		p.Warnings = append(p.Warnings, h.errorf(BootNote, "%s: %s %s", m.Name, n.Detail, n.Reason.Remedy()))
	}
	if o.Source == source {
		p.Source = &source
	}
	return p, nil
}

// pretendIn returns the snapshot with the drop-in of s as it would be, and without prior's if that has another name. A
// file that sets exactly what s wants is not replaced.
func (s Sysctls) pretendIn(snap *boot.Snapshot, prior *Sysctls) *boot.Snapshot {
	if prior != nil && prior.Persist && prior.FileName != s.FileName {
		snap = snap.WithoutFile(prior.Path())
	}
	if f, ok := snap.File(s.Path()); ok && s.isExactly(f) {
		return snap
	}
	return snap.WithFile(confdir.File{Path: s.Path(), Text: s.dropIn(nil), Regular: true})
}

// uncertain are the reasons for which nothing better is known than what our own file sets. They are reported, and
// prevent nothing.
var uncertain = []boot.Reason{boot.InitUnknown, boot.Unread, boot.KernelPending, boot.InterfaceLater}

// keyLost returns an error if the next boot would not set a value of the drop-in at path. It returns nil if that cannot
// be known.
func (h *Host) keyLost(v Setting, path string, o boot.KeyOutcome) *Error {
	if o.Holds || slices.Contains(uncertain, o.Reason) || kernelDecides(v, path, o) {
		return nil
	}
	if o.Reason == boot.ReadOnly {
		return h.errorf(KeyReadOnly, "%s %s", lowerFirst(o.Detail), o.Reason.Remedy())
	}
	return h.errorf(KeyLost, "%s %s", lowerFirst(o.Detail), o.Reason.Remedy())
}

// kernelDecides reports whether the reason against the value is its form, or a module that it names. The kernel's own
// error is better then, so the value is written first.
func kernelDecides(v Setting, path string, o boot.KeyOutcome) bool {
	if o.Reason == boot.NotInTree || o.Reason == boot.Container {
		_, named := kmod.ForValue(v.Key, v.Value)
		return named
	}
	return within(o.Source, path) && (o.Reason == boot.Unset || o.Reason == boot.Shadowed || o.Reason == boot.UnitFails)
}

// lowerFirst makes the first letter lower case, because the sentence follows "On HOST,".
func lowerFirst(sentence string) string {
	if sentence == "" {
		return ""
	}
	return strings.ToLower(sentence[:1]) + sentence[1:]
}

// moduleLost returns an error if the next boot would not load the module. It returns nil if that cannot be known.
func (h *Host) moduleLost(m Module, o boot.ModuleOutcome, kernel string) *Error {
	switch {
	case o.Known && o.Loaded || slices.Contains(uncertain, o.Reason):
		return nil
	case o.Reason == boot.NotInTree:
		return h.unknownModule(m, kernel)
	case o.Reason == boot.Container && !o.Known:
		return h.errorf(ModuleLost,
			"%s What modules-load.d says does nothing here: set persist = false, or leave the module to that machine.",
			lowerFirst(o.Detail))
	}
	return h.errorf(ModuleLost, "%s %s", lowerFirst(o.Detail), o.Reason.Remedy())
}

// bootLayer returns the value of a key after the next boot and the path:line that sets it. If the host's init or files
// make it uncertain, it returns own, the assignment of our own drop-in.
func bootLayer(o boot.KeyOutcome, own *sysctl.Assignment) (value, source *string) {
	if !o.Known && slices.Contains(uncertain, o.Reason) {
		if own == nil {
			return nil, nil
		}
		source := at(own.File, own.Line)
		return &own.Value, &source
	}
	if o.Known {
		value = &o.Value
	}
	if o.Source != "" {
		source = &o.Source
	}
	return value, source
}

// conflicts records what s wants in this run, and warns if another resource wants the same key, or a coupled key that
// cannot hold its value beside it. It cannot tell a resource that is planned twice from two resources that want the
// same value in the same file.
func (h *Host) conflicts(s Sysctls) []*Error {
	h.mu.Lock()
	defer h.mu.Unlock()
	me := s.Resource + " " + s.Name
	if s.Persist {
		me += ", in " + s.Path()
	}
	var warnings []*Error
	for _, v := range s.inOrder() {
		of := h.planned[v.Key]
		if of == nil {
			of = map[string]string{}
			h.planned[v.Key] = of
		}
		for _, other := range slices.Sorted(maps.Keys(of)) {
			if other == me && sysctl.Equal(v.Key, of[other], v.Value) {
				continue
			}
			warnings = append(warnings, h.errorf(KeyTwice,
				"%s is set to %s by %s, and to %s by %s. Each apply would undo what the other did, and destroying one takes the "+
					"value away from both. Leave the key to one of them.",
				v.Key, quoted(of[other]), other, quoted(v.Value), me))
		}
		of[me] = v.Value
		if boot.Coupled(v.Key) {
			warnings = append(warnings, h.coupledConflicts(v)...)
		}
	}
	return warnings
}

// coupledConflicts warns of the planned keys that cannot hold their values beside v.
func (h *Host) coupledConflicts(v Setting) (fights []*Error) {
	var coupled []Setting
	for other, by := range h.planned {
		if other != v.Key && boot.Coupled(other) {
			for _, value := range by {
				coupled = append(coupled, Setting{other, value})
			}
		}
	}
	for _, other := range (Sysctls{Settings: coupled}).inOrder() {
		does := boot.CouplingOf(v.Key, other.Key)
		if boot.CouplingOf(other.Key, v.Key) == boot.Apart {
			continue // both hold if the key for all is written first
		}
		switch {
		case does == boot.Zeroes && !sysctl.Equal(v.Key, v.Value, "0") && !sysctl.Equal(other.Key, other.Value, "0"):
			fights = append(fights, h.errorf(KeysFight,
				"%s and %s are the same limit in two units: setting one makes the other 0, so no apply can keep both. Keep one of "+
					"the two.",
				v.Key, other.Key))
		case does == boot.Copies && !sysctl.Equal(other.Key, v.Value, other.Value):
			fights = append(fights, h.errorf(KeysFight,
				"%s is planned to be %s and %s %s, but changing one changes the other too, so it depends on the order what is "+
					"left. Give both one value, or keep one of the two.",
				v.Key, quoted(v.Value), other.Key, quoted(other.Value)))
		}
	}
	return fights
}
