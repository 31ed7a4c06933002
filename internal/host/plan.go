package host

// What a plan shows of a change: the prediction for the snapshot as it would be after the change.

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// KeyPlan is what the next boot makes of one key after a planned change.
type KeyPlan struct {
	// Holds says that the next boot leaves the planned value, and Reason why it does not, or why that is not certain.
	Holds  bool
	Reason boot.Reason
	// Own says that our own drop-in decides. Otherwise only the apply can tell what does, because other files have a say.
	Own bool
	// Open says that Holds and Reason may be others by the time of the apply: resources which are planned later may have a
	// say in them, or they are not certain.
	Open bool
	// Contested is the path:line by which something else writes another value at boot, or the line that the last boot did
	// not heed; "" if nothing is known to be against the value. The value after the next boot is then not known.
	Contested string
}

// SysctlsPlan is what a plan may say of the next boot after a change of keys.
type SysctlsPlan struct {
	// Keys are the planned keys. If the plan comes with an error, they say what our own file does, which holds unless
	// other files have a say.
	Keys map[sysctl.Key]KeyPlan
	// Conflicts are with other resources of the run: no apply can keep both.
	Conflicts []*Error
	// Refusals are why an apply that changes something is certain to fail.
	Refusals []*Error
	// Warnings are worth knowing, and stop nothing.
	Warnings []*Error
}

// All returns conflicts, refusals and warnings.
func (p SysctlsPlan) All() []*Error { return slices.Concat(p.Conflicts, p.Refusals, p.Warnings) }

// PlanSysctl pretends that s is applied, as PlanSysctls does.
func (h *Host) PlanSysctl(ctx context.Context, s Sysctl, prior *Sysctl) (SysctlsPlan, error) {
	return h.PlanSysctls(ctx, *s.alone(), prior.alone())
}

// PlanSysctls pretends that s is applied, together with what other resources of this run plan and the
// host_kernel_module resources that its Modules stand for. prior is what Terraform last recorded, nil when s is to be
// created.
func (h *Host) PlanSysctls(ctx context.Context, s Sysctls, prior *Sysctls) (SysctlsPlan, error) {
	defer h.enter()()
	h.Know(s.Instance, s.Path())
	if prior != nil {
		h.Know(s.Instance, prior.Path())
	}
	if !s.Persist || prior == nil {
		h.readEverythingFor(s)
	}
	p := SysctlsPlan{Keys: map[sysctl.Key]KeyPlan{}}
	snap, err := s.readWith(ctx, h.readForPlan)
	h.noteSeen(s.Path(), err)
	if err != nil {
		p.Conflicts = h.conflicts(h.name, s)
		for _, v := range s.Settings {
			p.Keys[v.Key] = KeyPlan{Holds: s.Persist, Own: s.Persist}
		}
		return p, err
	}
	p.Conflicts = h.conflicts(h.machine(snap), s)
	snap = h.withPlanned(snap, s)
	if s.Persist {
		h.predictInto(ctx, &p, snap, s, prior)
		drift, err := h.checkDrift(ctx, snap, s)
		if err != nil {
			return p, err
		}
		p.Warnings = append(p.Warnings, drift...)
	}
	for _, v := range s.inOrder() {
		had := snap.Values[v.Key.Path()]
		if fault := h.checkKey(v.Key, s.Modules, snap); fault != nil && !h.mayAppear(fault, snap, s) {
			p.Refusals = append(p.Refusals, fault)
		}
		if !s.Persist && snap.ReadOnly(v.Key) && !sysctl.Equal(v.Key, had.Text, v.Value) {
			p.Refusals = append(p.Refusals, h.errorf(KeyReadOnly, "%s cannot be written: /proc/sys is mounted read-only there. "+
				"%s", v.Key, boot.ReadOnly.Remedy()))
		}
		if harm := sysctl.Dangerous(v.Key, v.Value); harm != "" {
			p.Warnings = append(p.Warnings, h.errorf(Dangerous,
				"%s = %s is accepted by the kernel, but %s Choose a higher value.",
				v.Key, v.Value, harm))
		}
		if sysctl.OneWay(v.Key, v.Value) && !sysctl.Equal(v.Key, had.Text, v.Value) {
			p.Warnings = append(p.Warnings, h.errorf(OneWay, "%s goes one way: once it is %s, the kernel takes nothing back "+
				"before the next boot, so destroy cannot restore it.",
				v.Key, quoted(v.Value)))
		}
	}
	return p, nil
}

