package kmod

import (
	"strconv"
	"strings"
)

// SameParameter says whether two values of a module parameter mean the same to the kernel: Y and 1, N and 0
// (kernel/params.c param_set_bool), 0x10 and 16, and that of each element of a list.
func SameParameter(a, b string) bool {
	as, bs := strings.Split(strings.TrimSpace(a), ","), strings.Split(strings.TrimSpace(b), ",")
	if len(as) != len(bs) {
		return false
	}
	for i := range as {
		if as[i] != bs[i] && meaning(as[i]) != meaning(bs[i]) {
			return false
		}
	}
	return true
}

// meaning is one spelling for all that the kernel reads alike.
func meaning(v string) string {
	switch v {
	case "Y", "y", "on", "true":
		return "1"
	case "N", "n", "off", "false":
		return "0"
	}
	if negative, magnitude, ok := parseInteger(v); ok {
		if negative {
			return "-" + strconv.FormatUint(magnitude, 10)
		}
		return strconv.FormatUint(magnitude, 10)
	}
	return v
}

// parseInteger reads an integer as kstrtoll and kstrtoull do (lib/kstrtox.c): one sign, then 0x for hexadecimal or 0
// for octal. It does not use strconv's base 0, because that also takes 0b, 0o and underscores, which the kernel refuses.
func parseInteger(s string) (negative bool, magnitude uint64, ok bool) {
	digits, negative := strings.CutPrefix(s, "-")
	if !negative {
		digits = strings.TrimPrefix(s, "+")
	}
	base := 10
	switch {
	case len(digits) > 2 && (digits[:2] == "0x" || digits[:2] == "0X"):
		base, digits = 16, digits[2:]
	case len(digits) > 1 && digits[0] == '0':
		base, digits = 8, digits[1:]
	}
	magnitude, err := strconv.ParseUint(digits, base, 64)
	if err != nil || negative && magnitude > 1<<63 {
		return false, 0, false
	}
	return negative && magnitude != 0, magnitude, true
}
