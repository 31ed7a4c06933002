package main

// From what the guest has seen to the table.

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The interfaces whose keys are compared. Only the keys of bare are written.
const (
	bare      = "dummy0" // without an address, and down
	addressed = "dummy1" // with an address, and up
	loopback  = "lo"
)

// observation is one write that changed another key.
type observation struct {
	written, before, after string
	other, was, is         string
}

func (o observation) String() string {
	return strings.Join([]string{o.written, o.before, o.after, o.other, o.was, o.is}, "|")
}

func parseObservation(line string) (o observation, ok bool) {
	f := strings.Split(line, "|")
	if len(f) != 6 {
		return o, false
	}
	return observation{f[0], f[1], f[2], f[3], f[4], f[5]}, true
}

// coupling is a key that another one follows, as patterns: the * is the name of an interface, in both the same.
type coupling struct{ written, other string }

// format returns the lines of the table.
func format(all []observation) string {
	seen := map[coupling][]observation{}
	for _, o := range all {
		c := coupling{pattern(o.written), pattern(o.other)}
		seen[c] = append(seen[c], o)
	}
	var b strings.Builder
	byName := func(x, y coupling) int {
		return cmp.Or(strings.Compare(x.written, y.written), strings.Compare(x.other, y.other))
	}
	for _, c := range slices.SortedFunc(maps.Keys(seen), byName) {
		first := example(seen[c])
		fmt.Fprintf(&b, "%s\t%s\t%s\tw: %s->%s, other: %s->%s\n", c.written, c.other, effect(c, seen[c]),
			first.before, first.after, first.was, first.is)
	}
	return b.String()
}

// example prefers a switch that is switched on.
func example(seen []observation) observation {
	for _, o := range seen {
		if o.before == "0" && o.after == "1" {
			return o
		}
	}
	return seen[0]
}

// pattern is a path with a * for the name of an interface.
func pattern(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if part == bare || part == addressed || part == loopback {
			parts[i] = "*"
		}
	}
	return strings.Join(parts, "/")
}

// effect names what the writes did to the other key.
func effect(c coupling, seen []observation) string {
	all := func(is func(o observation) bool) bool {
		return !slices.ContainsFunc(seen, func(o observation) bool { return !is(o) })
	}
	onlyBare := strings.Contains(c.other, "*") && !strings.Contains(c.written, "*") &&
		all(func(o observation) bool { return strings.Contains(o.other, "/"+bare+"/") })
	bothWays := slices.ContainsFunc(seen, func(o observation) bool { return o.is != seen[0].is })
	switch {
	case onlyBare:
		return "inherits"
	case all(func(o observation) bool { return o.is == o.after }) && bothWays:
		return "copies"
	case all(func(o observation) bool { return o.is == "0" && o.after != "0" }):
		return "zeroes"
	case bothWays && all(opposes):
		return "opposes"
	case rescales(seen):
		return "rescales"
	}
	return "resets"
}

func opposes(o observation) bool {
	return o.is == "1" && o.after == "0" || o.is == "0" && o.after != "0"
}

// rescales reports whether one key is always the same multiple of the other, apart from what a division leaves.
func rescales(seen []observation) bool {
	byFactor := func(factor int64, multiple, unit func(o observation) int64) bool {
		return factor > 1 && !slices.ContainsFunc(seen, func(o observation) bool {
			rest := multiple(o) - unit(o)*factor
			return rest <= -factor || rest >= factor
		})
	}
	written := func(o observation) int64 { return number(o.after) }
	other := func(o observation) int64 { return number(o.is) }
	for _, o := range seen {
		if w, x := written(o), other(o); w > 0 && x > 0 && (byFactor(x/w, other, written) || byFactor(w/x, written, other)) {
			return true
		}
	}
	return false
}

// number is the value of a key that holds one number, else -1.
func number(value string) int64 {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return -1
	}
	return n
}