// predictInto adds to p what the next boot makes of the keys of s, and what stands against its drop-in.
func (h *Host) predictInto(ctx context.Context, p *SysctlsPlan, snap *boot.Snapshot, s Sysctls, prior *Sysctls) {
	held := s.holdings(snap, prior)
	h.checkOwners(ctx, p, snap, s, held)
	var e *Error
	if errors.As(h.checkDropIn(snap, s, prior, prior == nil && h.knows(s.Path())), &e) {
		p.Refusals = append(p.Refusals, e)
	}
	now := h.predict(snap)
	for _, module := range s.Modules {
		if !now.Module(module).LoadedAtBoot {
			snap = snap.WithFile(Module{Name: module}.pretended())
		}
	}
	next := h.predict(s.pretendIn(snap, prior, held))
	for _, v := range s.inOrder() {
		o := next.Key(v.Key, v.Value)
		if lost := h.keyLost(v, s.Path(), o); lost != nil {
			p.Refusals = append(p.Refusals, lost)
		}
		coupled := sysctl.Cluster(v.Key) != ""
		if _, lost := s.Boots.lost(v.Key); lost && o.Holds {
			p.Keys[v.Key] = KeyPlan{Reason: boot.OverwrittenAtBoot, Contested: o.Source}
			continue
		}
		if o.Reason == boot.OtherWriter {
			p.Keys[v.Key] = KeyPlan{Reason: o.Reason, Contested: o.Source}
			for _, n := range o.Notes {
				p.Warnings = append(p.Warnings, h.errorf(BootNote, "%s: %s %s", v.Key, n.Detail, n.Reason.Remedy()))
			}
			p.Warnings = append(p.Warnings, h.errorf(KeyContested, "%s %s If that line goes between plan and "+
				"apply, plan again.", o.Detail, o.Reason.Remedy()))
			continue
		}
		own := len(o.Shadows) == 0 && (within(o.Source, s.Path()) || !o.Known) && !coupled
		p.Keys[v.Key] = KeyPlan{
			Holds: o.Holds, Reason: o.Reason, Own: own || o.Holds && !coupled && h.fleet.Applies(),
			Open: coupled && next.Order() != boot.OrderByName || mayChange(next, o.Reason),
		}
		for _, n := range o.Notes {
			p.Warnings = append(p.Warnings, h.errorf(BootNote, "%s: %s %s", v.Key, n.Detail, n.Reason.Remedy()))
		}
		if mayChange(next, o.Reason) && h.fleet.Applies() {
			p.Warnings = append(p.Warnings, h.notCertain(v.Key.String(), o.Detail))
		}
	}
	refusals, warnings := h.bootCollateral(snap, next, s)
	p.Refusals, p.Warnings = append(p.Refusals, refusals...), append(p.Warnings, warnings...)
}

// bootCollateral says which keys that other files set would get another value at the next boot because of s.
func (h *Host) bootCollateral(snap *boot.Snapshot, next *boot.Prediction, s Sysctls) (refusals, warnings []*Error) {
	var leaders []sysctl.Key
	own := map[sysctl.Key]bool{}
	for _, v := range s.Settings {
		if own[v.Key] = true; sysctl.Leads(v.Key) {
			leaders = append(leaders, v.Key)
		}
	}
	if len(leaders) == 0 {
		return nil, nil
	}
	now := h.predict(snap)
	for _, k := range now.Keys() {
		var by []string
		mutual := false
		for _, l := range leaders {
			if follows(l, k) {
				by, mutual = append(by, l.String()), mutual || follows(k, l)
			}
		}
		was, is := now.KeyAsSet(k), next.KeyAsSet(k)
		if len(by) == 0 || own[k] || !was.Known || !is.Known || sysctl.Equal(k, was.Value, is.Value) || sysctl.Secret(k) {
			continue
		}
		fault := h.errorf(KeysFight, "%s sets %s to %s, and the next boot would make it %s, because %s, which %s sets, "+
			"changes it too. ",
			was.Source, k, quoted(was.Value), quoted(is.Value), strings.Join(by, " and "), s.Path())
		if mutual {
			fault.Detail += "Only one of the two can hold: remove that line, or leave the key to it."
			warnings = append(warnings, fault)
			continue
		}
		fault.Detail += "Give this resource a file_name that sorts before that file: what is written later has the last word."
		refusals = append(refusals, fault)
	}
	return refusals, warnings
}

// mayAppear reports whether a key that is missing now may be there when it is applied: its interface, or a module that
// this run loads, brings it.
func (h *Host) mayAppear(fault *Error, snap *boot.Snapshot, s Sysctls) bool {
	return fault.Kind == KeyMissing && (len(s.Modules) > 0 || h.loadsModules(snap))
}

// ModulePlan is what a plan may say of the next boot after a change of a module.
type ModulePlan struct {
	// Holds says that the next boot loads the module, and Reason why it does not, or why that is not certain.
	Holds  bool
	Reason boot.Reason
	// Open says that Holds and Reason are not certain, and may be others by the time of the apply.
	Open bool
	// Source is the path:line that will load it; nil when only the apply can tell.
	Source *string
	// Refusals and Warnings are as those of a SysctlsPlan.
	Refusals, Warnings []*Error
}

// All returns refusals and warnings.
func (p ModulePlan) All() []*Error { return slices.Concat(p.Refusals, p.Warnings) }

