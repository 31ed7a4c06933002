package hosttest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// Packet types, statuses and flags of SFTP version 3 (draft-ietf-secsh-filexfer-02).
const (
	fxpInit     = 1
	fxpVersion  = 2
	fxpOpen     = 3
	fxpClose    = 4
	fxpRead     = 5
	fxpWrite    = 6
	fxpLstat    = 7
	fxpFstat    = 8
	fxpSetstat  = 9
	fxpFsetstat = 10
	fxpOpendir  = 11
	fxpReaddir  = 12
	fxpRemove   = 13
	fxpMkdir    = 14
	fxpRmdir    = 15
	fxpRealpath = 16
	fxpStat     = 17
	fxpRename   = 18
	fxpReadlink = 19
	fxpSymlink  = 20
	fxpStatus   = 101
	fxpHandle   = 102
	fxpData     = 103
	fxpName     = 104
	fxpAttrs    = 105
	fxpExtended = 200

	fxOK          = 0
	fxEOF         = 1
	fxNoSuchFile  = 2
	fxPermission  = 3
	fxFailure     = 4
	fxBadMessage  = 5
	fxUnsupported = 8

	attrSize  = 1
	attrOwner = 2
	attrMode  = 4
	attrTimes = 8
)

// sftpSession is one run of sftp-server.
type sftpSession struct {
	p       *process
	handles map[string]*sftpHandle
	opened  int
}

type sftpHandle struct {
	file *file
	dir  []fileInfo // what readdir has not sent yet
	path string
}

// sftpServer is OpenSSH's sftp-server: one packet at a time, errors as its errno_to_portable maps them, with fsync@openssh.com,
// posix-rename@openssh.com and hardlink@openssh.com.
func sftpServer(p *process, args []string) int {
	if len(args) > 0 {
		return p.unknownFlag(args[0], "sftp-server")
	}
	s := &sftpSession{p: p, handles: map[string]*sftpHandle{}}
	in := p.input("sftp-server")
	for {
		var head [4]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return 0
		}
		size := binary.BigEndian.Uint32(head[:])
		if size == 0 || size > 256<<10 {
			p.errorf("bad message from client: length %d\n", size)
			return 11
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(in, body); err != nil {
			return 0
		}
		if p.link.begin(packetExchange) != nil {
			return 255
		}
		reply := s.handle(&packet{b: body})
		out := binary.BigEndian.AppendUint32(nil, uint32(len(reply)))
		if _, err := p.stdout.Write(append(out, reply...)); err != nil {
			return 255
		}
		p.link.end()
	}
}

// packet is read from the front; what is missing reads as zero and leaves bad set.
type packet struct {
	b   []byte
	bad bool
}

func (p *packet) take(n int) []byte {
	if n < 0 || n > len(p.b) {
		p.bad = true
		p.b = nil
		return make([]byte, min(max(n, 0), 8))
	}
	b := p.b[:n]
	p.b = p.b[n:]
	return b
}

func (p *packet) byte() byte { return p.take(1)[0] }
func (p *packet) u32() uint32 {
	return binary.BigEndian.Uint32(p.take(4))
}
func (p *packet) u64() uint64 { return binary.BigEndian.Uint64(p.take(8)) }
func (p *packet) str() string { return string(p.take(int(p.u32()))) }

// attrs are the file attributes that a packet carries.
type attrs struct {
	flags       uint32
	size        uint64
	uid         uint32
	mode, mtime uint32
}

