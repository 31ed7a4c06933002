package confdir

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// oneLine is Lines put another way: what stands before a line's end, and the end.
var oneLine = regexp.MustCompile(`([^\n\r\x00]*)(?:\n\r?\x00?|\r\n?\x00?|\x00|$)`)

// FuzzConfdir guards lines and patterns against a second implementation each, regexp and path.Match, and that of any files Order leaves at most one of a
// name, in rising order, whichever way round they come.
func FuzzConfdir(f *testing.F) {
	f.Add("a\nb\r\n\r\nc\x00\n\rd", "eth[!0-9]*", "etha1")
	f.Add("\xff\xfe\r\r\n\x00\x00", `[a-\]]?\*`, "b0*")
	f.Add("10-a.conf\n20-b.conf\n10-a.conf", "*a*b*", strings.Repeat("ab", 20)+"c")
	f.Fuzz(func(t *testing.T, text, pattern, name string) {
		lines := slices.Collect(Lines(text))
		var want []string
		for _, m := range oneLine.FindAllStringSubmatch(text, -1) {
			if m[0] != "" {
				want = append(want, m[1])
			}
		}
		if !slices.Equal(lines, want) {
			t.Errorf("Lines(%q) = %q, want %q", text, lines, want)
		}
		if known(pattern, name) {
			if want, err := path.Match(pattern, name); err == nil && Match(pattern, name) != want {
				t.Errorf("Match(%q, %q) = %v", pattern, name, !want)
			}
		}
		if !IsGlob(pattern) && !strings.Contains(pattern, `\`) && Match(pattern, name) != (pattern == name) {
			t.Errorf("%q, which is no pattern, matches %q: %v", pattern, name, pattern != name)
		}
		ordered(t, lines)
	})
}

// known says whether path.Match takes a pattern as fnmatch does: where no slash, no byte that is half a character and no "[!" or "[]" comes in.
func known(pattern, name string) bool {
	ascii := func(s string) bool {
		return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 || r == '/' })
	}
	return ascii(pattern) && ascii(name) && !strings.Contains(pattern, "[!") && !strings.Contains(pattern, "[]") && !strings.Contains(pattern, "[^]")
}

// ordered makes files of these names, one in each directory in turn, and checks their order.
func ordered(t *testing.T, names []string) {
	t.Helper()
	var all []File
	for i, n := range names {
		p := roots[i%len(roots)] + "/sysctl.d/" + n
		if !slices.ContainsFunc(all, func(f File) bool { return f.Path == p }) {
			all = append(all, File{Path: p, Text: n, Regular: i%7 != 0})
		}
	}
	got := Order(all)
	slices.Reverse(all)
	if again := Order(all); !slices.Equal(got, again) {
		t.Errorf("Order gives %q, and of the same files in reverse %q", paths(got), paths(again))
	}
	for i, f := range got {
		if !slices.Contains(all, f) || !f.Regular || i > 0 && path.Base(got[i-1].Path) >= path.Base(f.Path) {
			t.Errorf("Order(%q) gives %q", paths(all), paths(got))
		}
	}
}
