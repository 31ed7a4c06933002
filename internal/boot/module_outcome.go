package boot

import (
	"fmt"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/kmod"
)

// Module says what the next boot makes of a module, or of the modules an alias stands for. What a device's driver, a service or the initial RAM file system
// loads is not foreseen: it is not Known whether such a module is there in time.
func (p *Prediction) Module(name string) ModuleOutcome {
	if p.s.NoModules {
		return p.contained(name)
	}
	if len(p.modules) == 0 {
		return p.noTree(name)
	}
	o := p.modules[0].module(name)
	for _, other := range p.modules[1:] {
		if alt := other.module(name); alt.Loaded == o.Loaded && alt.Known == o.Known {
			continue
		}
		detail := fmt.Sprintf("Kernel %s is installed too, and with it the outcome for %s is another.", other.tree.Release, name)
		if p.pending {
			return ModuleOutcome{Reason: KernelPending, Source: o.Source, Detail: p.gone() + " " + detail}
		}
		o.Notes = append(o.Notes, Note{KernelPending, detail})
	}
	if p.pending {
		o.Notes = append(o.Notes, Note{KernelPending, p.gone()})
	}
	if volatile(o.Source) {
		o.Notes = append(o.Notes, Note{Volatile, o.Source + " decides, and /run is empty when the machine starts."})
	}
	return p.byInit(o)
}

// byInit takes back what only systemd-modules-load would do for sure.
func (p *Prediction) byInit(o ModuleOutcome) ModuleOutcome {
	switch {
	case p.s.Init == "systemd", o.Builtin, o.Reason == NotLoaded, o.Reason == ServiceOff, o.Reason == Unread, o.Reason == KernelPending:
		return o
	case p.s.Init == "openrc" && o.Loaded && openrcReads(o.Source):
		return o
	case p.s.Init == "openrc" && o.Reason == NotInTree:
		return o
	}
	return ModuleOutcome{Source: o.Source, Reason: InitUnknown, Detail: p.initDetail("modules-load.d"), Notes: o.Notes}
}

// openrcReads says whether every version of OpenRC's service modules reads the file of this place.
func openrcReads(source string) bool {
	return source != fromCommandLine && !strings.HasPrefix(source, "/usr/local/")
}

func (p *Prediction) initDetail(family string) string {
	if p.s.Init == "openrc" {
		return fmt.Sprintf("The host starts with OpenRC, whose versions apply %s in different ways.", family)
	}
	return fmt.Sprintf("The host does not run systemd, and what applies %s at boot is not known.", family)
}

func (p *Prediction) gone() string {
	return fmt.Sprintf("/lib/modules/%s, the running kernel's, is gone.", p.s.Kernel)
}

// contained is the outcome where nothing may load a module: the kernel is another machine's, which a boot of this host does not start anew.
func (p *Prediction) contained(name string) ModuleOutcome {
	modules := p.Resolve(name)
	if len(modules) == 0 {
		modules = []string{name}
	}
	lacks := func(has func(string) bool) bool {
		return slices.ContainsFunc(modules, func(m string) bool { return !has(m) })
	}
	switch {
	case !lacks(p.s.IsBuiltin):
		return ModuleOutcome{Loaded: true, Known: true, Builtin: true}
	case !lacks(p.s.Has):
		return ModuleOutcome{Reason: Container, Detail: fmt.Sprintf(
			"%s is in the kernel of the machine that runs this container, which alone decides whether it stays there.", kmod.Canonical(name))}
	}
	return ModuleOutcome{Known: true, Reason: Container, Detail: fmt.Sprintf(
		"This host may not load %s, or any module: the capability CAP_SYS_MODULE is taken from it, as from a container.", name)}
}

// noTree is the outcome without any module tree.
func (p *Prediction) noTree(name string) ModuleOutcome {
	switch {
	case p.s.IsBuiltin(name):
		return ModuleOutcome{Loaded: true, Known: true, Builtin: true}
	case p.s.Trees == nil:
		return ModuleOutcome{Reason: Unread, Detail: "/lib/modules was not read."}
	}
	return ModuleOutcome{Reason: KernelPending, Detail: "/lib/modules has no kernel's modules."}
}

// module is the outcome with this plan's kernel.
func (p *modulePlan) module(name string) ModuleOutcome {
	modules := p.resolve(name)
	if len(modules) == 0 {
		modules = []string{kmod.Canonical(name)}
	}
	all := p.one(modules[0])
	for _, m := range modules[1:] {
		o := p.one(m)
		if worse(o, all) {
			o.Builtin = false
			all = o
		}
		all.Builtin = all.Builtin && o.Builtin
	}
	return all
}

