package boot

import (
	"path"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// contents are what the files of a host say. Each file is parsed once.
type contents struct {
	// sysctl has the credential and /etc/sysctl.conf too; the credential is read last, and /etc/sysctl.conf is not in
	// the order.
	sysctl   family[sysctlLines]
	load     family[loadLines]
	modprobe family[[]kmod.Directive]
	// etcModules are the lines of /etc/modules, if the host's programs read that file; etcModulesUnread is its path if it
	// could not be read.
	etcModules       []kmod.LoadLine
	etcModulesUnread string
}

// family is the files of one *.d family, with what they say.
type family[L any] struct {
	// order is the files that count, first read to last.
	order []confdir.File
	// hidden are the readable files that a stronger one of the same name hides, each with the path of that one.
	hidden map[string]string
	// broken are the entries that make the program fail: directories, and links that lead to themselves.
	broken []confdir.File
	// lines is what each file says, by path.
	lines map[string]L
}

// sysctlLines is what a file of sysctl.d says.
type sysctlLines struct {
	// all are the assignments of the whole file, read those in the part that systemd reads.
	all, read []sysctl.Assignment
	// bad are the lines of that part that are no assignment.
	bad []sysctl.BadLine
	// tooLong is the line at which systemd stops; nil if it reads everything.
	tooLong *confdir.Position
}

// loadLines is what a file of modules-load.d says, with the fields of sysctlLines.
type loadLines struct {
	all, read []kmod.LoadLine
	tooLong   *confdir.Position
}

// parseFiles parses the files of a snapshot as these programs do.
func parseFiles(s *Snapshot, by programs) *contents {
	parseSysctl := func(f confdir.File) (l sysctlLines) {
		text, tooLong := by.untilTooLong(f)
		l.read, l.bad = by.sysctl(f.Path, text)
		if l.all, l.tooLong = l.read, tooLong; tooLong != nil {
			l.all, _ = by.sysctl(f.Path, f.Text)
		}
		return l
	}
	parseLoad := func(f confdir.File) (l loadLines) {
		text, tooLong := by.untilTooLong(f)
		l.read = by.modulesLoad(f.Path, text)
		if l.all, l.tooLong = l.read, tooLong; tooLong != nil {
			l.all = by.modulesLoad(f.Path, f.Text)
		}
		return l
	}
	parseModprobe := func(f confdir.File) []kmod.Directive {
		directives, _ := by.modprobe(f.Path, f.Text)
		return directives
	}
	c := &contents{
		sysctl: parseFamily(passed(s.Sysctl, false, false, !by.loopsMask), parseSysctl),
		load:   parseFamily(passed(s.ModulesLoad, !by.loadMasks, !by.loadMasks, !by.loadMasks), parseLoad),
		// kmod, unlike systemd, has always ignored directories.
		modprobe: parseFamily(passed(s.Modprobe, true, !by.kmodLinksMask, !by.kmodLinksMask), parseModprobe),
	}
	if s.Extra != nil {
		c.sysctl.order = append(c.sysctl.order, *s.Extra)
		c.sysctl.lines[s.Extra.Path] = parseSysctl(*s.Extra)
	}
	if s.SysctlConf != nil {
		c.sysctl.lines[s.SysctlConf.Path] = parseSysctl(*s.SysctlConf)
	}
	if s.Modules != nil && by.etcModules != nil {
		if c.etcModules = by.etcModules(s.Modules.Path, s.Modules.Text); s.Modules.Unread != "" {
			c.etcModulesUnread = s.Modules.Path
		}
	}
	return c
}

// passed returns the files without the directories, the links that lead nowhere, and those that lead to themselves, if
// a program takes them for nothing.
func passed(files []confdir.File, directories, dangling, loops bool) []confdir.File {
	return slices.DeleteFunc(slices.Clone(files), func(f confdir.File) bool {
		switch f.Unread {
		case "":
			return false
		case isDirectory:
			return !f.Regular && directories
		case linkLoop, linkLoopToo:
			return !f.Regular && loops
		}
		return !f.Regular && dangling
	})
}

// parseFamily sorts the files of a family, and parses each.
func parseFamily[L any](files []confdir.File, parse func(confdir.File) L) family[L] {
	f := family[L]{order: confdir.Order(files), hidden: map[string]string{}, lines: make(map[string]L, len(files))}
	winner := map[string]string{}
	for _, w := range strongest(files) {
		winner[path.Base(w.Path)] = w.Path
		if !w.Regular && (w.Unread == isDirectory || w.Unread == linkLoop || w.Unread == linkLoopToo) {
			f.broken = append(f.broken, w)
		}
	}
	for _, file := range files {
		w := winner[path.Base(file.Path)]
		if w != "" && w != file.Path && file.Regular && file.Unread == "" {
			f.hidden[file.Path] = w
		}
		if _, done := f.lines[file.Path]; !done && file.Text != "" {
			f.lines[file.Path] = parse(file)
		}
	}
	return f
}

// strongest returns the strongest entry of each basename, masks included, in the order of confdir.Order.
func strongest(files []confdir.File) []confdir.File {
	byPath := map[string]confdir.File{}
	marked := slices.Clone(files)
	for i, f := range files {
		byPath[f.Path] = f
		marked[i].Regular, marked[i].Text = true, "content, so that Order leaves none out"
	}
	order := confdir.Order(marked)
	for i, f := range order {
		order[i] = byPath[f.Path]
	}
	return order
}

// The kernel's words for a file that opens or reads as an error in whatever process tries, root's too.
const (
	isDirectory = "Is a directory"
	linkLoop    = "Too many levels of symbolic links"
	linkLoopToo = "Symbolic link loop" // musl's word
)

// untilTooLong returns the part of a file before the first line that is too long for these programs, and that line.
func (by programs) untilTooLong(f confdir.File) (text string, line *confdir.Position) {
	if len(f.Text) < by.longestLine {
		return f.Text, nil
	}
	n, start := 0, 0
	for start < len(f.Text) {
		end := strings.IndexAny(f.Text[start:], "\n\r\x00")
		if end < 0 {
			end = len(f.Text) - start
		}
		n++
		if end >= by.longestLine {
			return f.Text[:start], &confdir.Position{File: f.Path, Line: n}
		}
		start += end + 1
	}
	return f.Text, nil
}

// fileFailures are the failures of a unit because of the files of its family that cannot be read.
func fileFailures(broken []confdir.File, unit string) []UnitFailure {
	var failures []UnitFailure
	for _, f := range broken {
		failures = append(failures, lineFails(unit, f.Path, "It cannot be read: "+f.Unread+"."))
	}
	return failures
}

// tooLongFails is the failure of a unit because of a line that is too long for it.
func tooLongFails(unit string, line confdir.Position) UnitFailure {
	return lineFails(unit, line.String(),
		"The line is longer than the 1 MiB that systemd reads; it and all lines after it are lost.")
}
