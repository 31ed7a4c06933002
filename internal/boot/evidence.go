package boot

// What this boot of a host has shown so far, which goes before what its files say.

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// Evidence is what this boot of a host has shown. Times are seconds since 1970, and 0 if they are not known.
type Evidence struct {
	// Booted is when the kernel started, and Applied when systemd-sysctl.service last started.
	Booted, Applied int64
	// Changed is when each file last changed, by its path: its content, its name or its mode.
	Changed map[string]int64
	// Said are the lines that systemd-sysctl and systemd-modules-load have logged.
	Said []string
}

// applies reports whether this boot has applied the file of a line as it is now. A file that changed in the very second
// may be either.
func (e *Evidence) applies(line *option) bool {
	if e == nil || line == nil {
		return false
	}
	changed := e.Changed[line.At.File]
	return changed > 0 && changed < e.Applied
}

// couldNot matches what systemd-sysctl logs of a key that it could not write.
var couldNot = regexp.MustCompile(`^Couldn't write '.*' to '([^']+)'[^:]*: (.+)$`)

// refusal is why systemd-sysctl could not write k in this boot, in the kernel's words; "" if it logged nothing.
func (e *Evidence) refusal(k sysctl.Key) string {
	if e == nil {
		return ""
	}
	for _, line := range e.Said {
		if m := couldNot.FindStringSubmatch(line); m != nil && (m[1] == belowProcSys(k) || m[1] == k.String()) {
			return m[2]
		}
	}
	return ""
}

// Proven returns when this boot set k to the value that it has now, as the files say; 0 if that is not known.
func (p *Prediction) Proven(k sysctl.Key) int64 {
	j := p.judge(k)
	now := p.s.Values[k.Path()]
	if !j.Known || j.Reason != "" || now.Absent || !sysctl.Equal(k, now.Text, j.Value) ||
		!p.s.Evidence.applies(j.lines.option) {
		return 0
	}
	return p.s.Evidence.Applied
}

// ChangedSinceBoot reports whether this boot applied the line that decides k as it is now. If the key has another value
// than that line sets, something changed it afterwards.
func (p *Prediction) ChangedSinceBoot(k sysctl.Key) bool { return p.judge(k).setByThisBoot() }

// setByThisBoot reports whether this boot set the key to what the line says. It does not if systemd-sysctl could not
// write it, and not for sure if a file was removed since, which may have overruled the line.
func (j *judgement) setByThisBoot() bool {
	e := j.p.s.Evidence
	return e.applies(j.lines.option) && e.refusal(j.k) == "" && !e.fileRemoved()
}

// fileRemoved reports whether a directory of sysctl.d has changed since its files were applied, and no file in it is as
// new as that.
func (e *Evidence) fileRemoved() bool {
	for _, root := range []string{"/etc", "/run", "/usr/local/lib", "/usr/lib"} {
		dir := root + "/sysctl.d"
		newest := e.Applied
		for file, changed := range e.Changed {
			if path.Dir(file) == dir {
				newest = max(newest, changed)
			}
		}
		if e.Changed[dir] > newest {
			return true
		}
	}
	return false
}

// changedSinceBoot has a Reason if this boot applied the line, so that something has changed the value afterwards.
func (j *judgement) changedSinceBoot() Cause {
	if j.p.s.Values[j.k.Path()].Absent || !j.setByThisBoot() {
		return Cause{}
	}
	return Cause{ChangedSinceBoot, j.lines.option.At.String(), fmt.Sprintf("%s applied %s in this boot, and something "+
		"has changed %s since.", sysctlUnit, j.lines.option.At, j.k)}
}

// notApplied has a Reason, because no line sets the value that runs now.
func (j *judgement) notApplied() Cause { return NotAppliedBy(j.Source, j.k) }

// NotAppliedBy is the cause of a key that has another value now than the line at source sets.
func NotAppliedBy(source string, k sysctl.Key) Cause {
	return Cause{NotApplied, source, fmt.Sprintf("%s sets %s to another value than it has now.", source, k)}
}

// refusedThisBoot adds a note if systemd-sysctl could not write the key in this boot.
func (j *judgement) refusedThisBoot() {
	if why := j.p.s.Evidence.refusal(j.k); why != "" {
		j.note(NotApplied, "", fmt.Sprintf("In this boot systemd-sysctl could not write %s: %s.", j.k,
			strings.TrimSuffix(why, ".")))
	}
}
