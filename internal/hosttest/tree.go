package hosttest

import (
	"io/fs"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"
)

// cred is who a process runs as.
type cred struct {
	uid  int
	name string
	home string
}

var rootCred = cred{uid: 0, name: "root", home: "/root"}

// node is an inode of the in-memory file tree. What it holds is guarded by the machine's mutex.
type node struct {
	mode  fs.FileMode // type and permission bits
	uid   int         // owner; the group has the same number
	mtime time.Time

	data     []byte           // of a regular file
	target   string           // of a symbolic link
	children map[string]*node // of a directory
	made     *made            // of a file whose content the kernel makes

	readOnly bool // root of a read-only mount
	volatile bool // root of a file system that lives in memory

	savedData     []byte           // what a power cut leaves of data
	savedMode     fs.FileMode      // ... of mode
	savedUID      int              // ... of uid
	savedChildren map[string]*node // ... of children
}

// made is a file of /proc or /sys. Its permission bits bind root too.
type made struct {
	// read returns the whole content; each open file asks once.
	read func() ([]byte, error)
	// write takes one write(2) at an offset and says how much of it was taken.
	write func(off int64, p []byte) (int, error)
	// atOnce: a read past offset 0 gives nothing, as for every sysctl that is not a string.
	atOnce bool
}

func newDir(mode fs.FileMode) *node {
	return &node{mode: fs.ModeDir | mode, children: map[string]*node{}, mtime: time.Now()}
}

func (n *node) isDir() bool  { return n.mode.IsDir() }
func (n *node) isLink() bool { return n.mode&fs.ModeSymlink != 0 }

// mayAccess says whether c may do all of want (4 read, 2 write, 1 search or execute) to n.
func (n *node) mayAccess(c cred, want fs.FileMode) bool {
	bits := n.mode.Perm()
	if c.uid == 0 && n.made == nil {
		return want&1 == 0 || n.isDir() || bits&0o111 != 0
	}
	if c.uid == n.uid {
		bits >>= 6
	}
	return bits&want == want
}

// place is where a path leads: the node, or the directory and the name it would have there.
type place struct {
	dir      *node
	name     string
	node     *node // nil: there is no such entry
	path     string
	readOnly bool // on a read-only mount
}

// lookup follows an absolute path. Only the last component may be missing. Callers hold the machine's mutex.
func (m *machine) lookup(c cred, path string, followLast bool) (place, error) {
	return m.walk(c, path, followLast, 0)
}

func (m *machine) walk(c cred, path string, followLast bool, links int) (place, error) {
	if links > 40 {
		return place{}, syscall.ELOOP
	}
	if path == "" {
		return place{}, syscall.ENOENT
	}
	slash := strings.HasSuffix(path, "/")
	at := place{dir: m.root, node: m.root, path: "/", readOnly: m.root.readOnly}
	for end := 0; ; {
		begin := end
		for begin < len(path) && path[begin] == '/' {
			begin++
		}
		if begin == len(path) {
			break
		}
		if end = strings.IndexByte(path[begin:], '/'); end < 0 {
			end = len(path)
		} else {
			end += begin
		}
		word := path[begin:end]
		if at.node == nil {
			return place{}, syscall.ENOENT
		}
		if !at.node.isDir() {
			return place{}, syscall.ENOTDIR
		}
		if !at.node.mayAccess(c, 1) {
			return place{}, syscall.EACCES
		}
		last := strings.Trim(path[end:], "/") == ""
		switch word {
		case ".":
			continue
		case "..":
			parent := at.path[:strings.LastIndexByte(at.path, '/')+1]
			up, err := m.walk(c, parent, true, links+1)
			if err != nil {
				return place{}, err
			}
			at = up
			continue
		}
		if len(word) > 255 {
			return place{}, syscall.ENAMETOOLONG
		}
		dir := at.node
		whole := path[:end] // as a rule this is the path so far, with nothing to take out
		if above := strings.TrimSuffix(at.path, "/"); len(whole) != len(above)+1+len(word) || whole[:len(above)] != above {
			whole = above + "/" + word
		}
		at = place{dir: dir, name: word, node: dir.children[word], path: whole, readOnly: at.readOnly}
		if at.node == nil {
			continue
		}
		at.readOnly = at.readOnly || at.node.readOnly
		if at.node.isLink() && (!last || followLast || slash) {
			target := at.node.target
			if !strings.HasPrefix(target, "/") {
				target = at.path[:strings.LastIndexByte(at.path, '/')+1] + target
			}
			to, err := m.walk(c, target, true, links+1)
			if err != nil {
				return place{}, err
			}
			at = to
		}
	}
	if slash && at.node != nil && !at.node.isDir() {
		return place{}, syscall.ENOTDIR
	}
	return at, nil
}

