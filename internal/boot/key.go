package boot

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// KeyPrediction is what the next boot leaves in one key. Its Source is the line that sets the key, and its Reason is
// "" if the key holds what is wanted.
type KeyPrediction struct {
	Cause
	// Value is what the key will hold, as the deciding line writes it; "" if not Known. It may be a secret
	// (sysctl.Secret).
	Value string
	// Known reports whether the value is certain, as far as files can tell: the kernel may still refuse it.
	Known bool
	// Shadows are the path:line of assignments to the key that the Source overrules, in the order they are read.
	Shadows []string
	// Holds reports whether the key will hold the wanted value.
	Holds bool
	// Notes are what else there is to know, whether or not the value holds.
	Notes []Cause
}

// Key returns what the next boot leaves in k, and whether that is want.
func (p *Prediction) Key(k sysctl.Key, want string) KeyPrediction {
	j := p.judge(k)
	if !j.Known || j.Reason != "" {
		return j.KeyPrediction
	}
	j.compare(want, differences)
	return j.KeyPrediction
}

// KeyNow returns what the next boot leaves in k, and whether that is the value that it has now.
func (p *Prediction) KeyNow(k sysctl.Key) KeyPrediction {
	j := p.judge(k)
	j.refusedThisBoot()
	if !j.Known || j.Reason != "" {
		return j.KeyPrediction
	}
	j.compare(p.s.Values[k.Path()].Text, differencesNow)
	return j.KeyPrediction
}

// KeyAsSet returns what the next boot leaves in k, and whether that is the value to which the files set it.
func (p *Prediction) KeyAsSet(k sysctl.Key) KeyPrediction {
	j := p.judge(k)
	if j.Known && j.Reason == "" {
		j.compare(j.Value, nil)
	}
	return j.KeyPrediction
}

// compare sets whether the known value holds as the wanted one. A difference in what the files say goes before another
// writer.
func (j *judgement) compare(want string, differences []keyCheck) {
	j.want, j.Holds = want, sysctl.Equal(j.k, j.Value, want)
	if !j.Holds {
		j.Cause = j.first(differences)
	} else {
		j.Cause = cmp.Or(j.otherWriter(), j.Cause)
	}
	if j.Reason == OtherWriter || j.Reason == ChangedSinceBoot {
		j.Value, j.Known, j.Holds = "", false, false
	}
}

// judgement is the prediction for one key while it is made.
type judgement struct {
	p     *Prediction
	k     sysctl.Key
	lines decision
	// module brings the key on this host; "" if none does.
	module string
	// want is the wanted value; only differences look at it.
	want string
	KeyPrediction
}

// keyCheck returns what it has against a key's value, or no Reason. It may correct the value, and add notes.
type keyCheck func(j *judgement) Cause

// The checks of a key by what sets it, in the order in which they decide: the first that has a Reason is the Cause.
var (
	// lineChecks are for a key that a line sets.
	lineChecks = []keyCheck{
		(*judgement).overwritten,
		(*judgement).unread,
		(*judgement).serviceOff,
		(*judgement).readOnly,
		(*judgement).moduleNotLoaded,
		(*judgement).keyMissing,
		(*judgement).volatileLine,
		(*judgement).noNumbers,
		(*judgement).valueNeedsModule,
		(*judgement).initUncertain,
		(*judgement).tooFewNumbers,
	}
	// commandLineChecks are for a key that only the kernel command line sets.
	commandLineChecks = []keyCheck{
		(*judgement).unread,
		(*judgement).beforeModule,
	}
	// unsetChecks are for a key that nothing sets. The last one always has a Reason.
	unsetChecks = []keyCheck{
		(*judgement).unread,
		(*judgement).excluded,
		(*judgement).masked,
		(*judgement).otherWriter,
		(*judgement).sysctlConfUnread,
		(*judgement).unset,
	}
	// differences are for a key whose value is known and is not the wanted one. The last one always has a Reason.
	differences = []keyCheck{
		(*judgement).setByCommandLine,
		(*judgement).changedByOther,
		(*judgement).overruled,
		(*judgement).masked,
		(*judgement).sysctlConfUnread,
		(*judgement).covered,
		(*judgement).setByOther,
	}
	// differencesNow are for a key whose value is known and is not the one that it has now. The last one always has a
	// Reason.
	differencesNow = []keyCheck{
		(*judgement).setByCommandLine,
		(*judgement).changedByOther,
		(*judgement).otherWriter,
		(*judgement).changedSinceBoot,
		(*judgement).overruled,
		(*judgement).masked,
		(*judgement).sysctlConfUnread,
		(*judgement).notApplied,
	}
)

