package host

// Keys that a write to another key changes: they keep their values where the kernel lets both hold.

import (
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// followerPatterns are patterns of the paths whose keys change with keys of these settings.
func followerPatterns(settings ...[]Setting) []string {
	var all []string
	for _, v := range slices.Concat(settings...) {
		all = append(all, sysctl.FollowerPatterns(v.Key)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// inheritorPatterns returns shell patterns of the files of all keys that inherit the settings.
func inheritorPatterns(settings ...[]Setting) (all []string) {
	for _, v := range slices.Concat(settings...) {
		all = append(all, sysctl.InheritorPatterns(v.Key)...)
	}
	return all
}

// leaderPaths are the files of the keys that these settings follow.
func leaderPaths(settings []Setting) []string { return pathsOfLeaders(settings, follows) }

// inheritedPaths are the files of the defaults that these settings may inherit.
func inheritedPaths(settings []Setting) []string { return pathsOfLeaders(settings, inherits) }

// pathsOfLeaders are the files of the keys that lead these settings by this rule.
func pathsOfLeaders(settings []Setting, by func(leader, k sysctl.Key) bool) (all []string) {
	for _, v := range settings {
		for _, l := range sysctl.Leaders(v.Key) {
			if by(l, v.Key) {
				all = append(all, l.Path())
			}
		}
	}
	return all
}

// inheritedKey returns the default of which k, which inherits from leader, has the value. It is in the unit of k, and
// leader may not be.
func inheritedKey(leader, k sysctl.Key) sysctl.Key {
	return write{path: path.Join(path.Dir(leader.Path()), path.Base(k.Path()))}.key()
}

// readLeaders reports whether snap has the values of all keys that lead these settings and that only a note names: a
// snapshot has them only if they were asked for.
func readLeaders(snap *boot.Snapshot, settings []Setting) bool {
	for noted := range notesOf(snap) {
		for _, v := range settings {
			if _, led := sysctl.Follows(noted, v.Key); !led {
				continue
			}
			if _, read := snap.Values[noted.Path()]; !read {
				return false
			}
		}
	}
	return true
}

// commonLeaderPaths are files that every snapshot has: a change of a key of an interface is decided on them.
var commonLeaderPaths = sync.OnceValue(func() (all []string) {
	for _, k := range sysctl.CommonLeaders() {
		all = append(all, k.Path())
	}
	return all
})

// followers returns the readable keys of snap that follow one of these settings and are none of them, in the order in
// which they must be written again.
func followers(snap *boot.Snapshot, settings []Setting) []Setting {
	return led(snap, settings, follows)
}

// led returns the readable keys of snap that one of these settings leads, by this rule, and that are none of them, in
// the order in which they must be written again.
func led(snap *boot.Snapshot, settings []Setting, by func(leader, k sysctl.Key) bool) []Setting {
	var leaders []sysctl.Key
	own := map[sysctl.Key]bool{}
	for _, v := range settings {
		own[v.Key] = true
		if sysctl.Leads(v.Key) {
			leaders = append(leaders, v.Key)
		}
	}
	if len(leaders) == 0 {
		return nil
	}
	var found []Setting
	for path, r := range snap.Values {
		below, ok := strings.CutPrefix(path, "/proc/sys/")
		if !ok || r.Absent || r.Unread != "" {
			continue
		}
		k, err := sysctl.ParseKey(below)
		if err != nil || own[k] || k.Path() != path {
			continue
		}
		if slices.ContainsFunc(leaders, func(l sysctl.Key) bool { return by(l, k) }) {
			found = append(found, Setting{k, r.Text})
		}
	}
	return Sysctls{Settings: found}.inOrder()
}

// follows reports whether a write to leader changes k. A key that inherits a default is left out: it gets its value
// back with the default, and one that was written itself inherits nothing.
func follows(leader, k sysctl.Key) bool {
	effect, ok := sysctl.Follows(leader, k)
	return ok && effect != sysctl.Inherits
}

// inherits reports whether k takes the value of the default until it is written itself.
func inherits(leader, k sysctl.Key) bool {
	effect, ok := sysctl.Follows(leader, k)
	return ok && effect == sysctl.Inherits
}

// inheritors returns the keys of snap that a file of the host, or a resource of this run, sets and that may inherit one
// of these settings, since nobody has written them.
func (h *Host) inheritors(snap *boot.Snapshot, settings []Setting) []Setting {
	return slices.DeleteFunc(led(snap, settings, inherits), func(v Setting) bool { return !h.declared(snap, v.Key) })
}

// inheritLocks are the names of the locks that a change to these settings needs: those of their inheritors, and of the
// drop-ins that set what they inherit themselves.
func (h *Host) inheritLocks(snap *boot.Snapshot, settings []Setting) (names []string) {
	for _, v := range h.inheritors(snap, settings) {
		names = append(names, v.Key.Path())
	}
	for _, f := range defaultsOf(snap, settings) {
		names = append(names, f.Path)
	}
	return names
}

// excludes reports whether the kernel cannot keep both values: the keys are one limit in two units, or two names of one
// switch.
func excludes(a, b Setting) bool {
	if !follows(a.Key, b.Key) || !follows(b.Key, a.Key) {
		return false // what is set for all and then otherwise for one can be kept, in that order
	}
	switch effect, _ := sysctl.Follows(a.Key, b.Key); effect {
	case sysctl.Zeroes:
		return !sysctl.Equal(a.Key, a.Value, "0") && !sysctl.Equal(b.Key, b.Value, "0")
	case sysctl.Copies:
		return !sysctl.Equal(b.Key, a.Value, b.Value)
	case sysctl.Rescales:
		return true
	}
	return false
}

// followerMark begins the comment of a drop-in that keeps the value from before of a key that follows one of its keys.
const followerMark = "Value before Terraform of "

// sameAsDefault returns the inheritors that have a value of their own, in snap or because it is restored, which a
// change to the settings gives, or in another unit may give, the default too: from then on, only who remembers it can
// tell that it is not inherited.
func sameAsDefault(snap *boot.Snapshot, settings, restored []Setting) map[sysctl.Key]string {
	same := map[sysctl.Key]string{}
	for _, v := range settings {
		becomes := func(f Setting) bool {
			return inheritedKey(v.Key, f.Key) != v.Key || sysctl.Equal(f.Key, f.Value, v.Value)
		}
		for _, f := range led(snap, []Setting{v}, inherits) {
			now := snap.Values[inheritedKey(v.Key, f.Key).Path()].Text
			if becomes(f) && !sysctl.Equal(f.Key, f.Value, now) {
				same[f.Key] = f.Value
			}
		}
		for _, r := range restored {
			if inherits(v.Key, r.Key) && becomes(r) {
				same[r.Key] = r.Value
			}
		}
	}
	return same
}

// defaultsOf returns the drop-ins of ours that set a default which one of these settings inherits.
func defaultsOf(snap *boot.Snapshot, settings []Setting) []confdir.File {
	return slices.DeleteFunc(slices.Clone(snap.Sysctl), func(f confdir.File) bool {
		for leader := range originalsIn(f) {
			if slices.ContainsFunc(settings, func(v Setting) bool { return inherits(leader, v.Key) }) {
				return false
			}
		}
		return true
	})
}

// remind has the drop-ins of defaults remember the restored values that are the same as the default by now.
func (v *valuesAndFiles) remind(snap *boot.Snapshot, own string, restored []Setting) {
	for _, f := range defaultsOf(snap, restored) {
		if f.Path == own || slices.Contains(v.removed, f.Path) {
			continue
		}
		var lines strings.Builder
		for _, r := range restored {
			known, ok := followersIn(f)[r.Key]
			for leader := range originalsIn(f) {
				if !inherits(leader, r.Key) || ok && known == r.Value {
					continue
				}
				if sysctl.Equal(r.Key, r.Value, snap.Values[inheritedKey(leader, r.Key).Path()].Text) {
					lines.WriteString(followersText(map[sysctl.Key]string{r.Key: r.Value}))
				}
			}
		}
		at := slices.IndexFunc(v.written, func(w shell.File) bool { return w.Path == f.Path })
		switch {
		case lines.Len() == 0:
		case at >= 0:
			v.written[at].Content += lines.String()
		default:
			v.written = append(v.written, shell.File{Path: f.Path, Content: f.Text + lines.String()})
		}
	}
}

// oddFollowers returns the values from before of the followers of settings that would not come back when the settings
// are restored, because the kernel does not derive them from the values from before. originals are those of the
// settings. Of settings that are not fresh, declared for the first time, it returns only followers of which a drop-in
// of ours knows the value from before: when that goes, the value must not go with it.
func oddFollowers(snap *boot.Snapshot, settings, fresh []Setting,
	originals map[sysctl.Key]string) map[sysctl.Key]string {
	remembered := map[sysctl.Key]string{}
	for _, f := range snap.Sysctl {
		maps.Copy(remembered, originalsIn(f))
	}
	odd := map[sysctl.Key]string{}
	for _, f := range followers(snap, settings) {
		original, known := remembered[f.Key]
		if !known {
			original, known = beforeLeader(snap, f.Key) // another leader of ours has changed it
		}
		if known {
			f.Value = original
		}
		for _, v := range settings {
			effect, ok := sysctl.Follows(v.Key, f.Key)
			if !ok || effect == sysctl.Inherits || !known && !slices.Contains(fresh, v) {
				continue
			}
			if value, ok := derived(effect, originals[v.Key]); !ok || !sysctl.Equal(f.Key, f.Value, value) {
				odd[f.Key] = f.Value
			}
		}
	}
	return odd
}

// derived returns the value that the kernel gives a follower when its leader is set to this value; ok is false if it
// does not follow from that alone.
func derived(effect sysctl.Effect, leader string) (value string, ok bool) {
	switch zero := strings.TrimSpace(leader) == "0"; {
	case effect == sysctl.Copies:
		return leader, true
	case effect == sysctl.Opposes && zero:
		return "1", true
	case effect == sysctl.Opposes, effect == sysctl.Zeroes && !zero:
		return "0", true
	}
	return "", false
}

// beforeLeader returns the value from before Terraform of a key that has the value which a key of one of our drop-ins
// gave it: what that drop-in remembers, else what the kernel derives from the leader's own value from before.
func beforeLeader(snap *boot.Snapshot, k sysctl.Key) (original string, ok bool) {
	for _, f := range snap.Sysctl {
		originals := originalsIn(f)
		for leader, leaderBefore := range originals {
			effect, led := sysctl.Follows(leader, k)
			if !led {
				continue
			}
			knownBefore := true
			if effect == sysctl.Inherits {
				effect = sysctl.Copies
				if from := inheritedKey(leader, k); from != leader { // the drop-in remembers it too, in its own unit
					leader = from
					if leaderBefore, knownBefore = originals[from]; !knownBefore {
						leaderBefore, knownBefore = followersIn(f)[from]
					}
				}
			}
			now, known := derived(effect, snap.Values[leader.Path()].Text)
			if known && !sysctl.Equal(k, snap.Values[k.Path()].Text, now) {
				continue // somebody has set it since
			}
			if original, ok = followersIn(f)[k]; ok {
				return original, true
			}
			if original, ok = derived(effect, leaderBefore); ok && knownBefore {
				return original, true
			}
		}
	}
	return "", false
}

// followersIn returns the values from before of followers that a drop-in remembers.
func followersIn(f confdir.File) map[sysctl.Key]string {
	found := map[sysctl.Key]string{}
	for line := range confdir.Lines(f.Text) {
		text, ok := strings.CutPrefix(line, "# "+followerMark)
		name, value, cut := strings.Cut(text, ": ")
		if k, err := sysctl.ParseKey(name); ok && cut && err == nil {
			found[k] = value
		}
	}
	return found
}

// followersText is the part of a drop-in that remembers them.
func followersText(all map[sysctl.Key]string) string {
	var b strings.Builder
	for _, k := range slices.SortedFunc(maps.Keys(all), sysctl.Compare) {
		b.WriteString("# " + followerMark + k.String() + ": " + all[k] + "\n")
	}
	return b.String()
}
