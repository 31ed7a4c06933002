package boot

import (
	"fmt"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/kmod"
)

// ModulePrediction is what the next boot makes of one module. Its Source is the line that loads the module or blocks
// it, and its Reason is "" if the module is loaded.
type ModulePrediction struct {
	Cause
	// LoadedAtBoot reports whether the module is in the kernel when systemd-sysctl runs, loaded or built in. It means
	// nothing if not Known.
	LoadedAtBoot, Known bool
	// Builtin reports whether the module is built into the kernel.
	Builtin bool
	// Notes are what else there is to know.
	Notes []Cause
}

// Module returns what the next boot makes of a module, or of the modules that an alias stands for. It does not know
// what else loads modules, such as a device, a service or the initial RAM file system.
func (p *Prediction) Module(name string) ModulePrediction {
	if p.s.NoModules {
		return p.contained(name)
	}
	if len(p.modules) == 0 {
		return p.noTree(name)
	}
	o := p.modules[0].module(name)
	for _, other := range p.modules[1:] {
		if alt := other.module(name); alt.LoadedAtBoot == o.LoadedAtBoot && alt.Known == o.Known {
			continue
		}
		detail := fmt.Sprintf(
			"Kernel %s is installed too, and with it the outcome for %s is another.", other.tree.Release, name)
		if p.pending {
			return ModulePrediction{Cause: Cause{KernelPending, o.Source, p.gone() + " " + detail}}
		}
		o.Notes = append(o.Notes, Cause{Reason: KernelPending, Detail: detail})
	}
	if p.pending {
		o.Notes = append(o.Notes, Cause{Reason: KernelPending, Detail: p.gone()})
	}
	if volatile(o.Source) {
		o.Notes = append(o.Notes, volatileNote(o.Source))
	}
	return p.init.module(o)
}

// gone is the sentence about a kernel whose modules were removed.
func (p *Prediction) gone() string {
	return fmt.Sprintf("/lib/modules/%s, the running kernel's, is gone.", p.s.Kernel)
}

// contained returns the prediction for a host that may load no modules. Its kernel is another machine's, and a boot of
// this host does not start it again.
func (p *Prediction) contained(name string) ModulePrediction {
	modules := p.Resolve(name)
	if len(modules) == 0 {
		modules = []string{name}
	}
	lacks := func(has func(string) bool) bool {
		return slices.ContainsFunc(modules, func(m string) bool { return !has(m) })
	}
	switch {
	case !lacks(p.s.IsBuiltin):
		return ModulePrediction{LoadedAtBoot: true, Known: true, Builtin: true}
	case !lacks(p.s.Has):
		return ModulePrediction{Cause: Cause{Reason: Container, Detail: fmt.Sprintf(
			"%s is in the kernel of the machine that runs this container, which alone decides whether it stays there.",
			kmod.Canonical(name))}}
	}
	return ModulePrediction{Known: true, Cause: Cause{Reason: Container, Detail: fmt.Sprintf(
		"This host may not load %s, or any module: the capability CAP_SYS_MODULE is taken from it, as from a container.",
		name)}}
}

// noTree returns the prediction without any module tree.
func (p *Prediction) noTree(name string) ModulePrediction {
	switch {
	case p.s.IsBuiltin(name):
		return ModulePrediction{LoadedAtBoot: true, Known: true, Builtin: true}
	case p.s.Trees == nil:
		return ModulePrediction{Cause: Cause{Reason: Unread, Detail: "/lib/modules was not read."}}
	}
	return ModulePrediction{Cause: Cause{Reason: KernelPending, Detail: "/lib/modules has no kernel's modules."}}
}

