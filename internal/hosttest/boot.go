package hosttest

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// mounts is the table of mounts that bear on sysctls.
func (m *machine) mounts() string {
	table := "/dev/vda1 / ext4 rw,relatime 0 0\nproc /proc proc rw,nosuid,nodev,noexec,relatime 0 0\nsysfs /sys sysfs rw,nosuid,nodev,noexec,relatime 0 0\n"
	if m.readOnlyPS {
		table += "proc /proc/sys proc ro,nosuid,nodev,noexec,relatime 0 0\n"
	}
	return table
}

// boot starts the kernel and then what systemd 252 starts early: systemd-modules-load, then systemd-sysctl. Callers hold the mutex.
func (m *machine) boot() {
	m.ahead += time.Hour
	m.booted = m.now()
	defer func() { m.ahead += time.Minute }()
	m.journal, m.failedUnits = nil, nil
	m.kernel = &kernel{keys: map[string]*key{}, touched: map[string]bool{}, mods: moduleDefs()}
	for _, name := range []string{"proc", "sys", "dev"} {
		m.root.children[name] = newDir(0o555)
	}
	m.root.children["tmp"].mode |= fs.ModeSticky
	for _, dir := range []string{"sysctl.d", "modprobe.d", "modules-load.d"} {
		m.root.children["run"].children[dir] = newDir(0o755)
	}
	m.root.children["run"].children["systemd"] = newDir(0o755)
	m.root.children["run"].children["systemd"].children["system"] = newDir(0o755)
	m.makeFile("/dev/null", fs.ModeDevice|fs.ModeCharDevice|0o666, &made{
		read:  func() ([]byte, error) { return nil, nil },
		write: func(_ int64, p []byte) (int, error) { return len(p), nil },
	})
	text := func(f func() ([]byte, error)) *made {
		return &made{read: f, write: func(int64, []byte) (int, error) { return 0, syscall.EIO }}
	}
	m.makeFile("/proc/modules", 0o444, text(m.procModules))
	m.makeFile("/proc/cmdline", 0o444, text(func() ([]byte, error) { return []byte(m.cmdline + "\n"), nil }))
	m.makeFile("/proc/stat", 0o444, text(func() ([]byte, error) {
		return fmt.Appendf(nil, "cpu  1 0 1 1 0 0 0 0 0 0\nbtime %d\nprocesses 1\n", m.booted.Unix()), nil
	}))
	m.makeFile("/proc/mounts", 0o444, text(func() ([]byte, error) { return []byte(m.mounts()), nil }))
	m.makeFile("/proc/version", 0o444, text(func() ([]byte, error) {
		return []byte("Linux version " + kernelRelease + " (simulated) #1 SMP PREEMPT_DYNAMIC Debian 6.1.177-1\n"), nil
	}))
	m.addKeys("")
	for _, mod := range m.kernel.mods {
		if mod.builtin && mod.hasDir {
			m.makeFile("/sys/module/"+mod.name+"/uevent", 0o200, text(func() ([]byte, error) { return nil, nil }))
			m.addModuleDir(mod)
		}
	}
	for _, w := range strings.Fields(m.cmdline) { // fs/proc/proc_sysctl.c does so before init runs
		if k, v, ok := strings.Cut(strings.TrimPrefix(w, "sysctl."), "="); ok && strings.HasPrefix(w, "sysctl.") {
			if key := m.kernel.keys[strings.ReplaceAll(k, ".", "/")]; key != nil {
				_, _ = m.writeKey(key, 0, []byte(v)) // the kernel goes on without it
			}
		}
	}
	for _, name := range []string{"loop", "ext4"} {
		_ = m.insert(name, nil) // the initial RAM disk's; fails when the command line forbids the module
	}
	sys := m.root.children["proc"].children["sys"]
	if !m.masked("systemd-modules-load.service") && m.modulesLoad() {
		m.failedUnits = append(m.failedUnits, "systemd-modules-load.service")
	}
	if sys.readOnly = m.readOnlyPS; sys.readOnly {
		return // ConditionPathIsReadWrite=/proc/sys/net
	}
	if !m.masked("systemd-sysctl.service") && m.sysctlAtBoot() {
		m.failedUnits = append(m.failedUnits, "systemd-sysctl.service")
	}
}

