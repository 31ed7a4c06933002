package sysctl

// What all sysctl.d files together say.

import (
	"slices"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
)

// Effective returns the assignment that gives k its value when systemd-sysctl reads these files of sysctl.d at boot; ok is false if none does. An
// assignment to the key itself beats every pattern, whatever the order; else the one that is written last wins. A line "-KEY" without a value
// voids what stands before it and keeps patterns away.
func Effective(files []confdir.File, k Key) (a Assignment, ok bool) {
	var found []Assignment // those about k, in the order systemd-sysctl writes them
	for _, f := range confdir.Order(files) {
		assignments, _ := ParseFile(f.Path, f.Text)
		for _, next := range assignments {
			if next.Matches(k) {
				found = insert(found, next)
			}
		}
	}
	for _, a := range found {
		if !a.IsGlob() {
			return a, a.HasValue
		}
	}
	for _, a := range slices.Backward(found) {
		if a.HasValue {
			return a, true
		}
	}
	return Assignment{}, false
}

// insert adds an assignment. An earlier one for the same name or pattern gives way; if it sets the same value, the new one takes its place in the order.
func insert(list []Assignment, next Assignment) []Assignment {
	i := slices.IndexFunc(list, func(a Assignment) bool { return a.Pattern == next.Pattern })
	if i < 0 {
		return append(list, next)
	}
	if list[i].HasValue == next.HasValue && list[i].Value == next.Value {
		next.Ignore = next.Ignore || list[i].Ignore
		list[i] = next
		return list
	}
	return append(slices.Delete(list, i, i+1), next)
}
