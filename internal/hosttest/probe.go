package hosttest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
)

// probeOptions are the flags of kmod_module_probe_insert_module.
type probeOptions struct {
	params      []string // for the module itself
	blacklist   bool     // leave out what is blacklisted, however it is named
	onlyAllowed bool     // the same, as the kernel asks
	dryRun      bool
	show        bool // say what is done
}

// probed is how an attempt to load came out.
type probed struct {
	names  []string // the modules that the name leads to
	denied bool     // every one of them is blacklisted
	err    error
	output string // what modprobe prints on its standard output
	words  string // what it prints on its standard error before its own verdict
}

var errNotFound = errors.New("module not found")

// probe loads what name leads to. Callers hold the machine's mutex.
func (m *machine) probe(name string, o probeOptions) probed {
	c := m.modConf()
	mods := m.resolve(c, name)
	if len(mods) == 0 {
		return probed{err: errNotFound}
	}
	var r probed
	for _, f := range mods {
		r.names = append(r.names, f.name)
		if c.blacklist[f.name] && (o.blacklist || o.onlyAllowed || f.byAlias) && !m.inKernel(f.name) {
			r.denied = true
			continue
		}
		if err := m.probeOne(c, f.name, o, &r, map[string]bool{}); err != nil {
			r.err = err
		}
	}
	return r
}

// probeOne loads one module: first those it needs, blacklisted ones among them too, and those of its softdep line; also when an install line
// stands for the module itself.
func (m *machine) probeOne(c *modConf, name string, o probeOptions, r *probed, seen map[string]bool) error {
	mod := m.kernel.mods[name]
	if seen[name] || m.inKernel(name) {
		return nil
	}
	seen[name] = true
	inner := o
	inner.params = nil
	if mod != nil {
		for _, dep := range mod.needs {
			if err := m.probeOne(c, dep, inner, r, seen); err != nil {
				return err
			}
		}
	}
	for _, dep := range c.softPre[name] {
		if m.kernel.mods[dep] != nil {
			_ = m.probeOne(c, dep, inner, r, seen)
		}
	}
	if err := m.load(c, name, o, r); err != nil {
		return err
	}
	for _, dep := range c.softPost[name] {
		if m.kernel.mods[dep] != nil {
			_ = m.probeOne(c, dep, inner, r, seen)
		}
	}
	return nil
}

// load inserts one module, or runs its install line.
func (m *machine) load(c *modConf, name string, o probeOptions, r *probed) error {
	mod, cmd := m.kernel.mods[name], c.install[name]
	opts := append(slices.Clone(c.options[name]), o.params...)
	if o.show {
		switch {
		case cmd != "":
			r.output += fmt.Sprintf("install %s %s\n", cmd, strings.Join(opts, " "))
		case mod != nil:
			r.output += fmt.Sprintf("insmod %s %s\n", mod.path(), strings.Join(opts, " "))
		}
	}
	switch {
	case o.dryRun:
		return nil
	case cmd != "":
		if status := m.command(cmd, r); status != 0 {
			r.words += fmt.Sprintf("../libkmod/libkmod-module.c:1047 command_do() Error running install command '%s' for module %s: retcode %d\n",
				cmd, name, status)
			return syscall.EINVAL
		}
		return nil
	case mod == nil: // the target of an alias line is not looked for before
		r.words += fmt.Sprintf("../libkmod/libkmod-module.c:895 kmod_module_insert_module() could not find module by name='%s'\n", name)
		return syscall.ENOENT
	}
	return m.insert(name, opts)
}

// command runs the command of an install or remove line. It knows the few that such lines hold: true, false and modprobe --ignore-install.
func (m *machine) command(cmd string, r *probed) int {
	status := 0
	for _, part := range strings.Split(cmd, ";") {
		w := strings.Fields(part)
		if len(w) == 0 || w[0] == ":" {
			continue
		}
		switch w[0][strings.LastIndexByte(w[0], '/')+1:] {
		case "true":
			status = 0
		case "false":
			status = 1
		case "modprobe":
			name := ""
			ignore := false
			var params []string
			for _, a := range w[1:] {
				switch {
				case a == "--ignore-install" || a == "-i":
					ignore = true
				case a == "$CMDLINE_OPTS" || strings.HasPrefix(a, "-"):
				case name == "":
					name = underscores(a)
				default:
					params = append(params, a)
				}
			}
			c := m.modConf()
			if ignore {
				c.install = maps.Clone(c.install)
				delete(c.install, name)
			}
			if m.kernel.mods[name] == nil || m.probeOne(c, name, probeOptions{params: params}, r, map[string]bool{}) != nil {
				status = 1
			} else {
				status = 0
			}
		default:
			m.unknown("command of a modprobe.d line: " + part)
			status = 127
		}
	}
	return status
}

