package host

// host_kernel_module on a host: reading its layers, loading it and removing it.

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/errno"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

var (
	//go:embed scripts/load.sh
	loadScript string
	//go:embed scripts/unload.sh
	unloadScript string
	//go:embed scripts/resolve.sh
	resolveScript string
	//go:embed scripts/parameters.sh
	parametersScript string
)

// Module is what a host_kernel_module wants of a host.
type Module struct {
	// Name is a module's name or alias.
	Name string
	// Parameters are the module's parameters by name.
	Parameters map[string]string
	// Persist is false if nothing is written for the next boot.
	Persist bool
	// Instance tells this resource instance from others that have, had or will have the same module.
	Instance string
	// Adopt lets a plan take the files over from an instance that this run does not know.
	Adopt bool
}

// modulesLock is the lock of all changes of modules: loading and unloading one takes others along.
const modulesLock = "modules"

// ModuleState is what a host has of a Module, a layer a field.
type ModuleState struct {
	// LoadedNow is true if the module is in the running kernel, loaded or built in.
	LoadedNow bool
	// Builtin is true if the module is built into the kernel.
	Builtin bool
	// BootSource is the path:line that loads it at boot, given every file on the host. It is nil if nothing does.
	BootSource *string
	// Holds says that it is there when systemd-sysctl runs at the next boot, and Reason why not, or why that is not
	// certain.
	Holds  bool
	Reason boot.Reason
	// Parameters are the running values of the parameters that were asked for. One that cannot be read, or that cannot
	// change before the module is loaded again, is given as our modprobe.d file has it.
	Parameters map[string]string
	// BootParameters are those of our modprobe.d file. It is nil if that has none.
	BootParameters map[string]string
	// Waiting are the running values of the parameters that cannot change until the module is loaded again.
	Waiting map[string]string
}

// parameterPath returns the file of a parameter in /sys/module.
func parameterPath(module, parameter string) string {
	return "/sys/module/" + kmod.Canonical(module) + "/parameters/" + parameter
}

// ReadModule reads the layers of m.
func (h *Host) ReadModule(ctx context.Context, m Module) (ModuleState, error) {
	defer h.enter()()
	h.knowRead(m.Instance, m.LoadPath())
	h.searchFor(m.Name)
	snap, err := h.read(ctx, m.paths(m.Name)...)
	if err != nil {
		return ModuleState{}, err
	}
	real, err := h.resolve(ctx, snap, m.Name)
	if err != nil {
		return ModuleState{}, err
	}
	if snap, err = h.read(ctx, m.paths(real[0])...); err != nil {
		return ModuleState{}, err
	}
	return h.moduleState(snap, m, real), nil
}

// paths returns the files of the parameters in /sys/module. real is the module's name there.
func (m Module) paths(real string) []string {
	var paths []string
	for _, p := range slices.Sorted(maps.Keys(m.Parameters)) {
		paths = append(paths, parameterPath(real, p))
	}
	return paths
}

// resolve returns the modules that a name stands for. That is the name itself, unless neither the kernel nor its tree
// has such a module and modprobe knows it as an alias.
func (h *Host) resolve(ctx context.Context, snap *boot.Snapshot, name string) ([]string, error) {
	self := []string{kmod.Canonical(name)}
	inTree := func(t boot.Tree) bool { return t.Release == snap.Kernel && t.Dep[self[0]] != nil }
	if snap.Has(name) || slices.ContainsFunc(snap.Trees, inTree) {
		return self, nil
	}
	r, err := h.conn.Run(ctx, shell.Script{Name: "resolve", Text: resolveScript, Args: []string{name}, Repeatable: true})
	if err != nil {
		return nil, err
	}
	printed, _ := r.Get("modprobe")
	if _, failed := r.Get("failed"); failed {
		return self, nil
	}
	var real []string
	for _, n := range strings.Fields(printed) {
		real = append(real, kmod.Canonical(n))
	}
	if len(real) == 0 {
		return self, nil
	}
	return real, nil
}

