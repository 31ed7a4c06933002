package host

// Taking a snapshot: one script, one exchange, however many resources are read from it.

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"weak"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/shell"
)

var (
	//go:embed scripts/files.sh
	filesScript string
	//go:embed scripts/boot.sh
	bootScript string
	//go:embed scripts/values.sh
	valuesScript string
	//go:embed scripts/all.sh
	allScript string
)

// singly before files.sh has it read each file by itself.
const singly = "single=yes\n"

// read returns a snapshot that holds these paths. It may be one that was taken earlier, with no write on this host since. Those who come while another reads
// are served together by the next exchange; a host that could not be read is not tried again by read.
func (h *Host) read(ctx context.Context, paths ...string) (*boot.Snapshot, error) {
	h.fleet.lookAhead(ctx, h.name)
	h.mu.Lock()
	h.wanted = append(h.wanted, paths...)
	h.mu.Unlock()
	select {
	case h.turn <- struct{}{}:
		defer func() { <-h.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	h.mu.Lock()
	s, writes, dead, wanted := h.snapshot, h.writes, h.dead, h.wanted
	h.wanted = nil
	h.mu.Unlock()
	if dead != nil {
		return nil, dead
	}
	s, err := h.extend(ctx, s, slices.Concat(paths, wanted))
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			h.dead = err
		}
		return nil, err
	}
	if h.writes == writes {
		h.snapshot = s
	}
	h.remember(s)
	return s, nil
}

// recall returns what was last seen of these paths and of the files, before or after writes of this process, and reads only what nobody saw yet. It is for a plan: an
// apply plans each resource once more while others are written, and then judges it on a fresh snapshot.
func (h *Host) recall(ctx context.Context, paths ...string) (*boot.Snapshot, error) {
	h.mu.Lock()
	s := h.seen
	h.mu.Unlock()
	if s != nil && !slices.ContainsFunc(paths, func(p string) bool { _, ok := s.Values[p]; return !ok }) {
		return s, nil
	}
	return h.read(ctx, paths...)
}

// remember keeps s for recall, with the values that only older snapshots hold. The caller holds mu.
func (h *Host) remember(s *boot.Snapshot) {
	more := func(old *boot.Snapshot) bool {
		for p := range old.Values {
			if _, ok := s.Values[p]; !ok {
				return true
			}
		}
		return false
	}
	if old := h.seen; old != nil && old != s && more(old) {
		values := maps.Clone(old.Values)
		maps.Copy(values, s.Values)
		c := *s
		c.Values = values
		s = &c
	}
	h.seen = s
}

// outlook is the prediction of a snapshot while anybody needs either: a thousand hosts do not keep theirs.
type outlook struct {
	of         weak.Pointer[boot.Snapshot]
	prediction weak.Pointer[boot.Prediction]
}

// answer is what a host printed and the snapshot that it is, while anybody needs both.
type answer struct {
	of       weak.Pointer[shell.Record]
	snapshot weak.Pointer[boot.Snapshot]
}

// predict is boot.Predict, done once for resources that ask of one snapshot at about the same time.
func (h *Host) predict(s *boot.Snapshot) *boot.Prediction {
	of := weak.Make(s)
	h.mu.Lock()
	last := h.outlook
	h.mu.Unlock()
	if p := last.prediction.Value(); p != nil && last.of == of {
		return p
	}
	p := boot.Predict(s)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.outlook = outlook{of, weak.Make(p)}
	return p
}

// extend returns s with these paths, which takes no exchange where it has them; without s it takes a new one.
func (h *Host) extend(ctx context.Context, s *boot.Snapshot, paths []string) (*boot.Snapshot, error) {
	slices.Sort(paths)
	paths = slices.Compact(paths)
	if s == nil {
		h.mu.Lock()
		all := h.all
		h.mu.Unlock()
		return h.take(ctx, h.snapshotScript(paths, all))
	}
	missing := slices.DeleteFunc(paths, func(p string) bool { _, ok := s.Values[p]; return ok })
	if len(missing) == 0 {
		return s, nil
	}
	r, err := h.conn.Run(ctx, shell.Script{Name: "values", Text: valuesScript + allScript, Args: missing, Repeatable: true})
	if err != nil {
		return nil, err
	}
	return s.WithValues(values(r)), nil
}

// looseEnds has snapshots for readers hold all keys and module parameters from now on: there are readers whose keys no file names, and more of them may come.
func (h *Host) looseEnds() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = true
}

// fresh takes a new snapshot that holds these paths: what a write is decided on.
func (h *Host) fresh(ctx context.Context, paths ...string) (*boot.Snapshot, error) {
	return h.take(ctx, h.snapshotScript(paths, false))
}

