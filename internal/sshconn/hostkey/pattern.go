package hostkey

import "strings"

// MatchPattern reports whether a pattern matches all of s: * stands for any characters, ? for one.
func MatchPattern(s, pattern string) bool {
	star, from := -1, 0 // the last * so far, and where in s to go on after it
	i, j := 0, 0
	for i < len(s) {
		switch {
		case j < len(pattern) && pattern[j] == '*':
			star, from = j, i
			j++
		case j < len(pattern) && (pattern[j] == '?' || pattern[j] == s[i]):
			i++
			j++
		case star >= 0:
			from++
			i, j = from, star+1
		default:
			return false
		}
	}
	return strings.Trim(pattern[j:], "*") == ""
}

// MatchPatternList reports whether one of some patterns matches, which have commas between them, and none that a !
// negates. If lower is set, capitals of the patterns do not count.
func MatchPatternList(s, list string, lower bool) bool {
	if list == "" {
		return false
	}
	if lower {
		list = strings.ToLower(list)
	}
	found := false
	for pattern := range strings.SplitSeq(strings.TrimSuffix(list, ","), ",") {
		pattern, negated := strings.CutPrefix(pattern, "!")
		if MatchPattern(s, pattern) {
			if negated {
				return false
			}
			found = true
		}
	}
	return found
}