// moduleState returns the state of m in a snapshot. real are the modules that its name stands for.
func (h *Host) moduleState(snap *boot.Snapshot, m Module, real []string) ModuleState {
	st := ModuleState{LoadedNow: true}
	for _, n := range real {
		st.LoadedNow = st.LoadedNow && snap.Has(n)
		st.Builtin = st.Builtin || snap.IsBuiltin(n)
	}
	if !m.Persist {
		st.readParameters(snap, m, real[0])
		return st
	}
	o := h.predict(snap).Module(m.Name)
	st.Holds, st.Reason = o.Known && o.LoadedAtBoot, o.Reason
	uncertain := !o.Known && slices.Contains(uncertain, o.Reason)
	if o.Source != "" && (o.LoadedAtBoot || uncertain) {
		st.BootSource = &o.Source
	}
	if (o.Builtin || uncertain) && m.listed(snap) != "" {
		source := m.listed(snap)
		st.BootSource = &source
	}
	if f, ok := snap.File(m.OptionsPath()); ok {
		st.BootParameters = optionsIn(f, real[0])
	}
	st.readParameters(snap, m, real[0])
	return st
}

// readParameters sets Parameters and Waiting. If a parameter's file does not exist, its value is hidden, and is assumed
// to be the wanted one.
func (st *ModuleState) readParameters(snap *boot.Snapshot, m Module, real string) {
	if len(m.Parameters) == 0 {
		return
	}
	st.Parameters, st.Waiting = map[string]string{}, map[string]string{}
	for name, want := range m.Parameters {
		r := snap.Values[parameterPath(real, name)]
		if r.Absent || r.Unread != "" || kmod.SameParameter(r.Text, want) {
			st.Parameters[name] = want
			continue
		}
		if kmod.SameParameter(st.BootParameters[name], want) && !r.Writable {
			st.Parameters[name], st.Waiting[name] = want, r.Text
			continue
		}
		st.Parameters[name] = r.Text
	}
}

// SetModule applies m: it loads the module with its parameters, and then writes the files for the next boot. prior is
// what Terraform recorded last; it is nil if m is created. After an error the host is as it was, or the error says what
// may remain (MayHaveChanged).
func (h *Host) SetModule(ctx context.Context, m Module, prior *Module) (st ModuleState, err error) {
	h.searchFor(m.Name)
	l, err := h.lookFor(ctx, nil, m.paths(m.Name), []string{modulesLock}, noMore)
	if err != nil {
		return ModuleState{}, err
	}
	defer l.release()
	snap := l.snap
	real, err := h.resolve(ctx, snap, m.Name)
	if err != nil {
		return ModuleState{}, err
	}
	if err := h.checkSeen(m.LoadPath(), m.othersFiles(snap)); err != nil {
		return ModuleState{}, err
	}
	if err := h.checkModuleFiles(snap, m, prior); err != nil {
		return ModuleState{}, err
	}

	if len(m.Parameters) > 0 && m.Persist && snap.IsBuiltin(real[0]) {
		return ModuleState{}, h.errorf(ParameterBuiltin,
			"the kernel module %s is built in, and modprobe.d does not reach a built-in module. Put %[1]s.PARAMETER=VALUE on "+
				"the kernel command line, or set persist = false to change only the running values.",
			real[0])
	}
	if m.Persist {
		if lost := h.moduleLost(m, h.predict(snap.WithFile(m.pretended())).Module(m.Name), snap.Kernel); lost != nil {
			return ModuleState{}, lost
		}
	}

	c := h.begin()
	defer func() { err = c.end(ctx, err) }()
	loaded, err := h.load(ctx, c, m, real, snap)
	if err != nil {
		return ModuleState{}, err
	}
	if err := h.setParameters(ctx, c, m, real[0], loaded); err != nil {
		return ModuleState{}, err
	}
	has := h.moduleState(snap, m, real)
	var written []shell.File
	var removed []string
	for _, f := range m.files(real[0]) {
		was, exists := snap.File(f.Path)
		own := belongsTo(was, m.Instance)
		switch {
		case f.Path == m.LoadPath() && m.Persist && m.listed(snap) != "" && own:
		case f.Path == m.OptionsPath() && m.Persist && exists && sameParameters(has.BootParameters, m.Parameters) && own:
		case f.Content != "":
			written = append(written, f)
		case exists && prior != nil && prior.Persist && own:
			removed = append(removed, f.Path)
		}
	}
	c.last = true
	snap, err = c.files(ctx, snap, written, removed, m.paths(real[0]))
	if err != nil {
		return ModuleState{}, err
	}
	if st, err = h.checkModuleApplied(snap, m, real); err == nil {
		h.holdModules(h.machine(snap), m, real)
	}
	return st, err
}

