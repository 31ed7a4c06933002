package host

// What the boots of a host have shown: evidence of the present one, and what a resource remembers of earlier ones.

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

//go:embed scripts/evidence.sh
var evidenceScript string

// evidence is what a boot has shown, as of so many writes of this process. A second process may have written since.
type evidence struct {
	*boot.Evidence
	machine string
	writes  int
}

// withEvidence returns snap with what this boot has shown. That takes one exchange for all resources of the host,
// unless something was written.
func (h *Host) withEvidence(ctx context.Context, snap *boot.Snapshot) (*boot.Snapshot, error) {
	if snap.Evidence != nil {
		return snap, nil
	}
	select {
	case h.evidenceLock <- struct{}{}:
		defer func() { <-h.evidenceLock }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	h.mu.Lock()
	e, writes := h.evidence, h.writes
	h.mu.Unlock()
	if e.Evidence == nil || e.machine != h.machine(snap) || e.writes != writes {
		r, err := h.conn.Run(ctx, shell.Script{Name: "evidence", Text: evidenceScript, Args: plainNames(snap.Sysctl),
			Repeatable: true})
		if err != nil {
			return nil, err
		}
		e = evidence{parseEvidence(r), h.machine(snap), writes}
		h.mu.Lock()
		h.evidence = e
		h.mu.Unlock()
	}
	c := *snap
	c.Evidence = e.Evidence
	return &c, nil
}

// plainNames returns the paths of the files that exist, without those that hold control characters: stat prints them as
// they are. Nothing is then known of when those files changed.
func plainNames(files []confdir.File) []string {
	var names []string
	for _, f := range files {
		odd := func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }
		if f.Regular && !strings.ContainsFunc(f.Path, odd) {
			names = append(names, f.Path)
		}
	}
	return names
}

// parseEvidence decodes what evidence.sh printed.
func parseEvidence(r shell.Result) *boot.Evidence {
	e := &boot.Evidence{Changed: map[string]int64{}}
	if text, ok := r.Get("booted"); ok {
		e.Booted, _ = strconv.ParseInt(strings.TrimSpace(strings.TrimPrefix(text, "btime ")), 10, 64)
	}
	changed, _ := r.Get("changed")
	for line := range strings.Lines(changed) {
		when, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if n, err := strconv.ParseInt(when, 10, 64); err == nil {
			e.Changed[name] = n
		}
	}
	applied, _ := r.Get("applied")
	_, applied, _ = strings.Cut(strings.TrimSpace(applied), "=")
	if since, err := strconv.ParseInt(applied, 10, 64); err == nil && since > 0 && e.Booted > 0 {
		e.Applied = e.Booted + since/int64(time.Second/time.Microsecond)
	}
	said, _ := r.Get("said")
	for line := range strings.Lines(said) {
		e.Said = append(e.Said, strings.TrimSpace(line))
	}
	return e
}

// shownTime is how a time of an Evidence is shown; "" if it is not known.
func shownTime(seconds int64) string {
	if seconds == 0 {
		return ""
	}
	return time.Unix(seconds, 0).UTC().Format(time.RFC3339)
}

// Boots is what a resource remembers of the boots of its host. The zero Boots remembers nothing.
type Boots struct {
	// Boot tells the boot in which the keys were last read, and Right are those that were then, or were set to be, as
	// their drop-in says, by their names.
	Boot  string          `json:"boot,omitempty"`
	Right map[string]bool `json:"right,omitempty"`
	// Lost are the keys that a boot did not leave as the files say, by their names.
	Lost map[string]Loss `json:"lost,omitempty"`
}

// Loss is what is remembered of a key that a boot did not leave as the files say.
type Loss struct {
	// Times counts the boots in a row, and Boot is the last of them.
	Times int    `json:"times"`
	Boot  string `json:"boot"`
	// By is the path:line of another writer that was known to write the key, or "".
	By string `json:"by,omitempty"`
}

// lost returns what is remembered of a key that no boot has left since; ok is false if nothing is.
func (b *Boots) lost(k sysctl.Key) (l Loss, ok bool) {
	if b == nil {
		return Loss{}, false
	}
	l, ok = b.Lost[k.String()]
	return l, ok
}

