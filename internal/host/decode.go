package host

// Decoding of what the snapshot's scripts print.

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/errno"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/writer"
)

// values returns the readings that values.sh printed.
func values(r shell.Result) map[string]boot.Reading {
	s, _ := decode(r)
	return s.Values
}

// decode returns the snapshot that files.sh, boot.sh and values.sh printed. If torn is true, a file changed while it
// was read, and the texts of the files must not be used.
func decode(r shell.Result) (s *boot.Snapshot, torn bool) {
	d := decoder{s: &boot.Snapshot{Values: map[string]boot.Reading{}}}
	for _, rec := range r.Records {
		d.file(rec)
		d.boot(rec)
		d.value(rec)
		d.writer(rec)
	}
	for _, f := range d.files {
		d.s.AddFile(f)
	}
	d.s.Enabled, d.s.Writes = d.scan.Enabled, writer.Find(d.scan)
	if d.settings != nil {
		d.s.ReadOpenRC(d.services, d.settings)
	}
	for _, t := range d.s.Trees {
		if t.Release == d.s.Kernel {
			d.s.Builtin = t.Builtin
		}
	}
	return d.s, d.torn
}

// capSysModule is the bit of CAP_SYS_MODULE, as in capabilities(7).
const capSysModule = 1 << 16

// decoder is a snapshot while it is decoded, and the position in the records.
type decoder struct {
	s        *boot.Snapshot
	files    []confdir.File
	named    string   // the path of the last file
	regular  []int    // the indices in files of the regular ones
	sizes    string   // what wc printed of the regular files
	read     string   // the path of the file that is read by itself
	torn     bool     // the texts do not have the sizes that wc printed
	path     string   // the path of the value that is decoded
	services []string // the services in OpenRC's runlevels
	service  string   // the service of the next settings
	settings map[string]string
	release  string // the release of the next module tree
	scan     writer.Scan
}

// file decodes the records of files.sh.
func (d *decoder) file(rec shell.Record) {
	switch rec.Head {
	case "file":
		if d.named = rec.Body; d.named != "" {
			d.files = append(d.files, confdir.File{Path: rec.Body})
		}
	case "link":
		d.change(d.named, func(f *confdir.File) { f.Target = strings.TrimSuffix(rec.Body, "\n") })
	case "regular":
		if d.named != "" {
			d.change(d.named, func(f *confdir.File) { f.Regular = true })
			d.regular = append(d.regular, len(d.files)-1)
		}
	case "broken":
		d.change(d.named, func(f *confdir.File) { f.Regular, f.Text, f.Unread = false, "", whyUnread(rec.Body) })
	case "sizes":
		d.sizes = rec.Body
	case "texts":
		d.split(rec.Body)
	case "torn":
		d.torn = true
	case "read":
		d.read = rec.Body
	case "text":
		d.change(d.read, func(f *confdir.File) { setText(f, rec.Body) })
	case "unread":
		d.change(d.read, func(f *confdir.File) { f.Unread, f.Text = whyUnread(f.Text), "" })
	case "absent":
		for path := range strings.Lines(rec.Body) {
			d.s.Values[strings.TrimSuffix(path, "\n")] = boot.Reading{Absent: true}
		}
	case "sysmodules":
		d.s.SysModules = names(strings.Fields(rec.Body))
	}
}

// change applies do to the last file with this path.
func (d *decoder) change(path string, do func(f *confdir.File)) {
	for i := len(d.files) - 1; i >= 0; i-- {
		if d.files[i].Path == path {
			do(&d.files[i])
			return
		}
	}
}

// setText sets the text of f, if f is a regular file that could be read.
func setText(f *confdir.File, text string) {
	if f.Regular && f.Unread == "" {
		f.Text = text
	}
}

// split splits what cat printed of all regular files. The sizes are those that wc printed. If they do not fit, a file
// changed meanwhile or is not on a disk, and split sets torn.
func (d *decoder) split(texts string) {
	lines := slices.Collect(strings.Lines(d.sizes))
	total := 0
	if len(d.regular) > 1 {
		total = 1 // a line for the sum of all
	}
	d.torn = len(lines) != len(d.regular)+total
	for i := 0; i < len(d.regular) && !d.torn; i++ {
		digits, _, _ := strings.Cut(strings.TrimSpace(lines[i]), " ")
		size, err := strconv.Atoi(digits)
		if d.torn = err != nil || size < 0 || size > len(texts); !d.torn {
			setText(&d.files[d.regular[i]], texts[:size])
			texts = texts[size:]
		}
	}
	d.torn = d.torn || texts != ""
}