// modprobe is kmod's program.
func modprobe(p *process, args []string) int {
	o := probeOptions{}
	var remove, resolve, quiet, all bool
	var names []string
	for i, a := range args {
		if a == "--" {
			names = append(names, args[i+1:]...)
			break
		}
		if !strings.HasPrefix(a, "-") || a == "-" {
			names = append(names, a)
			continue
		}
		long := map[string]string{"--remove": "r", "--resolve-alias": "R", "--dry-run": "n", "--show": "n", "--verbose": "v", "--use-blacklist": "b",
			"--quiet": "q", "--all": "a"}
		flags, ok := strings.TrimPrefix(a, "-"), true
		if strings.HasPrefix(a, "--") {
			flags, ok = long[a], long[a] != ""
		}
		for _, f := range flags {
			switch f {
			case 'r':
				remove = true
			case 'R':
				resolve = true
			case 'n':
				o.dryRun = true
			case 'v':
				o.show = true
			case 'b':
				o.blacklist = true
			case 'q':
				quiet = true
			case 'a':
				all = true
			default:
				ok = false
			}
		}
		if !ok {
			return p.unknownFlag(a, "modprobe")
		}
	}
	if len(names) == 0 {
		p.errorf("modprobe: ERROR: missing parameters. See -h.\n")
		return 1
	}
	return p.atomic(func(p *process) int {
		switch {
		case resolve:
			return p.resolveAlias(names[0], quiet)
		case remove:
			for _, name := range names {
				if status := p.removeModule(name, o, quiet); status != 0 {
					return status
				}
			}
			return 0
		case all:
			status := 0
			for _, name := range names {
				status = max(status, p.insertModule(name, nil, o, quiet))
			}
			return status
		}
		return p.insertModule(names[0], names[1:], o, quiet)
	})
}

func (p *process) notFound(name string, quiet bool) int {
	if !quiet {
		p.errorf("modprobe: FATAL: Module %s not found in directory %s\n", name, modulesDir)
	}
	return 1
}

func (p *process) resolveAlias(name string, quiet bool) int {
	mods := p.m.resolve(p.m.modConf(), name)
	if len(mods) == 0 {
		return p.notFound(name, quiet)
	}
	for _, f := range mods {
		p.printf("%s\n", f.name)
	}
	return 0
}

func (p *process) insertModule(name string, params []string, o probeOptions, quiet bool) int {
	o.params = params
	if p.cred.uid != 0 && !o.dryRun {
		mods := p.m.resolve(p.m.modConf(), name)
		if len(mods) == 0 {
			return p.notFound(name, quiet)
		}
		if p.m.inKernel(mods[0].name) {
			return 0
		}
		p.errorf("modprobe: ERROR: could not insert '%s': Operation not permitted\n", mods[0].name)
		return 1
	}
	r := p.m.probe(name, o)
	p.printf("%s", r.output)
	if errors.Is(r.err, errNotFound) {
		return p.notFound(name, quiet)
	}
	if r.err == nil {
		return 0
	}
	if !quiet {
		for line := range strings.Lines(r.words) {
			p.errorf("modprobe: ERROR: %s", line)
		}
		why := strerror(r.err)
		if errors.Is(r.err, syscall.ENOENT) {
			why = "Unknown symbol in module, or unknown parameter (see dmesg)"
		}
		p.errorf("modprobe: ERROR: could not insert '%s': %s\n", r.names[len(r.names)-1], why)
	}
	return 1
}

// removeModule is modprobe -r: the module, then those it needed that nothing needs any more.
func (p *process) removeModule(name string, o probeOptions, quiet bool) int {
	c := p.m.modConf()
	mods := p.m.resolve(c, name)
	if len(mods) == 0 {
		if !quiet {
			p.errorf("modprobe: FATAL: Module %s not found.\n", name)
		}
		return 1
	}
	for _, f := range mods {
		mod := p.m.kernel.mods[f.name]
		switch {
		case c.remove[f.name] != "":
			var r probed
			if status := p.m.command(c.remove[f.name], &r); status != 0 {
				p.errorf("modprobe: FATAL: Error running remove command for %s\n", f.name)
				return 1
			}
			continue
		case mod != nil && mod.builtin:
			p.errorf("modprobe: FATAL: Module %s is builtin.\n", f.name)
			return 1
		case mod == nil || !mod.loaded:
			continue
		case p.m.refs(f.name) > 0:
			p.errorf("modprobe: FATAL: Module %s is in use.\n", f.name)
			return 1
		}
		if status := p.eject(mod, o); status != 0 {
			return status
		}
	}
	return 0
}

func (p *process) eject(mod *module, o probeOptions) int {
	if o.show {
		p.printf("rmmod %s\n", mod.name)
	}
	if o.dryRun {
		return 0
	}
	var err error = syscall.EPERM
	if p.cred.uid == 0 {
		err = p.m.eject(mod.name)
	}
	if err != nil {
		p.errorf("modprobe: ERROR: ../libkmod/libkmod-module.c:856 kmod_module_remove_module() could not remove '%s': %s\n", mod.name, strerror(err))
		return 1
	}
	for _, dep := range mod.needs {
		if d := p.m.kernel.mods[dep]; d.loaded && p.m.refs(dep) == 0 {
			if status := p.eject(d, o); status != 0 {
				return status
			}
		}
	}
	return 0
}
