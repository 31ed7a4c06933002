package host

// host_kernel_module on a host: reading its layers, loading it and removing it.

import (
	"context"
	_ "embed"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/errno"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/shell"
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
}

// ModuleState is the state of a Module on a host, a field for each layer.
type ModuleState struct {
	// Loaded is true if the module is in the running kernel, loaded or built in.
	Loaded bool
	// Builtin is true if the module is built into the kernel.
	Builtin bool
	// BootSource is the path:line that loads it at boot, given every file on the host. It is nil if nothing does.
	BootSource *string
	// Parameters are the running values of the wanted parameters. A parameter that cannot be read, or that cannot change
	// until the module is loaded again, has the value of our modprobe.d file.
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
	h.searchFor(m.Name)
	if len(m.Parameters) > 0 {
		h.readEverything()
	}
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
	st := ModuleState{Loaded: true}
	for _, n := range real {
		st.Loaded = st.Loaded && snap.Has(n)
		st.Builtin = st.Builtin || snap.IsBuiltin(n)
	}
	if !m.Persist {
		st.readParameters(snap, m, real[0])
		return st
	}
	o := h.predict(snap).Module(m.Name)
	uncertain := !o.Known && slices.Contains(uncertain, o.Reason)
	if o.Source != "" && (o.Loaded || uncertain) {
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
	release, err := h.lock(ctx, m.LoadPath())
	if err != nil {
		return ModuleState{}, err
	}
	defer release()
	h.searchFor(m.Name)
	snap, err := h.fresh(ctx, m.paths(m.Name)...)
	if err != nil {
		return ModuleState{}, err
	}
	real, err := h.resolve(ctx, snap, m.Name)
	if err != nil {
		return ModuleState{}, err
	}
	if err := h.checkModuleOwnership(snap, m, prior); err != nil {
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
		_, exists := snap.File(f.Path)
		switch {
		case f.Path == m.LoadPath() && m.Persist && m.listed(snap) != "":
		case f.Path == m.OptionsPath() && m.Persist && exists && sameParameters(has.BootParameters, m.Parameters):
		case f.Content != "":
			written = append(written, f)
		case exists && prior != nil && prior.Persist:
			removed = append(removed, f.Path)
		}
	}
	snap, err = c.files(ctx, snap, written, removed, m.paths(real[0]))
	if err != nil {
		return ModuleState{}, err
	}
	return h.checkModuleApplied(snap, m, real)
}

// checkModuleOwnership returns an error if this resource did not write a file that it would overwrite.
func (h *Host) checkModuleOwnership(snap *boot.Snapshot, m Module, prior *Module) error {
	if prior != nil && prior.Persist {
		return nil
	}
	for _, path := range []string{m.LoadPath(), m.OptionsPath()} {
		if f, exists := snap.File(path); m.Persist && exists && !marked(f, m.mark()) {
			return h.errorf(DropInForeign,
				"%s exists and this resource did not write it. To manage it, import it: terraform import "+
					"host_kernel_module.<name> '%s/%s'. Else remove the file.",
				path, h.name, m.Name)
		}
	}
	return nil
}

// checkParameters returns an error if a parameter is neither in /sys/module nor in modinfo. It needs both, because each
// hides some parameters. It is needed because modprobe accepts an unknown parameter without an error.
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
	for _, n := range missing {
		c.undos = append(c.undos, func(ctx context.Context) ([]string, error) {
			return []string{"the kernel module " + n + ", loaded"}, h.unload(ctx, n)
		})
	}
	h.invalidate()
	defer h.invalidate()
	s := h.snapshotScript(m.paths(real[0]), false)
	s.Name, s.Text, s.Stdin, s.Merge = "load", loadScript+s.Text, m.Name+"\n", nil
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

// cannotLoad returns the error for a host that may load no modules.
func (h *Host) cannotLoad(o boot.ModuleOutcome) *Error {
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
		names, writes = append(names, name), append(writes, write{path, want, had.Text})
	}
	results, err := c.write(ctx, writes)
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
	case !st.Loaded:
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

// UnsetModule removes the files of m. If unload is set, it also unloads the module, and fails if the module is in use.
func (h *Host) UnsetModule(ctx context.Context, m Module, unload bool) (err error) {
	release, err := h.lock(ctx, m.LoadPath())
	if err != nil {
		return err
	}
	defer release()
	snap, err := h.fresh(ctx)
	if err != nil {
		return err
	}
	c := h.begin()
	defer func() { err = c.end(ctx, err) }()
	if m.Persist {
		if err := c.remove(ctx, snap, m.LoadPath(), m.OptionsPath()); err != nil {
			return err
		}
	}
	if unload {
		real, err := h.resolve(ctx, snap, m.Name)
		if err != nil {
			return err
		}
		for _, n := range real {
			if !snap.Loaded[n] {
				continue
			}
			c.undos = append(c.undos, func(ctx context.Context) ([]string, error) {
				return []string{"the kernel module " + n + ", unloaded"}, h.confirmLoaded(ctx, n)
			})
			if err := h.unload(ctx, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// confirmLoaded returns an error if the module is not loaded. It loads no module again, because the module would have
// lost its state.
func (h *Host) confirmLoaded(ctx context.Context, module string) error {
	snap, err := h.fresh(ctx)
	if err == nil && !snap.Loaded[module] {
		err = errors.New("a module is not loaded again")
	}
	return err
}

// unload unloads the module, and the modules that only it needed. It does nothing if the module is not loaded.
func (h *Host) unload(ctx context.Context, module string) error {
	h.invalidate()
	defer h.invalidate()
	r, err := h.conn.Run(ctx, shell.Script{Name: "unload", Text: unloadScript, Args: []string{module}, Repeatable: true})
	if err != nil {
		return err
	}
	if _, failed := r.Get("failed"); failed {
		words, _ := r.Get("modprobe")
		return h.errorf(ModuleNotUnloaded,
			"the kernel module %s could not be unloaded: %s. Stop what uses it, or set on_destroy = \"keep\".",
			module, strings.TrimSpace(words))
	}
	return nil
}