// boot decodes the records of boot.sh.
func (d *decoder) boot(rec shell.Record) {
	switch rec.Head {
	case "searched":
		for pattern := range strings.SplitSeq(rec.Body, "|") {
			if d.s.LookedFor == nil {
				d.s.LookedFor = map[string]bool{}
			}
			d.s.LookedFor[strings.ReplaceAll(pattern, "[-_]", "_")] = true
		}
	case "namespaces":
		for line := range strings.Lines(rec.Body) {
			entry, target, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " -> ")
			name := entry[strings.LastIndexByte(entry, ' ')+1:]
			switch {
			case ok && strings.HasPrefix(name, "/proc/self/ns/"):
				d.s.Machine += " " + target
			case ok:
				d.change(name, func(f *confdir.File) { f.Target = target })
			}
		}
	case "proc":
		d.proc(rec.Body)
	case "init":
		d.s.Init = rec.Body
	case "versions":
		d.s.Systemd, d.s.Kmod = versions(rec.Body)
	case "off":
		d.s.Off = map[string]string{}
		for line := range strings.Lines(rec.Body) {
			service, by, _ := strings.Cut(strings.TrimSpace(line), " ")
			d.s.Off[service] = by
		}
	case "runlevels":
		d.services, d.settings = strings.Fields(rec.Body), map[string]string{}
	case "service":
		d.service = rec.Body
	case "settings":
		d.settings[d.service] = rec.Body
	case "readonly":
		d.s.ProcSysReadOnly = true
	case "readonly-others":
		d.s.OthersReadOnly = true
	case "trees":
		d.s.Trees = []boot.Tree{}
	case "tree":
		d.release = rec.Body
	case "lines":
		d.s.Trees = append(d.s.Trees, tree(d.release, rec.Body))
	}
}

// writer decodes the records of writers.sh.
func (d *decoder) writer(rec shell.Record) {
	switch rec.Head {
	case "enabled":
		d.scan.Enabled = strings.Fields(rec.Body)
	case "writer":
		d.scan.Files = append(d.scan.Files, writer.File{Path: rec.Body})
	case "applied-by-ufw":
		d.scan.Files = append(d.scan.Files, writer.File{Path: rec.Body, Applier: "ufw.service"})
	case "applied-by-command":
		d.scan.Files = append(d.scan.Files, writer.File{Path: rec.Body, Applier: "sysctl -p"})
	case "lines-of", "numbered-lines":
		if n := len(d.scan.Files); n > 0 {
			d.scan.Files[n-1].Text = rec.Body
			if rec.Head == "numbered-lines" {
				d.scan.Files[n-1].Text = atTheirNumbers(rec.Body)
			}
		}
	}
}

// atTheirNumbers returns a text that has the lines which grep -n prints at their numbers, and nothing between them.
func atTheirNumbers(printed string) string {
	var text strings.Builder
	at := 1
	for line := range strings.Lines(printed) {
		number, rest, _ := strings.Cut(line, ":")
		n, err := strconv.Atoi(number)
		if err != nil || n < at || n > 1<<16 {
			continue
		}
		text.WriteString(strings.Repeat("\n", n-at) + rest)
		at = n + 1
	}
	return text.String()
}

// versions returns the major versions of systemd and kmod, by the names of their libraries: that of systemd has the
// version, and libkmod.so.2.5.1 is of kmod 34, 2.5.0 of 33, and older ones of 32 or before.
func versions(libraries string) (systemd, kmod int) {
	for name := range strings.Lines(libraries) {
		name = strings.TrimSpace(name)
		if rest, ok := strings.CutPrefix(name, "libsystemd-shared-"); ok {
			digits := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
			systemd, _ = strconv.Atoi(digits)
		}
		var minor, patch int
		if n, _ := fmt.Sscanf(name, "libkmod.so.2.%d.%d", &minor, &patch); n == 2 {
			kmod = 30
			if minor >= 5 {
				kmod = 33 + min(patch, 1)
			}
			if minor > 5 {
				kmod = 34
			}
		}
	}
	return systemd, kmod
}

