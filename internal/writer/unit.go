package writer

// Units of systemd: their Exec lines, and how they are ordered.

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// readUnit reads a unit, or a drop-in of one.
func readUnit(_ *Scan, f File) []Write {
	unit := path.Base(f.Path)
	if dir, ok := strings.CutSuffix(path.Dir(f.Path), ".d"); ok {
		unit = path.Base(dir)
	}
	var found []sysctl.Assignment
	lines(f.Text, func(n int, line string) {
		name, text, ok := strings.Cut(line, "=")
		switch strings.TrimSpace(name) {
		case "ExecStart", "ExecStartPre", "ExecStartPost":
		default:
			return
		}
		if !ok || !strings.Contains(text, "sysctl") && !strings.Contains(text, "/proc/sys") {
			return
		}
		found = append(found, execLine(f.Path, n, text)...)
	})
	return writes(unit, unitOrder(f.Text), found)
}

// execLine returns the writes of an Exec line (systemd.service(5), "COMMAND LINES"): it knows quotes, but neither pipes
// nor redirections, unless a shell is called.
func execLine(file string, line int, text string) []sysctl.Assignment {
	var words []word
	var found []sysctl.Assignment
	end := func() {
		for i, w := range words {
			if i > 0 && shellOption.MatchString(words[i-1].text) {
				found = append(found, command(file, line, unescape.Replace(w.text), 1)...)
			}
		}
		if len(words) > 0 && path.Base(strings.TrimLeft(words[0].text, "-@:+!")) == "sysctl" {
			for _, a := range sysctlCommand(words[1:]) {
				a.At = confdir.Position{File: file, Line: line}
				found = append(found, a)
			}
		}
		words = nil
	}
	for _, w := range unitWords(text) {
		if w.text == ";" && !w.quoted {
			end()
			continue
		}
		words = append(words, w)
	}
	end()
	return found
}

var (
	// shellOption is the option of a shell that is followed by a command.
	shellOption = regexp.MustCompile(`^-[a-z]*c$`)
	// unescape turns what systemd reads as $ and % into these.
	unescape = strings.NewReplacer("$$", "$", "%%", "%")
	escapes  = map[byte]byte{'n': '\n', 't': '\t', 's': ' '}
)

// unitWords splits a command line of a unit.
func unitWords(text string) []word {
	var words []word
	for i := 0; i < len(text); {
		if text[i] == ' ' || text[i] == '\t' {
			i++
			continue
		}
		var w word
		var b strings.Builder
		for quote := byte(0); i < len(text) && (quote != 0 || text[i] != ' ' && text[i] != '\t'); i++ {
			switch c := text[i]; {
			case c == quote && quote != 0:
				quote = 0
			case quote == 0 && (c == '"' || c == '\''):
				quote, w.quoted = c, true
			case c == '\\' && i+1 < len(text):
				i++
				b.WriteByte(cmp.Or(escapes[text[i]], text[i]))
			default:
				b.WriteByte(c)
			}
		}
		w.text = b.String()
		words = append(words, w)
	}
	return words
}

// unitOrder is when a unit with this text starts. Without a word of its own it starts after sysinit.target, which waits
// for systemd-sysctl.service.
func unitOrder(text string) Order {
	order := Later
	lines(text, func(_ int, line string) {
		if name, v, _ := strings.Cut(line, "="); strings.TrimSpace(name) == "DefaultDependencies" &&
			contains([]string{"no", "false", "0", "off"}, strings.ToLower(strings.TrimSpace(v))) {
			order = Unordered
		}
	})
	lines(text, func(_ int, line string) {
		name, v, _ := strings.Cut(line, "=")
		switch strings.TrimSpace(name) {
		case "After":
			if slices.ContainsFunc(strings.Fields(v), func(u string) bool {
				return contains([]string{"systemd-sysctl.service", "sysinit.target", "basic.target", "multi-user.target"}, u)
			}) {
				order = Later
			}
		case "Before":
			if contains(strings.Fields(v), "systemd-sysctl.service") {
				order = Earlier
			}
		}
	})
	return order
}