// follow brings s.Boots up to date with how the keys of s are in snap. A key is lost if the boot has changed, and the
// key is not what its drop-in sets, although nothing but another writer was predicted against it.
func (h *Host) follow(snap *boot.Snapshot, s Sysctls) {
	if s.Boots == nil {
		return
	}
	now := bootOf(snap)
	before := *s.Boots
	*s.Boots = Boots{Boot: now, Right: map[string]bool{}, Lost: map[string]Loss{}}
	if !s.Persist {
		return
	}
	booted := before.Boot != "" && before.Boot != now
	file, _ := snap.File(s.Path())
	own := assigned(file, s)
	predicted := h.predict(snap)
	for _, v := range s.Settings {
		name := v.Key.String()
		l, remembered := before.lost(v.Key)
		r := snap.Values[v.Key.Path()]
		line := own[v.Key]
		unseen := r.Unread != "" || waits(snap, v.Key)
		if line == nil {
			continue
		}
		o := predicted.Key(v.Key, line.Value)
		right := !r.Absent && !unseen && sysctl.Equal(v.Key, r.Text, line.Value)
		if right || !booted && before.Right[name] {
			s.Boots.Right[name] = true
		}
		mended := o.Holds && l.By != "" // the writer that was known is gone
		if remembered && (!booted || unseen) && !mended {
			s.Boots.Lost[name] = l
		}
		if !booted || unseen || right || !o.Holds && o.Reason != boot.OtherWriter {
			continue
		}
		l = Loss{Times: l.Times + 1, Boot: now}
		if !o.Holds {
			l.By = o.Source
		}
		s.Boots.Lost[name] = l
	}
}

// setRight remembers that this boot has all keys of s as their drop-in says.
func (s Sysctls) setRight(snap *boot.Snapshot) {
	if s.Boots == nil {
		return
	}
	s.Boots.Boot, s.Boots.Right = bootOf(snap), map[string]bool{}
	for _, v := range s.Settings {
		s.Boots.Right[v.Key.String()] = true
	}
}

// bootOf tells this boot from all others: by the kernel's boot id, and by the network namespace, which a container gets
// anew. Another mount namespace may be that of a login.
func bootOf(snap *boot.Snapshot) string {
	fields := strings.Fields(snap.Machine)
	if len(fields) == 0 {
		return ""
	}
	return strings.Join(slices.DeleteFunc(fields, func(f string) bool { return strings.HasPrefix(f, "mnt:") }), " ")
}

// checkDrift returns a warning for each key of s that its own drop-in sets and that has another value now: whether the
// last boot lost it, or something changed it since.
func (h *Host) checkDrift(ctx context.Context, snap *boot.Snapshot, s Sysctls) ([]*Error, error) {
	file, _ := snap.File(s.Path())
	own := assigned(file, s)
	drifted := slices.DeleteFunc(s.inOrder(), func(v Setting) bool {
		r, line := snap.Values[v.Key.Path()], own[v.Key]
		return line == nil || !sysctl.Equal(v.Key, line.Value, v.Value) || r.Absent || r.Unread != "" ||
			sysctl.Equal(v.Key, r.Text, v.Value)
	})
	if len(drifted) == 0 {
		return nil, nil
	}
	snap, err := h.withEvidence(ctx, snap)
	if err != nil {
		return nil, err
	}
	predicted, booted := boot.Predict(snap), cmp.Or(shownTime(snap.Evidence.Booted), "a time that is not known")
	var warnings []*Error
	for _, v := range drifted {
		is := quoted(snap.Values[v.Key.Path()].Text)
		although := fmt.Sprintf("although %s sets it to %s", own[v.Key].At, quoted(v.Value))
		switch l, lost := s.Boots.lost(v.Key); {
		case lost && l.Boot == bootOf(snap):
			warnings = append(warnings, h.errorf(KeyOverwritten,
				"the boot of %s, or what ran after it, left %s at %s, %s.%s%s An apply sets it again. %s", booted,
				v.Key, is, although, again(l.Times), suspects(predicted, v.Key), boot.OverwrittenAtBoot.Remedy()))
		case s.Boots != nil && s.Boots.Boot == bootOf(snap) && s.Boots.Right[v.Key.String()],
			predicted.ChangedSinceBoot(v.Key):
			warnings = append(warnings, h.errorf(KeyChanged,
				"%s is %s now, %s. It has changed since the boot of %s.%s An apply sets it again.", v.Key, is,
				although, booted, suspects(predicted, v.Key)))
		}
	}
	return warnings, nil
}

// again says how often a loss was seen.
func again(times int) string {
	if times < 2 {
		return ""
	}
	return fmt.Sprintf(" That was the boot number %d in a row which did so.", times)
}

// suspects are the sentences about what else may write a key.
func suspects(p *boot.Prediction, k sysctl.Key) string {
	var all []string
	o, now := p.KeyAsSet(k), p.KeyNow(k)
	for _, c := range slices.Concat([]boot.Cause{o.Cause}, o.Notes, now.Notes) {
		if c.Reason == boot.OtherWriter || c.Reason == boot.OtherProgram || c.Reason == boot.NotApplied && c.Source == "" {
			all = append(all, " "+c.Detail)
		}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), "")
}

// isOurs reports whether the file of a source, as path:line, is a drop-in of this provider.
func isOurs(snap *boot.Snapshot, source string) bool {
	name := source
	if i := strings.LastIndexByte(source, ':'); i > 0 {
		name = source[:i]
	}
	f, ok := snap.File(name)
	_, ours := ownerOf(f)
	return ok && ours
}
