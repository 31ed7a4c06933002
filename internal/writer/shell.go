package writer

// Commands of a shell that write keys. Only what stands there in plain words is found: a value that a variable holds is
// not known, and a program that a script calls is not looked into.

import (
	"path"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// commands returns the writes of a script, whose first line has this number. Each write has the number of its line.
func commands(file string, number int, text string) []sysctl.Assignment {
	var found []sysctl.Assignment
	lines(text, func(n int, line string) {
		found = append(found, command(file, number+n-1, line, 0)...)
	})
	return found
}

// deepest bounds how often a quoted argument is read as a command itself, as that of sh -c is.
const deepest = 3

// command returns the writes of one line.
func command(file string, line int, text string, depth int) []sysctl.Assignment {
	if depth > deepest || !strings.Contains(text, "sysctl") && !strings.Contains(text, "/proc/sys") {
		return nil
	}
	var found []sysctl.Assignment
	var words []word
	var said value // what the command before a pipe printed
	end := func(pipe bool) {
		for _, a := range simple(words, said) {
			a.At = confdir.Position{File: file, Line: line}
			found = append(found, a)
		}
		if !elsewhere(words) {
			for i, w := range words {
				if i > 0 && (shellOption.MatchString(words[i-1].text) || words[i-1].text == "eval") {
					found = append(found, command(file, line, w.text, depth+1)...)
				}
			}
		}
		said = value{}
		if pipe {
			said = printed(words)
		}
		words = nil
	}
	split(text, func(w word) { words = append(words, w) }, end)
	return found
}

// word is a word of a command. quoted says that some of it was in quotes, and redirect that it follows a > or >>.
type word struct {
	text             string
	quoted, redirect bool
}

// value is what a command writes; known is false if that is not in plain words.
type value struct {
	text  string
	known bool
}

// split splits a line of shell into words and simple commands. Each command ends with a call of end, with pipe set if
// its output is the input of the next one.
func split(text string, add func(word), end func(pipe bool)) {
	var b strings.Builder
	var w word
	started := false
	flush := func() {
		if started || w.quoted {
			w.text = b.String()
			add(w)
			w = word{}
		}
		b.Reset()
		started = false
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
			started = true
		case c == '\'' || c == '"':
			w.quoted = true
			for i++; i < len(text) && text[i] != c; i++ {
				if c == '"' && text[i] == '\\' && i+1 < len(text) && strings.IndexByte("\"\\$`", text[i+1]) >= 0 {
					i++
				}
				b.WriteByte(text[i])
			}
		case c == ' ' || c == '\t':
			flush()
		case c == '#' && !started && !w.quoted:
			end(false)
			return
		case c == ';' || c == '&' || c == '(' || c == ')' || c == '{' && !started || c == '}' && !started:
			flush()
			if !(c == '&' && i > 0 && text[i-1] == '>') { // not 2>&1
				end(false)
			}
		case c == '|':
			flush()
			pipe := i+1 >= len(text) || text[i+1] != '|'
			if !pipe {
				i++
			}
			end(pipe)
		case c == '>':
			if fd := b.String(); started && (fd == "1" || fd == "2") {
				b.Reset()
				started = false
			}
			flush()
			for i+1 < len(text) && (text[i+1] == '>' || text[i+1] == '|') {
				i++
			}
			w.redirect = true
		default:
			b.WriteByte(c)
			started = true
		}
	}
	flush()
	end(false)
}

// programs that run the words behind them as a command.
var wrappers = []string{"sudo", "exec", "env", "nohup", "then", "do", "else", "if", "!", "time", "command", "while"}

// simple returns the writes of one simple command, given what it reads from a pipe.
func simple(words []word, in value) []sysctl.Assignment {
	var found []sysctl.Assignment
	var plain []word
	for _, w := range words {
		if !w.redirect {
			plain = append(plain, w)
			continue
		}
		if below, ok := strings.CutPrefix(w.text, "/proc/sys/"); ok {
			found = append(found, assign(below, printed(words)))
		}
	}
	for len(plain) > 1 && (slices.Contains(wrappers, path.Base(plain[0].text)) ||
		strings.Contains(plain[0].text, "=") && !plain[0].quoted) {
		plain = plain[1:]
	}
	if len(plain) == 0 {
		return found
	}
	switch path.Base(plain[0].text) {
	case "sysctl", "systemd-sysctl":
		return append(found, sysctlCommand(plain[1:])...)
	case "tee":
		for _, w := range plain[1:] {
			if below, ok := strings.CutPrefix(w.text, "/proc/sys/"); ok {
				found = append(found, assign(below, in))
			}
		}
	}
	return found
}