// module returns the prediction with this plan's kernel. Of several modules, the one that promises least counts.
func (p *modulePlan) module(name string) ModulePrediction {
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

// worse reports whether a promises less than b.
func worse(a, b ModulePrediction) bool {
	rank := func(o ModulePrediction) int {
		switch {
		case o.Known && o.LoadedAtBoot:
			return 0
		case !o.Known:
			return 1
		}
		return 2
	}
	return rank(a) > rank(b)
}

// one returns the prediction for a module by its own name.
func (p *modulePlan) one(m string) ModulePrediction {
	if p.builtin(m) {
		return ModulePrediction{LoadedAtBoot: true, Known: true, Builtin: true}
	}
	if source := p.loaded[m]; source != "" {
		return p.unless(ModulePrediction{LoadedAtBoot: true, Known: true, Cause: Cause{Source: source}}, p.unreadModprobe())
	}
	if why, ok := p.blocked[m]; ok {
		if why.Reason == NotInTree && why.unsure {
			return ModulePrediction{Cause: p.notLookedUp(m, why.Source)}
		}
		return p.unless(ModulePrediction{Known: !why.unsure, Cause: why.Cause}, p.unreadFile())
	}
	o := ModulePrediction{Known: true, Cause: Cause{
		Reason: NotLoaded, Detail: fmt.Sprintf("Nothing in modules-load.d loads %s.", m)}}
	_, inTree := p.tree.Dep[m]
	switch source, by := p.maskedLoad(m); {
	case p.s.LoadedNow[m]:
		o = ModulePrediction{Cause: Cause{
			Reason: LoadedNowOnly, Detail: fmt.Sprintf("%s is loaded now, but nothing in modules-load.d loads it.", m)}}
	case source != "":
		o.Cause = Cause{Masked, by, fmt.Sprintf("%s would load %s, but %s has the same name and hides it.", source, m, by)}
	case !inTree && p.lookedFor(m):
		o.Reason, o.Detail = NotInTree, p.notFound(m)
	}
	return p.unless(o, p.unreadFile())
}

// unless returns o, or one that is not known if a file could not be read.
func (p *modulePlan) unless(o ModulePrediction, unread string) ModulePrediction {
	if unread == "" {
		return o
	}
	return ModulePrediction{Cause: Cause{Unread, o.Source, unread + " could not be read, and it may decide otherwise."}}
}

// notLookedUp is the cause of a module for which no tree was searched.
func (p *modulePlan) notLookedUp(module, source string) Cause {
	return Cause{Unread, source, fmt.Sprintf("Whether kernel %s has %s was not looked up.", p.tree.Release, module)}
}

// unreadFile returns a file that could not be read and may load or block a module; "" if there is none.
func (p *modulePlan) unreadFile() string {
	if len(p.unread) > 0 {
		return p.unread[0]
	}
	return ""
}

// unreadModprobe returns a file of modprobe.d that could not be read and may block a module; "" if there is none.
func (p *modulePlan) unreadModprobe() string {
	for _, f := range p.unread {
		if strings.Contains(f, "/modprobe.d/") {
			return f
		}
	}
	return ""
}

// maskedLoad returns the line that would load m if its file were not hidden, and the file that hides it.
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

// there reports whether a module is in the kernel when systemd-sysctl starts.
func (p *modulePlan) there(m string) bool { return p.builtin(m) || p.loaded[m] != "" }

// ready returns why the kernel does not load a module when a value asks for it; no Reason if it does. It runs modprobe,
// which then ignores blacklist lines.
func (p *modulePlan) ready(m string) Cause {
	if p.there(m) {
		return Cause{}
	}
	if p.cmd.noModules {
		return noMoreModules()
	}
	for _, real := range p.resolve(m) {
		if p.cmd.refuse[real] {
			return refusedByKernel(real)
		}
		if d, ok := p.installs(real); ok {
			return installLine(d, real)
		}
	}
	if len(p.resolve(m)) > 0 {
		return Cause{}
	}
	if !p.lookedFor(m) {
		return p.notLookedUp(m, "")
	}
	return Cause{Reason: NotInTree, Detail: p.notFound(m)}
}