// judge predicts k without a wanted value: the Reason is "" if the value is known.
func (p *Prediction) judge(k sysctl.Key) *judgement {
	j := &judgement{p: p, k: k, lines: p.sysctls.decide(k), module: p.owner(k)}
	for _, a := range j.lines.overruled {
		j.Shadows = append(j.Shadows, a.At.String())
	}
	checks := unsetChecks
	if line := j.lines.option; line != nil {
		j.Value, j.Known, j.Source, checks = line.Value, true, line.At.String(), lineChecks
	} else if value, ok := p.cmd.sysctls[belowProcSys(k)]; ok {
		j.Value, j.Known, j.Source, checks = value, true, fromCommandLine, commandLineChecks
	}
	j.notes()
	if c := j.first(checks); c.Reason != "" {
		j.Value, j.Known, j.Cause = "", false, c
	}
	return j
}

// first returns what the first of these checks has against the value. Its Source is that of the value if the check
// names no other.
func (j *judgement) first(checks []keyCheck) Cause {
	for _, check := range checks {
		if c := check(j); c.Reason != "" {
			c.Source = cmp.Or(c.Source, j.Source)
			return c
		}
	}
	return Cause{}
}

// note adds what does not change the prediction.
func (j *judgement) note(r Reason, source, detail string) {
	j.Notes = append(j.Notes, Cause{r, source, detail})
}

// notes adds what is known of the lines alone.
func (j *judgement) notes() {
	line := j.lines.option
	for _, f := range j.p.sysctls.failures {
		if line != nil && f.Source == line.At.String() {
			j.Notes = append(j.Notes, f.Cause)
		}
	}
	a, ok := j.p.sysctls.procps(j.k)
	switch {
	case ok && line == nil:
		j.note(Disagree, a.At.String(),
			fmt.Sprintf("`sysctl --system` sets %s, by %s; systemd-sysctl does not.", j.k, a.At))
	case ok && !sysctl.Equal(j.k, a.Value, line.Value):
		j.note(Disagree, a.At.String(),
			fmt.Sprintf("`sysctl --system` follows %s; systemd-sysctl follows %s.", a.At, line.At))
	}
	if _, onCommandLine := j.p.cmd.sysctls[belowProcSys(j.k)]; onCommandLine && line != nil {
		j.note(CommandLine, fromCommandLine,
			fmt.Sprintf("The kernel command line sets %s too, and %s overrules it.", j.k, line.At))
	}
}

// overwritten corrects the value if a later write of another key changes it. It has a Reason if the new value does not
// follow from that line. udev may write the key of an interface again afterwards, so that is only a note.
func (j *judgement) overwritten() Cause {
	by, value, known, ok := j.p.sysctls.overwritten(j.k, j.lines.option)
	if !ok {
		return Cause{}
	}
	if _, udev := Interface(j.k); udev {
		if !known || !sysctl.Equal(j.k, value, j.Value) {
			j.note(Shadowed, by.At.String(), fmt.Sprintf(
				"%s, which is written later, changes %s too, unless udev applies that again afterwards.", by.At, j.k))
		}
		return Cause{}
	}
	own := j.Source
	j.Shadows = append(j.Shadows, own)
	if !known {
		return Cause{Shadowed, by.At.String(), fmt.Sprintf("%s sets %s, and %s, which is written later, sets a key that "+
			"changes it to a value that the kernel chooses.", own, j.k, by.At)}
	}
	j.Value, j.Source = value, by.At.String()
	return Cause{}
}

// unread has a Reason if a file that may decide could not be read.
func (j *judgement) unread() Cause {
	if j.lines.unread == "" {
		return Cause{}
	}
	return Cause{Unread, j.lines.unread, j.lines.unread + " could not be read, and it may set the key."}
}

// serviceOff has a Reason if the service that applies the line does not start.
func (j *judgement) serviceOff() Cause { return j.p.init.sysctlsOff(j.k) }

// readOnly has a Reason if what applies the line cannot write the key.
func (j *judgement) readOnly() Cause {
	switch {
	case j.p.s.ProcSysReadOnly:
		return Cause{Reason: ReadOnly,
			Detail: "/proc/sys/net is mounted read-only, so systemd-sysctl.service is skipped at boot."}
	case j.p.s.ReadOnly(j.k):
		return Cause{Reason: ReadOnly, Detail: fmt.Sprintf(
			"/proc/sys cannot be written apart from net, so what applies sysctl.d at boot passes over %s without a word.", j.k)}
	}
	return Cause{}
}

