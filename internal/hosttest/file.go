package hosttest

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"syscall"
	"time"
)

// file is an open file of the tree. It is safe for concurrent use.
type file struct {
	m       *machine
	node    *node
	path    string
	flags   int
	off     int64
	content []byte // of a made file, once it was asked for
	asked   bool
}

// open is open(2); perm already has the umask taken off.
func (m *machine) open(c cred, path string, flags int, perm fs.FileMode) (*file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, err := m.lookup(c, path, flags&os.O_EXCL == 0)
	if err != nil {
		return nil, err
	}
	writes := flags&(os.O_WRONLY|os.O_RDWR) != 0
	switch {
	case at.node == nil && flags&os.O_CREATE == 0:
		return nil, syscall.ENOENT
	case at.node == nil:
		at.node = &node{mode: perm.Perm()}
		if err := m.create(c, at, at.node); err != nil {
			return nil, err
		}
		return &file{m: m, node: at.node, path: at.path, flags: flags}, nil
	case flags&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return nil, syscall.EEXIST
	case at.node.isLink():
		return nil, syscall.ELOOP
	case at.node.isDir() && writes:
		return nil, syscall.EISDIR
	}
	if writes {
		if err := m.faultAt(at.path, syscall.EROFS, syscall.EACCES, syscall.EPERM); err != nil {
			return nil, err
		}
		if at.readOnly {
			return nil, syscall.EROFS
		}
	}
	var want fs.FileMode
	if flags&os.O_WRONLY == 0 {
		want |= 4
	}
	if writes {
		want |= 2
	}
	if !at.node.mayAccess(c, want) {
		return nil, syscall.EACCES
	}
	if flags&os.O_TRUNC != 0 && writes && at.node.made == nil {
		at.node.data = nil
		at.node.mtime = m.now()
	}
	return &file{m: m, node: at.node, path: at.path, flags: flags}, nil
}

// Read reads from where the last read or write ended, with read(2)'s meaning of a short count.
func (f *file) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.off)
	f.off += int64(n)
	return n, err
}

// ReadAt is pread(2): fewer bytes than asked for are no error, io.EOF comes with none.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	data, err := f.from(off)
	return copy(p, data), err
}

// from returns what follows an offset. Writes replace content and never change it, so nothing is copied, and the caller
// must not change it either.
func (f *file) from(off int64) ([]byte, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.node.isDir() {
		return nil, syscall.EISDIR
	}
	data := f.node.data
	if made := f.node.made; made != nil {
		if off > 0 && made.atOnce {
			return nil, io.EOF
		}
		if !f.asked || off == 0 {
			content, err := made.read()
			if err != nil {
				return nil, err
			}
			f.content, f.asked = content, true
		}
		data = f.content
	}
	if off >= int64(len(data)) {
		return nil, io.EOF
	}
	return data[off:len(data):len(data)], nil
}

// readBlock is one read(2) with a big buffer, as cat does it. The caller must not change what it returns.
func (f *file) readBlock() ([]byte, error) {
	block, err := f.from(f.off)
	block = block[:min(len(block), 128<<10)]
	f.off += int64(len(block))
	return block, err
}

// readAll reads block by block: a file of /proc may give no more than its first read. The caller must not change what
// it returns.
func (f *file) readAll() ([]byte, error) {
	var all []byte
	for {
		block, err := f.readBlock()
		if all == nil {
			all = block[:len(block):len(block)]
		} else {
			all = append(all, block...)
		}
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

// Write is one write(2) after the last one.
func (f *file) Write(p []byte) (int, error) {
	n, err := f.WriteAt(p, f.off)
	f.off += int64(n)
	return n, err
}

// WriteAt is pwrite(2). A short count comes without an error, as the kernel gives it.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.flags&(os.O_WRONLY|os.O_RDWR) == 0 {
		return 0, syscall.EBADF
	}
	if err := f.m.faultAt(f.path, anyErrno); err != nil {
		return 0, err
	}
	if f.node.made != nil {
		if len(p) == 0 {
			return 0, nil
		}
		return f.node.made.write(off, p)
	}
	if f.flags&os.O_APPEND != 0 {
		off = int64(len(f.node.data))
	}
	if end := off + int64(len(p)); end > int64(len(f.node.data)) {
		grown := make([]byte, end)
		copy(grown, f.node.data)
		f.node.data = grown
	} else {
		f.node.data = append([]byte(nil), f.node.data...)
	}
	copy(f.node.data[off:], p)
	f.node.mtime = f.m.now()
	return len(p), nil
}

// Close never fails.
func (f *file) Close() error { return nil }

// Truncate changes the size.
func (f *file) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.node.made != nil {
		return nil
	}
	data := make([]byte, size)
	copy(data, f.node.data)
	f.node.data = data
	return nil
}

// Sync is fsync(2): the content is safe, and so is every change of a directory made before it, as on ext4.
func (f *file) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.faultAt(f.path, syscall.ENOSPC, syscall.EIO, syscall.EDQUOT); err != nil {
		return err
	}
	f.node.savedData = f.node.data
	f.m.root.save(false)
	return nil
}

func (f *file) stat() fileInfo {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.node.info(f.path)
}

func (f *file) chmod(c cred, mode fs.FileMode) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.m.setMode(c, f.node, f.path, mode)
}

func (f *file) chown(c cred, uid int) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if c.uid != 0 && (c.uid != f.node.uid || uid != f.node.uid) {
		return syscall.EPERM
	}
	f.node.uid = uid
	return nil
}

func (f *file) setTime(t time.Time) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.node.mtime = t
}

// sync is sync(2).
func (m *machine) sync() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.root.save(true)
}

// save makes the directories below n safe from a power cut, and the content of files too if asked.
func (n *node) save(content bool) {
	n.savedMode, n.savedUID = n.mode, n.uid
	if content {
		n.savedData = n.data
	}
	if n.isDir() && !n.volatile {
		n.savedChildren = maps.Clone(n.children)
		for _, child := range n.children {
			child.save(content)
		}
	}
}

// revert makes n what it was when it was last saved; what lives in memory is emptied.
func (n *node) revert() {
	n.mode, n.uid, n.data = n.savedMode, n.savedUID, n.savedData
	if !n.isDir() {
		return
	}
	n.children = maps.Clone(n.savedChildren)
	if n.children == nil {
		n.children = map[string]*node{}
	}
	for _, child := range n.children {
		child.revert()
	}
}
