package hosttest

import (
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// modConf is what modprobe reads from modprobe.d and the command line.
type modConf struct {
	aliases   [][2]string // pattern, module
	blacklist map[string]bool
	options   map[string][]string
	install   map[string]string
	remove    map[string]string
	softPre   map[string][]string
	softPost  map[string][]string
}

// underscores spells a module name as the kernel does; brackets keep what is in them.
func underscores(s string) string {
	b := []byte(s)
	in := false
	for i, c := range b {
		switch {
		case c == '[' || c == ']':
			in = c == '['
		case c == '-' && !in:
			b[i] = '_'
		}
	}
	return string(b)
}

// familyFiles lists the files of the family NAME.d that count, ordered by base name; the first of dirs that has a base name wins it.
func (m *machine) familyFiles(family, suffix string, dirs ...string) []string {
	found := map[string]string{}
	for _, dir := range dirs {
		dir += "/" + family
		at, err := m.find(rootCred, dir, true)
		if err != nil || !at.node.isDir() {
			continue
		}
		for name := range at.node.children {
			if strings.HasSuffix(name, suffix) && found[name] == "" {
				found[name] = dir + "/" + name
			}
		}
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(found)) {
		all = append(all, found[name])
	}
	return all
}

// text is a file's content; a link that leads nowhere or to /dev/null is an empty file.
func (m *machine) text(file string) string {
	at, err := m.find(rootCred, file, true)
	if err != nil || !at.node.mode.IsRegular() {
		return ""
	}
	if at.node.made != nil {
		b, _ := at.node.made.read()
		return string(b)
	}
	return string(at.node.data)
}

// modConf reads the configuration as kmod 30 does.
func (m *machine) modConf() *modConf {
	c := &modConf{blacklist: map[string]bool{}, options: map[string][]string{}, install: map[string]string{}, remove: map[string]string{},
		softPre: map[string][]string{}, softPost: map[string][]string{}}
	for _, file := range m.familyFiles("modprobe.d", ".conf", "/etc", "/run", "/usr/local/lib", "/lib") {
		for _, line := range strings.Split(strings.ReplaceAll(m.text(file), "\\\n", " "), "\n") {
			c.line(line)
		}
	}
	for _, word := range strings.Fields(m.cmdline) {
		if list, ok := strings.CutPrefix(word, "modprobe.blacklist="); ok {
			for _, name := range strings.Split(list, ",") {
				c.blacklist[underscores(name)] = true
			}
		} else if name, opt, ok := strings.Cut(word, "."); ok && strings.Contains(opt, "=") && m.kernel.mods[underscores(name)] != nil {
			c.options[underscores(name)] = append(c.options[underscores(name)], opt)
		}
	}
	return c
}

func (c *modConf) line(line string) {
	w := strings.Fields(line)
	if len(w) < 2 || w[0][0] == '#' {
		return
	}
	name := underscores(w[1])
	rest := w[2:]
	switch w[0] {
	case "alias":
		if len(rest) > 0 {
			c.aliases = append(c.aliases, [2]string{name, underscores(rest[0])})
		}
	case "blacklist":
		c.blacklist[name] = true
	case "options":
		c.options[name] = append(c.options[name], rest...)
	case "install":
		c.install[name] = strings.Join(rest, " ")
	case "remove":
		c.remove[name] = strings.Join(rest, " ")
	case "softdep":
		into := map[string]map[string][]string{"pre:": c.softPre, "post:": c.softPost}
		var list map[string][]string
		for _, word := range rest {
			if l, ok := into[word]; ok {
				list = l
			} else if list != nil {
				list[name] = append(list[name], underscores(word))
			}
		}
	}
}

// found is a module that a name leads to; byAlias says that the name was not its own.
type found struct {
	name    string
	byAlias bool
}

// resolve is kmod_module_new_from_lookup: aliases of the configuration, then modules, then names that only an install line has, then the
// modules' own aliases, then what is built in. The first of them that knows the name answers.
func (m *machine) resolve(c *modConf, name string) []found {
	name = underscores(name)
	var all []found
	for _, a := range c.aliases {
		if ok, _ := path.Match(a[0], name); ok {
			all = append(all, found{a[1], true})
		}
	}
	if len(all) > 0 {
		return all
	}
	mod := m.kernel.mods[name]
	if mod != nil && (mod.builtin || m.hasFile(mod)) {
		return []found{{name, false}}
	}
	if c.install[name] != "" || c.remove[name] != "" {
		return []found{{name, false}}
	}
	for _, mod := range slices.SortedFunc(maps.Values(m.kernel.mods), func(a, b *module) int { return strings.Compare(a.name, b.name) }) {
		for _, a := range mod.aliases {
			if ok, _ := path.Match(underscores(a), name); ok && (mod.builtin || m.hasFile(mod)) {
				all = append(all, found{mod.name, true})
			}
		}
	}
	return all
}

// hasFile says whether the module's file is on the disk: it is not after the kernel's package was replaced.
func (m *machine) hasFile(mod *module) bool {
	at, err := m.find(rootCred, mod.path(), true)
	return err == nil && at.node.mode&fs.ModeType == 0
}
