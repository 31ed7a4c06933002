package sysctl

// Which values the kernel takes for the same.

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
)

// form is how the kernel understands a key's value.
type form int

const (
	formPlain      form = iota // integers by value, field by field; anything else as text
	formText                   // text, even where it looks like a number
	formSet                    // words whose order the kernel chooses
	formRanges                 // numbers and ranges: proc_do_large_bitmap in kernel/sysctl.c
	formMask                   // a hexadecimal bit mask in groups of 32 bits: bitmap_parse in lib/bitmap-str.c
	formFastopen               // one or two keys of four hexadecimal words: proc_tcp_fastopen_key in net/ipv4/sysctl_net_ipv4.c
	formAddress                // an IPv6 address: addrconf_sysctl_stable_secret in net/ipv6/addrconf.c
	formSwitchWord             // 0 or 1, read back as a word: bm_status_write in fs/binfmt_misc.c
)

// forms lists the keys that are not formPlain; a `*` stands for one part.
var forms = [...]struct {
	path string
	form form
}{
	{"fs/binfmt_misc/status", formSwitchWord},
	{"fs/ocfs2/nm/hb_ctl_path", formText},
	{"kernel/core_pattern", formText},
	{"kernel/domainname", formText},
	{"kernel/hostname", formText},
	{"kernel/hotplug", formText},
	{"kernel/modprobe", formText},
	{"kernel/poweroff_cmd", formText},
	{"kernel/seccomp/actions_logged", formSet},
	{"kernel/watchdog_cpumask", formRanges},
	{"net/core/default_qdisc", formText},
	{"net/core/flow_limit_cpu_bitmap", formMask},
	{"net/core/rps_default_mask", formMask},
	{"net/ipv4/ip_local_reserved_ports", formRanges},
	{"net/ipv4/tcp_allowed_congestion_control", formSet},
	{"net/ipv4/tcp_congestion_control", formText},
	{"net/ipv4/tcp_fastopen_key", formFastopen},
	{"net/ipv6/conf/*/stable_secret", formAddress},
	{"net/mptcp/scheduler", formText},
	{"net/netfilter/nf_log/*", formText},
	{"net/sctp/cookie_hmac_alg", formText},
}

func formOf(k Key) form {
	for _, f := range forms {
		if (Assignment{Pattern: f.path}).Matches(k) {
			return f.form
		}
	}
	return formPlain
}

// Equal says whether the kernel means the same by two values of k, such as one that was written and what reads back. Outer white space never counts. A
// vector equals only a vector of as many fields: "8192" written to a key of three leaves two as they were.
func Equal(k Key, a, b string) bool {
	a, b = strings.Trim(a, confdir.Blanks), strings.Trim(b, confdir.Blanks)
	if a == b {
		return true
	}
	switch formOf(k) {
	case formText:
		return false
	case formSet:
		return slices.Equal(sortedSet(a), sortedSet(b))
	case formRanges:
		return same(parseRanges, slices.Equal[[]span], a, b)
	case formMask:
		return same(parseMask, func(a, b string) bool { return a == b }, a, b)
	case formFastopen:
		return same(parseFastopen, slices.Equal[[]uint32], a, b)
	case formAddress:
		return same(parseAddress, func(a, b netip.Addr) bool { return a == b }, a, b)
	case formSwitchWord:
		return switchWord(a) == switchWord(b)
	}
	return same(parseNumbers, slices.Equal[[]number], a, b)
}

// same compares two values in their parsed form; what does not parse equals nothing but its own text.
func same[T any](parse func(string) (T, bool), equal func(T, T) bool, a, b string) bool {
	x, ok := parse(a)
	if !ok {
		return false
	}
	y, ok := parse(b)
	return ok && equal(x, y)
}

// fields splits a vector at the kernel's separators.
func fields(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\t' || r == '\n' })
}

func sortedSet(s string) []string {
	words := fields(s)
	slices.Sort(words)
	return slices.Compact(words)
}

// number is an integer of any of the kernel's types.
type number struct {
	negative  bool
	magnitude uint64
}

// Integers says whether the kernel reads s as integers, one or more.
func Integers(s string) bool {
	numbers, ok := parseNumbers(s)
	return ok && len(numbers) > 0
}

func parseNumbers(s string) ([]number, bool) {
	var numbers []number
	for _, f := range fields(s) {
		n, ok := parseNumber(f)
		if !ok {
			return nil, false
		}
		numbers = append(numbers, n)
	}
	return numbers, true
}

// parseNumber reads an integer as the kernel does: base 0, so 010 is 8 and 0x10 is 16, with no plus sign (proc_get_long in kernel/sysctl.c).
func parseNumber(s string) (number, bool) {
	digits, negative := strings.CutPrefix(s, "-")
	base := 10
	switch {
	case len(digits) > 2 && (digits[:2] == "0x" || digits[:2] == "0X"):
		base, digits = 16, digits[2:]
	case len(digits) > 1 && digits[0] == '0':
		base, digits = 8, digits[1:]
	}
	magnitude, err := strconv.ParseUint(digits, base, 64)
	if err != nil {
		return number{}, false
	}
	return number{negative: negative && magnitude != 0, magnitude: magnitude}, true
}

// span is a range of numbers, both ends included.
type span struct{ first, last uint64 }

// parseRanges reads a list such as 8080,9000-9002 and joins what overlaps or touches, in rising order.
func parseRanges(s string) ([]span, bool) {
	var spans []span
	if s == "" {
		return nil, true
	}
	for item := range strings.SplitSeq(s, ",") {
		low, high, isRange := strings.Cut(item, "-")
		first, ok := parseNumber(low)
		if !ok || first.negative {
			return nil, false
		}
		last := first
		if isRange {
			last, ok = parseNumber(high)
			if !ok || last.negative || last.magnitude < first.magnitude {
				return nil, false
			}
		}
		spans = append(spans, span{first.magnitude, last.magnitude})
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	joined := spans[:1]
	for _, s := range spans[1:] {
		end := &joined[len(joined)-1].last
		if *end == math.MaxUint64 || s.first <= *end+1 {
			*end = max(*end, s.last)
		} else {
			joined = append(joined, s)
		}
	}
	return joined, true
}

// parseMask reads hexadecimal groups such as 3 or 00000000,00000003 into digits without leading zeros.
func parseMask(s string) (string, bool) {
	var digits strings.Builder
	for group := range strings.SplitSeq(strings.ToLower(s), ",") {
		if group == "" || len(group) > 8 || strings.Trim(group, "0123456789abcdef") != "" {
			return "", false
		}
		digits.WriteString(strings.Repeat("0", 8-len(group)) + group)
	}
	return strings.TrimLeft(digits.String(), "0"), true
}

func parseFastopen(s string) ([]uint32, bool) {
	var words []uint32
	keys := strings.Split(s, ",")
	for _, key := range keys {
		parts := strings.Split(key, "-")
		if len(parts) != 4 || len(keys) > 2 {
			return nil, false
		}
		for _, part := range parts {
			word, err := strconv.ParseUint(strings.TrimPrefix(part, "0x"), 16, 32)
			if err != nil {
				return nil, false
			}
			words = append(words, uint32(word))
		}
	}
	return words, true
}

func parseAddress(s string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(s)
	return addr, err == nil && addr.Zone() == ""
}

func switchWord(s string) string {
	switch s {
	case "0":
		return "disabled"
	case "1":
		return "enabled"
	}
	return s
}
