package boot

// What other programs make of a key at boot.

import (
	"fmt"

	"github.com/host-provider/terraform-provider-host/internal/sysctl"
	"github.com/host-provider/terraform-provider-host/internal/writer"
)

// otherWriter has a Reason if something that may run after systemd-sysctl sets the key, or one that it follows, to
// another value. A writer whose value is not known is a note, and so is a program that may write the key by its own
// code.
func (j *judgement) otherWriter() Cause {
	var last writer.Write
	what := ""
	consider := func(k sysctl.Key, changes func(value string) bool, effect string) {
		for _, w := range j.p.s.Writes {
			switch {
			case w.Order == writer.Earlier || !w.Matches(k) || w.HasValue && !changes(w.Value):
			case !w.HasValue:
				j.note(OtherWriter, w.At.String(), fmt.Sprintf("%s writes %s at boot%s, by %s. The line does not say which value.",
					w.By, k, effect, w.At))
			case last.By == "" || w.Order == writer.Later || last.Order == writer.Unordered:
				last, what = w, fmt.Sprintf("%s to another value%s", k, effect)
			}
		}
		for _, p := range writer.Programs(j.p.s.Enabled, k) {
			if p.Value == "" || changes(p.Value) {
				j.note(OtherProgram, p.Unit, fmt.Sprintf("%s is enabled, and may write %s%s: %s.", p.Unit, k, effect, p.Why))
			}
		}
	}
	for _, leader := range leaders(j.k) {
		set := j.p.sysctls.decide(leader).option
		consider(leader, func(value string) bool {
			copied := effectOf(leader, j.k) == sysctl.Copies && j.Known && sysctl.Equal(j.k, value, j.Value)
			is := j.p.s.Values[leader.Path()].Text
			if set != nil {
				is = set.Value
			}
			return !copied && !sysctl.Equal(leader, value, is)
		}, fmt.Sprintf(", which changes %s", j.k))
	}
	consider(j.k, func(value string) bool { return !j.Known || !sysctl.Equal(j.k, value, j.Value) }, "")
	switch {
	case last.By == "":
		return Cause{}
	case last.Order == writer.Unordered:
		return Cause{OtherWriter, last.At.String(), fmt.Sprintf("%s sets %s, by %s. Nothing orders it and %s, so either may "+
			"come last.", last.By, what, last.At, sysctlUnit)}
	}
	return Cause{OtherWriter, last.At.String(), fmt.Sprintf("%s sets %s, by %s, after sysctl.d is applied.", last.By, what,
		last.At)}
}
