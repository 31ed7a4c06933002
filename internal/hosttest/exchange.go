package hosttest

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Fault is something that goes wrong on demand. Its parts may be combined; each holds for the whole host.
type Fault struct {
	// CutAt drops the TCP connection at the n-th exchange from now, counted from 1; 0: never.
	CutAt int
	// After cuts when the exchange took effect, before its reply; else before it has any effect.
	After bool

	// Errno is what writing below Path (a path without symbolic links) gives: EROFS and EACCES from open, create, rename and remove, ENOSPC and any other from write.
	Errno syscall.Errno
	Path  string

	// Latency is added to each exchange.
	Latency time.Duration

	// Hang is a program that does not end, as one in state D on a dead disk: it stops before it has any effect, and goes
	// on when the fault is undone. The fsync of SFTP hangs with sync.
	Hang string
}

// anyErrno makes faultAt match a fault of any errno.
const anyErrno syscall.Errno = 0

// armed is a fault that was injected.
type armed struct {
	Fault
	left int           // exchanges until the cut; 0: done
	over chan struct{} // closed when the fault is undone
}

// faults are the armed faults and the counters of exchanges.
type faults struct {
	mu        sync.Mutex
	list      []*armed
	exchanges int
	batches   int
}

// inject arms f until undo is called.
func (fs *faults) inject(f Fault) (undo func()) {
	a := &armed{Fault: f, left: f.CutAt, over: make(chan struct{})}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.list = append(fs.list, a)
	return func() {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		for i, b := range fs.list {
			if a == b {
				fs.list = append(fs.list[:i:i], fs.list[i+1:]...)
				close(a.over)
				return
			}
		}
	}
}

// faultAt is the errno that an armed fault gives for path, if it is one of those asked for.
func (m *machine) faultAt(path string, errnos ...syscall.Errno) error {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	for _, f := range m.faults.list {
		dir := strings.TrimSuffix(f.Path, "/")
		if f.Errno == 0 || path != dir && !strings.HasPrefix(path, dir+"/") {
			continue
		}
		for _, e := range errnos {
			if e == f.Errno || e == anyErrno {
				return f.Errno
			}
		}
	}
	return nil
}

// hang returns when no armed fault hangs program. False means that the host went down first.
func (m *machine) hang(ctx context.Context, program string) bool {
	for {
		over := m.faults.hanging(program)
		if over == nil {
			return true
		}
		select {
		case <-over:
		case <-ctx.Done():
			return false
		}
	}
}

// hanging is closed when the first of the armed faults that hang program is undone; nil without such a fault.
func (fs *faults) hanging(program string) <-chan struct{} {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, f := range fs.list {
		if f.Hang == program {
			return f.over
		}
	}
	return nil
}

// exchangeKind is what a client sent.
type exchangeKind int

const (
	execExchange exchangeKind = iota
	batchExchange
	packetExchange
)

// exchange counts one exchange. It says how long it has to wait and whether the connection is to be cut at it.
func (fs *faults) exchange(kind exchangeKind) (wait time.Duration, cutNow, cutAfter bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.exchanges++
	if kind == batchExchange {
		fs.batches++
	}
	for _, f := range fs.list {
		wait += f.Latency
		if f.left > 0 {
			if f.left--; f.left == 0 {
				cutAfter = cutAfter || f.After
				cutNow = cutNow || !f.After
			}
		}
	}
	return wait, cutNow, cutAfter
}

// link is one SSH channel as the program that runs on it sees it. A nil link is the console: nothing is counted and nothing cut.
type link struct {
	m   *machine
	tcp net.Conn
	out *output // what the program prints

	mu   sync.Mutex
	shut bool // replies no longer reach the client
}

// begin counts an exchange, waits out the latency and cuts if that is due. After errCut nothing more may be done for the client.
func (l *link) begin(kind exchangeKind) error {
	if l == nil {
		return nil
	}
	wait, now, after := l.m.faults.exchange(kind)
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-l.m.ctx.Done():
			return errCut
		}
	}
	if now {
		l.cut()
		return errCut
	}
	if after {
		l.mu.Lock()
		l.shut = true
		l.mu.Unlock()
	}
	return nil
}

// end says that the exchange took effect, and sends its reply.
func (l *link) end() {
	if l == nil {
		return
	}
	l.mu.Lock()
	shut := l.shut
	l.mu.Unlock()
	if shut {
		l.cut()
	} else {
		l.out.flush()
	}
}

func (l *link) isShut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shut
}

// cut drops the TCP connection with a reset.
func (l *link) cut() {
	l.mu.Lock()
	l.shut = true
	l.mu.Unlock()
	reset(l.tcp)
}

func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // without it the close is an ordinary one
	}
	c.Close()
}

// gate is a writer that drops everything once the link is shut.
type gate struct {
	link *link
	w    io.Writer
}

func (g gate) Write(p []byte) (int, error) {
	if g.link.isShut() {
		return len(p), nil
	}
	return g.w.Write(p)
}

// The most that an output keeps back, and for how long.
const (
	outputSize  = 32 << 10
	outputDelay = time.Millisecond
)

// output collects what programs print, as sshd does: a packet for each write would cost more than the writes.
type output struct {
	w io.Writer

	mu    sync.Mutex
	buf   []byte
	err   error
	timer *time.Timer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return 0, o.err
	}
	if len(o.buf) == 0 {
		if o.timer == nil {
			o.timer = time.AfterFunc(outputDelay, o.flush)
		} else {
			o.timer.Reset(outputDelay)
		}
	}
	if o.buf = append(o.buf, p...); len(o.buf) >= outputSize {
		o.send()
	}
	return len(p), o.err
}

// flush sends what was kept back.
func (o *output) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.send()
}

// send is flush for callers that hold the mutex.
func (o *output) send() {
	if o.timer != nil {
		o.timer.Stop()
	}
	if len(o.buf) > 0 && o.err == nil {
		_, o.err = o.w.Write(o.buf)
	}
	o.buf = o.buf[:0]
}
