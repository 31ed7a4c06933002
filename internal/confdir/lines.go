package confdir

// Lines, as systemd reads them.

import "iter"

// Blanks is the white space that systemd strips from both ends of a line.
const Blanks = " \t\n\r"

// Lines yields the lines of a file as systemd reads them: a line feed, a carriage return or a NUL byte ends a line, and so does a line feed and a carriage
// return together, in either order (systemd's read_line).
func Lines(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for len(text) > 0 {
			n := 0
			for n < len(text) && !isEnd(text[n]) {
				n++
			}
			line := text[:n]
			ended := ""
			for n < len(text) && isEnd(text[n]) && !contains(ended, text[n]) && !contains(ended, 0) {
				ended += text[n : n+1]
				n++
			}
			text = text[n:]
			if !yield(line) {
				return
			}
		}
	}
}

func isEnd(c byte) bool { return c == '\n' || c == '\r' || c == 0 }

func contains(s string, c byte) bool {
	for i := range len(s) {
		if s[i] == c {
			return true
		}
	}
	return false
}