func (h *Host) take(ctx context.Context, s shell.Script) (*boot.Snapshot, error) {
	r, err := h.conn.Run(ctx, s)
	if err != nil {
		return nil, err
	}
	return h.decoded(ctx, r, s.Args[1:])
}

// snapshotScript prints a snapshot that holds these paths, or all keys and module parameters. Those who ask for one in the same batch share it.
func (h *Host) snapshotScript(paths []string, all bool) shell.Script {
	slices.Sort(paths)
	h.mu.Lock()
	defer h.mu.Unlock()
	s := shell.Script{Name: "snapshot", Text: filesScript + bootScript + valuesScript, Repeatable: true, Merge: mergeSnapshots,
		Args: []string{treePattern(slices.Concat(kmod.Owners(), h.modules))}}
	s.Args = append(s.Args, slices.Compact(paths)...)
	if all {
		s.Text += allScript
	}
	if h.single {
		s.Text = singly + s.Text
	}
	return s
}

// mergeSnapshots is one snapshot script for what two ask for. Of the patterns for module trees and of the texts the longer one has all of the other.
func mergeSnapshots(a, b shell.Script) shell.Script {
	paths := slices.Concat(a.Args[1:], b.Args[1:])
	slices.Sort(paths)
	aText, aSingle := strings.CutPrefix(a.Text, singly)
	bText, bSingle := strings.CutPrefix(b.Text, singly)
	if a.Text = aText; len(bText) > len(aText) {
		a.Text = bText
	}
	if aSingle || bSingle {
		a.Text = singly + a.Text
	}
	pattern := a.Args[0]
	if len(b.Args[0]) > len(pattern) {
		pattern = b.Args[0]
	}
	a.Args = append([]string{pattern}, slices.Compact(paths)...)
	return a
}

// decoded is the snapshot that a snapshotScript with these paths printed. Where files changed while they were read, they are read once more, each by itself, as are
// this host's from then on.
func (h *Host) decoded(ctx context.Context, r shell.Result, paths []string) (*boot.Snapshot, error) {
	s, torn := h.decodeOnce(r)
	h.mu.Lock()
	h.single = h.single || torn
	all := h.all
	h.mu.Unlock()
	if torn {
		again, err := h.conn.Run(ctx, h.snapshotScript(paths, all))
		if err != nil {
			return nil, err
		}
		if s, torn = h.decodeOnce(again); torn {
			return nil, fmt.Errorf("the host prints files as nobody asked it to: %w", shell.ErrGarbled)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remember(s)
	return s, nil
}

// decodeOnce is decode, done once for all who get one answer.
func (h *Host) decodeOnce(r shell.Result) (*boot.Snapshot, bool) {
	if len(r.Records) == 0 {
		return &boot.Snapshot{Values: map[string]boot.Reading{}}, false
	}
	of := weak.Make(&r.Records[0])
	h.decoding.Lock()
	defer h.decoding.Unlock()
	if s := h.last.snapshot.Value(); s != nil && h.last.of == of {
		return s, false
	}
	s, torn := decode(r)
	if !torn {
		h.mu.Lock()
		s.LookedFor = names(slices.Concat(kmod.Owners(), h.modules))
		h.mu.Unlock()
		h.last = answer{of, weak.Make(s)}
	}
	return s, torn
}

// lookFor has every snapshot from now on search the module trees for this module too.
func (h *Host) lookFor(module string) {
	name := kmod.Canonical(module)
	h.mu.Lock()
	defer h.mu.Unlock()
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" || slices.Contains(h.modules, name) {
		return
	}
	h.modules = append(h.modules, name)
	if h.snapshot != nil && !h.snapshot.Searched(name) {
		h.snapshot = nil
	}
	if h.seen != nil && !h.seen.Searched(name) {
		h.seen = nil
	}
}

// treePattern matches the names of modules that a module tree is searched for whatever the host's files say: those that own keys, and those that a value may
// need (congestion control, queueing disciplines). Names are canonical.
func treePattern(modules []string) string {
	return "tcp_[a-z0-9_]*|sch_[a-z0-9_]*|" + strings.ReplaceAll(strings.Join(modules, "|"), "_", "[-_]")
}

// writing throws the snapshot away; every step that changes the host calls it before and after.
func (h *Host) writing() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.snapshot = nil
	h.writes++
}

// values are the readings that values.sh printed.
func values(r shell.Result) map[string]boot.Reading {
	s, _ := decode(r)
	return s.Values
}

