package sshconn

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// transport is a connection to a host's SSH server, which has let the user in.
type transport interface {
	// newSession opens a session. It blocks as long as the host does not answer; Close frees it, and all that follows.
	newSession() (remoteSession, error)
	// alive asks for a sign of life, and returns an error if the connection is over.
	alive() error
	// Dial opens a connection from the host to an address.
	Dial(network, addr string) (net.Conn, error)
	// Wait returns when the connection is over, also by Close.
	Wait() error
	Close() error
}

// remoteSession is what ssh.Session promises.
type remoteSession interface {
	StdinPipe() (io.WriteCloser, error)
	StdoutPipe() (io.Reader, error)
	StderrPipe() (io.Reader, error)
	Start(command string) error
	RequestSubsystem(name string) error
	Wait() error
	Close() error
}

// ownTransport is a connection that this process has made.
type ownTransport struct{ *ssh.Client }

func (t ownTransport) newSession() (remoteSession, error) {
	s, err := t.NewSession()
	if err != nil {
		return nil, err // and no nil of a type
	}
	return s, nil
}

// alive asks what every SSH server answers, with yes or no.
func (t ownTransport) alive() error {
	_, _, err := t.SendRequest("keepalive@openssh.com", true, nil)
	return err
}

// link is one live SSH connection with its shell. Its goroutines end with it, and the pool waits for them.
type link struct {
	conn   *Conn
	client transport
	shell  *session
	files  fileServer

	// ctx is done when the link is over; its cause says why.
	ctx context.Context
	end context.CancelCauseFunc
	// leave ends the use of the jump host that the link goes through.
	leave func()
	// log is for logs alone.
	log  context.Context
	work sync.WaitGroup
	// over is closed when all goroutines are gone.
	over chan struct{}

	mu sync.Mutex
	// ending forbids new goroutines.
	ending bool

	// users and idleSince belong to conn.mu. Whoever dials is the first user.
	users     int
	idleSince time.Time
}

// Causes of a link's end.
var (
	errIdle     = errors.New("the connection was idle")
	errEvicted  = errors.New("another host needs its place, and max_connections are open")
	errSilent   = errors.New("the host did not answer three keepalive requests in a row")
	errHangup   = errors.New("the connection was cut")
	errShellEnd = errors.New("the host's shell ended")
)

// newLink takes over client, and calls leave when it is over. It fails only when the pool is closed.
func (c *Conn) newLink(log context.Context, client transport, leave func()) (*link, error) {
	l := &link{conn: c, client: client, leave: leave, log: log, over: make(chan struct{}), users: 1}
	l.files.opened = make(chan struct{})
	l.ctx, l.end = context.WithCancelCause(c.pool.ctx)
	l.work.Go(func() {
		_ = client.Wait()
		l.end(errHangup)
	})
	l.work.Go(l.watch)
	if !c.pool.own(l.supervise) {
		l.end(ErrClosed)
		_ = client.Close()
		l.work.Wait()
		return nil, ErrClosed
	}
	return l, nil
}

// supervise waits for the end of the link, whatever causes it, and cleans up after it.
func (l *link) supervise() {
	<-l.ctx.Done()
	l.conn.forget(l)
	_ = l.client.Close()
	l.mu.Lock()
	l.ending = true
	l.mu.Unlock()
	l.work.Wait()
	if l.files.client != nil {
		_ = l.files.client.Close()
	}
	l.conn.pool.log(l.log, "SSH connection closed",
		map[string]any{"host": l.conn.host, "address": l.conn.addr, "why": context.Cause(l.ctx).Error()})
	l.leave()
	close(l.over)
}

// spawn runs f in a goroutine that the end of the link waits for; false means that the link is over.
func (l *link) spawn(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ending {
		return false
	}
	l.work.Go(f)
	return true
}

// answers asks for a sign of life. False means that the link is over. It blocks as long as nothing comes back; the end
// of the link frees it.
func (l *link) answers() bool {
	err := l.client.alive()
	if err != nil {
		l.end(errHangup)
	}
	return err == nil
}

// lives returns when the host has answered, or the link or ctx is over.
func (l *link) lives(ctx context.Context) {
	answered := make(chan bool, 1)
	if !l.spawn(func() { answered <- l.answers() }) {
		return
	}
	select {
	case <-answered:
	case <-ctx.Done():
	}
}

// watch ends the link when it is idle, or when the host no longer answers.
func (l *link) watch() {
	idle := time.NewTimer(l.conn.pool.config.IdleTimeout)
	defer idle.Stop()
	tick := time.NewTicker(l.conn.pool.pace.keepalive)
	defer tick.Stop()
	answered := make(chan struct{}, 1)
	waiting, misses := false, 0
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-answered:
			waiting, misses = false, 0
		case <-idle.C:
			again, retired := l.conn.retire(l)
			if retired {
				l.end(errIdle)
				return
			}
			idle.Reset(again)
		case <-tick.C:
			if !waiting {
				waiting = true
				l.work.Go(func() {
					if l.answers() {
						answered <- struct{}{}
					}
				})
				continue
			}
			if misses++; misses == keepaliveMisses {
				l.end(errSilent)
				return
			}
		}
	}
}
