package sysctl

// Keys that one write changes together, as a kernel was seen to change them.

import (
	_ "embed"
	"math"
	"slices"
	"strings"
	"sync"
)

// Effect is what a write to one key does to another.
type Effect string

// The effects.
const (
	// Copies means that the other key takes the same value.
	Copies Effect = "copies"
	// Zeroes means that the other key reads 0, because it is the same limit in another unit.
	Zeroes Effect = "zeroes"
	// Opposes means that the other key becomes 0 if the written one becomes another value than 0, and 1 if it becomes 0.
	Opposes Effect = "opposes"
	// Rescales means that both keys are one value in two units, such as seconds and milliseconds.
	Rescales Effect = "rescales"
	// Inherits means that the other key takes the same value, or that value in its own unit, unless it has been written
	// itself since its interface appeared or the interface has an address.
	Inherits Effect = "inherits"
	// Resets means that the other key takes a value that does not follow from the written one alone.
	Resets Effect = "resets"
)

//go:embed couplings.tsv
var couplingTable string

// unmeasured are couplings that a virtual machine does not show: without counters of the processor, the kernel refuses
// kernel.nmi_watchdog (kernel/watchdog.c).
const unmeasured = `
kernel/nmi_watchdog	kernel/watchdog	resets
kernel/watchdog	kernel/nmi_watchdog	resets
`

// follower is a key, or each key of a pattern, that a write to another changes.
type follower struct {
	pattern string
	effect  Effect
}

// couplings is the table of couplings.tsv.
type couplings struct {
	// followers are by the pattern of the written key.
	followers map[string][]follower
	// ranks are the places of the patterns that lead others without following them: 0 for those that follow nothing.
	ranks map[string]int
	// clusters have for each pattern the first of all those that it changes or is changed by, over however many steps.
	clusters map[string]string
}

var table = sync.OnceValue(func() *couplings {
	t := &couplings{followers: map[string][]follower{}, ranks: map[string]int{}, clusters: map[string]string{}}
	for line := range strings.Lines(couplingTable + unmeasured) {
		fields := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(fields) < 3 || strings.HasPrefix(line, "#") {
			continue
		}
		written, other := fields[0], fields[1]
		t.followers[written] = append(t.followers[written], follower{other, Effect(fields[2])})
		if Effect(fields[2]) != Inherits {
			t.join(written, other)
		}
	}
	for written := range t.followers {
		if len(t.ledBy(written)) > 0 {
			t.rank(written)
		}
	}
	return t
})

// ledBy returns the followers of a pattern that it does not follow itself, without those that inherit.
func (t *couplings) ledBy(written string) (led []string) {
	for _, f := range t.followers[written] {
		back := func(g follower) bool { return g.pattern == written }
		if f.effect != Inherits && !slices.ContainsFunc(t.followers[f.pattern], back) {
			led = append(led, f.pattern)
		}
	}
	return led
}

// join puts two patterns, and all that were joined with them, into one cluster.
func (t *couplings) join(a, b string) {
	first := func(p string) string {
		if c, ok := t.clusters[p]; ok {
			return c
		}
		return p
	}
	from, to := first(a), first(b)
	t.clusters[a], t.clusters[b] = to, to
	for p, c := range t.clusters {
		if c == from {
			t.clusters[p] = to
		}
	}
}

// rank gives a pattern a place after all that lead it. There is no circle (a test guards that).
func (t *couplings) rank(pattern string) int {
	if r, ok := t.ranks[pattern]; ok {
		return r
	}
	r := 0
	for leader := range t.followers {
		if slices.Contains(t.ledBy(leader), pattern) {
			r = max(r, t.rank(leader)+1)
		}
	}
	t.ranks[pattern] = r
	return r
}

// Follows reports whether a write that changes written may change other too, and how. A write that leaves written as it
// is changes nothing else.
func Follows(written, other Key) (Effect, bool) {
	if written == other {
		return "", false
	}
	w, ofWritten := written.pattern()
	o, ofOther := other.pattern()
	if ofWritten != "" && ofOther != "" && ofWritten != ofOther {
		return "", false
	}
	for _, f := range table().followers[w] {
		if f.pattern == o {
			return f.effect, true
		}
	}
	return "", false
}

