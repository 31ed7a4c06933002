package boot

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
)

// modulePlan is what systemd-modules-load does at boot with one kernel's tree, as libkmod would do it.
type modulePlan struct {
	s    *Snapshot
	cmd  commandLine
	tree *Tree
	// directives are the lines of modprobe.d, and of modules.softdep where that name sorts.
	directives []kmod.Directive
	// asked are the names of the command line and of modules-load.d, in the order they are loaded.
	asked []kmod.LoadLine
	// unread are files that may say anything.
	unread []string
	// loaded has the line that brings each module, and kept what kept a module out that some line asks for.
	loaded map[string]string
	kept   map[string]kept
	// failures are the lines that make systemd-modules-load.service fail.
	failures []UnitFailure
}

// kept is why a module is not loaded although a line asks for it.
type kept struct {
	reason Reason
	source string // the line that keeps it out, or the one that asks in vain
	detail string
	// unsure says that it may be loaded after all.
	unsure bool
}

const modulesUnit = "systemd-modules-load.service"

// fromCommandLine is the Source of what the kernel command line decides.
const fromCommandLine = "/proc/cmdline"

func planModules(s *Snapshot, cmd commandLine, tree *Tree) *modulePlan {
	p := &modulePlan{s: s, cmd: cmd, tree: tree, loaded: map[string]string{}, kept: map[string]kept{}}
	p.readModprobe()
	for _, name := range cmd.load {
		p.asked = append(p.asked, kmod.LoadLine{Name: name, File: fromCommandLine})
	}
	for _, f := range confdir.Order(s.ModulesLoad) {
		if f.Unread != "" {
			p.unread = append(p.unread, f.Path)
			continue
		}
		text, failure := untilTooLong(f, modulesUnit)
		if failure != nil {
			p.failures = append(p.failures, *failure)
		}
		p.asked = append(p.asked, kmod.ParseLoad(f.Path, text)...)
	}
	p.failures = append(p.failures, brokenFiles(s.ModulesLoad, modulesUnit)...)
	for _, a := range p.asked {
		p.load(a)
	}
	return p
}

// readModprobe collects the directives. kmod, unlike systemd, takes no notice of directories and dangling links: they mask nothing.
func (p *modulePlan) readModprobe() {
	files := slices.DeleteFunc(slices.Clone(p.s.Modprobe), func(f confdir.File) bool { return !f.Regular && f.Unread != "" })
	softdeps := p.tree.Softdep
	for _, f := range confdir.Order(files) {
		if f.Unread != "" {
			p.unread = append(p.unread, f.Path)
			continue
		}
		if path.Base(f.Path) > "modules.softdep" {
			p.directives, softdeps = append(p.directives, softdeps...), nil
		}
		directives, _ := kmod.ParseModprobe(f.Path, f.Text)
		p.directives = append(p.directives, directives...)
	}
	p.directives = append(p.directives, softdeps...)
}

// first returns the first line of a command that is about a module.
func (p *modulePlan) first(command, module string) (d kmod.Directive, ok bool) {
	for _, d := range p.directives {
		if d.Command == command && d.Concerns(module) {
			return d, true
		}
	}
	return kmod.Directive{}, false
}

func (p *modulePlan) builtin(module string) bool {
	return p.tree.Builtin[module] || p.tree.Release == p.s.Kernel && p.s.IsBuiltin(module)
}

// resolve returns the modules that a name stands for, as kmod_module_new_from_lookup does: the first kind of source that knows the name answers.
func (p *modulePlan) resolve(name string) []string {
	name = kmod.Canonical(name)
	var found []string
	for _, d := range p.directives {
		if d.Command == "alias" && d.Concerns(name) {
			found = append(found, d.Text)
		}
	}
	if len(found) > 0 {
		return found
	}
	if _, ok := p.tree.Dep[name]; ok {
		return []string{name}
	}
	for _, d := range p.directives {
		if (d.Command == "install" || d.Command == "remove") && d.Name == name {
			return []string{name}
		}
	}
	if found = p.tree.Alias[name]; len(found) > 0 {
		return found
	}
	if p.builtin(name) {
		return []string{name}
	}
	return nil
}

// load does with one line what systemd-modules-load does.
func (p *modulePlan) load(line kmod.LoadLine) {
	source := place(line.File, line.Line)
	modules := p.resolve(line.Name)
	if len(modules) == 0 {
		p.keep(kmod.Canonical(line.Name), kept{NotInTree, source, p.notFound(line.Name), !p.lookedFor(line.Name)})
	}
	for _, m := range modules {
		if p.builtin(m) || p.loaded[m] != "" {
			continue
		}
		if p.cmd.deny[m] {
			p.keep(m, kept{reason: DenyListed, source: fromCommandLine, detail: fmt.Sprintf("modprobe.blacklist= on the kernel command line names %s.", m)})
			continue
		}
		if d, ok := p.first("blacklist", m); ok {
			p.keep(m, kept{reason: DenyListed, source: place(d.File, d.Line), detail: fmt.Sprintf("%s asks for %s, which is deny-listed.", source, m)})
			continue
		}
		if _, inTree := p.tree.Dep[m]; !inTree {
			if _, installs := p.first("install", m); !installs {
				p.keep(m, kept{NotInTree, source, p.notFound(m), !p.lookedFor(m)})
				continue
			}
		}
		probe := &probe{plan: p, source: source, visited: map[string]bool{}}
		probe.module(m, true)
		if probe.failed != "" && m == probe.failed || probe.failed != "" && p.loaded[m] == "" {
			k := p.kept[probe.failed]
			if m != probe.failed {
				k.detail = fmt.Sprintf("%s needs %s. %s", m, probe.failed, k.detail)
				p.keep(m, k)
			}
			p.failures = append(p.failures, UnitFailure{Unit: modulesUnit, Source: source, Detail: k.detail})
		}
	}
}

