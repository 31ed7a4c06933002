package hosttest

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// machine is the simulated computer without its network: disk, kernel, users.
type machine struct {
	accounts   []User
	interfaces []string
	readOnlyPS bool // /proc/sys is mounted read-only
	defs       []*keyDef
	faults     faults

	ctx   context.Context // ends with the boot
	stop  context.CancelFunc
	procs sync.WaitGroup // what runs beside the programs of this boot

	mu          sync.Mutex // guards the rest, the nodes below root included
	root        *node
	kernel      *kernel
	booted      time.Time
	ahead       time.Duration // how far the clock is ahead of the test's
	cmdline     string
	journal     []string
	failedUnits []string
	unknowns    []string
	locks       map[string]*descriptor // who has the flock(2) lock on a file
}

// now is the time on the machine, which runs faster than that of the test: a machine is off for an hour when it reboots,
// and takes a minute to boot. Callers hold the mutex.
func (m *machine) now() time.Time { return time.Now().Add(m.ahead) }

// unknown records that something was asked for which is not simulated. It does not need the mutex of its callers' state, only its own list's.
func (m *machine) unknown(what string) {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	m.unknowns = append(m.unknowns, what)
}

// user is the account of that name; the zero User if there is none.
func (m *machine) user(name string) User {
	for _, u := range m.accounts {
		if u.Name == name {
			return u
		}
	}
	return User{Name: name}
}

// credOf is who a user runs as: root is 0, the others count from 1000.
func (m *machine) credOf(name string) cred {
	if name == "root" {
		return rootCred
	}
	i := slices.IndexFunc(m.accounts, func(u User) bool { return u.Name == name })
	return cred{uid: 1000 + i, name: name, home: "/home/" + name}
}

func (m *machine) userName(uid int) string {
	if i := uid - 1000; i >= 0 && i < len(m.accounts) {
		return m.accounts[i].Name
	}
	return "root"
}

// textOf is text for callers that do not hold the mutex.
func (m *machine) textOf(file string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text(file)
}

// installed says whether the program's file is on the disk.
func (m *machine) installed(name string) bool {
	for _, dir := range []string{"/usr/bin/", "/usr/sbin/"} {
		if _, err := m.stat(rootCred, dir+name, true); err == nil {
			return true
		}
	}
	return false
}

// bootWords are the comma-separated words of NAME=... on the kernel command line.
func (m *machine) bootWords(name string) []string {
	var all []string
	for _, w := range strings.Fields(m.cmdline) {
		if list, ok := strings.CutPrefix(w, name+"="); ok {
			all = append(all, strings.Split(list, ",")...)
		}
	}
	return all
}

// put writes a file from outside the machine: directories are made, no right is asked for, and it survives a power cut.
func (m *machine) put(path, content string, mode fs.FileMode) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if path == "/proc/cmdline" {
		m.cmdline = strings.TrimSpace(content)
		return
	}
	at, err := m.lookup(rootCred, path, true)
	if err != nil {
		dir := path[:strings.LastIndexByte(path, '/')]
		m.putDir(dir, 0o755)
		at, err = m.lookup(rootCred, path, true)
	}
	if err != nil || at.node != nil && at.node.isDir() {
		panic(fmt.Sprintf("hosttest: cannot write %s: %v", path, err))
	}
	if at.node != nil && at.node.made != nil {
		if !at.node.mayAccess(rootCred, 2) {
			m.unknown(fmt.Sprintf("writing %q to %s: %v", content, path, syscall.EACCES))
			return
		}
		for off := 0; off < len(content); {
			n, err := at.node.made.write(int64(off), []byte(content[off:]))
			if err != nil || n == 0 {
				m.unknown(fmt.Sprintf("writing %q to %s: %v after %d bytes", content, path, err, off))
				return
			}
			off += n
		}
		return
	}
	if at.node == nil {
		at.node = &node{mode: mode}
		m.enter(at.dir, at.name, at.node)
	}
	at.node.data = []byte(content)
	at.node.savedData, at.node.mtime = at.node.data, m.now()
	at.node.savedMode, at.node.savedUID = at.node.mode, at.node.uid
}

// putDir makes a directory and those above it. Callers hold the mutex.
func (m *machine) putDir(path string, mode fs.FileMode) *node {
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		at, err := m.lookup(rootCred, path[:i], true)
		if err != nil {
			panic(fmt.Sprintf("hosttest: cannot make %s: %v", path[:i], err))
		}
		if at.node == nil {
			at.node = newDir(mode)
			m.enter(at.dir, at.name, at.node)
		}
		if i == len(path) {
			return at.node
		}
	}
	return m.root
}

// putLink makes a symbolic link. Callers hold the mutex.
func (m *machine) putLink(path, target string) {
	at, err := m.lookup(rootCred, path, false)
	if err != nil || at.node != nil {
		panic(fmt.Sprintf("hosttest: cannot link %s: %v", path, err))
	}
	m.enter(at.dir, at.name, &node{mode: fs.ModeSymlink | 0o777, target: target, mtime: m.now()})
}

// enter adds an entry that survives a power cut.
func (m *machine) enter(dir *node, name string, n *node) {
	dir.children[name], dir.mtime = n, m.now()
	if dir.savedChildren == nil {
		dir.savedChildren = map[string]*node{}
	}
	if !dir.volatile {
		dir.savedChildren[name] = n
	}
	n.savedMode, n.savedUID = n.mode, n.uid
}

// drop removes a file or a whole directory from outside the machine.
func (m *machine) drop(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, err := m.lookup(rootCred, strings.TrimRight(path, "/"), false)
	if err != nil || at.node == nil || at.dir == nil {
		return
	}
	delete(at.dir.children, at.name)
	at.dir.mtime = m.now()
	delete(at.dir.savedChildren, at.name)
}
