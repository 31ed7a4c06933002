package confdir

// Patterns, as sysctl.d and modprobe.d know them.

import "strings"

// IsGlob says whether systemd takes s for a pattern and not for a name.
func IsGlob(s string) bool { return strings.ContainsAny(s, "*?[") }

// Match says whether a name matches a pattern of sysctl.d or modprobe.d as fnmatch(3) would: `*`, `?`, `[a-z]`, `[!a]`, `[[:digit:]]`, and `\` before a character
// that means itself. It works on bytes, in the C locale. Neither string is a path: a slash is a character like any other.
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
		if n, in := matchClass(pattern[i:], c); n > 0 {
			ok = ok || in
			i += n
			continue
		}
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

// matchClass matches a named class such as [:digit:] at the start of pattern; n is its length, 0 if there is none.
func matchClass(pattern string, c byte) (n int, in bool) {
	rest, ok := strings.CutPrefix(pattern, "[:")
	if !ok {
		return 0, false
	}
	name, _, ok := strings.Cut(rest, ":]")
	member := classes[name]
	if !ok || member == nil {
		return 0, false
	}
	return len("[:" + name + ":]"), member(c)
}

// classes are the named classes of the C locale (regex(7)).
var classes = map[string]func(c byte) bool{
	"alpha":  isAlpha,
	"digit":  isDigit,
	"alnum":  func(c byte) bool { return isAlpha(c) || isDigit(c) },
	"lower":  isLower,
	"upper":  func(c byte) bool { return isAlpha(c) && !isLower(c) },
	"xdigit": func(c byte) bool { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' },
	"space":  func(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' },
	"blank":  func(c byte) bool { return c == ' ' || c == '\t' },
	"cntrl":  func(c byte) bool { return c < ' ' || c == 0x7f },
	"print":  func(c byte) bool { return c >= ' ' && c < 0x7f },
	"graph":  isGraph,
	"punct":  func(c byte) bool { return isGraph(c) && !isAlpha(c) && !isDigit(c) },
}

func isAlpha(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isLower(c byte) bool { return c >= 'a' && c <= 'z' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isGraph(c byte) bool { return c > ' ' && c < 0x7f }

// bracesAtMost bounds what Braces returns: a pattern of a file may name more than there is memory for.
const bracesAtMost = 1 << 10

// Braces returns the patterns that a pattern of sysctl.d stands for: "{a,b}c" for "ac" and "bc", as glob(3) has it with
// GLOB_BRACE. A brace that never ends means itself, and so does "{}". Of more than a thousand it returns the first.
func Braces(pattern string) []string {
	open := -1
	for i := 0; i < len(pattern); i++ {
		if pattern[i] == '\\' {
			i++
		} else if pattern[i] == '{' && !strings.HasPrefix(pattern[i:], "{}") {
			open = i
			break
		}
	}
	if open < 0 {
		return []string{pattern}
	}
	var parts []string
	depth, from := 0, open+1
	for i := open; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\':
			i++
		case c == '{':
			depth++
		case c == ',' && depth == 1:
			parts, from = append(parts, pattern[from:i]), i+1
		case c == '}':
			if depth--; depth > 0 {
				continue
			}
			var all []string
			for _, part := range append(parts, pattern[from:i]) {
				if all = append(all, Braces(pattern[:open]+part+pattern[i+1:])...); len(all) >= bracesAtMost {
					return all[:bracesAtMost]
				}
			}
			return all
		}
	}
	return []string{pattern}
}
