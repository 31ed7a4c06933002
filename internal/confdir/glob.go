package confdir

// Patterns, as sysctl.d and modprobe.d know them.

import "strings"

// IsGlob says whether systemd takes s for a pattern and not for a name.
func IsGlob(s string) bool { return strings.ContainsAny(s, "*?[") }

// Match says whether a name matches a pattern of sysctl.d or modprobe.d as fnmatch(3) would: `*`, `?`, `[a-z]`, `[!a]`, and `\` before a character
// that means itself. It works on bytes, and knows no named classes such as [:digit:]. Neither string is a path: a slash is a character like any other.
func Match(pattern, name string) bool {
	var p, n int
	star, mark := -1, 0 // where to take up again: after the last `*`, with one more byte given to it
	for n < len(name) {
		if p < len(pattern) && pattern[p] == '*' {
			star, mark = p, n
			p++
			continue
		}
		if width, ok := matchByte(pattern[p:], name[n]); ok {
			p += width
			n++
			continue
		}
		if star < 0 {
			return false
		}
		mark++
		p, n = star+1, mark
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchByte matches the first element of a pattern, which is no `*`, and says how long that element is.
func matchByte(pattern string, c byte) (width int, ok bool) {
	switch {
	case pattern == "":
		return 0, false
	case pattern[0] == '?':
		return 1, true
	case pattern == `\`:
		return 1, false
	case pattern[0] == '\\':
		return 2, pattern[1] == c
	case pattern[0] == '[':
		if width, ok := matchSet(pattern, c); width > 0 {
			return width, ok
		}
	}
	return 1, pattern[0] == c
}

// matchSet matches a bracket expression; width 0 says that it never ends and that the bracket means itself.
func matchSet(pattern string, c byte) (width int, ok bool) {
	i := 1
	negated := i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^')
	if negated {
		i++
	}
	first := i
	for i < len(pattern) && (pattern[i] != ']' || i == first) {
		low := pattern[i]
		if low == '\\' && i+1 < len(pattern) {
			i++
			low = pattern[i]
		}
		i++
		high := low
		if i+1 < len(pattern) && pattern[i] == '-' && pattern[i+1] != ']' {
			i++
			high = pattern[i]
			if high == '\\' && i+1 < len(pattern) {
				i++
				high = pattern[i]
			}
			i++
		}
		ok = ok || low <= c && c <= high
	}
	if i >= len(pattern) {
		return 0, false
	}
	return i + 1, ok != negated
}