// holdModules notes which instance holds modules of a machine, which no file tells without persist.
func (h *Host) holdModules(machine string, m Module, real []string) {
	r := h.fleet.run
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.modules[machine] == nil {
		r.modules[machine] = map[string]string{}
	}
	for _, name := range real {
		r.modules[machine][name] = m.Instance
	}
}

// moduleHolder returns the instance that has set the module in this run; m's own if none did.
func (h *Host) moduleHolder(machine string, m Module, real string) string {
	r := h.fleet.run
	r.mu.Lock()
	defer r.mu.Unlock()
	if instance, ok := r.modules[machine][real]; ok {
		return instance
	}
	return m.Instance
}

// checkModuleFiles says why the files of m can be no files of m: another wrote them, somebody added lines that a change
// would drop, or they are links that it would replace.
func (h *Host) checkModuleFiles(snap *boot.Snapshot, m Module, prior *Module) error {
	for _, path := range []string{m.LoadPath(), m.OptionsPath()} {
		f, exists := snap.File(path)
		if !exists {
			continue
		}
		o, _ := ownerOf(f)
		written := o.Instance != "" || o == owner{Resource: "host_kernel_module", Name: kmod.Canonical(m.Name)}
		if m.Persist && (prior == nil || !prior.Persist) && !written {
			return h.errorf(DropInForeign, "%s exists and this resource did not write it. To manage it, import it: "+
				"terraform import host_kernel_module.<name> '%s/%s'. Else remove the file.", path, h.name, m.Name)
		}
		if err := h.checkModuleLines(m, f); err != nil {
			return err
		}
	}
	return nil
}

// checkModuleLines says what a change or removal of a file of m would drop beside what m wrote.
func (h *Host) checkModuleLines(m Module, f confdir.File) error {
	if f.Target != "" {
		return h.errorf(DropInForeign, "%s is a link to %s, and a change would put a file in its place. Remove the link.",
			f.Path, f.Target)
	}
	other := ""
	for _, l := range kmod.ParseLoad(f.Path, f.Text) {
		if f.Path == m.LoadPath() && !kmod.Same(l.Name, m.Name) {
			other = l.At.String() + " loads " + l.Name
		}
	}
	if f.Path == m.OptionsPath() {
		directives, _ := kmod.ParseModprobe(f.Path, f.Text)
		for _, d := range directives {
			if d.Command != "options" {
				other = fmt.Sprintf("%s says %q", d.At, d.Command+" "+d.Name)
			}
		}
	}
	if other == "" {
		return nil
	}
	return h.errorf(DropInForeign, "%s, a line that this resource did not write and a change would drop. Move the line "+
		"to a file of its own.", other)
}

// checkParameters wants each parameter to show in /sys/module or in modinfo: each hides some that exist, and modprobe
// takes an unknown one without a word.
func (h *Host) checkParameters(ctx context.Context, snap *boot.Snapshot, m Module, real string) error {
	hidden := slices.DeleteFunc(slices.Sorted(maps.Keys(m.Parameters)), func(p string) bool {
		return !snap.Values[parameterPath(
			real, p)].Absent
	})
	if len(hidden) == 0 {
		return nil
	}
	r, err := h.conn.Run(
		ctx, shell.Script{Name: "parameters", Text: parametersScript, Args: []string{real}, Repeatable: true})
	if err != nil {
		return err
	}
	if _, failed := r.Get("failed"); failed {
		return nil
	}
	printed, _ := r.Get("modinfo")
	var known []string
	for line := range strings.Lines(printed) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		known = append(known, name)
	}
	for _, p := range hidden {
		if !slices.Contains(known, p) {
			return h.errorf(ParameterUnknown,
				"the kernel module %s has no parameter %s, and the kernel ignores it without an error. `modinfo -p %[1]s` and "+
					"/sys/module/%[1]s/parameters on the host list those it has.",
				real, p)
		}
	}
	return nil
}