// sysctlCommand returns the writes of procps' sysctl with these arguments.
func sysctlCommand(arguments []word) []sysctl.Assignment {
	var found []sysctl.Assignment
	for i := 0; i < len(arguments); i++ {
		a := arguments[i].text
		name, v, assigns := strings.Cut(a, "=")
		switch {
		case a == "--system" || a == "-r" || a == "--pattern" || strings.HasPrefix(a, "--pattern="):
			return nil // the files of sysctl.d again
		case a == "--load" || strings.HasPrefix(a, "--load=") ||
			len(a) > 1 && a[0] == '-' && a[1] != '-' && strings.ContainsAny(a, "pf"):
			return found // the file is one of Scan.Files
		case strings.HasPrefix(a, "-"):
		case assigns:
			if i+1 < len(arguments) && v == "" && strings.TrimSpace(name) == name && !arguments[i].quoted {
				i++ // "key= value"
				v = arguments[i].text
			}
			found = append(found, assign(pathOf(strings.TrimSpace(name)), plainly(strings.TrimSpace(v))))
		case i+2 < len(arguments) && arguments[i+1].text == "=":
			found = append(found, assign(pathOf(a), plainly(arguments[i+2].text)))
			i += 2
		}
	}
	return found
}

// elsewhere says whether a command runs what it is given on another machine, in a container or in a namespace.
func elsewhere(words []word) bool {
	for len(words) > 1 && slices.Contains(wrappers, path.Base(words[0].text)) {
		words = words[1:]
	}
	return len(words) > 0 && slices.Contains([]string{"ssh", "docker", "podman", "nsenter", "chroot", "lxc-attach",
		"incus", "lxc", "machinectl", "systemd-run", "ip", "kubectl"}, path.Base(words[0].text))
}

// printed is what echo or printf writes.
func printed(words []word) value {
	var plain []string
	for _, w := range words {
		if !w.redirect {
			plain = append(plain, w.text)
		}
	}
	for len(plain) > 0 && slices.Contains(wrappers, path.Base(plain[0])) {
		plain = plain[1:]
	}
	if len(plain) < 2 {
		return value{}
	}
	switch path.Base(plain[0]) {
	case "echo":
		plain = plain[1:]
		for len(plain) > 0 && (plain[0] == "-n" || plain[0] == "-e") {
			plain = plain[1:]
		}
		return plainly(strings.Join(plain, " "))
	case "printf":
		switch {
		case len(plain) == 2:
			return plainly(strings.TrimSuffix(plain[1], `\n`))
		case len(plain) == 3 && strings.TrimSuffix(plain[1], `\n`) == "%s":
			return plainly(plain[2])
		}
	}
	return value{}
}

// plainly is a value that stands there in plain words. The shell makes another one of variables and commands, and
// systemd of specifiers.
func plainly(text string) value {
	if strings.ContainsAny(text, "$`%") {
		return value{}
	}
	return value{text, true}
}

// assign is a write to a path below /proc/sys. A part of the path that is not in plain words may be anything.
func assign(below string, v value) sysctl.Assignment {
	parts := strings.Split(below, "/")
	for i, part := range parts {
		if strings.ContainsAny(part, "$`%") {
			parts[i] = "*"
		}
	}
	return sysctl.Assignment{Pattern: strings.Join(parts, "/"), Value: v.text, HasValue: v.known}
}

// pathOf is the path below /proc/sys of a key as sysctl(8) spells it: the first separator decides what separates.
func pathOf(name string) string {
	if i := strings.IndexAny(name, "./"); i < 0 || name[i] == '/' {
		return name
	}
	return strings.NewReplacer(".", "/", "/", ".").Replace(name)
}
