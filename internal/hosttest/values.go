package hosttest

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"syscall"
)

// keyDef is one line of tables/keys.txt: a sysctl, its type and bounds.
type keyDef struct {
	path     string // below /proc/sys; a * stands for all, default and each interface
	module   string // that brings it; empty: the kernel itself
	mode     uint32
	kind     string
	room     int // of a string, the closing NUL included
	min, max string
	effect   string
	initial  string
}

// key is a sysctl as it is now.
type key struct {
	*keyDef
	path  string
	nums  []uint64 // of a numeric key; negative numbers as two's complement
	text  string   // of any other
	ports *[1 << 16]bool
}

func (k *key) numeric() bool { return k.kind == "int" || k.kind == "u8" || k.kind == "ulong" }

// signed says how nums are meant.
func (k *key) signed() bool { return k.kind == "int" }

// String is the key's content without the newline that ends it.
func (k *key) String() string {
	switch {
	case k.numeric():
		words := make([]string, len(k.nums))
		for i, n := range k.nums {
			if words[i] = strconv.FormatUint(n, 10); k.signed() {
				words[i] = strconv.FormatInt(int64(n), 10)
			}
		}
		return strings.Join(words, "\t")
	case k.kind == "ports":
		return formatPorts(k.ports)
	}
	return k.text
}

// bounds are the smallest and the largest number a field may hold.
func (k *key) bounds() (lo, hi uint64) {
	switch k.kind {
	case "int":
		lo, hi = uint64(math.MaxUint64-math.MaxInt32), math.MaxInt32
	case "u8":
		lo, hi = 0, math.MaxUint8
	case "ulong":
		lo, hi = 0, math.MaxUint64
	}
	if k.min != "-" {
		n, _ := strconv.ParseInt(k.min, 10, 64)
		lo = uint64(n)
	}
	if k.max != "-" {
		hi, _ = strconv.ParseUint(k.max, 10, 64)
	}
	return lo, hi
}

// fits says whether n lies within the key's bounds.
func (k *key) fits(n uint64, negative bool) bool {
	lo, hi := k.bounds()
	if k.signed() {
		if negative {
			return n <= math.MaxInt64 && -int64(n) >= int64(lo)
		}
		return n <= math.MaxInt64 && int64(n) >= int64(lo) && int64(n) <= int64(hi)
	}
	return !negative && n >= lo && n <= hi
}

// parseNumbers reads fields as kernel/sysctl.c does: base 0, fields parted by white space, as many as there are, each stored before the next is read.
// It returns the numbers, how many bytes it took, and EINVAL with those read before a bad one.
func (k *key) parseNumbers(p []byte) (nums []uint64, taken int, err error) {
	const space = " \t\n\v\f\r"
	rest := p
	for range k.nums {
		rest = bytes.TrimLeft(rest, space)
		if len(rest) == 0 {
			break
		}
		n, size, negative, ok := parseLong(rest, " \t\n")
		if !ok || !k.fits(n, negative) {
			return nums, len(p), syscall.EINVAL
		}
		if negative {
			n = -n
		}
		nums, rest = append(nums, n), rest[size:]
	}
	if len(nums) == 0 {
		return nil, len(p), syscall.EINVAL
	}
	return nums, len(p) - len(bytes.TrimLeft(rest, space)), nil
}

// parseLong is proc_get_long of kernel/sysctl.c: a number in base 0 of at most 20 characters, followed by nothing or by one of ends.
func parseLong(p []byte, ends string) (n uint64, size int, negative, ok bool) {
	s := p[:min(len(p), 21)]
	if len(s) > 1 && s[0] == '-' {
		negative, s = true, s[1:]
	}
	digits, base := s, 10
	if len(s) > 2 && s[0] == '0' && s[1]|0x20 == 'x' {
		digits, base = s[2:], 16
	} else if len(s) > 1 && s[0] == '0' {
		base = 8
	}
	i := 0
	for i < len(digits) && digitOf(digits[i]) < base {
		i++
	}
	if i == 0 {
		return 0, 0, false, false
	}
	n, err := strconv.ParseUint(string(digits[:i]), base, 64)
	size = len(p[:min(len(p), 21)]) - len(digits) + i
	if err != nil || size == 21 || size < len(p) && strings.IndexByte(ends, p[size]) < 0 {
		return 0, 0, false, false
	}
	return n, size, negative, true
}

func digitOf(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return 99
}

// parsePorts reads a list such as 22,8080-8081 as proc_do_large_bitmap does. It takes at most one page.
func parsePorts(p []byte) (set *[1 << 16]bool, taken int, err error) {
	const page = 4095
	set = new([1 << 16]bool)
	taken = min(len(p), page)
	rest := p[:taken]
	if taken < len(p) { // a range cut in two is left for the next write
		taken = bytes.LastIndexByte(rest, ',') + 1
		rest = p[:taken]
	}
	rest = bytes.TrimPrefix(rest, []byte("\n"))
	for len(rest) > 0 {
		from, size, neg, ok := parseLong(rest, ",-\n")
		if !ok || neg || from >= 1<<16 {
			return nil, 0, syscall.EINVAL
		}
		rest = rest[size:]
		to := from
		if len(rest) > 0 && rest[0] == '-' {
			to, size, neg, ok = parseLong(rest[1:], ",\n")
			if !ok || neg || to >= 1<<16 || to < from {
				return nil, 0, syscall.EINVAL
			}
			rest = rest[1+size:]
		}
		for i := from; i <= to; i++ {
			set[i] = true
		}
		if len(rest) > 0 {
			rest = rest[1:]
		}
	}
	return set, taken, nil
}

func formatPorts(set *[1 << 16]bool) string {
	var words []string
	for i := 0; set != nil && i < len(set); i++ {
		if !set[i] {
			continue
		}
		from := i
		for i+1 < len(set) && set[i+1] {
			i++
		}
		if from == i {
			words = append(words, strconv.Itoa(from))
		} else {
			words = append(words, strconv.Itoa(from)+"-"+strconv.Itoa(i))
		}
	}
	return strings.Join(words, ",")
}

// storeText is _proc_do_string with strict writes: a write at an offset continues the value, what has no room is dropped without a word.
func (k *key) storeText(off int64, p []byte) string {
	old := k.text
	if off > int64(len(old)) {
		return old
	}
	if i := bytes.IndexAny(p, "\n\x00"); i >= 0 {
		p = p[:i]
	}
	s := old[:off] + string(p)
	return s[:min(len(s), max(k.room-1, 0))]
}