// load loads the module if it is not loaded. The same exchange reads whether it is loaded afterwards, because modprobe
// also succeeds if an `install` line does nothing. It returns a snapshot with the module.
func (h *Host) load(
	ctx context.Context, c *change, m Module, real []string, snap *boot.Snapshot,
) (*boot.Snapshot, error) {
	missing := slices.DeleteFunc(slices.Clone(real), snap.Has)
	if len(missing) == 0 {
		if m.Name != real[0] && len(m.Parameters) > 0 {
			return h.fresh(ctx, m.paths(real[0])...)
		}
		return snap, nil
	}
	if snap.NoModules {
		return nil, h.cannotLoad(h.predict(snap).Module(m.Name))
	}
	added := loadedWith(snap, missing)
	c.undos = append(c.undos, func(ctx context.Context) ([]string, error) {
		return []string{"the kernel module " + strings.Join(added, ", ") + ", loaded"}, h.unload(ctx, added...)
	})
	h.invalidate()
	defer h.invalidate()
	s := h.snapshotScript(m.paths(real[0]), false)
	s.Name, s.Text, s.Stdin, s.Merge, s.Exclusive = "load", loadScript+s.Text, m.Name+"\n", nil, true
	for _, p := range slices.Sorted(maps.Keys(m.Parameters)) {
		s.Stdin += p + "=" + m.Parameters[p] + "\n"
	}
	r, err := h.conn.Run(ctx, s)
	if err != nil {
		return nil, err
	}
	words, _ := r.Get("modprobe")
	now, err := h.decoded(ctx, r, s.Args[1:])
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(real, func(n string) bool { return !now.Has(n) }) {
		return now, nil
	}
	_, failed := r.Get("failed")
	return nil, h.notLoaded(m, snap, strings.TrimSpace(words), failed)
}

// loadedWith returns the modules that loading these adds to the running kernel: themselves, and those they depend on
// that are not loaded yet.
func loadedWith(snap *boot.Snapshot, modules []string) []string {
	all := slices.Clone(modules)
	for _, t := range snap.Trees {
		for _, m := range modules {
			if t.Release == snap.Kernel {
				all = append(all, t.Dep[m]...)
			}
		}
	}
	var added []string
	for _, m := range all {
		if !snap.Has(m) && !slices.Contains(added, m) {
			added = append(added, m)
		}
	}
	return added
}

// cannotLoad is the error for a host that may load no modules.
func (h *Host) cannotLoad(o boot.ModulePrediction) *Error {
	return h.errorf(ModuleNotLoaded, "%s %s", lowerFirst(o.Detail), o.Reason.Remedy())
}

// notLoaded returns the error for a module that modprobe did not load. words is what modprobe printed.
func (h *Host) notLoaded(m Module, snap *boot.Snapshot, words string, failed bool) error {
	if o := h.predict(snap.WithFile(m.pretended())).Module(m.Name); o.Reason == boot.InstallLine {
		return h.errorf(ModuleNotLoaded, "%s %s", lowerFirst(o.Detail), o.Reason.Remedy())
	}
	switch {
	case errno.SaysNotFound(words):
		return h.unknownModule(m, snap.Kernel)
	case errno.SaysNotPermitted(words):
		return h.errorf(ModuleNotLoaded,
			"the kernel module %s could not be loaded: %s. Connect as root or set sudo = true. If it is so for root too, this "+
				"kernel loads no more modules until the next boot (kernel.modules_disabled = 1), or the host is a container.",
			m.Name, errno.Reason(words))
	case failed:
		return h.errorf(ModuleNotLoaded,
			"the kernel module %s could not be loaded: %s. See the kernel's log (dmesg) on the host.",
			m.Name, words)
	default:
		return h.errorf(ModuleNotLoaded,
			"modprobe %s succeeded, but the module is not there. See the kernel's log (dmesg) on the host.",
			m.Name)
	}
}

