package hosttest

import (
	"slices"
	"strings"
	"syscall"
)

// modinfo is kmod's with -F FIELD, for the fields name, filename, depends, alias, parm and parmtype; -p is -F parm.
func modinfo(p *process, args []string) int {
	field := ""
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch {
		case args[0] == "-p":
			field = "parm"
		case args[0] == "-F" && len(args) > 1:
			field, args = args[1], args[1:]
		case args[0] == "--":
			return p.moduleFields(field, args[1:])
		default:
			return p.unknownFlag(args[0], "modinfo")
		}
		args = args[1:]
	}
	return p.moduleFields(field, args)
}

func (p *process) moduleFields(field string, names []string) int {
	if !slices.Contains([]string{"name", "filename", "depends", "alias", "parm", "parmtype"}, field) {
		return p.unknownFlag("-F "+field, "modinfo")
	}
	return p.atomic(func(p *process) int {
		status := 0
		for _, name := range names {
			mods := p.m.resolve(&modConf{}, name)
			if len(mods) == 0 {
				p.errorf("modinfo: ERROR: Module %s not found.\n", name)
				status = 1
			}
			for _, f := range mods {
				for _, line := range p.m.kernel.mods[f.name].field(field) {
					p.printf("%s\n", line)
				}
			}
		}
		return status
	})
}

func (mod *module) field(name string) []string {
	var all []string
	switch name {
	case "name":
		return []string{mod.name}
	case "filename":
		if mod.builtin {
			return []string{"(builtin)"}
		}
		return []string{mod.path()}
	case "depends":
		return []string{strings.Join(mod.needs, ",")}
	case "alias":
		return mod.aliases
	case "parm":
		for _, p := range mod.params {
			if p.words != "-" {
				all = append(all, p.name+":"+p.words+" ("+p.kind+")")
			}
		}
	case "parmtype":
		for _, p := range mod.params {
			if p.words != "-" {
				all = append(all, p.name+":"+p.kind)
			}
		}
	}
	return all
}

func rmmod(p *process, args []string) int {
	_, names, ok := p.takeFlags("rmmod", "v", args)
	if !ok {
		return 127
	}
	return p.atomic(func(p *process) int {
		status := 0
		for _, name := range names {
			name = underscores(name)
			mod := p.m.kernel.mods[name]
			switch {
			case mod != nil && mod.builtin:
				p.errorf("rmmod: ERROR: Module %s is builtin.\n", name)
			case mod == nil || !mod.loaded:
				p.errorf("rmmod: ERROR: Module %s is not currently loaded\n", name)
			case len(p.m.users(name)) > 0:
				p.errorf("rmmod: ERROR: Module %s is in use by: %s\n", name, strings.Join(p.m.users(name), " "))
			case p.m.refs(name) > 0:
				p.errorf("rmmod: ERROR: Module %s is in use\n", name)
			default:
				var err error = syscall.EPERM
				if p.cred.uid == 0 {
					err = p.m.eject(name)
				}
				if err == nil {
					continue
				}
				p.errorf("rmmod: ERROR: ../libkmod/libkmod-module.c:856 kmod_module_remove_module() could not remove '%s': %s\n", name, strerror(err))
				p.errorf("rmmod: ERROR: could not remove module %s: %s\n", name, strerror(err))
			}
			status = 1
		}
		return status
	})
}

func lsmod(p *process, args []string) int {
	if len(args) > 0 {
		return p.unknownFlag(args[0], "lsmod")
	}
	p.printf("Module                  Size  Used by\n")
	for _, line := range strings.Split(strings.TrimSuffix(p.m.textOf("/proc/modules"), "\n"), "\n") {
		if w := strings.Fields(line); len(w) > 3 {
			p.printf("%-19s %8s  %s %s\n", w[0], w[1], w[2], strings.Trim(w[3], "-,"))
		}
	}
	return 0
}

func dmesg(p *process, args []string) int {
	if len(args) > 0 {
		return p.unknownFlag(args[0], "dmesg")
	}
	p.m.mu.Lock()
	text := strings.Join(append(slices.Clone(p.m.kernel.log), ""), "\n")
	p.m.mu.Unlock()
	p.printf("%s", text)
	return 0
}