// decode reads what files.sh, boot.sh and values.sh print. With torn, the texts of the files are not to be trusted.
func decode(r shell.Result) (s *boot.Snapshot, torn bool) {
	d := decoder{s: &boot.Snapshot{Values: map[string]boot.Reading{}}}
	for _, rec := range r.Records {
		d.file(rec)
		d.boot(rec)
		d.value(rec)
	}
	for _, f := range d.files {
		d.s.AddFile(f)
	}
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

// decoder is a snapshot that is being read, and where in the records it is.
type decoder struct {
	s        *boot.Snapshot
	files    []confdir.File
	named    string   // the path of the last of them,
	regular  []int    // which of them have a text,
	sizes    string   // how long that is,
	read     string   // and the path of the one that is read by itself
	torn     bool     // the texts of the files are not as long as was said
	path     string   // of the value being read
	services []string // of OpenRC's runlevels
	service  string   // whose settings are read
	settings map[string]string
	release  string // of the tree being read
}

// file takes the records of files.sh.
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
		d.change(d.read, func(f *confdir.File) { hold(f, rec.Body) })
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

// change changes the file that was named at this path last.
func (d *decoder) change(path string, do func(f *confdir.File)) {
	for i := len(d.files) - 1; i >= 0; i-- {
		if d.files[i].Path == path {
			do(&d.files[i])
			return
		}
	}
}

// hold gives f its text, if it is a file that has one.
func hold(f *confdir.File, text string) {
	if f.Regular && f.Unread == "" {
		f.Text = text
	}
}

// split gives every regular file its part of what cat printed of them all. wc has said how long each is; files that change meanwhile, or are no files of a disk, are
// longer or shorter than that.
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
			hold(&d.files[d.regular[i]], texts[:size])
			texts = texts[size:]
		}
	}
	d.torn = d.torn || texts != ""
}

// boot takes the records of boot.sh.
func (d *decoder) boot(rec shell.Record) {
	switch rec.Head {
	case "proc":
		d.proc(rec.Body)
	case "init":
		d.s.Init = rec.Body
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

// proc takes what the kernel says of itself, a line of output a line of file as grep -H prints them.
func (d *decoder) proc(out string) {
	texts := map[string]boot.Reading{}
	addValues(texts, out)
	d.s.Kernel = strings.TrimSpace(texts["/proc/sys/kernel/osrelease"].Text)
	d.s.Cmdline = texts["/proc/cmdline"].Text + "\n"
	d.s.Loaded = loaded(texts["/proc/modules"].Text)
	for line := range strings.Lines(texts["/proc/1/status"].Text) {
		if set, ok := strings.CutPrefix(line, "CapBnd:"); ok {
			capabilities, err := strconv.ParseUint(strings.TrimSpace(set), 16, 64)
			d.s.NoModules = err == nil && capabilities&capSysModule == 0
		}
	}
	// In a user namespace root has every capability, and yet neither loads modules nor writes what is the machine's (user_namespaces(7)).
	if ids := strings.Fields(texts["/proc/self/uid_map"].Text); len(ids) > 0 && !slices.Equal(ids, []string{"0", "0", "4294967295"}) {
		d.s.NoModules, d.s.OthersReadOnly = true, true
	}
}

// tree sorts the lines of a module tree's files, whose forms differ, by file.
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

// value takes the records of values.sh.
func (d *decoder) value(rec shell.Record) {
	r := d.s.Values[d.path]
	switch rec.Head {
	case "values":
		addValues(d.s.Values, rec.Body)
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

// addValues reads grep -H with an empty pattern over many files: a line of output a line of file, all of a file next to each other.
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

// addUnread reads what grep says of files that it could not read: "grep: PATH: Input/output error".
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

func loaded(text string) map[string]bool {
	m := map[string]bool{}
	for _, l := range kmod.ParseLoaded(text) {
		m[l.Name] = true
	}
	return m
}

func names(list []string) map[string]bool {
	m := make(map[string]bool, len(list))
	for _, n := range list {
		m[kmod.Canonical(n)] = true
	}
	return m
}

// whyUnread is the reason of a read that failed, never "", which would say that it did not.
func whyUnread(printed string) string {
	return cmp.Or(reason(printed), "the read failed without a word")
}

// reason is the kernel's own words in what a program printed: "cat: write error: Invalid argument" gives "Invalid argument".
func reason(printed string) string {
	lines := strings.Split(strings.TrimSpace(printed), "\n")
	last := lines[len(lines)-1]
	if i := strings.LastIndex(last, ": "); i >= 0 {
		last = last[i+2:]
	}
	return strings.TrimSpace(last)
}
