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
	by   programs
	// directives are the lines of modprobe.d, with those of modules.softdep at the position of that name.
	directives []kmod.Directive
	// asked are the names of the command line and of modules-load.d, in the order they are loaded.
	asked []kmod.LoadLine
	// masked are the names in files of modules-load.d that a file of the same name hides.
	masked []maskedLoad
	// unread are files that could not be read.
	unread []string
	// loaded has the line that brings each module, and blocked why a module that some line asks for is not loaded.
	loaded  map[string]string
	blocked map[string]blocked
	// failures are the lines that make systemd-modules-load.service fail.
	failures []UnitFailure
}

// maskedLoad is a line of a file that another file hides.
type maskedLoad struct {
	kmod.LoadLine
	by string
}

// blocked is why a module is not loaded although a line asks for it. The Source is the line that blocks it, or the one
// that asks in vain.
type blocked struct {
	Cause
	// unsure reports whether the module may be loaded after all.
	unsure bool
	// quiet reports whether the unit does not fail because of it: systemd-modules-load ignores a command that does
	// nothing, and a missing symbol.
	quiet bool
}

// fromCommandLine is the Source of what the kernel command line decides.
const fromCommandLine = "/proc/cmdline"

// planModules plans what is loaded with one kernel's tree. off is what keeps anything from loading modules.
func planModules(s *Snapshot, cmd commandLine, tree *Tree, files *contents, by programs, off Cause) *modulePlan {
	p := &modulePlan{s: s, by: by, cmd: cmd, tree: tree, loaded: map[string]string{}, blocked: map[string]blocked{}}
	p.readModprobe(files)
	p.readLoad(files)
	for _, a := range p.asked {
		if off.Reason != "" {
			p.block(kmod.Canonical(a.Name), blocked{Cause: off, quiet: true})
			continue
		}
		p.load(a)
	}
	if off.Reason != "" {
		p.failures = nil
	}
	return p
}

// readLoad collects the names that the command line and files ask for.
func (p *modulePlan) readLoad(files *contents) {
	for _, name := range p.cmd.load {
		p.asked = append(p.asked, kmod.LoadLine{Name: name, At: confdir.Position{File: fromCommandLine}})
	}
	for _, f := range files.load.order {
		if f.Unread != "" {
			p.unread = append(p.unread, f.Path)
			continue
		}
		lines := files.load.lines[f.Path]
		if lines.tooLong != nil {
			p.failures = append(p.failures, tooLongFails(modulesUnit, *lines.tooLong))
		}
		p.asked = append(p.asked, lines.read...)
	}
	if p.asked = append(p.asked, files.etcModules...); files.etcModulesUnread != "" {
		p.unread = append(p.unread, files.etcModulesUnread)
	}
	for _, f := range p.s.ModulesLoad {
		if by, ok := files.load.hidden[f.Path]; ok {
			for _, line := range files.load.lines[f.Path].all {
				p.masked = append(p.masked, maskedLoad{line, by})
			}
		}
	}
	p.failures = append(p.failures, fileFailures(files.load.broken, modulesUnit)...)
}

