package hosttest

import (
	_ "embed"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

//go:embed tables/modules.txt
var moduleTable string

// kernelRelease is the release of the simulated kernel: a Debian 12.
const kernelRelease = "6.1.0-56-amd64"

// modulesDir is where its modules are.
const modulesDir = "/lib/modules/" + kernelRelease

// module is a line of tables/modules.txt and what became of it since the last boot.
type module struct {
	name, file string
	size       int
	needs      []string
	aliases    []string
	params     []*param
	builtin    bool
	hasDir     bool // built in, with a directory below /sys/module

	loaded bool
	uses   int // by something else than a module
}

// param is a parameter of a module and its value now.
type param struct {
	name, kind, initial, value string
	words                      string // what modinfo says of it; "-": nothing
	mode                       fs.FileMode
}

// moduleDefs reads tables/modules.txt. A line that does not parse is a bug in the table.
func moduleDefs() map[string]*module {
	mods := map[string]*module{}
	var last *module
	for _, line := range strings.Split(moduleTable, "\n") {
		w := strings.Fields(line)
		if len(w) == 0 || w[0][0] == '#' {
			continue
		}
		if w[0] == "param" {
			mode, err := strconv.ParseUint(w[2], 8, 32)
			if err != nil {
				panic("hosttest: bad line in tables/modules.txt: " + line)
			}
			last.params = append(last.params, &param{name: w[1], mode: fs.FileMode(mode), kind: w[3], initial: w[4], value: w[4],
				words: strings.Join(w[5:], " ")})
			continue
		}
		size, err := strconv.Atoi(w[1])
		if err != nil {
			panic("hosttest: bad line in tables/modules.txt: " + line)
		}
		last = &module{name: w[0], size: size}
		if w[2] == "+" || w[2] == "-" {
			last.builtin, last.hasDir = true, w[2] == "+"
			w = w[1:]
		}
		last.file = w[2]
		for _, opt := range w[3:] {
			switch k, v, _ := strings.Cut(opt, "="); k {
			case "needs":
				last.needs = strings.Split(v, ",")
			case "alias":
				last.aliases = strings.Split(v, ",")
			case "uses":
				last.uses, _ = strconv.Atoi(v)
			}
		}
		mods[last.name] = last
	}
	return mods
}

func (mod *module) path() string { return modulesDir + "/kernel/" + mod.file }

// loaded says whether the module runs as a module.
func (m *machine) loaded(name string) bool {
	mod := m.kernel.mods[name]
	return mod != nil && mod.loaded
}

// inKernel says whether the module is there, loaded or built in.
func (m *machine) inKernel(name string) bool {
	mod := m.kernel.mods[name]
	return mod != nil && (mod.loaded || mod.builtin)
}

// users are the loaded modules that need this one, newest first.
func (m *machine) users(name string) []string {
	var all []string
	for _, other := range m.kernel.order {
		if slices.Contains(m.kernel.mods[other].needs, name) {
			all = append(all, other)
		}
	}
	return all
}

func (m *machine) refs(name string) int { return m.kernel.mods[name].uses + len(m.users(name)) }

// hold marks a loaded module as in use.
func (m *machine) hold(name string) {
	if m.loaded(name) && m.kernel.mods[name].uses == 0 {
		m.kernel.mods[name].uses = 1
	}
}

// insert is finit_module(2): the modules it needs must be there. opts are NAME=VALUE words; an unknown name is only a line in dmesg.
func (m *machine) insert(name string, opts []string) error {
	mod := m.kernel.mods[name]
	if m.kernel.keys["kernel/modules_disabled"].nums[0] == 1 {
		return syscall.EPERM
	}
	if slices.Contains(m.bootWords("module_blacklist"), name) {
		return syscall.EPERM
	}
	for _, p := range mod.params {
		p.value = p.initial
	}
	for _, opt := range opts {
		key, value, has := strings.Cut(opt, "=")
		p := mod.param(key)
		if p == nil {
			m.say("%s: unknown parameter '%s' ignored", name, key)
			continue
		}
		if !has && p.kind == "bool" {
			value = "1"
		}
		text, ok := p.parse(value)
		if !ok {
			m.say("%s: `%s' invalid for parameter `%s'", name, value, key)
			return syscall.EINVAL
		}
		p.value = text
	}
	mod.loaded = true
	m.kernel.order = append([]string{name}, m.kernel.order...)
	m.addModuleDir(mod)
	m.addKeys(name)
	if name == "nf_conntrack" {
		m.startConntrack(opts)
	}
	return nil
}

// startConntrack sizes the table as its module does: a size that was asked for holds eight entries a bucket.
func (m *machine) startConntrack(opts []string) {
	p := m.kernel.mods["nf_conntrack"].param("hashsize")
	n, _ := strconv.ParseUint(p.value, 10, 64)
	size, limit := hashSize(n), hashSize(n)
	if slices.ContainsFunc(opts, func(o string) bool { return strings.HasPrefix(o, "hashsize=") }) {
		limit = size * 8
	}
	p.value = strconv.FormatUint(size, 10)
	m.setKey("net/netfilter/nf_conntrack_buckets", size)
	m.setKey("net/netfilter/nf_conntrack_max", limit)
	m.setKey("net/nf_conntrack_max", limit)
}

// eject is delete_module(2).
func (m *machine) eject(name string) error {
	mod := m.kernel.mods[name]
	switch {
	case m.kernel.keys["kernel/modules_disabled"].nums[0] == 1:
		return syscall.EPERM
	case mod == nil || !mod.loaded:
		return syscall.ENOENT
	case m.refs(name) > 0:
		return syscall.EBUSY
	}
	mod.loaded = false
	m.kernel.order = slices.DeleteFunc(m.kernel.order, func(n string) bool { return n == name })
	m.removeKeys(name)
	delete(m.root.children["sys"].children["module"].children, name)
	return nil
}

// request is the kernel asking modprobe for a module by itself. It goes on when modules_disabled is set only if the module is there already.
func (m *machine) request(alias string) error {
	if m.kernel.mods[alias] == nil {
		return syscall.ENOENT
	}
	return m.probe(alias, probeOptions{onlyAllowed: true}).err
}

func (mod *module) param(name string) *param {
	for _, p := range mod.params {
		if strings.ReplaceAll(name, "-", "_") == p.name {
			return p
		}
	}
	return nil
}

// parse returns what the parameter reads as after it was set to s.
func (p *param) parse(s string) (string, bool) {
	s = strings.TrimSuffix(s, "\n")
	switch p.kind {
	case "uint":
		n, _, negative, ok := parseLong([]byte(s), "\n")
		return strconv.FormatUint(n, 10), ok && !negative && n <= math.MaxUint32
	case "int":
		n, _, negative, ok := parseLong([]byte(s), "\n")
		if negative {
			return "-" + strconv.FormatUint(n, 10), ok && n <= -math.MinInt32
		}
		return strconv.FormatUint(n, 10), ok && n <= math.MaxInt32
	case "bool":
		switch {
		case s == "":
			return "", false
		case strings.ContainsRune("yYtT1", rune(s[0])) || strings.EqualFold(s, "on"):
			return "Y", true
		case strings.ContainsRune("nNfF0", rune(s[0])) || strings.EqualFold(s, "off"):
			return "N", true
		}
		return "", false
	}
	return s, true
}

// addModuleDir makes /sys/module/NAME with its parameters appear.
func (m *machine) addModuleDir(mod *module) {
	dir := "/sys/module/" + mod.name
	text := func(f func() string) *made {
		return &made{read: func() ([]byte, error) { return []byte(f() + "\n"), nil }, write: func(int64, []byte) (int, error) { return 0, syscall.EIO }}
	}
	if !mod.builtin {
		m.makeFile(dir+"/initstate", 0o444, text(func() string { return "live" }))
		m.makeFile(dir+"/refcnt", 0o444, text(func() string { return strconv.Itoa(m.refs(mod.name)) }))
	}
	for _, p := range mod.params {
		if p.mode == 0 {
			continue
		}
		f := text(func() string { return p.value })
		f.write = func(_ int64, b []byte) (int, error) { return len(b), m.writeParam(mod, p, string(b)) }
		m.makeFile(dir+"/parameters/"+p.name, p.mode, f)
	}
}

func (m *machine) writeParam(mod *module, p *param, s string) error {
	text, ok := p.parse(s)
	if !ok {
		return syscall.EINVAL
	}
	p.value = text
	if mod.name == "nf_conntrack" && p.name == "hashsize" {
		n, _ := strconv.ParseUint(text, 10, 64)
		if n == 0 {
			return syscall.EINVAL
		}
		p.value = strconv.FormatUint(hashSize(n), 10)
		m.setKey("net/netfilter/nf_conntrack_buckets", hashSize(n))
	}
	return nil
}

// setParam sets a parameter from within the kernel.
func (m *machine) setParam(module, name, value string) {
	if mod := m.kernel.mods[module]; mod != nil && mod.param(name) != nil {
		mod.param(name).value = value
	}
}

// procModules is the content of /proc/modules.
func (m *machine) procModules() ([]byte, error) {
	var b strings.Builder
	for _, name := range m.kernel.order {
		users := strings.Join(append(m.users(name), ""), ",")
		if users == "" {
			users = "-"
		}
		fmt.Fprintf(&b, "%s %d %d %s Live 0x0000000000000000\n", name, m.kernel.mods[name].size, m.refs(name), users)
	}
	return []byte(b.String()), nil
}
