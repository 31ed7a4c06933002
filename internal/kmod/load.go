package kmod

// modules-load.d: what is loaded at boot.

import (
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
)

// LoadLine is a line of a modules-load.d file.
type LoadLine struct {
	// Name is the whole line: what stands behind a module's name is part of it, and makes it a name that no module has.
	Name string
	// At is the line in its file.
	At confdir.Position
}

// ParseLoad reads the text of one modules-load.d file as systemd-modules-load does: a name a line; a line that begins with # or ; is a comment, and
// nothing else is.
func ParseLoad(file, text string) []LoadLine {
	var lines []LoadLine
	at := confdir.Position{File: file}
	for line := range confdir.Lines(text) {
		at.Line++
		if name := strings.Trim(line, confdir.Blanks); name != "" && name[0] != '#' && name[0] != ';' {
			lines = append(lines, LoadLine{Name: name, At: at})
		}
	}
	return lines
}

// FormatLoad returns the text of a modules-load.d file for one module: a comment line for each comment, then the name, which must come from ParseName.
func FormatLoad(name string, comments ...string) string { return commentLines(comments) + name + "\n" }

// commentLines makes a comment line of each text.
func commentLines(comments []string) string {
	var b strings.Builder
	for _, c := range comments {
		b.WriteString("# " + oneLine(c))
		if strings.HasSuffix(c, `\`) {
			b.WriteByte(' ') // or modprobe.d would take the next line for a part of the comment
		}
		b.WriteByte('\n')
	}
	return b.String()
}

var oneLine = strings.NewReplacer("\n", " ", "\r", " ", "\x00", " ").Replace

// ParseModules reads the text of /etc/modules as the init scripts of OpenRC and Debian's kmod do: a line is a module's name and then its parameters, and
// what follows a `#` is a comment.
func ParseModules(file, text string) []LoadLine {
	var lines []LoadLine
	at := confdir.Position{File: file}
	for line := range strings.Lines(text) {
		at.Line++
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 0 {
			lines = append(lines, LoadLine{Name: words[0], At: at})
		}
	}
	return lines
}
