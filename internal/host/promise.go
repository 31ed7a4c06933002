package host

// The promise about the next boot: judged before a change is made, on the snapshot as it would be, and after it, on a fresh one.

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

// Promise is what a plan may say of the next boot after a change.
type Promise struct {
	// Source is the path:line that will decide; nil when only the apply can tell, because other files have a say too.
	Source *string
	// Warnings are what stands against it, or is worth knowing. Apply makes errors of those that mean a loss.
	Warnings []*Error
}

// PlanSysctl pretends that s is applied, together with the host_kernel_module that its Module stands for. prior is what Terraform last recorded, nil when s is
// to be created.
func (h *Host) PlanSysctl(ctx context.Context, s Sysctl, prior *Sysctl) (Promise, error) {
	snap, err := h.read(ctx, s.Key.Path())
	if err != nil {
		return Promise{}, err
	}
	var p Promise
	if s.Persist {
		if s.Module != "" && !boot.Predict(snap).Module(s.Module).Loaded {
			snap = snap.WithFile(Module{Name: s.Module}.pretended())
		}
		o := boot.Predict(s.pretend(snap, prior)).Key(s.Key, s.Value)
		if lost := h.keyLost(s, o); lost != nil {
			p.Warnings = append(p.Warnings, lost)
		}
		if source := s.Source(); len(o.Shadows) == 0 && (o.Source == source || !o.Known) {
			p.Source = &source
		}
		for _, n := range o.Notes {
			p.Warnings = append(p.Warnings, h.errorf(BootNote, "%s: %s %s", s.Key, n.Detail, n.Reason.Remedy()))
		}
	}
	if had := snap.Values[s.Key.Path()]; sysctl.OneWay(s.Key, s.Value) && !sysctl.Equal(s.Key, had.Text, s.Value) {
		p.Warnings = append(p.Warnings, h.errorf(OneWay, "%s goes one way: once it is %s, the kernel takes nothing back before the next boot, so destroy cannot restore it.",
			s.Key, quoted(s.Value)))
	}
	if harm := sysctl.Dangerous(s.Key, s.Value); harm != "" {
		p.Warnings = append(p.Warnings, h.errorf(Dangerous, "%s = %s is accepted by the kernel, but %s Choose a higher value.", s.Key, s.Value, harm))
	}
	p.Warnings = append(p.Warnings, h.rivals(s)...)
	return p, nil
}

// rivals tells of the keys planned so far that cannot keep their values beside s, and notes s for those that follow.
func (h *Host) rivals(s Sysctl) (fights []*Error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.planned[s.Key] = s.Value
	for _, other := range slices.SortedFunc(maps.Keys(h.planned), func(a, b sysctl.Key) int { return strings.Compare(a.String(), b.String()) }) {
		value := h.planned[other]
		does := boot.CouplingOf(s.Key, other)
		if does == boot.Apart {
			does = boot.CouplingOf(other, s.Key)
		}
		switch {
		case does == boot.Zeroes && !sysctl.Equal(s.Key, s.Value, "0") && !sysctl.Equal(other, value, "0"):
			fights = append(fights, h.errorf(KeysFight, "%s and %s are the same limit in two units: setting one makes the other 0, so no apply can keep both. Keep one of the "+
				"two.", s.Key, other))
		case does == boot.Copies && !sysctl.Equal(other, s.Value, value):
			fights = append(fights, h.errorf(KeysFight, "%s is planned to be %s and %s %s, but changing one changes the other too, so it depends on the order what is "+
				"left. Give both one value, or keep one of the two.", s.Key, quoted(s.Value), other, quoted(value)))
		}
	}
	return fights
}