// unknownModule returns the error for a module that the running kernel does not have.
func (h *Host) unknownModule(m Module, kernel string) *Error {
	return h.errorf(ModuleUnknown,
		"there is no kernel module %s for the running kernel %s. Check its spelling; some modules were renamed in newer "+
			"kernels. If /lib/modules/%[2]s is missing, the kernel was upgraded and the host waits for a reboot.",
		m.Name, kernel)
}

// setParameters writes the parameters that can change while the module is loaded. snap must be newer than the load.
// Other parameters wait for the next load.
func (h *Host) setParameters(ctx context.Context, c *change, m Module, real string, snap *boot.Snapshot) error {
	if len(m.Parameters) == 0 {
		return nil
	}
	if err := h.checkParameters(ctx, snap, m, real); err != nil {
		return err
	}
	var names []string
	var writes []write
	for _, name := range slices.Sorted(maps.Keys(m.Parameters)) {
		path, want := parameterPath(real, name), m.Parameters[name]
		had := snap.Values[path]
		if had.Absent || had.Unread != "" || !had.Writable || kmod.SameParameter(had.Text, want) {
			continue
		}
		names, writes = append(names, name), append(writes, write{path: path, value: want, before: had.Text})
	}
	results, err := c.write(ctx, writes, nil)
	if err != nil {
		return err
	}
	var faults []*Error
	for i, r := range results {
		want, had := quoted(writes[i].value), quoted(writes[i].before)
		switch {
		case r.refused != "":
			faults = append(faults, h.errorf(ValueRefused,
				"the kernel refused %s for the parameter %s of the kernel module %s: %s. It stays %s.",
				want, names[i], real, r.refused, had))
		case !kmod.SameParameter(r.value, writes[i].value):
			faults = append(faults, h.errorf(ValueChanged,
				"%s was written to the parameter %s of the kernel module %s, but the kernel kept %s. It was put back to %s. Write "+
					"the value the kernel keeps.",
				want, names[i], real, quoted(r.value), had))
		}
	}
	return several(faults)
}

// checkModuleApplied returns the state of a host that was read again after the change. It returns an error if the host
// does not hold what was applied.
func (h *Host) checkModuleApplied(snap *boot.Snapshot, m Module, real []string) (ModuleState, error) {
	st := h.moduleState(snap, m, real)
	switch {
	case !st.LoadedNow:
		return st, h.errorf(NotKept,
			"the kernel module %s was loaded, but is gone a moment later. Something else on the host unloads it.",
			m.Name)
	case m.Persist && st.BootSource == nil:
		return st, h.errorf(NotKept,
			"%s was written, but a moment later does not name %s. Something else on the host writes that file.",
			m.LoadPath(), m.Name)
	case m.Persist && !sameParameters(st.BootParameters, m.Parameters):
		return st, h.errorf(NotKept,
			"%s was written, but a moment later holds other parameters. Something else on the host writes that file.",
			m.OptionsPath())
	}
	for name, want := range m.Parameters {
		if st.Parameters[name] != want {
			return st, h.errorf(ValueChanged,
				"the kernel module %s was loaded with %s=%s, but the kernel kept %s. Write the value the kernel keeps.",
				m.Name, name, want, quoted(st.Parameters[name]))
		}
	}
	return st, nil
}

// sameParameters reports whether the kernel treats both as equal.
func sameParameters(a, b map[string]string) bool {
	return maps.EqualFunc(a, b, kmod.SameParameter)
}