// find is lookup of something that must be there.
func (m *machine) find(c cred, path string, follow bool) (place, error) {
	at, err := m.lookup(c, path, follow)
	if err == nil && at.node == nil {
		err = syscall.ENOENT
	}
	return at, err
}

// mayChange says whether c may add or remove entries in the directory of at.
func (m *machine) mayChange(c cred, at place) error {
	if err := m.faultAt(at.path, syscall.EROFS, syscall.EACCES, syscall.EPERM, syscall.EIO, syscall.EDQUOT); err != nil {
		return err
	}
	if at.readOnly {
		return syscall.EROFS
	}
	if !at.dir.mayAccess(c, 3) {
		return syscall.EACCES
	}
	return nil
}

// create puts n where at says; its directory exists and the name is free.
func (m *machine) create(c cred, at place, n *node) error {
	if err := m.mayChange(c, at); err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(at.path, "/proc/"):
		return syscall.ENOENT
	case strings.HasPrefix(at.path, "/sys/"):
		return syscall.EACCES
	}
	if n.isDir() {
		if err := m.faultAt(at.path, syscall.ENOSPC); err != nil {
			return err
		}
	}
	n.uid, n.mtime = c.uid, time.Now()
	at.dir.children[at.name], at.dir.mtime = n, m.now()
	return nil
}

func (m *machine) mkdir(c cred, path string, mode fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, err := m.lookup(c, strings.TrimRight(path, "/"), false)
	if err != nil {
		return err
	}
	if at.node != nil {
		return syscall.EEXIST
	}
	return m.create(c, at, newDir(mode))
}

func (m *machine) symlink(c cred, target, path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, err := m.lookup(c, path, false)
	if err != nil {
		return err
	}
	if at.node != nil {
		return syscall.EEXIST
	}
	return m.create(c, at, &node{mode: fs.ModeSymlink | 0o777, target: target})
}

// hardLink gives the file at from a second name.
func (m *machine) hardLink(c cred, from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	src, err := m.find(c, from, false)
	if err != nil {
		return err
	}
	dst, err := m.lookup(c, to, false)
	switch {
	case err != nil:
		return err
	case dst.node != nil:
		return syscall.EEXIST
	case src.node.isDir():
		return syscall.EPERM
	}
	if err := m.mayChange(c, dst); err != nil {
		return err
	}
	dst.dir.children[dst.name], dst.dir.mtime = src.node, m.now()
	return nil
}

// remove is unlink(2), or rmdir(2) when dir is set.
func (m *machine) remove(c cred, path string, dir bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, err := m.find(c, path, false)
	switch {
	case err != nil:
		return err
	case at.node == m.root:
		return syscall.EBUSY
	case dir && !at.node.isDir():
		return syscall.ENOTDIR
	case !dir && at.node.isDir():
		return syscall.EISDIR
	case at.node.made != nil:
		return syscall.EACCES
	}
	if err := m.mayChange(c, at); err != nil {
		return err
	}
	if dir && len(at.node.children) > 0 {
		return syscall.ENOTEMPTY
	}
	if at.dir.mode&fs.ModeSticky != 0 && c.uid != 0 && c.uid != at.node.uid {
		return syscall.EPERM
	}
	delete(at.dir.children, at.name)
	at.dir.mtime = m.now()
	return nil
}