// moduleNotLoaded has a Reason if the key belongs to a module that may not be loaded in time. Otherwise it adds what
// there is to know of the module.
func (j *judgement) moduleNotLoaded() Cause {
	if j.module == "" {
		return Cause{}
	}
	m := j.p.Module(j.module)
	if c := j.notInTime(m); c.Reason != "" {
		return c
	}
	if j.Notes = append(j.Notes, m.Notes...); m.Reason == Container {
		j.note(Container, m.Source, m.Detail)
	}
	return Cause{}
}

// notInTime returns why the module that owns the key may not be there when the line is applied.
func (j *judgement) notInTime(m ModulePrediction) Cause {
	belongs := fmt.Sprintf("%s belongs to the kernel module %s", j.k, j.module)
	switch {
	case j.p.s.NoModules && j.p.s.Has(j.module):
		if j.p.s.Values[j.k.Path()].Absent {
			return Cause{Reason: KeyMissing, Detail: fmt.Sprintf(
				"%s, which is in this kernel, and yet there is no %s here, as in a container.", belongs, j.k.Path())}
		}
		return Cause{}
	case m.Known && m.LoadedAtBoot:
		c := j.p.init.late(m)
		if c.Reason != "" {
			c.Detail = belongs + ", and " + c.Detail
		}
		return c
	case m.Reason == NotLoaded:
		return Cause{Reason: NotLoaded, Detail: fmt.Sprintf(
			"%s, and nothing loads %s before systemd-sysctl runs.", belongs, j.module)}
	case m.Reason == LoadedNowOnly:
		return Cause{Reason: LoadedNowOnly, Detail: fmt.Sprintf(
			"%s, which is loaded now, and nothing in modules-load.d loads it before systemd-sysctl runs.", belongs)}
	}
	return Cause{m.Reason, m.Source, belongs + ". " + m.Detail}
}

// keyMissing has a Reason if the kernel has no such key, unless a module or a network interface brings it.
func (j *judgement) keyMissing() Cause {
	reading, read := j.p.s.Values[j.k.Path()]
	if j.module != "" || !read || !reading.Absent {
		return Cause{}
	}
	if name, ok := Interface(j.k); ok {
		j.note(InterfaceLater, "", fmt.Sprintf(
			"There is no interface %s now; udev applies its keys when it appears.", name))
		return Cause{}
	}
	if right, ok := VLANSpelling(j.k); ok {
		return Cause{Reason: KeyMissing, Detail: fmt.Sprintf(
			"There is no %s. If the interface has a dot in its name, the key is %s.", j.k.Path(), right)}
	}
	return Cause{Reason: KeyMissing, Detail: fmt.Sprintf(
		"There is no %s, and no module is known to bring it.", j.k.Path())}
}

// volatileLine adds a note if the line does not outlast a boot.
func (j *judgement) volatileLine() Cause {
	if volatile(j.Source) {
		j.Notes = append(j.Notes, volatileNote(j.Source))
	}
	return Cause{}
}

// noNumbers has a Reason if the key holds numbers and the value is none.
func (j *judgement) noNumbers() Cause {
	if !notNumbers(j.k, j.p.s.Values[j.k.Path()].Text, j.Value) {
		return Cause{}
	}
	j.Notes = slices.DeleteFunc(j.Notes, func(n Cause) bool { return n.Reason == UnitFails })
	if j.lines.option.Ignore {
		return Cause{Reason: Unset, Detail: j.Source + " sets it to what is no number, which the kernel refuses."}
	}
	return Cause{Reason: UnitFails, Detail: noNumber}
}

// valueNeedsModule has a Reason if the kernel takes the value only with a module that may not be there.
func (j *judgement) valueNeedsModule() Cause {
	module, ok := kmod.ForValue(j.k, j.Value)
	if !ok {
		return Cause{}
	}
	now := j.p.s.Values[j.k.Path()]
	if !now.Absent && sysctl.Equal(j.k, now.Text, j.Value) && !j.p.s.LoadedNow[module] {
		return Cause{} // the kernel holds it now without a module
	}
	c := j.moduleForValue(module)
	if c.Reason != "" {
		c.Detail = fmt.Sprintf("The value needs the kernel module %s. %s", module, c.Detail)
	}
	return c
}