// readModprobe collects the directives.
func (p *modulePlan) readModprobe(files *contents) {
	softdeps := p.tree.Softdep
	for _, f := range files.modprobe.order {
		if f.Unread != "" {
			p.unread = append(p.unread, f.Path)
			continue
		}
		if path.Base(f.Path) > "modules.softdep" {
			p.directives, softdeps = append(p.directives, softdeps...), nil
		}
		p.directives = append(p.directives, files.modprobe.lines[f.Path]...)
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

// builtin reports whether the kernel has the module built in.
func (p *modulePlan) builtin(module string) bool {
	return p.tree.Builtin[module] || p.tree.Release == p.s.Kernel && p.s.IsBuiltin(module)
}

// resolve returns the modules that a name stands for, as kmod_module_new_from_lookup does: the first kind of source
// that knows the name decides.
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
	source := line.At.String()
	modules := p.resolve(line.Name)
	if len(modules) == 0 {
		p.block(kmod.Canonical(line.Name), p.missing(line.Name, source))
	}
	for _, m := range modules {
		if p.builtin(m) || p.loaded[m] != "" {
			continue
		}
		if by, ok := p.denied(m); ok {
			p.block(m, blocked{Cause: Cause{DenyListed, by, fmt.Sprintf(
				"%s asks for %s, and %s puts it on the deny list.", source, m, by)}})
			continue
		}
		b := &probe{plan: p, source: source, target: m, visited: map[string]bool{}}
		b.module(m, true)
		if b.failed == "" {
			continue
		}
		why := b.why
		if m != b.failed {
			why.Detail = fmt.Sprintf("%s needs %s. %s", m, b.failed, why.Detail)
			p.block(m, why)
		}
		if !why.unsure && !why.quiet {
			p.failures = append(p.failures, lineFails(modulesUnit, source, why.Detail))
		}
	}
}

// denied returns what denies a module to systemd-modules-load. The module is still loaded if another one needs it.
func (p *modulePlan) denied(m string) (by string, ok bool) {
	if p.cmd.deny[m] {
		return fromCommandLine, true
	}
	d, ok := p.first("blacklist", m)
	return d.At.String(), ok
}

// exists reports whether there is a file to load, or a command in its place.
func (p *modulePlan) exists(m string) bool {
	if _, ok := p.tree.Dep[m]; ok {
		return true
	}
	_, ok := p.installs(m)
	return ok
}

// installs returns the line that runs a command in place of loading m. kmod ignores it if a softdep line for m names a
// module that it knows (modprobe.d(5)).
func (p *modulePlan) installs(m string) (d kmod.Directive, ok bool) {
	pre, post := p.softdeps(m)
	for _, name := range slices.Concat(pre, post) {
		if len(p.resolve(name)) > 0 {
			return kmod.Directive{}, false
		}
	}
	if _, inTree := p.tree.Dep[m]; !inTree { // kmod knows the name from the line that has it, not from a pattern
		for _, d := range p.directives {
			if d.Command == "install" && d.Name == m {
				return d, true
			}
		}
	}
	return p.first("install", m)
}

// block remembers why a module is not loaded; the first cause stays.
func (p *modulePlan) block(module string, why blocked) {
	if _, ok := p.blocked[module]; !ok {
		p.blocked[module] = why
	}
}

// missing is the cause of a module that the line at source asks for and no tree has.
func (p *modulePlan) missing(module, source string) blocked {
	return blocked{Cause: Cause{NotInTree, source, p.notFound(module)}, unsure: !p.lookedFor(module)}
}

// notFound is the sentence about a module that the tree does not have.
func (p *modulePlan) notFound(name string) string {
	return fmt.Sprintf("Kernel %s has no module %s.", p.tree.Release, name)
}

// lookedFor reports whether a snapshot would show this module if a tree had it.
func (p *modulePlan) lookedFor(module string) bool {
	m := kmod.Canonical(module)
	if p.s.LookedFor[m] || strings.HasPrefix(m, "tcp_") || strings.HasPrefix(m, "sch_") {
		return true
	}
	if strings.ContainsAny(m, " \t") {
		return true // no module and no alias is called that
	}
	if _, err := kmod.ParseName(m); err != nil {
		return false // an alias such as pci:v00008086 may match a pattern, and patterns are not looked up
	}
	return slices.ContainsFunc(p.asked, func(a kmod.LoadLine) bool { return kmod.Same(a.Name, m) })
}

// probe is one run of kmod_module_probe_insert_module.
type probe struct {
	plan    *modulePlan
	source  string
	target  string
	visited map[string]bool
	// failed is the needed module that could not be loaded, and why says why; nothing after it is loaded.
	failed string
	why    blocked
	// tried, if it is not nil, is called with each step, as `modprobe -n -v` prints it, and no step fails.
	tried func(step string)
}

// module loads what comes before m, then m, then what comes after. required is false for a soft dependency, which may
// fail.
func (b *probe) module(m string, required bool) {
	for _, dep := range b.plan.tree.Dep[m] {
		b.withSoftdeps(dep, required, true)
	}
	b.withSoftdeps(m, required, b.plan.exists(m))
}

// withSoftdeps loads m between its soft dependencies, once.
func (b *probe) withSoftdeps(m string, required, exists bool) {
	if b.visited[m] || b.failed != "" {
		return
	}
	b.visited[m] = true
	pre, post := b.plan.softdeps(m)
	b.soft(pre)
	b.insert(m, required, exists)
	b.soft(post)
}

// soft loads what can be loaded of these.
func (b *probe) soft(names []string) {
	for _, name := range names {
		for _, m := range b.plan.resolve(name) {
			b.module(m, false)
		}
	}
}

// insert loads m itself.
func (b *probe) insert(m string, required, exists bool) {
	p := b.plan
	switch {
	case b.failed != "" || p.builtin(m):
	case b.tried != nil:
		if exists {
			b.try(m)
		}
	case p.loaded[m] != "":
	default:
		why, fails := b.obstacle(m, exists)
		if why.Reason == "" {
			p.loaded[m] = b.source
			delete(p.blocked, m)
			return
		}
		if p.block(m, why); fails && required {
			b.failed, b.why = m, why
		}
	}
}

// try tells of m as `modprobe -n -v` does.
func (b *probe) try(m string) {
	if d, installs := b.plan.installs(m); installs {
		b.tried("install " + d.Text)
		return
	}
	b.tried("insmod " + m)
}

// obstacle returns why m cannot be loaded; no Reason if it can. fails reports whether what needs m then fails too.
func (b *probe) obstacle(m string, exists bool) (why blocked, fails bool) {
	p := b.plan
	if !exists {
		why = p.missing(m, b.source)
		why.quiet = true
		return why, true
	}
	if d, installs := p.installs(m); installs {
		why = blocked{Cause: installLine(d, m)}
		switch outcome(d.Text) {
		case "false":
		case "true":
			why.quiet = true
			return why, false
		default:
			why.Detail += " What that does is not known."
			why.unsure = true
		}
		return why, true
	}
	for _, dep := range p.tree.Dep[m] {
		if missing, ok := p.blocked[dep]; ok && !p.builtin(dep) && p.loaded[dep] == "" {
			missing.Detail, missing.quiet = fmt.Sprintf("%s needs %s. %s", m, dep, missing.Detail), true // it lacks symbols
			return missing, true
		}
	}
	switch {
	case p.cmd.noModules:
		why.Cause = noMoreModules()
	case p.cmd.refuse[m]:
		why.Cause, why.quiet = refusedByKernel(m), !p.by.refusalFails && m == b.target
	}
	return why, true
}

// installLine is the cause of a module in whose place a line runs a command.
func installLine(d kmod.Directive, module string) Cause {
	return Cause{InstallLine, d.At.String(), fmt.Sprintf("%s runs %q in place of loading %s.", d.At, d.Text, module)}
}

// refusedByKernel is the cause of a module in module_blacklist=.
func refusedByKernel(module string) Cause {
	return Cause{DenyListed, fromCommandLine, fmt.Sprintf(
		"module_blacklist= on the kernel command line makes the kernel refuse %s.", module)}
}

// noMoreModules is the cause of every module where the command line sets kernel.modules_disabled.
func noMoreModules() Cause {
	return Cause{CommandLine, fromCommandLine,
		"sysctl.kernel.modules_disabled on the kernel command line makes the kernel refuse every module."}
}

// outcome returns "true" or "false" if a command of an install line certainly ends like that program, else "". A
// comment may follow.
func outcome(command string) string {
	// A shell takes a carriage return for a part of a word.
	words := strings.FieldsFunc(command, func(r rune) bool { return r == ' ' || r == '\t' })
	if i := slices.IndexFunc(words, func(w string) bool { return w[0] == '#' }); i >= 0 {
		words = words[:i]
	}
	switch strings.Join(words, " ") {
	case "", ":", "true", "/bin/true", "/usr/bin/true":
		return "true"
	case "false", "/bin/false", "/usr/bin/false", "/sbin/false", "/usr/sbin/false": // one that is missing fails as well
		return "false"
	}
	return ""
}

// softdeps returns the modules of the first softdep line that is about m.
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

// candidates returns the trees that may boot next, the likeliest first. pending reports whether the running kernel's
// own tree is gone.
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