// rename is rename(2): what is at to is replaced in one step.
func (m *machine) rename(c cred, from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	src, err := m.find(c, from, false)
	if err != nil {
		return err
	}
	dst, err := m.lookup(c, to, false)
	if err != nil {
		return err
	}
	if src.dir == nil || src.node.made != nil {
		return syscall.EPERM
	}
	for _, at := range []place{src, dst} {
		if err := m.mayChange(c, at); err != nil {
			return err
		}
	}
	switch {
	case src.node == dst.node:
		return nil
	case dst.node == nil:
	case dst.node.isDir() && !src.node.isDir():
		return syscall.EISDIR
	case !dst.node.isDir() && src.node.isDir():
		return syscall.ENOTDIR
	case dst.node.isDir() && len(dst.node.children) > 0:
		return syscall.ENOTEMPTY
	}
	delete(src.dir.children, src.name)
	dst.dir.children[dst.name] = src.node
	src.dir.mtime, dst.dir.mtime = m.now(), m.now()
	return nil
}

// chmod changes the permission bits.
func (m *machine) chmod(c cred, path string, mode fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, err := m.find(c, path, true)
	if err != nil {
		return err
	}
	return m.setMode(c, at.node, at.path, mode)
}

func (m *machine) setMode(c cred, n *node, path string, mode fs.FileMode) error {
	if err := m.faultAt(path, syscall.EROFS, syscall.EACCES, syscall.EPERM); err != nil {
		return err
	}
	if n.made != nil || c.uid != 0 && c.uid != n.uid {
		return syscall.EPERM
	}
	n.mode = n.mode&^fs.ModePerm | mode.Perm()
	return nil
}

func (m *machine) readlink(c cred, path string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, err := m.find(c, path, false)
	if err == nil && !at.node.isLink() {
		err = syscall.EINVAL
	}
	if err != nil {
		return "", err
	}
	return at.node.target, nil
}

// realPath is the path without links, dots and double slashes; the last component may be missing.
func (m *machine) realPath(c cred, path string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, err := m.lookup(c, path, true)
	return at.path, err
}

// list returns the entries of a directory, sorted.
func (m *machine) list(c cred, path string) ([]fileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, err := m.find(c, path, true)
	switch {
	case err != nil:
		return nil, err
	case !at.node.isDir():
		return nil, syscall.ENOTDIR
	case !at.node.mayAccess(c, 4):
		return nil, syscall.EACCES
	}
	var all []fileInfo
	for _, name := range slices.Sorted(maps.Keys(at.node.children)) {
		all = append(all, at.node.children[name].info(name))
	}
	return all, nil
}

func (m *machine) stat(c cred, path string, follow bool) (fileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, err := m.find(c, path, follow)
	if err != nil {
		return fileInfo{}, err
	}
	return at.node.info(at.name), nil
}

// isProgram says whether c may run the file.
func (m *machine) isProgram(c cred, path string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, err := m.find(c, path, true)
	return err == nil && at.node.mode.IsRegular() && at.node.mayAccess(c, 1)
}

// access is access(2) with want made of 4, 2 and 1.
func (m *machine) access(c cred, path string, want fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, err := m.find(c, path, true)
	if err != nil {
		return err
	}
	if want&2 != 0 {
		if err := m.faultAt(at.path, syscall.EROFS, syscall.EACCES); err != nil {
			return err
		}
		if at.readOnly {
			return syscall.EROFS
		}
	}
	if !at.node.mayAccess(c, want) {
		return syscall.EACCES
	}
	return nil
}

// fileInfo is what stat(2) says of a node.
type fileInfo struct {
	name  string
	size  int64
	mode  fs.FileMode
	mtime time.Time
	uid   int
}

func (n *node) info(name string) fileInfo {
	if name == "" {
		name = "/"
	}
	i := fileInfo{name: name, size: int64(len(n.data)), mode: n.mode, mtime: n.mtime, uid: n.uid}
	if n.isLink() {
		i.size = int64(len(n.target))
	}
	return i
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return i.mode }
func (i fileInfo) ModTime() time.Time { return i.mtime }
func (i fileInfo) IsDir() bool        { return i.mode.IsDir() }
func (i fileInfo) Sys() any           { return nil }