func (p *packet) attrs() (a attrs) {
	a.flags = p.u32()
	if a.flags&attrSize != 0 {
		a.size = p.u64()
	}
	if a.flags&attrOwner != 0 {
		a.uid = p.u32()
		p.u32()
	}
	if a.flags&attrMode != 0 {
		a.mode = p.u32()
	}
	if a.flags&attrTimes != 0 {
		p.u32()
		a.mtime = p.u32()
	}
	return a
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

func answer(kind byte, id uint32) []byte { return binary.BigEndian.AppendUint32([]byte{kind}, id) }

// statusWords are OpenSSH's texts.
var statusWords = map[uint32]string{fxOK: "Success", fxEOF: "End of file", fxNoSuchFile: "No such file", fxPermission: "Permission denied",
	fxFailure: "Failure", fxBadMessage: "Bad message", fxUnsupported: "Operation unsupported"}

func statusReply(id, code uint32) []byte {
	b := binary.BigEndian.AppendUint32(answer(fxpStatus, id), code)
	return appendString(appendString(b, statusWords[code]), "")
}

// errReply is errno_to_portable of OpenSSH's sftp-server.c.
func errReply(id uint32, err error) []byte {
	code := uint32(fxFailure)
	var e syscall.Errno
	switch {
	case err == nil:
		code = fxOK
	case errors.Is(err, io.EOF):
		code = fxEOF
	case errors.As(err, &e):
		switch e {
		case syscall.ENOENT, syscall.ENOTDIR, syscall.EBADF, syscall.ELOOP:
			code = fxNoSuchFile
		case syscall.EPERM, syscall.EACCES, syscall.EFAULT:
			code = fxPermission
		case syscall.ENAMETOOLONG, syscall.EINVAL:
			code = fxBadMessage
		case syscall.ENOSYS:
			code = fxUnsupported
		}
	}
	return statusReply(id, code)
}

func (s *sftpSession) addHandle(h *sftpHandle) string {
	s.opened++
	name := fmt.Sprintf("%08x", s.opened)
	s.handles[name] = h
	return name
}

func (s *sftpSession) handle(in *packet) []byte {
	kind := in.byte()
	if kind == fxpInit {
		b := binary.BigEndian.AppendUint32([]byte{fxpVersion}, 3)
		for _, ext := range []string{"posix-rename@openssh.com", "hardlink@openssh.com", "fsync@openssh.com"} {
			b = appendString(appendString(b, ext), "1")
		}
		return b
	}
	id := in.u32()
	switch kind {
	case fxpOpen:
		return s.open(id, in)
	case fxpClose, fxpRead, fxpWrite, fxpFstat, fxpFsetstat, fxpReaddir:
		return s.onHandle(kind, id, in)
	case fxpExtended:
		return s.extended(id, in)
	}
	return s.onPath(kind, id, in)
}

func (s *sftpSession) open(id uint32, in *packet) []byte {
	name, flags, a := s.p.abs(in.str()), in.u32(), in.attrs()
	mode := 0
	switch flags & 3 {
	case 2:
		mode = os.O_WRONLY
	case 3:
		mode = os.O_RDWR
	}
	for bit, flag := range map[uint32]int{4: os.O_APPEND, 8: os.O_CREATE, 16: os.O_TRUNC, 32: os.O_EXCL} {
		if flags&bit != 0 {
			mode |= flag
		}
	}
	perm := fs.FileMode(0o666)
	if a.flags&attrMode != 0 {
		perm = fs.FileMode(a.mode)
	}
	f, err := s.p.m.open(s.p.cred, name, mode, perm&0o777&^s.p.umask)
	if err != nil {
		return errReply(id, err)
	}
	return appendString(answer(fxpHandle, id), s.addHandle(&sftpHandle{file: f, path: name}))
}

func (s *sftpSession) onHandle(kind byte, id uint32, in *packet) []byte {
	name := in.str()
	h := s.handles[name]
	if h == nil || h.file == nil && (kind == fxpRead || kind == fxpWrite) || h.file != nil && kind == fxpReaddir {
		return statusReply(id, fxFailure)
	}
	switch kind {
	case fxpClose:
		delete(s.handles, name)
		return statusReply(id, fxOK)
	case fxpRead:
		off, size := in.u64(), in.u32()
		b := make([]byte, min(size, 255<<10))
		n, err := h.file.ReadAt(b, int64(off))
		if err != nil {
			return errReply(id, err)
		}
		return appendString(answer(fxpData, id), string(b[:n]))
	case fxpWrite:
		off, data := in.u64(), in.str()
		n, err := h.file.WriteAt([]byte(data), int64(off))
		if err == nil && n != len(data) {
			return statusReply(id, fxFailure)
		}
		return errReply(id, err)
	case fxpFstat:
		if h.file != nil {
			return append(answer(fxpAttrs, id), attrBytes(h.file.stat())...)
		}
		return s.stat(id, h.path, true)
	case fxpFsetstat:
		if h.file == nil {
			return errReply(id, s.setstat(h.path, in.attrs()))
		}
		return errReply(id, s.fsetstat(h.file, in.attrs()))
	}
	if len(h.dir) == 0 {
		return statusReply(id, fxEOF)
	}
	n := min(len(h.dir), 100)
	b := binary.BigEndian.AppendUint32(answer(fxpName, id), uint32(n))
	for _, i := range h.dir[:n] {
		owner := s.p.m.userName(i.uid)
		long := fmt.Sprintf("%s %4d %-8s %-8s %8d %s %s", modeString(i.mode), 1, owner, owner, i.size, i.mtime.UTC().Format("Jan _2 15:04"), i.name)
		b = append(appendString(appendString(b, i.name), long), attrBytes(i)...)
	}
	h.dir = h.dir[n:]
	return b
}

func (s *sftpSession) onPath(kind byte, id uint32, in *packet) []byte {
	m, c := s.p.m, s.p.cred
	raw := in.str()
	name := s.p.abs(raw)
	if name == "" {
		name = s.p.dir
	}
	switch kind {
	case fxpSymlink: // OpenSSH takes the target first
		return errReply(id, m.symlink(c, raw, s.p.abs(in.str())))
	case fxpLstat, fxpStat:
		return s.stat(id, name, kind == fxpStat)
	case fxpSetstat:
		return errReply(id, s.setstat(name, in.attrs()))
	case fxpOpendir:
		all, err := m.list(c, name)
		if err != nil {
			return errReply(id, err)
		}
		self, _ := m.stat(c, name, true)
		dot, up := self, self
		dot.name, up.name = ".", ".."
		return appendString(answer(fxpHandle, id), s.addHandle(&sftpHandle{dir: append([]fileInfo{dot, up}, all...), path: name}))
	case fxpRemove:
		return errReply(id, m.remove(c, name, false))
	case fxpMkdir:
		a, mode := in.attrs(), fs.FileMode(0o777)
		if a.flags&attrMode != 0 {
			mode = fs.FileMode(a.mode)
		}
		return errReply(id, m.mkdir(c, name, mode&0o777&^s.p.umask))
	case fxpRmdir:
		return errReply(id, m.remove(c, name, true))
	case fxpRename:
		return errReply(id, s.rename(name, s.p.abs(in.str())))
	case fxpRealpath, fxpReadlink:
		get := m.realPath
		if kind == fxpReadlink {
			get = m.readlink
		}
		text, err := get(c, name)
		if err != nil {
			return errReply(id, err)
		}
		b := binary.BigEndian.AppendUint32(answer(fxpName, id), 1)
		return append(appendString(appendString(b, text), text), 0, 0, 0, 0)
	}
	s.p.m.unknown(fmt.Sprintf("SFTP packet of type %d", kind))
	return statusReply(id, fxUnsupported)
}

func (s *sftpSession) extended(id uint32, in *packet) []byte {
	m, c := s.p.m, s.p.cred
	switch name := in.str(); name {
	case "posix-rename@openssh.com":
		from, to := s.p.abs(in.str()), s.p.abs(in.str())
		return errReply(id, m.rename(c, from, to))
	case "hardlink@openssh.com":
		from, to := s.p.abs(in.str()), s.p.abs(in.str())
		return errReply(id, m.hardLink(c, from, to))
	case "fsync@openssh.com":
		if h := s.handles[in.str()]; h != nil && h.file != nil && m.hang(s.p.ctx, "sync") {
			return errReply(id, h.file.Sync())
		}
		return statusReply(id, fxNoSuchFile)
	default:
		m.unknown("SFTP extension " + name)
		return statusReply(id, fxUnsupported)
	}
}

// rename never replaces what is there, as SFTP's own rename: only posix-rename does.
func (s *sftpSession) rename(from, to string) error {
	if _, err := s.p.m.stat(s.p.cred, from, false); err != nil {
		return err
	}
	if _, err := s.p.m.stat(s.p.cred, to, false); err == nil {
		return syscall.EEXIST
	}
	return s.p.m.rename(s.p.cred, from, to)
}

func (s *sftpSession) stat(id uint32, name string, follow bool) []byte {
	i, err := s.p.m.stat(s.p.cred, name, follow)
	if err != nil {
		return errReply(id, err)
	}
	return append(answer(fxpAttrs, id), attrBytes(i)...)
}

func (s *sftpSession) setstat(name string, a attrs) error {
	f, err := s.p.m.open(s.p.cred, name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	return s.fsetstat(f, a)
}

func (s *sftpSession) fsetstat(f *file, a attrs) error {
	if a.flags&attrSize != 0 {
		if err := f.Truncate(int64(a.size)); err != nil {
			return err
		}
	}
	if a.flags&attrMode != 0 {
		if err := f.chmod(s.p.cred, fs.FileMode(a.mode)); err != nil {
			return err
		}
	}
	if a.flags&attrOwner != 0 {
		if err := f.chown(s.p.cred, int(a.uid)); err != nil {
			return err
		}
	}
	if a.flags&attrTimes != 0 {
		f.setTime(time.Unix(int64(a.mtime), 0))
	}
	return nil
}

// attrBytes are the attributes of a file as a packet carries them.
func attrBytes(i fileInfo) []byte {
	b := binary.BigEndian.AppendUint32(nil, attrSize|attrOwner|attrMode|attrTimes)
	b = binary.BigEndian.AppendUint64(b, uint64(i.size))
	b = binary.BigEndian.AppendUint32(b, uint32(i.uid))
	b = binary.BigEndian.AppendUint32(b, uint32(i.uid))
	b = binary.BigEndian.AppendUint32(b, unixMode(i.mode))
	b = binary.BigEndian.AppendUint32(b, uint32(i.mtime.Unix()))
	return binary.BigEndian.AppendUint32(b, uint32(i.mtime.Unix()))
}

// unixMode is st_mode.
func unixMode(m fs.FileMode) uint32 {
	kind := uint32(0o100000)
	switch {
	case m.IsDir():
		kind = 0o040000
	case m&fs.ModeSymlink != 0:
		kind = 0o120000
	case m&fs.ModeCharDevice != 0:
		kind = 0o020000
	}
	if m&fs.ModeSticky != 0 {
		kind |= 0o1000
	}
	return kind | uint32(m.Perm())
}
