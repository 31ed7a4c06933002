package sysctl

// Why the kernel kept another value than the one written.

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
)

// Explain says in one sentence why k may read kept after wrote was written to it without an error, for an error message that shows both.
func Explain(k Key, wrote, kept string) string {
	wrote, kept = strings.Trim(wrote, confdir.Blanks), strings.Trim(kept, confdir.Blanks)
	switch form := formOf(k); {
	case WriteOnly(k):
		return "The key is a trigger: writing to it does something, and it keeps no value."
	case k.path == "kernel/ns_last_pid":
		return "The key changes with every process that starts, so no value stays."
	case form == formSet:
		return explainSet(wrote, kept)
	case form == formPlain && isVector(kept):
		return explainNumbers(k, wrote, kept)
	case (form == formText || form == formPlain) && kept != "" && strings.HasPrefix(wrote, kept):
		return fmt.Sprintf("The kernel cut it after %d bytes, all the key can hold.", len(kept))
	}
	return unexplained
}

const unexplained = "The kernel did not say why."

func isVector(s string) bool {
	_, ok := parseNumbers(s)
	return ok
}

func explainSet(wrote, kept string) string {
	have := sortedSet(kept)
	missing := slices.DeleteFunc(sortedSet(wrote), func(word string) bool { return slices.Contains(have, word) })
	if len(missing) == 0 {
		return "The kernel keeps more than was written."
	}
	return fmt.Sprintf("The kernel left out %s.", strings.Join(missing, ", "))
}

// explainNumbers explains what became of integers, or of what should have been one.
func explainNumbers(k Key, wrote, kept string) string {
	asked, got := fields(wrote), fields(kept)
	n := min(len(asked), len(got))
	if n > 0 && len(asked) != len(got) && Equal(k, strings.Join(asked[:n], " "), strings.Join(got[:n], " ")) {
		switch {
		case len(asked) < len(got):
			return fmt.Sprintf("The key holds %d numbers and %s written, so the kernel left the others as they were; write all %[1]d.", len(got), counted(n))
		case strings.ContainsAny(wrote, "#;"):
			return "A value holds no comments: the kernel took the number and ignored the rest."
		default:
			return fmt.Sprintf("The key holds %d, and %s written: the kernel ignored the rest.", len(got), counted(len(asked)))
		}
	}
	if len(asked) != len(got) {
		return unexplained
	}
	for i := range asked {
		want, ok := parseNumber(asked[i])
		have, _ := parseNumber(got[i])
		switch {
		case !ok:
			return unexplained
		case want != have:
			return explainNumber(k, want, have)
		}
	}
	return unexplained
}

func explainNumber(k Key, want, have number) string {
	switch {
	case want.negative || have.negative:
		return unexplained
	case have.magnitude < want.magnitude && k.path == "vm/nr_hugepages":
		return "There was not enough free memory in one piece for more huge pages."
	case have.magnitude < want.magnitude:
		return "The kernel holds this key down to what it allows, or what this host has."
	case bits.OnesCount64(have.magnitude) == 1:
		return "The kernel rounds this key up to a power of two."
	}
	return "The kernel raises this key to the least it allows, or rounds it up."
}

func counted(n int) string {
	if n == 1 {
		return "one was"
	}
	return fmt.Sprintf("%d were", n)
}
