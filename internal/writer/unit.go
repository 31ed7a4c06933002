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
		if !isExec(name) {
			return
		}
		if !ok || !strings.Contains(text, "sysctl") && !strings.Contains(text, "/proc/sys") {
			return
		}
		found = append(found, execLine(f.Path, n, text)...)
	})
	return writes(unit, unitOrder(f.Text), found)
}

// isExec says whether an option of a unit holds a command that runs when the unit starts.
func isExec(option string) bool {
	return slices.Contains([]string{"ExecStart", "ExecStartPre", "ExecStartPost"}, strings.TrimSpace(option))
}

// withoutReset takes away the commands that an empty assignment cancels, later in the unit or in one of its drop-ins,
// which follow it. Lines stay where they are.
func withoutReset(files []File) []File {
	files = slices.Clone(files)
	for i, f := range files {
		unit := path.Base(f.Path)
		if dir, ok := strings.CutSuffix(path.Dir(f.Path), ".d"); ok {
			unit = path.Base(dir)
		}
		if !strings.HasSuffix(unit, ".service") {
			continue
		}
		lines(f.Text, func(n int, line string) {
			option, v, ok := strings.Cut(line, "=")
			if !ok || !isExec(option) || strings.TrimSpace(v) != "" {
				return
			}
			for j := range files[:i+1] {
				dir, dropIn := strings.CutSuffix(path.Dir(files[j].Path), ".d")
				if path.Base(files[j].Path) == unit || dropIn && path.Base(dir) == unit {
					before := -1
					if j == i {
						before = n
					}
					files[j].Text = withoutOption(files[j].Text, strings.TrimSpace(option), before)
				}
			}
		})
	}
	return files
}

// withoutOption empties the lines of a unit that set an option: those before the line with this number, or all if it is
// negative.
func withoutOption(text, option string, before int) string {
	all := strings.Split(text, "\n")
	for i, line := range all {
		name, _, _ := strings.Cut(line, "=")
		if strings.TrimSpace(name) == option && (before < 0 || i+1 < before) {
			all[i] = ""
		}
	}
	return strings.Join(all, "\n")
}

// execLine returns the writes of an Exec line (systemd.service(5), "COMMAND LINES"): it knows quotes, but neither pipes
// nor redirections, unless a shell is called.
func execLine(file string, line int, text string) []sysctl.Assignment {
	var words []word
	var found []sysctl.Assignment
	end := func() {
		for i, w := range words {
			if i > 0 && shellOption.MatchString(words[i-1].text) && !elsewhere(words) {
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
			slices.Contains([]string{"no", "false", "0", "off"}, strings.ToLower(strings.TrimSpace(v))) {
			order = Unordered
		}
	})
	lines(text, func(_ int, line string) {
		name, v, _ := strings.Cut(line, "=")
		switch strings.TrimSpace(name) {
		case "After":
			if slices.ContainsFunc(strings.Fields(v), func(u string) bool {
				return slices.Contains([]string{"systemd-sysctl.service", "sysinit.target", "basic.target", "multi-user.target"}, u)
			}) {
				order = Later
			}
		case "Before":
			if slices.Contains(strings.Fields(v), "systemd-sysctl.service") {
				order = Earlier
			}
		}
	})
	return order
}
