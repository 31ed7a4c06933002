package kmod

import (
	"strconv"
	"strings"
)

// SameParameter says whether two values of a module parameter mean the same to the kernel: Y and 1, N and 0 (kernel/params.c param_set_bool), 0x10 and 16, and
// that of each element of a list.
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
	if n, err := strconv.ParseInt(v, 0, 64); err == nil {
		return strconv.FormatInt(n, 10)
	}
	if n, err := strconv.ParseUint(v, 0, 64); err == nil {
		return strconv.FormatUint(n, 10)
	}
	return v
}