// PlanModule pretends that m is applied.
func (h *Host) PlanModule(ctx context.Context, m Module) (Promise, error) {
	h.lookFor(m.Name)
	snap, err := h.read(ctx)
	if err != nil || !m.Persist {
		return Promise{}, err
	}
	var p Promise
	o := boot.Predict(snap.WithFile(m.pretended())).Module(m.Name)
	if lost := h.moduleLost(m, o, snap.Kernel); lost != nil {
		p.Warnings = append(p.Warnings, lost)
	}
	for _, n := range o.Notes {
		p.Warnings = append(p.Warnings, h.errorf(BootNote, "%s: %s %s", m.Name, n.Detail, n.Reason.Remedy()))
	}
	if source := m.Source(); o.Source == source {
		p.Source = &source
	}
	return p, nil
}

// pretend is the snapshot with the drop-in of s as it is to be, and without one of another name that prior had. One that sets the value already stays as it is.
func (s Sysctl) pretend(snap *boot.Snapshot, prior *Sysctl) *boot.Snapshot {
	if prior != nil && prior.Persist && prior.FileName != s.FileName {
		snap = snap.WithoutFile(prior.Path())
	}
	if f, ok := snap.File(s.Path()); ok && s.ownValue(f) != nil && sysctl.Equal(s.Key, *s.ownValue(f), s.Value) {
		return snap
	}
	return snap.WithFile(confdir.File{Path: s.Path(), Text: s.dropIn(""), Regular: true})
}

// ownValue is what the drop-in itself sets the key to; nil when it does not.
func (s Sysctl) ownValue(f confdir.File) *string {
	if a, ok := sysctl.Effective([]confdir.File{f}, s.Key); ok {
		return &a.Value
	}
	return nil
}

func (m Module) pretended() confdir.File {
	return confdir.File{Path: m.LoadPath(), Text: kmod.FormatLoad(m.Name, m.mark()), Regular: true}
}

// uncertain are the reasons for which nothing better is known than what our own file says: they are told, and stop nothing.
var uncertain = []boot.Reason{boot.InitUnknown, boot.Unread, boot.KernelPending, boot.InterfaceLater}

// keyLost is the error for a value that the next boot would not bring; nil when it would, or when that cannot be known.
func (h *Host) keyLost(s Sysctl, o boot.KeyOutcome) *Error {
	if o.Holds || slices.Contains(uncertain, o.Reason) || kernelsToJudge(s, o) {
		return nil
	}
	return h.errorf(KeyLost, "%s %s", lowerFirst(o.Detail), o.Reason.Remedy())
}

// kernelsToJudge reports whether what stands against the value is its own form, or a module that it names: the kernel says that better when it is written.
func kernelsToJudge(s Sysctl, o boot.KeyOutcome) bool {
	if o.Reason == boot.NotInTree {
		_, named := kmod.ForValue(s.Key, s.Value)
		return named
	}
	return o.Source == s.Source() && (o.Reason == boot.Unset || o.Reason == boot.Shadowed)
}

// lowerFirst makes a sentence go on after "On HOST,".
func lowerFirst(sentence string) string {
	if sentence == "" {
		return ""
	}
	return strings.ToLower(sentence[:1]) + sentence[1:]
}

func (h *Host) moduleLost(m Module, o boot.ModuleOutcome, kernel string) *Error {
	switch {
	case o.Known && o.Loaded || slices.Contains(uncertain, o.Reason):
		return nil
	case o.Reason == boot.NotInTree:
		return h.unknownModule(m, kernel)
	}
	return h.errorf(ModuleLost, "%s %s", lowerFirst(o.Detail), o.Reason.Remedy())
}

// bootLayer is the next boot's value of a key and where it comes from. Where the host's init or files leave it uncertain, it is what our own drop-in says.
func bootLayer(snap *boot.Snapshot, s Sysctl) (value, source *string) {
	o := boot.Predict(snap).Key(s.Key, s.Value)
	if !o.Known && slices.Contains(uncertain, o.Reason) {
		f, ok := snap.File(s.Path())
		if !ok {
			return nil, nil
		}
		value = s.ownValue(f)
	}
	if o.Known {
		value = &o.Value
	}
	if o.Source != "" {
		source = &o.Source
	}
	return value, source
}
