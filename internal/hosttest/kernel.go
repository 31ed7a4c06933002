package hosttest

import (
	_ "embed"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

//go:embed tables/keys.txt
var keyTable string

// kernel is the state of the running kernel: all of it is gone with a reboot. The machine's mutex guards it.
type kernel struct {
	keys  map[string]*key // by path below /proc/sys
	mods  map[string]*module
	order []string // loaded modules, newest first
	// touched are the keys of interfaces that were written, by path without the unit: they inherit no default.
	touched map[string]bool
	log     []string // dmesg
}

// keyDefs reads tables/keys.txt. A line that does not parse is a bug in the table.
func keyDefs() []*keyDef {
	var defs []*keyDef
	module := ""
	for _, line := range strings.Split(keyTable, "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			module = strings.Trim(line, "[]")
			continue
		}
		if line == "" || line[0] == '#' {
			continue
		}
		w := strings.Fields(line)
		mode, err := strconv.ParseUint(w[1], 8, 32)
		if err != nil || len(w) < 6 {
			panic(fmt.Sprintf("hosttest: bad line in tables/keys.txt: %s", line))
		}
		kind, room, _ := strings.Cut(w[2], ":")
		n, _ := strconv.Atoi(room)
		defs = append(defs, &keyDef{path: w[0], module: module, mode: uint32(mode), kind: kind, room: n, min: w[3], max: w[4], effect: w[5],
			initial: strings.Join(w[6:], " ")})
	}
	return defs
}

// addKeys makes the keys of a module appear with the kernel's defaults; the empty name is the kernel itself.
func (m *machine) addKeys(module string) {
	for _, def := range m.defs {
		if def.module != module {
			continue
		}
		before, after, many := strings.Cut(def.path, "*")
		if !many {
			m.addKey(def, def.path)
			continue
		}
		if !strings.HasPrefix(before, "net/ipv4/neigh/") {
			m.addKey(def, before+"all"+after)
		}
		for _, name := range append([]string{"default", "lo"}, m.interfaces...) {
			m.addKey(def, before+name+after)
		}
	}
}

func (m *machine) addKey(def *keyDef, path string) {
	k := &key{keyDef: def, path: path, text: def.initial}
	switch {
	case k.numeric():
		for _, w := range strings.Fields(def.initial) {
			n, err := strconv.ParseInt(w, 10, 64)
			u := uint64(n)
			if err != nil {
				u, err = strconv.ParseUint(w, 10, 64)
			}
			if err != nil {
				panic("hosttest: bad default of " + path)
			}
			k.nums = append(k.nums, u)
		}
	case def.kind == "bootid":
		k.text = newUUID()
	}
	m.kernel.keys[path] = k
	m.makeFile("/proc/sys/"+path, fs.FileMode(def.mode), &made{
		read:   func() ([]byte, error) { return m.readKey(k) },
		write:  func(off int64, p []byte) (int, error) { return m.writeKey(k, off, p) },
		atOnce: k.numeric() || k.kind == "ports",
	})
}

// removeKeys makes the keys of a module disappear.
func (m *machine) removeKeys(module string) {
	for path, k := range m.kernel.keys {
		if k.module == module {
			delete(m.kernel.keys, path)
			m.unmake("/proc/sys/" + path)
		}
	}
}

func (m *machine) readKey(k *key) ([]byte, error) {
	switch {
	case k.kind == "nothing":
		return nil, nil
	case k.kind == "secret" && k.text == "":
		return nil, syscall.EIO
	case k.kind == "uuid":
		return []byte(newUUID() + "\n"), nil
	case k.kind == "available":
		return []byte(strings.Join(m.congestionControls(), " ") + "\n"), nil
	}
	return []byte(k.String() + "\n"), nil
}

// writeKey is one write(2) to a key.
func (m *machine) writeKey(k *key, off int64, p []byte) (int, error) {
	switch k.kind {
	case "int", "u8", "ulong":
		if off > 0 {
			return len(p), nil
		}
		nums, taken, err := k.parseNumbers(p)
		if e := m.storeNumbers(k, nums, err); e != nil {
			return 0, e
		}
		return taken, nil
	case "trigger":
		probe := &key{keyDef: &keyDef{kind: "int", min: k.min, max: k.max}, nums: make([]uint64, 1)}
		_, taken, err := probe.parseNumbers(p)
		if err != nil {
			return 0, err
		}
		return taken, nil
	case "ports":
		set, taken, err := parsePorts(p)
		if err != nil {
			return 0, err
		}
		for i := range set {
			set[i] = set[i] || off > 0 && k.ports != nil && k.ports[i]
		}
		k.ports = set
		return taken, nil
	case "nothing":
		return len(p), nil
	case "string":
		k.text = k.storeText(off, p)
		return len(p), nil
	}
	text, err := m.parseText(k, off, p)
	if err != nil {
		return 0, err
	}
	k.text = text
	return len(p), nil
}

// storeNumbers stores what parseNumbers read. Fields before a bad one are stored all the same, except where the kernel checks them together.
func (m *machine) storeNumbers(k *key, nums []uint64, err error) error {
	e, known := effects[k.effect]
	if k.effect != "-" && !known {
		panic("hosttest: unknown effect " + k.effect)
	}
	next := slices.Clone(k.nums)
	copy(next, nums)
	if e.check != nil {
		if err != nil {
			return err
		}
		if next, err = e.check(m, k, next); err != nil {
			return err
		}
	}
	old := k.nums
	k.nums = next
	if err == nil && e.after != nil {
		e.after(m, k, old)
	}
	if err == nil {
		m.inherit(k)
	}
	return err
}

// setKey sets a key from within the kernel, without checks or effects.
func (m *machine) setKey(path string, n uint64) {
	if k := m.kernel.keys[path]; k != nil {
		k.nums = []uint64{n}
	}
}

// makeFile puts a file of the kernel's in the tree, with the directories above it.
func (m *machine) makeFile(path string, mode fs.FileMode, f *made) {
	dir, words := m.root, strings.Split(strings.Trim(path, "/"), "/")
	for _, w := range words[:len(words)-1] {
		next := dir.children[w]
		if next == nil {
			next = newDir(0o555)
			dir.children[w] = next
		}
		dir = next
	}
	dir.children[words[len(words)-1]] = &node{mode: mode, made: f, mtime: m.booted}
}

// unmake removes a file of the kernel's, and the directories above it that it leaves empty.
func (m *machine) unmake(path string) {
	words := strings.Split(strings.Trim(path, "/"), "/")
	for n := len(words); n > 2; n-- {
		dir := m.root
		for _, w := range words[:n-1] {
			if dir = dir.children[w]; dir == nil {
				return
			}
		}
		if child := dir.children[words[n-1]]; child != nil && child.isDir() && len(child.children) > 0 {
			return
		}
		delete(dir.children, words[n-1])
	}
}

// say adds a line to dmesg.
func (m *machine) say(format string, args ...any) {
	m.kernel.log = append(m.kernel.log, fmt.Sprintf(format, args...))
}