// keep notes why a module is kept out; the first reason stays.
func (p *modulePlan) keep(module string, k kept) {
	if _, ok := p.kept[module]; !ok {
		p.kept[module] = k
	}
}

func (p *modulePlan) notFound(name string) string {
	return fmt.Sprintf("Kernel %s has no module %s.", p.tree.Release, name)
}

// lookedFor says whether a tree would show this module if it had it.
func (p *modulePlan) lookedFor(module string) bool {
	m := kmod.Canonical(module)
	if p.s.LookedFor[m] || strings.HasPrefix(m, "tcp_") || strings.HasPrefix(m, "sch_") {
		return true
	}
	return slices.ContainsFunc(p.asked, func(a kmod.LoadLine) bool { return kmod.Same(a.Name, m) })
}

// probe is one run of kmod_module_probe_insert_module.
type probe struct {
	plan    *modulePlan
	source  string
	visited map[string]bool
	// failed is the needed module that could not be loaded; nothing after it is.
	failed string
}

// module loads what comes before m, then m, then what comes after. required is false for soft dependencies, whose failure harms nobody.
func (b *probe) module(m string, required bool) {
	for _, dep := range b.plan.tree.Dep[m] {
		b.withSoftdeps(dep, required)
	}
	b.withSoftdeps(m, required)
}

func (b *probe) withSoftdeps(m string, required bool) {
	if b.visited[m] || b.failed != "" {
		return
	}
	b.visited[m] = true
	pre, post := b.plan.softdeps(m)
	for _, name := range pre {
		for _, soft := range b.plan.resolve(name) {
			b.module(soft, false)
		}
	}
	b.insert(m, required)
	for _, name := range post {
		for _, soft := range b.plan.resolve(name) {
			b.module(soft, false)
		}
	}
}

// insert loads m itself.
func (b *probe) insert(m string, required bool) {
	p := b.plan
	if b.failed != "" || p.builtin(m) || p.loaded[m] != "" {
		return
	}
	keep := func(k kept) {
		p.keep(m, k)
		if required && !k.unsure {
			b.failed = m
		}
	}
	_, soft := p.first("softdep", m)
	if d, ok := p.first("install", m); ok && !soft { // a softdep line makes kmod forget install lines (modprobe.d(5))
		detail := fmt.Sprintf("%s runs %q in place of loading %s.", place(d.File, d.Line), d.Text, m)
		switch path.Base(strings.TrimSpace(d.Text)) {
		case "false":
			keep(kept{reason: InstallLine, source: place(d.File, d.Line), detail: detail})
		case "true", ":":
			p.keep(m, kept{reason: InstallLine, source: place(d.File, d.Line), detail: detail}) // no failure, and no module
		default:
			p.keep(m, kept{InstallLine, place(d.File, d.Line), detail + " What that does is not known.", true})
		}
		return
	}
	if p.cmd.refuse[m] {
		keep(kept{reason: DenyListed, source: fromCommandLine, detail: fmt.Sprintf("module_blacklist= on the kernel command line makes the kernel refuse %s.", m)})
		return
	}
	if _, ok := p.tree.Dep[m]; !ok && !slices.ContainsFunc(p.asked, func(kmod.LoadLine) bool { return true }) {
		return
	}
	p.loaded[m] = b.source
	delete(p.kept, m)
}

// softdeps are the modules of the first softdep line that is about m.
func (p *modulePlan) softdeps(m string) (pre, post []string) {
	d, ok := p.first("softdep", m)
	if !ok {
		return nil, nil
	}
	var list *[]string
	for word := range strings.FieldsSeq(d.Text) {
		switch word {
		case "pre:":
			list = &pre
		case "post:":
			list = &post
		default:
			if list != nil {
				*list = append(*list, word)
			}
		}
	}
	return pre, post
}

// place is how a line is named: path:line, or the path alone where there are no lines.
func place(file string, line int) string {
	if line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}

// candidates are the trees that may boot next, the likeliest first; pending says that the running kernel's own tree is gone.
func (s *Snapshot) candidates() (trees []*Tree, pending bool) {
	if t := s.tree(s.Kernel); t != nil {
		return append([]*Tree{t}, s.newer(s.Kernel)...), false
	}
	for i := range s.Trees {
		trees = append(trees, &s.Trees[i])
	}
	slices.SortStableFunc(trees, func(a, b *Tree) int { return cmp.Compare(0, compareReleases(a.Release, b.Release)) })
	return trees, true
}
