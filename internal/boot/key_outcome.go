package boot

import (
	"fmt"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// Key says what the next boot makes of k, and whether want will hold.
func (p *Prediction) Key(k sysctl.Key, want string) KeyOutcome {
	o := p.key(k)
	if !o.Known || o.Reason != "" {
		return o
	}
	if o.Holds = sysctl.Equal(k, o.Value, want); o.Holds {
		return o
	}
	o.Reason, o.Detail = p.difference(k, want, o)
	return o
}

// KeyAsSet says what the next boot makes of k, and whether the value that the files themselves set it to will hold.
func (p *Prediction) KeyAsSet(k sysctl.Key) KeyOutcome {
	o := p.key(k)
	o.Holds = o.Known && o.Reason == ""
	return o
}

// key is the outcome without a wanted value: Reason is set only if the deciding value cannot be promised.
func (p *Prediction) key(k sysctl.Key) KeyOutcome {
	d := p.sysctls.decide(k)
	var o KeyOutcome
	for _, a := range d.overruled {
		o.Shadows = append(o.Shadows, a.At.String())
	}
	fail := func(r Reason, source, detail string) KeyOutcome {
		o.Value, o.Known, o.Reason, o.Detail = "", false, r, detail
		if source != "" {
			o.Source = source
		}
		return o
	}
	if d.option != nil {
		o.Value, o.Known, o.Source = d.option.Value, true, d.option.At.String()
	}
	o.Notes = p.notes(k, d, o)
	if d.option != nil {
		by, value, known, ok := p.overwritten(k, d.option)
		switch _, udev := Interface(k); {
		case ok && udev && known && sysctl.Equal(k, value, o.Value):
		case ok && udev:
			o.Notes = append(o.Notes, Note{Shadowed, fmt.Sprintf("%s, which is written later, changes %s too, unless udev applies that again afterwards.",
				by.At.String(), k)})
		case ok && !known:
			own, later := o.Source, by.At.String()
			o.Shadows = append(o.Shadows, own)
			return fail(Shadowed, later, fmt.Sprintf("%s sets %s, and %s, which is written later, sets a key that changes it "+
				"to a value that the kernel chooses.", own, k, later))
		case ok:
			o.Shadows = append(o.Shadows, o.Source)
			o.Value, o.Source = value, by.At.String()
		}
	}
	if d.unread != "" {
		return fail(Unread, d.unread, d.unread+" could not be read, and it may set the key.")
	}
	if d.option == nil {
		return p.unset(k, d, o, fail)
	}
	if source, detail := p.sysctlsOff(k); source != "" {
		return fail(ServiceOff, source, detail)
	}
	if p.s.ProcSysReadOnly {
		return fail(ReadOnly, "", "/proc/sys/net is mounted read-only, so systemd-sysctl.service is skipped at boot.")
	}
	if p.s.ReadOnly(k) {
		return fail(ReadOnly, "", fmt.Sprintf("/proc/sys cannot be written apart from net, so what applies sysctl.d at boot passes over %s without a word.", k))
	}
	if r, source, detail := p.absent(k); r == InterfaceLater {
		o.Notes = append(o.Notes, Note{r, detail})
	} else if r != "" {
		return fail(r, source, detail)
	}
	if module, ok := p.owner(k); ok {
		m := p.Module(module)
		if o.Notes = append(o.Notes, m.Notes...); m.Reason == Container {
			o.Notes = append(o.Notes, Note{Container, m.Detail})
		}
	}
	if volatile(o.Source) {
		o.Notes = append(o.Notes, Note{Volatile, o.Source + " decides, and /run is empty when the machine starts."})
	}
	if notNumbers(k, p.s.Values[k.Path()].Text, o.Value) {
		o.Notes = slices.DeleteFunc(o.Notes, func(n Note) bool { return n.Reason == UnitFails })
		if d.option.Ignore {
			return fail(Unset, "", o.Source+" sets it to what is no number, which the kernel refuses.")
		}
		return fail(UnitFails, "", noNumber)
	}
	if r, source, detail := p.refused(k, d.option, o.Value); r != "" {
		return fail(r, source, detail)
	}
	if r, detail := p.byAnotherInit(k, d, o); r != "" {
		return fail(r, "", detail)
	}
	kept, whole := p.kept(k, o.Value)
	if o.Value = kept; !whole {
		return fail(Unset, "", o.Source+" sets fewer numbers than the key holds; the others stay as the kernel makes them.")
	}
	return o
}

// unset is the outcome for a key that no line sets.
func (p *Prediction) unset(k sysctl.Key, d decision, o KeyOutcome, fail func(Reason, string, string) KeyOutcome) KeyOutcome {
	below := belowProcSys(k)
	if value, ok := p.cmd.sysctls[below]; ok {
		o.Value, o.Known, o.Source = value, true, fromCommandLine
		if owner, owned := p.owner(k); owned {
			return fail(NotLoaded, fromCommandLine, fmt.Sprintf("The kernel command line sets %s before its module %s can be there.", k, owner))
		}
		return o
	}
	if d.excludes != nil {
		at := d.excludes.At.String()
		if len(d.excludes.overruled) > 0 {
			return fail(Voided, at, fmt.Sprintf("%s takes %s back, which %s sets.", at, k, o.Shadows[len(o.Shadows)-1]))
		}
		if len(d.overruled) > 0 {
			return fail(Excluded, at, fmt.Sprintf("%s keeps the pattern of %s away from %s.", at, o.Shadows[len(o.Shadows)-1], k))
		}
		return fail(Unset, at, fmt.Sprintf("%s leaves %s alone, and no other line sets it.", at, k))
	}
	for _, m := range p.sysctls.masked {
		if m.HasValue && m.Matches(k) {
			return fail(Masked, m.by, fmt.Sprintf("%s sets %s, but %s has the same name and hides it.", m.At.String(), k, m.by))
		}
	}
	for _, a := range p.sysctls.conf {
		if a.HasValue && a.Matches(k) {
			return fail(SysctlConfUnread, "", fmt.Sprintf("%s sets %s, and systemd does not read that file.", a.At.String(), k))
		}
	}
	return fail(Unset, "", fmt.Sprintf("No file sets %s.", k))
}

// difference says why the value that the boot leaves is not the wanted one.
func (p *Prediction) difference(k sysctl.Key, want string, o KeyOutcome) (Reason, string) {
	if o.Source == fromCommandLine {
		return CommandLine, fmt.Sprintf("The kernel command line sets %s, and no file does.", k)
	}
	d := p.sysctls.decide(k)
	if own := d.option.At.String(); own != o.Source {
		return Shadowed, fmt.Sprintf("%s sets %s, and %s, which is written later, sets a key that changes it.", own, k, o.Source)
	}
	for _, a := range d.overruled {
		if sysctl.Equal(k, a.Value, want) {
			return Shadowed, fmt.Sprintf("%s sets %s, and %s overrules it.", a.At.String(), k, o.Source)
		}
	}
	for _, m := range p.sysctls.masked {
		if m.HasValue && m.Matches(k) && sysctl.Equal(k, m.Value, want) {
			return Masked, fmt.Sprintf("%s sets %s, but %s has the same name and hides it; %s decides.", m.At.String(), k, m.by, o.Source)
		}
	}
	for _, a := range p.sysctls.conf {
		if !p.sysctls.confRead && a.HasValue && a.Matches(k) && sysctl.Equal(k, a.Value, want) {
			return SysctlConfUnread, fmt.Sprintf("%s sets %s, and systemd does not read that file; %s decides.", a.At.String(), k, o.Source)
		}
	}
	if d.option.IsGlob() {
		return Covered, fmt.Sprintf("The pattern of %s matches %s and sets another value.", o.Source, k)
	}
	return Shadowed, fmt.Sprintf("%s sets %s to another value.", o.Source, k)
}

// notes are what is worth knowing of a key whose value is decided.
func (p *Prediction) notes(k sysctl.Key, d decision, o KeyOutcome) []Note {
	var notes []Note
	for _, f := range p.sysctls.failures {
		if d.option != nil && f.Source == d.option.At.String() {
			notes = append(notes, Note{UnitFails, f.Detail})
		}
	}
	a, ok := p.sysctls.procps(k)
	switch {
	case ok && d.option == nil:
		notes = append(notes, Note{Disagree, fmt.Sprintf("`sysctl --system` sets %s, by %s; systemd-sysctl does not.", k, a.At.String())})
	case ok && !sysctl.Equal(k, a.Value, d.option.Value):
		notes = append(notes, Note{Disagree, fmt.Sprintf("`sysctl --system` follows %s; systemd-sysctl follows %s.", a.At.String(), o.Source)})
	}
	if _, onCommandLine := p.cmd.sysctls[belowProcSys(k)]; onCommandLine && d.option != nil {
		notes = append(notes, Note{CommandLine, fmt.Sprintf("The kernel command line sets %s too, and %s overrules it.", k, o.Source)})
	}
	return notes
}

// volatile says whether a place is in a file that the next boot does not find, unless something writes it again. A credential is handed over anew.
func volatile(source string) bool {
	return strings.HasPrefix(source, "/run/") && !strings.HasPrefix(source, "/run/credentials/")
}

// overwritten returns the last line for another key whose write changes k, if it is written after k's own, and what it
// leaves in k; known is false if that does not follow from the line.
func (p *Prediction) overwritten(k sysctl.Key, own *option) (by *option, value string, known, ok bool) {
	for _, w := range leaders(k) {
		d := p.sysctls.decide(w)
		if d.option == nil || d.option.turn < own.turn || by != nil && d.option.turn < by.turn {
			continue
		}
		left, sure := d.option.Value, true
		switch does, mutual := CouplingOf(w, k), CouplingOf(k, w) != Apart; {
		case does == Zeroes:
			left = "0"
		case does == sysctl.Rescales:
			left, sure = inUnitOf(k, w, left)
		case does == sysctl.Resets:
			left, sure = "", false
		case does == Copies && mutual:
		case sysctl.Equal(w, left, p.before(w, d.option)): // only a change reaches other keys
			continue
		case does == Copies:
		case sysctl.Equal(w, left, "0"):
			left = "1"
		default:
			left = "0"
		}
		by, value, known = d.option, left, sure
	}
	return by, value, known, by != nil
}

// before is what the switch w is when its line is written: off, as the kernel starts, unless a line for its twin came first.
func (p *Prediction) before(w sysctl.Key, own *option) string {
	value := "0"
	for _, twin := range leaders(w) {
		if d := p.sysctls.decide(twin); d.option != nil && d.option.turn < own.turn && CouplingOf(w, twin) == Copies {
			value = d.option.Value
		}
	}
	return value
}

// owner is the module that brings k on this host; none does if the key is there without the module.
func (p *Prediction) owner(k sysctl.Key) (module string, ok bool) {
	module, ok = kmod.Owner(k)
	if !ok {
		return "", false
	}
	if r, read := p.s.Values[k.Path()]; read && !r.Absent && !p.s.Loaded[module] {
		return "", false
	}
	return module, true
}

// absent says why the key may not be there when systemd-sysctl runs; no Reason if it is.
func (p *Prediction) absent(k sysctl.Key) (r Reason, source, detail string) {
	if module, ok := p.owner(k); ok {
		m := p.Module(module)
		belongs := fmt.Sprintf("%s belongs to the kernel module %s", k, module)
		if p.s.NoModules && p.s.Has(module) {
			if !p.s.Values[k.Path()].Absent {
				return "", "", ""
			}
			return KeyMissing, "", fmt.Sprintf("%s, which is in this kernel, and yet there is no %s here, as in a container.", belongs, k.Path())
		}
		if m.Known && m.Loaded {
			if p.s.Init == "openrc" && !p.s.ModulesFirst && !m.Builtin {
				return InitUnknown, m.Source, fmt.Sprintf(
					"%[1]s, and OpenRC starts its services %[2]s and %[3]s in no fixed order, unless /etc/conf.d/%[3]s says rc_after=\"%[2]s\".",
					belongs, p.s.OpenRC.Modules, p.s.OpenRC.Sysctl)
			}
			return "", "", ""
		}
		switch m.Reason {
		case NotLoaded:
			return m.Reason, "", fmt.Sprintf("%s, and nothing loads %s before systemd-sysctl runs.", belongs, module)
		case LoadedByHand:
			return m.Reason, "", fmt.Sprintf("%s, which is loaded now, and nothing in modules-load.d loads it before systemd-sysctl runs.", belongs)
		}
		return m.Reason, m.Source, belongs + ". " + m.Detail
	}
	if reading, read := p.s.Values[k.Path()]; !read || !reading.Absent {
		return "", "", ""
	}
	if name, ok := Interface(k); ok {
		return InterfaceLater, "", fmt.Sprintf("There is no interface %s now; udev applies its keys when it appears.", name)
	}
	detail = fmt.Sprintf("There is no %s, and no module is known to bring it.", k.Path())
	if right, ok := VLANSpelling(k); ok {
		detail = fmt.Sprintf("There is no %s. If the interface has a dot in its name, the key is %s.", k.Path(), right)
	}
	return KeyMissing, "", detail
}

// Interface returns the network interface whose key k is, if udev applies the key when the interface appears
// (99-systemd.rules, which leaves out lo).
func Interface(k sysctl.Key) (name string, ok bool) {
	parts := strings.Split(belowProcSys(k), "/")
	if len(parts) != 5 || parts[0] != "net" || parts[1] != "ipv4" && parts[1] != "ipv6" || parts[2] != "conf" && parts[2] != "neigh" {
		return "", false
	}
	return parts[3], parts[3] != "all" && parts[3] != "default" && parts[3] != "lo"
}

// VLANSpelling is the key that net.ipv4.conf.eth0.100.forwarding was meant to be.
func VLANSpelling(k sysctl.Key) (right sysctl.Key, ok bool) {
	parts := strings.Split(belowProcSys(k), "/")
	if len(parts) != 6 || strings.Trim(parts[4], "0123456789") != "" {
		return sysctl.Key{}, false
	}
	right, ok = keyAt(strings.Join([]string{parts[0], parts[1], parts[2], parts[3] + "." + parts[4], parts[5]}, "/"))
	if !ok {
		return sysctl.Key{}, false
	}
	_, ok = Interface(right)
	return right, ok
}

// refused says why the kernel will not take a value that needs a module; no Reason if nothing speaks against it.
func (p *Prediction) refused(k sysctl.Key, own *option, value string) (r Reason, source, detail string) {
	module, ok := kmod.ForValue(k, value)
	if !ok {
		return "", "", ""
	}
	if r := p.s.Values[k.Path()]; !r.Absent && sysctl.Equal(k, r.Text, value) && !p.s.Loaded[module] {
		return "", "", "" // the kernel holds it now without a module
	}
	needs := fmt.Sprintf("The value needs the kernel module %s. ", module)
	if p.s.NoModules { // the module tree of a container says nothing of the machine's kernel
		if p.s.Has(module) {
			return "", "", ""
		}
		return Container, "", needs + p.Module(module).Detail
	}
	if !loadsItself(k, value, module) {
		m := p.Module(module)
		if m.Known && m.Loaded {
			return "", "", ""
		}
		return m.Reason, m.Source, needs + m.Detail
	}
	if len(p.modules) == 0 {
		if m := p.noTree(module); !m.Known {
			return m.Reason, "", needs + m.Detail
		}
		return "", "", ""
	}
	if ok, r, source, detail := p.modules[0].ready(module); !ok {
		return r, source, needs + detail
	}
	last := p.sysctls.named["kernel/modules_disabled"]
	if last != nil && last.HasValue && last.turn < own.turn && sysctl.Equal(k, last.Value, "1") && !p.modules[0].there(module) {
		at := last.At.String()
		return NotLoaded, at, fmt.Sprintf("%s%s sets kernel.modules_disabled before, and the kernel then loads no more modules.", needs, at)
	}
	return "", "", ""
}

// loadsItself says whether the kernel loads the module when the value is written (net/ipv4/tcp_cong.c, net/sched/sch_api.c).
func loadsItself(k sysctl.Key, value, module string) bool {
	switch k.Path() {
	case "/proc/sys/net/ipv4/tcp_congestion_control":
		return module == "tcp_"+kmod.Canonical(value)
	case "/proc/sys/net/core/default_qdisc":
		return true
	}
	return false
}

// byAnotherInit says why a host without systemd may not apply what systemd would.
func (p *Prediction) byAnotherInit(k sysctl.Key, d decision, o KeyOutcome) (Reason, string) {
	if p.s.Init == "systemd" {
		return "", ""
	}
	if f := p.sysctls.anyUnread(p.s); p.s.Init == "openrc" && f != "" {
		return Unread, f + " could not be read, and OpenRC may read it last."
	}
	if p.s.Init == "openrc" && !d.option.IsGlob() {
		for _, w := range leaders(k) {
			if a, ok := p.sysctls.sequential(w); ok {
				return InitUnknown, fmt.Sprintf("The host starts with OpenRC, whose versions read the files in different orders, and %s sets %s, which changes %s.",
					a.At.String(), w, k)
			}
		}
		a, ok := p.sysctls.procps(k)
		b, inTurn := p.sysctls.sequential(k)
		if ok && inTurn && sysctl.Equal(k, a.Value, o.Value) && sysctl.Equal(k, b.Value, o.Value) {
			return "", ""
		}
		return InitUnknown, fmt.Sprintf("The host starts with OpenRC, whose versions read the files in different orders, and these do not agree on %s.", k)
	}
	return InitUnknown, p.initDetail("sysctl.d")
}

// sysctlsOff says what keeps anything from applying sysctl.d at boot; source is "" if nothing does. A key of an interface udev applies all the same.
func (p *Prediction) sysctlsOff(k sysctl.Key) (source, detail string) {
	if by := p.s.Off[sysctlUnit]; by != "" {
		if _, udev := Interface(k); udev {
			return "", ""
		}
		return by, fmt.Sprintf("%s is masked by %s, so nothing applies sysctl.d at boot.", sysctlUnit, by)
	}
	if by := p.s.Off["sysctl"]; by != "" {
		return by, fmt.Sprintf("The OpenRC service sysctl is in no runlevel of %s, so nothing applies sysctl.d at boot.", by)
	}
	return "", ""
}

const noNumber = "The key holds numbers, and the line sets it to what is none, which the kernel refuses."

// integers says whether k, which reads now, holds integers.
func integers(k sysctl.Key, now string) bool {
	return sysctl.Equal(k, "010", "8") && sysctl.Integers(now) // only of integers are these one value
}

// notNumbers says whether the kernel refuses a value because k, which reads now, holds integers.
func notNumbers(k sysctl.Key, now, value string) bool {
	asked := strings.Fields(value)
	return integers(k, now) && !sysctl.Integers(strings.Join(asked[:min(len(asked), len(strings.Fields(now)))], " "))
}

// kept is what the kernel makes of a value that it takes, written to a key of integers: it takes as many as the key holds. whole is false if there are fewer.
func (p *Prediction) kept(k sysctl.Key, value string) (kept string, whole bool) {
	now, asked := strings.Fields(p.s.Values[k.Path()].Text), strings.Fields(value)
	if !integers(k, p.s.Values[k.Path()].Text) {
		return value, true
	}
	if len(asked) > len(now) {
		return strings.Join(asked[:len(now)], " "), true
	}
	return value, len(asked) == len(now)
}
