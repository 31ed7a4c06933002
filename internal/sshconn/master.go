package sshconn

// The protocol between ssh and a master, PROTOCOL.mux of OpenSSH, spoken as ssh itself speaks it. Its proxy mode, which
// x/crypto/ssh has, is not used: if the host refuses a session, as by MaxSessions, the master ends when the one that
// asked for it hangs up.

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
)

// Messages of the protocol.
const (
	muxHello         = 1
	muxVersion       = 4
	muxNewSession    = 0x10000002
	muxAliveCheck    = 0x10000004
	muxNewStream     = 0x10000008
	muxDenied        = 0x80000002
	muxFailure       = 0x80000003
	muxExit          = 0x80000004
	muxAlive         = 0x80000005
	muxSessionOpened = 0x80000006
	// muxAtMost bounds a message from a master.
	muxAtMost = 256 << 10
	// muxNoEscape says that no character escapes.
	muxNoEscape = 0xffffffff
)

// masterRefusal is a master's answer that it does not do what it was asked for.
type masterRefusal struct{ path, reason string }

func (e *masterRefusal) Error() string {
	return "the ssh at " + e.path + " says: " + fault.Excerpt(e.reason)
}

// muxConn is one connection to a master. It carries one session at most.
type muxConn struct{ *net.UnixConn }

func (c muxConn) send(message any) error {
	payload := ssh.Marshal(message)
	_, err := c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(payload))), payload...)) //nolint:gosec // short
	return err
}