// moduleForValue returns why a module may not be there when the value needs it.
func (j *judgement) moduleForValue(module string) Cause {
	if j.p.s.NoModules { // the module tree of a container does not tell of the machine's kernel
		if j.p.s.Has(module) {
			return Cause{}
		}
		return Cause{Reason: Container, Detail: j.p.Module(module).Detail}
	}
	if !loadsItself(j.k, j.Value, module) {
		if m := j.p.Module(module); !m.Known || !m.LoadedAtBoot {
			return m.Cause
		}
		return Cause{}
	}
	if len(j.p.modules) == 0 {
		if m := j.p.noTree(module); !m.Known {
			return m.Cause
		}
		return Cause{}
	}
	plan := j.p.modules[0]
	if c := plan.ready(module); c.Reason != "" {
		return c
	}
	last := j.p.sysctls.named["kernel/modules_disabled"]
	if last != nil && last.HasValue && last.order < j.lines.option.order && sysctl.Equal(j.k, last.Value, "1") &&
		!plan.there(module) {
		return Cause{NotLoaded, last.At.String(), fmt.Sprintf(
			"%s sets kernel.modules_disabled before, and the kernel then loads no more modules.", last.At)}
	}
	return Cause{}
}

// initUncertain has a Reason if the host's init system may not do what systemd does.
func (j *judgement) initUncertain() Cause { return j.p.init.key(j) }

// tooFewNumbers corrects the value to as many numbers as the key holds. It has a Reason if there are fewer: the others
// stay as the kernel makes them.
func (j *judgement) tooFewNumbers() Cause {
	text := j.p.s.Values[j.k.Path()].Text
	if !integers(j.k, text) {
		return Cause{}
	}
	now, asked := strings.Fields(text), strings.Fields(j.Value)
	if len(asked) < len(now) {
		return Cause{Reason: Unset,
			Detail: j.Source + " sets fewer numbers than the key holds; the others stay as the kernel makes them."}
	}
	if len(asked) > len(now) {
		j.Value = strings.Join(asked[:len(now)], " ")
	}
	return Cause{}
}

// beforeModule has a Reason if the kernel command line sets a key that only comes with a module later.
func (j *judgement) beforeModule() Cause {
	if j.module == "" {
		return Cause{}
	}
	return Cause{NotLoaded, fromCommandLine, fmt.Sprintf(
		"The kernel command line sets %s before its module %s can be there.", j.k, j.module)}
}

// excluded has a Reason if a line "-KEY" is why nothing sets the key: it voids an earlier line, or keeps a pattern
// away.
func (j *judgement) excluded() Cause {
	by := j.lines.excludes
	if by == nil {
		return Cause{}
	}
	at := by.At.String()
	switch last := len(j.Shadows) - 1; {
	case len(by.overruled) > 0:
		return Cause{Voided, at, fmt.Sprintf("%s takes %s back, which %s sets.", at, j.k, j.Shadows[last])}
	case last >= 0:
		return Cause{Excluded, at, fmt.Sprintf("%s keeps the pattern of %s away from %s.", at, j.Shadows[last], j.k)}
	}
	return Cause{Unset, at, fmt.Sprintf("%s leaves %s alone, and no other line sets it.", at, j.k)}
}

// masked has a Reason if a file that another one hides sets the key, to the wanted value if another value is known.
func (j *judgement) masked() Cause {
	for _, m := range j.p.sysctls.masked {
		switch {
		case !m.HasValue || !m.Matches(j.k):
		case !j.Known:
			return Cause{Masked, m.by, fmt.Sprintf("%s sets %s, but %s has the same name and hides it.", m.At, j.k, m.by)}
		case sysctl.Equal(j.k, m.Value, j.want):
			return Cause{Reason: Masked, Detail: fmt.Sprintf(
				"%s sets %s, but %s has the same name and hides it; %s decides.", m.At, j.k, m.by, j.Source)}
		}
	}
	return Cause{}
}

// sysctlConfUnread has a Reason if /etc/sysctl.conf sets the key, to the wanted value if another value is known, and
// systemd does not read that file.
func (j *judgement) sysctlConfUnread() Cause {
	for _, a := range j.p.sysctls.conf {
		switch {
		case !a.HasValue || !a.Matches(j.k):
		case !j.Known:
			return Cause{Reason: SysctlConfUnread, Detail: fmt.Sprintf(
				"%s sets %s, and systemd does not read that file.", a.At, j.k)}
		case !j.p.sysctls.confRead && sysctl.Equal(j.k, a.Value, j.want):
			return Cause{Reason: SysctlConfUnread, Detail: fmt.Sprintf(
				"%s sets %s, and systemd does not read that file; %s decides.", a.At, j.k, j.Source)}
		}
	}
	return Cause{}
}