// Warnings returns a warning for each parameter that waits until the module is loaded again.
func (h *Host) Warnings(m Module, st ModuleState) []*Error {
	var all []*Error
	for _, name := range slices.Sorted(maps.Keys(st.Waiting)) {
		all = append(all, h.errorf(Pending,
			"the parameter %s of the kernel module %s is %s and stays so while the module is loaded; %s holds from the next "+
				"load or boot on.",
			name, m.Name, quoted(st.Waiting[name]), quoted(m.Parameters[name])))
	}
	return all
}

// UnsetModule takes m back: its files, and with unload the module itself, which fails if the module is in use or a
// drop-in of ours sets a key of it. Files that another instance wrote since are left alone, and so is their module.
func (h *Host) UnsetModule(ctx context.Context, m Module, unload bool) (err error) {
	l, err := h.lookFor(ctx, nil, nil, []string{modulesLock}, noMore)
	if err != nil {
		return err
	}
	defer l.release()
	snap := l.snap
	c := h.begin()
	defer func() { err = c.end(ctx, err) }()
	var own []string
	for _, path := range []string{m.LoadPath(), m.OptionsPath()} {
		f, exists := snap.File(path)
		if exists && !belongsTo(f, m.Instance) {
			unload = false
		}
		if !exists || !m.Persist || !belongsTo(f, m.Instance) {
			continue
		}
		if err := h.checkModuleLines(m, f); err != nil {
			return err
		}
		own = append(own, path)
	}
	c.last = !unload
	if err := c.remove(ctx, snap, own...); err != nil {
		return err
	}
	if !unload {
		return nil
	}
	real, err := h.resolve(ctx, snap, m.Name)
	if err != nil {
		return err
	}
	for _, n := range real {
		if !snap.LoadedNow[n] || h.moduleHolder(h.machine(snap), m, n) != m.Instance {
			continue
		}
		if err := h.checkUnneeded(snap, n); err != nil {
			return err
		}
		c.undos = append(c.undos, func(ctx context.Context) ([]string, error) {
			return []string{"the kernel module " + n + ", unloaded"}, h.confirmLoaded(ctx, n)
		})
		if err := h.unload(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// checkUnneeded says which drop-in of ours sets a key that would go with the module.
func (h *Host) checkUnneeded(snap *boot.Snapshot, module string) error {
	for _, f := range snap.Sysctl {
		o, ours := ownerOf(f)
		if !ours {
			continue
		}
		all, _ := sysctl.ParseFile(f.Path, f.Text)
		for _, a := range all {
			k, err := sysctl.ParseKey(a.Pattern)
			if owner, owned := kmod.Owner(k); err == nil && owned && kmod.Same(owner, module) {
				return h.errorf(ModuleNotUnloaded, "the kernel module %s brings %s, which %s sets in %s, and would take it away. "+
					"Destroy that resource first: a reference in its module gives the order. Or set on_destroy = \"keep\".",
					module, k, o, a.At)
			}
		}
	}
	return nil
}

// confirmLoaded returns an error if the module is not loaded. It loads no module again, because the module would have
// lost its state.
func (h *Host) confirmLoaded(ctx context.Context, module string) error {
	snap, err := h.fresh(ctx)
	if err == nil && !snap.LoadedNow[module] {
		err = errors.New("a module is not loaded again")
	}
	return err
}

// unload unloads these modules and no others, each after those that use it; one that is not loaded needs nothing.
func (h *Host) unload(ctx context.Context, modules ...string) error {
	h.invalidate()
	defer h.invalidate()
	r, err := h.conn.Run(ctx, shell.Script{Name: "unload", Text: unloadScript, Args: modules, Repeatable: true,
		Exclusive: true})
	if err != nil {
		return err
	}
	if _, failed := r.Get("failed"); failed {
		words, _ := r.Get("rmmod")
		return h.errorf(ModuleNotUnloaded, "the kernel module %s could not be unloaded: %s. Stop what uses it, or set "+
			"on_destroy = \"keep\".",
			strings.Join(modules, ", "), strings.TrimSpace(words))
	}
	return nil
}