// receive returns the type of the next message, and its other fields.
func (c muxConn) receive() (kind uint32, rest []byte, err error) {
	var head [8]byte
	if _, err = io.ReadFull(c, head[:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(head[:4])
	if length < 4 || length > muxAtMost {
		return 0, nil, errors.New("it does not speak the protocol of ssh")
	}
	rest = make([]byte, length-4)
	_, err = io.ReadFull(c, rest)
	return binary.BigEndian.Uint32(head[4:]), rest, err
}

// greet exchanges the versions.
func (c muxConn) greet() error {
	if err := c.send(struct{ Type, Version uint32 }{muxHello, muxVersion}); err != nil {
		return err
	}
	kind, rest, err := c.receive()
	if err == nil && (kind != muxHello || len(rest) < 4 || binary.BigEndian.Uint32(rest) != muxVersion) {
		err = errors.New("it speaks another version of the protocol of ssh")
	}
	return err
}

// master is a connection to a host that an ssh of the user shares.
type master struct {
	path string
	// conn is open as long as the master lives and this is in use.
	conn muxConn
	// answered has a signal when the master has said that it lives, and over is closed when it has ended. Who waits for
	// an answer holds asking.
	answered, over chan struct{}
	asking         sync.Mutex

	mu sync.Mutex
	// uses are the sessions and streams that are open. They are nil when the master is no longer used.
	uses map[io.Closer]bool
}

// dialControl connects to the socket at path. It does not block. The owner is checked each time, because another user
// may put a socket there when the master has ended.
func dialControl(path string) (muxConn, error) {
	if err := checkControlSocket(path); err != nil {
		return muxConn{}, err
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	return muxConn{conn}, err
}

// dialMaster returns the master at path if it answers.
func dialMaster(ctx context.Context, path string) (*master, error) {
	conn, err := dialControl(path)
	if err != nil {
		return nil, err
	}
	m := &master{path: path, conn: conn, answered: make(chan struct{}, 1), over: make(chan struct{}),
		uses: map[io.Closer]bool{}}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	err = m.conn.greet()
	if err == nil {
		err = m.conn.send(struct{ Type, ID uint32 }{muxAliveCheck, 0})
	}
	var kind uint32
	if err == nil {
		kind, _, err = m.conn.receive()
	}
	if err == nil && kind != muxAlive {
		err = errors.New("it does not say that it lives")
	}
	if !stop() {
		err = errors.New("it does not answer")
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return m, nil
}

// Wait returns when the master has ended.
func (m *master) Wait() error {
	defer close(m.over)
	for {
		kind, _, err := m.conn.receive()
		if err != nil {
			return err
		}
		if kind == muxAlive {
			select {
			case m.answered <- struct{}{}:
			default:
			}
		}
	}
}

// alive asks the master alone. Whether the host still answers it, session.echo finds out.
func (m *master) alive() error {
	m.asking.Lock()
	defer m.asking.Unlock()
	if err := m.conn.send(struct{ Type, ID uint32 }{muxAliveCheck, 0}); err != nil {
		return err
	}
	select {
	case <-m.answered:
		return nil
	case <-m.over:
		return io.EOF
	}
}

// Close ends the use of the master, with all sessions.
func (m *master) Close() error {
	m.mu.Lock()
	uses := m.uses
	m.uses = nil
	m.mu.Unlock()
	for u := range uses {
		_ = u.Close()
	}
	return m.conn.Close()
}

// add notes what Close is to close, too. If the master is no longer used, add closes it and fails.
func (m *master) add(use io.Closer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.uses == nil {
		_ = use.Close()
		return net.ErrClosed
	}
	m.uses[use] = true
	return nil
}

// drop closes what add has noted.
func (m *master) drop(uses ...io.Closer) {
	for _, u := range uses {
		m.mu.Lock()
		delete(m.uses, u)
		m.mu.Unlock()
		_ = u.Close()
	}
}

// request sends a request over a connection of its own, with the ends of some pipes, and waits for the answer. It
// blocks as long as the host does not answer; Close frees it.
func (m *master) request(message any, ends []*os.File) (muxConn, error) {
	c, err := dialControl(m.path)
	if err != nil {
		return muxConn{}, err
	}
	if err := m.add(c); err != nil {
		return muxConn{}, err
	}
	if err := m.ask(c, message, ends); err != nil {
		m.drop(c)
		return muxConn{}, err
	}
	return c, nil
}

func (m *master) ask(c muxConn, message any, ends []*os.File) error {
	if err := c.greet(); err != nil {
		return err
	}
	if err := c.send(message); err != nil {
		return err
	}
	for _, f := range ends {
		if err := sendFile(c.UnixConn, f); err != nil {
			return err
		}
	}
	kind, rest, err := c.receive()
	if err != nil || kind == muxSessionOpened {
		return err
	}
	var answer struct {
		ID     uint32
		Reason string
	}
	if kind != muxFailure && kind != muxDenied || ssh.Unmarshal(rest, &answer) != nil {
		return fmt.Errorf("the ssh at %s gave an answer that is not understood", m.path)
	}
	return &masterRefusal{m.path, answer.Reason}
}

// pipes makes pipes, one for each end that the master gets. The master reads from the first, and writes to the others.
// Close closes our ends.
func (m *master) pipes(n int) (ours, theirs []*os.File, err error) {
	for i := range n {
		r, w, err := os.Pipe()
		if err != nil {
			closeFiles(ours, theirs)
			return nil, nil, err
		}
		if i > 0 {
			r, w = w, r
		}
		theirs, ours = append(theirs, r), append(ours, w)
	}
	for _, f := range ours {
		err = errors.Join(err, m.add(f))
	}
	if err != nil {
		closeFiles(theirs)
		return nil, nil, err
	}
	return ours, theirs, nil
}

func closeFiles(lists ...[]*os.File) {
	for _, f := range slices.Concat(lists...) {
		_ = f.Close()
	}
}

// newSession returns a session that is yet to be started.
func (m *master) newSession() (remoteSession, error) {
	ours, theirs, err := m.pipes(3)
	if err != nil {
		return nil, err
	}
	return &masterSession{master: m, in: ours[0], out: ours[1], complaints: ours[2], ends: theirs}, nil
}

// masterSession is a session over a master. Standard input, output and error output are pipes.
type masterSession struct {
	master              *master
	in, out, complaints *os.File
	// ends are the other ends of the pipes, until the master has them.
	ends []*os.File
	// control is the connection that the session was started over, and ends with.
	control muxConn
}

// StdinPipe returns what the session reads from.
func (s *masterSession) StdinPipe() (io.WriteCloser, error) { return s.in, nil }

// StdoutPipe returns what it prints.
func (s *masterSession) StdoutPipe() (io.Reader, error) { return pipeReader{s.out}, nil }

// StderrPipe returns what it complains of.
func (s *masterSession) StderrPipe() (io.Reader, error) { return pipeReader{s.complaints}, nil }

// Start runs a command.
func (s *masterSession) Start(command string) error { return s.start(command, false) }

// RequestSubsystem starts a subsystem.
func (s *masterSession) RequestSubsystem(name string) error { return s.start(name, true) }

func (s *masterSession) start(command string, subsystem bool) (err error) {
	var flag uint32
	if subsystem {
		flag = 1
	}
	s.control, err = s.master.request(struct {
		Type, ID                           uint32
		Reserved                           string
		TTY, X11, Agent, Subsystem, Escape uint32
		Terminal, Command                  string
	}{Type: muxNewSession, Subsystem: flag, Escape: muxNoEscape, Command: command}, s.ends)
	closeFiles(s.ends)
	return err
}

// exitStatus is an exit status other than 0.
type exitStatus uint32

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", uint32(e)) }

// Wait waits for the exit status of a session that was started: nil for 0, an exitStatus for another one. If none came
// it returns a *ssh.ExitMissingError.
func (s *masterSession) Wait() error {
	for {
		kind, rest, err := s.control.receive()
		if err != nil {
			return &ssh.ExitMissingError{}
		}
		var exit struct{ Session, Status uint32 }
		switch {
		case kind != muxExit || ssh.Unmarshal(rest, &exit) != nil:
		case exit.Status == 0:
			return nil
		default:
			return exitStatus(exit.Status)
		}
	}
}

// Close hangs up. What the session has printed can still be read.
func (s *masterSession) Close() error {
	closeFiles(s.ends)
	if s.control.UnixConn == nil { // it was not started, and nobody reads
		s.master.drop(s.in, s.out, s.complaints)
		return nil
	}
	s.master.drop(s.in, s.control)
	return nil
}

// pipeReader reads from a pipe, and closes it at its end.
type pipeReader struct{ file *os.File }

func (r pipeReader) Read(b []byte) (int, error) {
	n, err := r.file.Read(b)
	if err != nil {
		_ = r.file.Close()
	}
	if errors.Is(err, os.ErrClosed) {
		err = io.EOF
	}
	return n, err
}

// Dial opens a TCP connection from the host to an address.
func (m *master) Dial(_, addr string) (net.Conn, error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, err
	}
	ours, theirs, err := m.pipes(2)
	if err != nil {
		return nil, err
	}
	c, err := m.request(struct {
		Type, ID       uint32
		Reserved, Host string
		Port           uint32
	}{Type: muxNewStream, Host: host, Port: uint32(port)}, theirs)
	closeFiles(theirs)
	if err != nil {
		m.drop(ours[0], ours[1])
		if refusal := (*masterRefusal)(nil); errors.As(err, &refusal) {
			err = &ssh.OpenChannelError{Reason: ssh.ConnectionFailed, Message: refusal.reason}
		}
		return nil, err
	}
	return &masterStream{filePair{in: ours[0], out: ours[1]}, m, c}, nil
}

// masterStream is a connection that a host opened for a master.
type masterStream struct {
	filePair
	master  *master
	control muxConn
}

// Read reads what came through.
func (s *masterStream) Read(b []byte) (int, error) { return pipeReader{s.out}.Read(b) }

// Write sends b.
func (s *masterStream) Write(b []byte) (int, error) { return s.in.Write(b) }

// Close ends the connection.
func (s *masterStream) Close() error {
	s.master.drop(s.in, s.out, s.control)
	return nil
}