// unset is the Reason if there is no better one.
func (j *judgement) unset() Cause {
	return Cause{Reason: Unset, Detail: fmt.Sprintf("No file sets %s.", j.k)}
}

// setByCommandLine has a Reason if the value comes from the kernel command line.
func (j *judgement) setByCommandLine() Cause {
	if j.Source != fromCommandLine {
		return Cause{}
	}
	return Cause{Reason: CommandLine, Detail: fmt.Sprintf("The kernel command line sets %s, and no file does.", j.k)}
}

// changedByOther has a Reason if a later write of another key changed the value.
func (j *judgement) changedByOther() Cause {
	own := j.lines.option.At.String()
	if own == j.Source {
		return Cause{}
	}
	return Cause{Reason: Shadowed, Detail: fmt.Sprintf(
		"%s sets %s, and %s, which is written later, sets a key that changes it.", own, j.k, j.Source)}
}

// overruled has a Reason if the line overrules one that sets the wanted value.
func (j *judgement) overruled() Cause {
	for _, a := range j.lines.overruled {
		if sysctl.Equal(j.k, a.Value, j.want) {
			return Cause{Reason: Shadowed, Detail: fmt.Sprintf("%s sets %s, and %s overrules it.", a.At, j.k, j.Source)}
		}
	}
	return Cause{}
}

// covered has a Reason if a pattern sets the key.
func (j *judgement) covered() Cause {
	if !j.lines.option.IsGlob() {
		return Cause{}
	}
	return Cause{Reason: Covered, Detail: fmt.Sprintf(
		"The pattern of %s matches %s and sets another value.", j.Source, j.k)}
}

// setByOther is the Reason of a difference if there is no better one.
func (j *judgement) setByOther() Cause {
	return Cause{Reason: Shadowed, Detail: fmt.Sprintf("%s sets %s to another value.", j.Source, j.k)}
}

// volatile reports whether a file does not outlast a boot. A credential is handed over again.
func volatile(source string) bool {
	return strings.HasPrefix(source, "/run/") && !strings.HasPrefix(source, "/run/credentials/")
}

// volatileNote is the note about a source that does not outlast a boot.
func volatileNote(source string) Cause {
	return Cause{Volatile, source, source + " decides, and /run is empty when the machine starts."}
}

// owner returns the module that brings k on this host. It returns "" if the key is there without a module.
func (p *Prediction) owner(k sysctl.Key) string {
	module, ok := kmod.Owner(k)
	if r, read := p.s.Values[k.Path()]; !ok || read && !r.Absent && !p.s.LoadedNow[module] {
		return ""
	}
	return module
}

// Interface returns the network interface whose key k is, if udev applies the key when the interface appears
// (99-systemd.rules, which leaves out lo).
func Interface(k sysctl.Key) (name string, ok bool) {
	parts := strings.Split(belowProcSys(k), "/")
	if len(parts) != 5 || parts[0] != "net" || parts[1] != "ipv4" && parts[1] != "ipv6" ||
		parts[2] != "conf" && parts[2] != "neigh" {
		return "", false
	}
	return parts[3], parts[3] != "all" && parts[3] != "default" && parts[3] != "lo"
}

// VLANSpelling returns the key that one such as net.ipv4.conf.eth0.100.forwarding was meant to be.
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

// loadsItself reports whether the kernel loads the module when the value is written (net/ipv4/tcp_cong.c,
// net/sched/sch_api.c).
func loadsItself(k sysctl.Key, value, module string) bool {
	switch k.Path() {
	case "/proc/sys/net/ipv4/tcp_congestion_control":
		return module == "tcp_"+kmod.Canonical(value)
	case "/proc/sys/net/core/default_qdisc":
		return true
	}
	return false
}

const noNumber = "The key holds numbers, and the line sets it to what is none, which the kernel refuses."

// integers reports whether k, which reads now, holds integers.
func integers(k sysctl.Key, now string) bool {
	return sysctl.Equal(k, "010", "8") && sysctl.Integers(now) // only of integers are these one value
}

// notNumbers reports whether the kernel refuses a value because k, which reads now, holds integers.
func notNumbers(k sysctl.Key, now, value string) bool {
	asked := strings.Fields(value)
	return integers(k, now) && !sysctl.Integers(strings.Join(asked[:min(len(asked), len(strings.Fields(now)))], " "))
}