// modulesLoad is systemd-modules-load: the names of the command line, then those of modules-load.d. It says whether its unit fails.
func (m *machine) modulesLoad() (failed bool) {
	names := append(m.bootWords("modules_load"), m.bootWords("modules-load")...)
	for _, file := range m.familyFiles("modules-load.d", ".conf", "/etc", "/run", "/usr/local/lib", "/usr/lib") {
		for _, line := range strings.Split(m.text(file), "\n") {
			line = strings.TrimSpace(line)
			if line != "" && !strings.ContainsRune("#;", rune(line[0])) {
				names = append(names, line)
			}
		}
	}
	for _, name := range names {
		mods := m.resolve(m.modConf(), name)
		if len(mods) == 0 {
			m.note("Failed to find module '%s'", name)
		}
		for _, f := range mods {
			mod := m.kernel.mods[f.name]
			switch {
			case mod != nil && mod.builtin:
				m.note("Module '%s' is built in", f.name)
				continue
			case mod != nil && mod.loaded:
				continue
			}
			r := m.probe(f.name, probeOptions{blacklist: true})
			for line := range strings.Lines(r.words) {
				_, words, _ := strings.Cut(line, "() ") // without the place in libkmod's source
				m.note("%s", strings.TrimSpace(words))
			}
			switch {
			case r.err != nil && slices.Contains(m.bootWords("module_blacklist"), f.name):
				m.note("Module '%s' is deny-listed (by kernel)", f.name)
			case r.err != nil:
				m.note("Failed to insert module '%s': %s", f.name, strerror(r.err))
				failed = failed || !errors.Is(r.err, syscall.ENOENT)
			case r.denied:
				m.note("Module '%s' is deny-listed", f.name)
			default:
				m.note("Inserted module '%s'", f.name)
			}
		}
	}
	return failed
}

// note adds a line to the journal.
func (m *machine) note(format string, args ...any) {
	m.journal = append(m.journal, fmt.Sprintf(format, args...))
}

// setting is one assignment of sysctl.d. Without a value it only keeps a key out of globs.
type setting struct {
	key, value string
	assigned   bool
	forgiven   bool // written with a leading "-"
}

// sysctlAtBoot is systemd-sysctl. It says whether its unit fails.
func (m *machine) sysctlAtBoot() (failed bool) {
	var order []setting
	for _, file := range m.familyFiles("sysctl.d", ".conf", "/etc", "/run", "/usr/local/lib", "/usr/lib") {
		for i, line := range strings.Split(m.text(file), "\n") {
			line = strings.TrimSpace(line)
			if line == "" || strings.ContainsRune("#;", rune(line[0])) {
				continue
			}
			name, value, assigned := strings.Cut(line, "=")
			name, forgiven := strings.CutPrefix(name, "-")
			if !assigned && !forgiven {
				m.note("%s:%d: Line is not an assignment, ignoring: %s", file, i+1, line)
				failed = true
				continue
			}
			s := setting{normalKey(strings.TrimSpace(name)), strings.TrimSpace(value), assigned, assigned && forgiven}
			at := slices.IndexFunc(order, func(o setting) bool { return o.key == s.key })
			if at >= 0 && order[at].value == s.value && order[at].assigned == s.assigned {
				order[at].forgiven = order[at].forgiven || s.forgiven
				continue
			}
			if at >= 0 { // a new value moves the key to the end
				order = slices.Delete(order, at, at+1)
			}
			order = append(order, s)
		}
	}
	for _, s := range order {
		if !s.assigned {
			continue
		}
		if !strings.ContainsAny(s.key, "*?[") {
			failed = m.sysctlWrite(s) || failed
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(m.kernel.keys)) {
			ok, _ := path.Match(s.key, key)
			if ok && !slices.ContainsFunc(order, func(o setting) bool { return o.key == key }) {
				failed = m.sysctlWrite(setting{key, s.value, true, s.forgiven}) || failed
			}
		}
	}
	return failed
}

// sysctlWrite writes one key and says whether the unit fails for it: a missing key, a key that may not be written and "-" are forgiven.
func (m *machine) sysctlWrite(s setting) (failed bool) {
	err := m.sysctlTry(s)
	switch {
	case err == nil, s.forgiven, errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EROFS):
		return false
	case errors.Is(err, syscall.ENOENT):
		m.note("Couldn't write '%s' to '%s', ignoring: %s", s.value, s.key, strerror(err))
		return false
	}
	m.note("Couldn't write '%s' to '%s': %s", s.value, s.key, strerror(err))
	return true
}

func (m *machine) sysctlTry(s setting) error {
	at, err := m.find(rootCred, "/proc/sys/"+s.key, true)
	switch {
	case err != nil:
		return err
	case at.node.isDir():
		return syscall.EISDIR
	case at.node.made.read != nil && at.node.mayAccess(rootCred, 4):
		// A value that is there already is not written again, and one that is there in spite of an error is no error.
		if b, err := at.node.made.read(); err == nil && strings.TrimSuffix(string(b), "\n") == s.value {
			return nil
		}
	}
	if !at.node.mayAccess(rootCred, 2) {
		return syscall.EACCES
	}
	_, err = at.node.made.write(0, []byte(s.value+"\n"))
	return err
}
