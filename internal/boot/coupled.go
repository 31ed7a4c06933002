package boot

// Keys that one write changes together, by the measured table of package sysctl.

import (
	"slices"
	"strconv"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// effectOf returns what a write that changes written does to other, if other has been written itself before: then no
// default reaches it. It returns "" if it does nothing.
func effectOf(written, other sysctl.Key) sysctl.Effect {
	if e, ok := sysctl.Follows(written, other); ok && e != sysctl.Inherits {
		return e
	}
	return ""
}

// leaders returns the keys whose writes change k, even if k has been written itself.
func leaders(k sysctl.Key) []sysctl.Key {
	return slices.DeleteFunc(sysctl.Leaders(k), func(w sysctl.Key) bool { return effectOf(w, k) == "" })
}

// inUnitOf converts a value of the key from to the unit of the key to, which has the same name but for _ms. It returns
// false for units that depend on how the kernel was built: bytes of packets, and the ticks of IPv6's retrans_time.
func inUnitOf(to, from sysctl.Key, value string) (string, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(value), 0, 64)
	milliseconds := int64(1000)
	if strings.Contains(from.Path(), "/retrans_time") {
		if strings.HasPrefix(from.Path(), "/proc/sys/net/ipv6/") {
			return "", false
		}
		milliseconds = 10
	}
	switch {
	case err != nil:
		return "", false
	case to.Path() == from.Path()+"_ms":
		return strconv.FormatInt(n*milliseconds, 10), true
	case from.Path() == to.Path()+"_ms":
		return strconv.FormatInt(n/milliseconds, 10), true
	}
	return "", false
}

// overwritten returns the last line for another key whose write changes k, if it is written after k's own, and what it
// leaves in k; known is false if that does not follow from the line.
func (p *sysctlPlan) overwritten(k sysctl.Key, own *option) (by *option, value string, known, ok bool) {
	for _, w := range leaders(k) {
		d := p.decide(w)
		if d.option == nil || d.option.order < own.order || by != nil && d.option.order < by.order {
			continue
		}
		left, sure := d.option.Value, true
		switch does, mutual := effectOf(w, k), effectOf(k, w) != ""; {
		case does == sysctl.Zeroes:
			left = "0"
		case does == sysctl.Rescales:
			left, sure = inUnitOf(k, w, left)
		case does == sysctl.Resets:
			left, sure = "", false
		case does == sysctl.Copies && mutual:
		case sysctl.Equal(w, left, p.before(w, d.option)): // only a change reaches other keys
			continue
		case does == sysctl.Copies:
		case sysctl.Equal(w, left, "0"):
			left = "1"
		default:
			left = "0"
		}
		by, value, known = d.option, left, sure
	}
	return by, value, known, by != nil
}

// before returns what the switch w is when its line is written: off, as the kernel starts, unless a line for its twin
// came first.
func (p *sysctlPlan) before(w sysctl.Key, own *option) string {
	value := "0"
	for _, twin := range leaders(w) {
		if d := p.decide(twin); d.option != nil && d.option.order < own.order && effectOf(w, twin) == sysctl.Copies {
			value = d.option.Value
		}
	}
	return value
}

// belowProcSys returns the path of k below /proc/sys.
func belowProcSys(k sysctl.Key) string { return strings.TrimPrefix(k.Path(), "/proc/sys/") }