// proc decodes files of /proc, which grep -H prints line by line with the path before each.
func (d *decoder) proc(out string) {
	texts := map[string]boot.Reading{}
	addValues(texts, out)
	d.s.Kernel = strings.TrimSpace(texts["/proc/sys/kernel/osrelease"].Text)
	d.s.Machine = strings.TrimSpace(texts["/proc/sys/kernel/random/boot_id"].Text)
	d.s.Cmdline = texts["/proc/cmdline"].Text + "\n"
	d.s.LoadedNow = loaded(texts["/proc/modules"].Text)
	for line := range strings.Lines(texts["/proc/1/status"].Text) {
		if set, ok := strings.CutPrefix(line, "CapBnd:"); ok {
			capabilities, err := strconv.ParseUint(strings.TrimSpace(set), 16, 64)
			d.s.NoModules = err == nil && capabilities&capSysModule == 0
		}
	}
	// In a user namespace root has every capability, and yet neither loads modules nor writes what is the machine's
	// (user_namespaces(7)).
	if ids := strings.Fields(texts["/proc/self/uid_map"].Text); len(ids) > 0 && !slices.Equal(
		ids, []string{"0", "0", "4294967295"}) {
		d.s.NoModules, d.s.OthersReadOnly = true, true
	}
}

// tree sorts the lines of a module tree by the file that they come from. Each file has a form of its own.
func tree(release, lines string) boot.Tree {
	var dep, alias, softdep, builtin strings.Builder
	for line := range strings.Lines(lines) {
		file := &builtin
		switch {
		case strings.HasPrefix(line, "alias "):
			file = &alias
		case strings.HasPrefix(line, "softdep "):
			file = &softdep
		case strings.Contains(line, ":"):
			file = &dep
		}
		file.WriteString(line)
	}
	return boot.ParseTree(release, dep.String(), alias.String(), softdep.String(), builtin.String())
}

// value decodes the records of values.sh.
func (d *decoder) value(rec shell.Record) {
	r := d.s.Values[d.path]
	switch rec.Head {
	case "values":
		addValues(d.s.Values, rec.Body)
	case "all-keys":
		d.s.AllKeys = true
	case "unread-values":
		addUnread(d.s.Values, rec.Body)
	case "path":
		d.path = rec.Body
	case "value":
		d.s.Values[d.path] = boot.Reading{Text: strings.TrimSuffix(rec.Body, "\n")}
	case "unread-value":
		d.s.Values[d.path] = boot.Reading{Unread: whyUnread(r.Text)}
	case "modes":
		for line := range strings.Lines(rec.Body) {
			mode, path, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " /")
			if r, ok := d.s.Values["/"+path]; ok {
				r.Writable = len(mode) > 2 && mode[2] == 'w'
				d.s.Values["/"+path] = r
			}
		}
	}
}

// addValues decodes what grep -H with an empty pattern prints of many files: a line for each line of a file, and all
// lines of a file next to each other.
func addValues(values map[string]boot.Reading, out string) {
	seen := map[string]bool{}
	var path string
	var lines []string
	add := func() {
		if r, asked := values[path]; len(lines) > 0 && (!asked || r.Absent) && !seen[path] {
			values[path] = boot.Reading{Text: strings.Join(lines, "\n")}
			seen[path] = true
		}
		lines = nil
	}
	for line := range strings.Lines(out) {
		p, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if !ok {
			continue
		}
		if p != path {
			add()
			path = p
		}
		lines = append(lines, text)
	}
	add()
}

// addUnread decodes grep's error for each file that it could not read: "grep: PATH: Input/output error".
func addUnread(values map[string]boot.Reading, out string) {
	for line := range strings.Lines(out) {
		said, ok := strings.CutPrefix(strings.TrimSpace(line), "grep: ")
		i := strings.LastIndex(said, ": ")
		if !ok || i < 0 || values[said[:i]].Absent {
			continue
		}
		values[said[:i]] = boot.Reading{Unread: said[i+2:]}
	}
}

// loaded returns the names of the modules in /proc/modules.
func loaded(text string) map[string]bool {
	m := map[string]bool{}
	for _, l := range kmod.ParseLoaded(text) {
		m[l.Name] = true
	}
	return m
}

// names returns a set of canonical module names.
func names(list []string) map[string]bool {
	m := make(map[string]bool, len(list))
	for _, n := range list {
		m[kmod.Canonical(n)] = true
	}
	return m
}

// whyUnread returns the reason of a failed read. It never returns "", because an empty reason means that the read
// succeeded.
func whyUnread(printed string) string {
	return cmp.Or(errno.Reason(printed), "the read failed without a word")
}