// PlanModule pretends that m is applied. prior is what Terraform last recorded, nil when m is to be created. If it
// comes with an error, the plan says what our own file does.
func (h *Host) PlanModule(ctx context.Context, m Module, prior *Module) (ModulePlan, error) {
	defer h.enter()()
	h.Know(m.Instance, m.LoadPath())
	h.searchFor(m.Name)
	source := m.Source()
	var p ModulePlan
	snap, err := h.readForPlan(ctx)
	h.noteSeen(m.LoadPath(), err)
	if err != nil {
		if p.Holds = m.Persist; m.Persist {
			p.Source = &source
		}
		return p, err
	}
	h.noteModule(h.machine(snap), m)
	if !m.Persist {
		if o := h.predict(snap).Module(m.Name); o.Known && o.Reason == boot.Container {
			p.Refusals = []*Error{h.cannotLoad(o)}
		}
		return p, nil
	}
	h.checkModuleOwners(ctx, &p, snap, m, prior)
	next := h.predict(snap.WithFile(m.pretended()))
	o := next.Module(m.Name)
	p.Holds, p.Reason, p.Open = o.Known && o.LoadedAtBoot, o.Reason, mayChange(next, o.Reason)
	if lost := h.moduleLost(m, o, snap.Kernel); lost != nil {
		p.Refusals = append(p.Refusals, lost)
	}
	for _, n := range o.Notes {
		p.Warnings = append(p.Warnings, h.errorf(BootNote, "%s: %s %s", m.Name, n.Detail, n.Reason.Remedy()))
	}
	if p.Open && h.fleet.Applies() {
		p.Warnings = append(p.Warnings, h.notCertain(m.Name, o.Detail))
	}
	if o.Source == source || p.Holds && h.fleet.Applies() {
		p.Source = &source
	}
	return p, nil
}

// pretendIn returns the snapshot with the drop-in of s as it is to be, without one of another name that prior had, and
// without the keys that s takes from other instances. A drop-in that sets just that stays as it is.
func (s Sysctls) pretendIn(snap *boot.Snapshot, prior *Sysctls, held map[sysctl.Key][]holding) *boot.Snapshot {
	if prior != nil && prior.Persist && prior.FileName != s.FileName {
		snap = snap.WithoutFile(prior.Path())
	}
	written, removed := s.takeOver(held)
	for _, f := range written {
		snap = snap.WithFile(confdir.File{Path: f.Path, Text: f.Content, Regular: true})
	}
	for _, path := range removed {
		snap = snap.WithoutFile(path)
	}
	if f, ok := snap.File(s.Path()); ok && s.isExactly(f) {
		return snap
	}
	return snap.WithFile(s.pretended())
}

// pretended is the drop-in of s as it is to be, without values from before.
func (s Sysctls) pretended() confdir.File {
	return confdir.File{Path: s.Path(), Text: s.dropIn(nil, nil), Regular: true}
}

// uncertain are the reasons for which nothing better is known than what our own file sets. They are reported, and
// prevent nothing.
var uncertain = []boot.Reason{boot.InitUncertain, boot.Unread, boot.KernelPending, boot.InterfaceLater}

// mayChange reports whether an uncertain reason may have gone by the time of the apply. An init system of which nothing
// is known stays so, but files may come to agree in each order of the others.
func mayChange(next *boot.Prediction, r boot.Reason) bool {
	return slices.Contains(uncertain, r) && (r != boot.InitUncertain || next.Order() == boot.OrderByVersion)
}

// notCertain is the warning of an apply for what was certain when it was planned, maybe.
func (h *Host) notCertain(what, why string) *Error {
	return h.errorf(BootNote, "what the next boot makes of %s is not certain. %s If the apply says that the provider "+
		"produced an inconsistent final plan, that has changed since the plan: plan again.", what, why)
}

// keyLost returns an error if the next boot would not set a value of the drop-in at path. It returns nil if that cannot
// be known.
func (h *Host) keyLost(v Setting, path string, o boot.KeyPrediction) *Error {
	if o.Holds || o.Reason == boot.OtherWriter || slices.Contains(uncertain, o.Reason) || kernelDecides(v, path, o) {
		return nil
	}
	if o.Reason == boot.ReadOnly {
		return h.errorf(KeyReadOnly, "%s %s", lowerFirst(o.Detail), o.Reason.Remedy())
	}
	return h.errorf(KeyLost, "%s %s", lowerFirst(o.Detail), o.Reason.Remedy())
}

// kernelDecides reports whether the reason against the value is its form, or a module that it names. The kernel's own
// error is better then, so the value is written first.
func kernelDecides(v Setting, path string, o boot.KeyPrediction) bool {
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
func (h *Host) moduleLost(m Module, o boot.ModulePrediction, kernel string) *Error {
	switch {
	case o.Known && o.LoadedAtBoot || slices.Contains(uncertain, o.Reason):
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
func bootLayer(o boot.KeyPrediction, own *sysctl.Assignment) (value, source *string) {
	if !o.Known && slices.Contains(uncertain, o.Reason) {
		if own == nil {
			return nil, nil
		}
		source := own.At.String()
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