// worse says whether an outcome promises less than another.
func worse(a, b ModuleOutcome) bool {
	rank := func(o ModuleOutcome) int {
		switch {
		case o.Known && o.Loaded:
			return 0
		case !o.Known:
			return 1
		}
		return 2
	}
	return rank(a) > rank(b)
}

// one is the outcome for a module by its own name.
func (p *modulePlan) one(m string) ModuleOutcome {
	if p.builtin(m) {
		return ModuleOutcome{Loaded: true, Known: true, Builtin: true}
	}
	if source := p.loaded[m]; source != "" {
		return p.unless(ModuleOutcome{Loaded: true, Known: true, Source: source}, p.unreadModprobe())
	}
	if k, ok := p.kept[m]; ok {
		if k.reason == NotInTree && k.unsure {
			return ModuleOutcome{Source: k.source, Reason: Unread, Detail: fmt.Sprintf("Whether kernel %s has %s was not looked up.", p.tree.Release, m)}
		}
		return p.unless(ModuleOutcome{Known: !k.unsure, Source: k.source, Reason: k.reason, Detail: k.detail}, p.unreadFile())
	}
	o := ModuleOutcome{Known: true, Reason: NotLoaded, Detail: fmt.Sprintf("Nothing in modules-load.d loads %s.", m)}
	_, inTree := p.tree.Dep[m]
	switch source, by := p.maskedLoad(m); {
	case p.s.Loaded[m]:
		o = ModuleOutcome{Reason: LoadedByHand, Detail: fmt.Sprintf("%s is loaded now, but nothing in modules-load.d loads it.", m)}
	case source != "":
		o.Reason, o.Source, o.Detail = Masked, by, fmt.Sprintf("%s would load %s, but %s has the same name and hides it.", source, m, by)
	case !inTree && p.lookedFor(m):
		o.Reason, o.Detail = NotInTree, p.notFound(m)
	}
	return p.unless(o, p.unreadFile())
}

// unless makes an outcome unknown because of a file that could not be read, if there is one.
func (p *modulePlan) unless(o ModuleOutcome, unread string) ModuleOutcome {
	if unread == "" {
		return o
	}
	return ModuleOutcome{Source: o.Source, Reason: Unread, Detail: unread + " could not be read, and it may decide otherwise."}
}

func (p *modulePlan) unreadFile() string {
	if len(p.unread) > 0 {
		return p.unread[0]
	}
	return ""
}

// unreadModprobe is an unread file that could keep a module out: one of modprobe.d.
func (p *modulePlan) unreadModprobe() string {
	for _, f := range p.unread {
		if strings.Contains(f, "/modprobe.d/") {
			return f
		}
	}
	return ""
}

// maskedLoad is the line that would load m if its file were not hidden, and the file that hides it.
func (p *modulePlan) maskedLoad(m string) (source, by string) {
	for _, a := range p.masked {
		for _, real := range p.resolve(a.Name) {
			if real == m {
				return a.At.String(), a.by
			}
		}
	}
	return "", ""
}

// there says whether a module is in the kernel when systemd-sysctl starts.
func (p *modulePlan) there(m string) bool { return p.builtin(m) || p.loaded[m] != "" }

// ready says whether the kernel loads a module by itself when a value asks for it: modprobe then runs without heed of blacklist lines.
func (p *modulePlan) ready(m string) (ok bool, reason Reason, source, detail string) {
	if p.there(m) {
		return true, "", "", ""
	}
	if p.cmd.noModules {
		return false, CommandLine, fromCommandLine, noModules
	}
	for _, real := range p.resolve(m) {
		if p.cmd.refuse[real] {
			return false, DenyListed, fromCommandLine, fmt.Sprintf("module_blacklist= on the kernel command line makes the kernel refuse %s.", real)
		}
		if d, ok := p.installs(real); ok {
			return false, InstallLine, d.At.String(), fmt.Sprintf("%s runs %q in place of loading %s.", d.At.String(), d.Text, real)
		}
	}
	if len(p.resolve(m)) == 0 {
		if !p.lookedFor(m) {
			return false, Unread, "", fmt.Sprintf("Whether kernel %s has %s was not looked up.", p.tree.Release, m)
		}
		return false, NotInTree, "", p.notFound(m)
	}
	return true, "", "", ""
}
