package kmod

// modprobe.d: what becomes of a request to load.

import (
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
)

// Directive is a line of a modprobe.d file. Where several lines of a command concern one module, kmod heeds the first install and the first remove line, and
// of the others all together.
type Directive struct {
	// Command is alias, blacklist, install, options, remove or softdep.
	Command string
	// Name is the module the line is about, with '_' for '-', or a pattern where the command allows one. An alias line has the alias here.
	Name string
	// Text is the rest of the line: the module of an alias, the parameters of options (ParseParameters reads them), the shell command of install and
	// remove, the modules of softdep; "" for blacklist.
	Text string
	// At is where the line begins.
	At confdir.Position
}

// Concerns says whether kmod heeds the line for a module, or an alias, of this name. blacklist and options lines name one module; in the others the name may
// be a pattern. A blacklist line keeps aliases and systemd-modules-load from loading the module, but not `modprobe NAME`.
func (d Directive) Concerns(name string) bool {
	switch d.Command {
	case "blacklist", "options":
		return d.Name == Canonical(name)
	}
	return confdir.Match(d.Name, Canonical(name))
}

// BadLine is a line of a modprobe.d file that kmod warns of and takes no notice of.
type BadLine struct {
	At confdir.Position
	// Text is the line without outer blanks.
	Text string
	// Problem is what is wrong with it, such as "it names no module".
	Problem string
}

// ParseModprobe reads the text of one modprobe.d file as kmod does: a `#` in the first column makes a comment, and a `\` at its end joins a line with the
// next. A `#` further on, or a carriage return, is a character like any other: a file with CRLF line ends names modules that nobody has.
func ParseModprobe(file, text string) (directives []Directive, bad []BadLine) {
	for number, line := range wrappedLines(text) {
		command, rest := word(line)
		if command == "" || line[0] == '#' {
			continue
		}
		at := confdir.Position{File: file, Line: number}
		d, problem := directive(command, rest)
		if problem != "" {
			bad = append(bad, BadLine{At: at, Text: strings.Trim(line, blanks), Problem: problem})
			continue
		}
		d.At = at
		directives = append(directives, d)
	}
	return directives, bad
}

// directive reads a line, or says what is wrong with it.
func directive(command, rest string) (d Directive, problem string) {
	name, rest := word(rest)
	d = Directive{Command: command, Name: canonicalPattern(name), Text: rest}
	switch command {
	case "blacklist":
		d.Text = ""
	case "alias":
		module, _ := word(rest)
		d.Text = canonicalPattern(module)
	case "options":
		d.Text = strings.ReplaceAll(rest, "\t", " ")
	case "install", "remove", "softdep":
	default:
		return d, "kmod knows no such command"
	}
	switch {
	case d.Name == "":
		return d, "it names no module"
	case d.Text == "" && command != "blacklist":
		return d, "there is nothing behind " + name
	}
	return d, ""
}

const blanks = " \t"

// word splits the first word off a line, as strtok(3) does.
func word(s string) (first, rest string) {
	s = strings.TrimLeft(s, blanks)
	i := strings.IndexAny(s, blanks)
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i+1:]
}

// wrappedLines yields the lines of a file with continued ones joined, each with the number of its first line. A backslash before anything but a line feed
// vanishes (kmod's freadline_wrapped).
func wrappedLines(text string) func(yield func(int, string) bool) {
	return func(yield func(int, string) bool) {
		var line strings.Builder
		n, first := 1, 1
		for i := 0; i < len(text); i++ {
			switch c := text[i]; {
			case c == '\\' && i+1 < len(text):
				i++
				if text[i] != '\n' {
					line.WriteByte(text[i])
				} else {
					n++
				}
			case c == '\n':
				if !yield(first, line.String()) {
					return
				}
				line.Reset()
				n++
				first = n
			default:
				line.WriteByte(c)
			}
		}
		if line.Len() > 0 {
			yield(first, line.String())
		}
	}
}

// canonicalPattern is Canonical for all but the inside of brackets, where '-' makes a range.
func canonicalPattern(s string) string {
	head, rest, found := strings.Cut(s, "[")
	if !found {
		return Canonical(s)
	}
	set, tail, found := strings.Cut(rest, "]")
	if !found {
		return Canonical(head) + "[" + rest
	}
	return Canonical(head) + "[" + set + "]" + canonicalPattern(tail)
}