// Leads reports whether any key follows k.
func Leads(k Key) bool {
	p, _ := k.pattern()
	return len(table().followers[p]) > 0
}

// Cluster names the keys that k changes or is changed by, over however many steps: changes of keys of one cluster must not
// overlap. It is empty for a key that stands alone. A key that only inherits a default is none of the default's cluster.
func Cluster(k Key) string {
	p, _ := k.pattern()
	return table().clusters[p]
}

// FollowerPatterns returns shell patterns of the files of all keys that follow k whatever was written before, such as
// /proc/sys/net/ipv4/conf/*/forwarding, sorted. A pattern may match files of keys that do not follow k.
func FollowerPatterns(k Key) []string {
	return patterns(k, func(e Effect) bool { return e != Inherits })
}

// InheritorPatterns returns shell patterns of the files of all keys that inherit k, sorted. A pattern may match files of
// keys that do not.
func InheritorPatterns(k Key) []string {
	return patterns(k, func(e Effect) bool { return e == Inherits })
}

// patterns returns shell patterns of the files of all keys that k changes with one of these effects, sorted.
func patterns(k Key, with func(Effect) bool) (all []string) {
	p, iface := k.pattern()
	for _, f := range table().followers[p] {
		if !with(f.effect) {
			continue
		}
		path := f.pattern
		if iface != "" {
			path = strings.Replace(path, "*", iface, 1)
		}
		all = append(all, "/proc/sys/"+path)
	}
	slices.Sort(all)
	return all
}

// CommonLeaders returns the keys that are not an interface's and that change a key of every interface, sorted by name.
func CommonLeaders() []Key {
	var keys []Key
	for written, followers := range table().followers {
		if !strings.Contains(written, "*") && slices.ContainsFunc(followers, func(f follower) bool {
			return f.effect != Inherits && strings.Contains(f.pattern, "*")
		}) {
			keys = append(keys, Key{written})
		}
	}
	slices.SortFunc(keys, func(a, b Key) int { return strings.Compare(a.path, b.path) })
	return keys
}

// Leaders returns the keys of which k is a follower, sorted by name.
func Leaders(k Key) []Key {
	p, iface := k.pattern()
	var keys []Key
	for written, followers := range table().followers {
		if !slices.ContainsFunc(followers, func(f follower) bool { return f.pattern == p }) {
			continue
		}
		if iface != "" || !strings.Contains(written, "*") {
			keys = append(keys, Key{strings.Replace(written, "*", iface, 1)})
		}
	}
	slices.SortFunc(keys, func(a, b Key) int { return strings.Compare(a.path, b.path) })
	return keys
}

// pattern returns k's path below /proc/sys as the table has it, with a * for the name of an interface, and that name.
func (k Key) pattern() (pattern, iface string) {
	parts := strings.Split(k.path, "/")
	if len(parts) != 5 || parts[0] != "net" || parts[2] != "conf" && parts[2] != "neigh" {
		return k.path, ""
	}
	if parts[3] == "all" || parts[3] == "default" {
		return k.path, ""
	}
	iface, parts[3] = parts[3], "*"
	return strings.Join(parts, "/"), iface
}

// The places of keys that the table does not rank.
const (
	rankAll     = math.MaxInt - 2 // of all interfaces
	rankDefault = math.MaxInt - 1 // of interfaces to come
	rankOther   = math.MaxInt
)

// rank is the place of a key in the order of writes.
func rank(k Key) int {
	p, _ := k.pattern()
	if r, ok := table().ranks[p]; ok {
		return r
	}
	switch {
	case strings.HasPrefix(p, "net/ipv4/conf/all/") || strings.HasPrefix(p, "net/ipv6/conf/all/"):
		return rankAll
	case slices.ContainsFunc(table().followers[p], func(f follower) bool { return f.effect == Inherits }):
		return rankDefault
	}
	return rankOther
}
