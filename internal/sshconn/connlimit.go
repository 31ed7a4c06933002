package sshconn

import (
	"sync"
	"sync/atomic"
	"time"
)

// connLimit limits the connections that a pool has open at once. Jump hosts do not count, because they last as long as
// the hosts behind them.
type connLimit struct {
	taken chan struct{}
	// waiting counts the dials that found the limit reached. While there are any, a connection that nobody uses ends
	// at once.
	waiting atomic.Int64
}

// acquireOrEvict counts one more connection if the limit allows it, at once or when an idle connection has ended. The
// caller calls release, and may do so twice.
func (p *Pool) acquireOrEvict() (release func(), free bool) {
	if release, free = p.tryAcquire(); free {
		return release, true
	}
	p.limit.waiting.Add(1)
	defer p.limit.waiting.Add(-1)
	idle := p.evict()
	if idle == nil {
		return nil, false
	}
	<-idle.over
	return p.tryAcquire()
}

// tryAcquire counts one more connection if the limit allows it at once.
func (p *Pool) tryAcquire() (release func(), free bool) {
	select {
	case p.limit.taken <- struct{}{}:
		return sync.OnceFunc(func() { <-p.limit.taken }), true
	default:
		return nil, false
	}
}

// acquire waits until the limit allows one more connection, for which an idle one ends. The caller calls release, and
// may do so twice.
func (p *Pool) acquire() (release func(), err error) {
	p.limit.waiting.Add(1)
	defer p.limit.waiting.Add(-1)
	p.evict()
	select {
	case p.limit.taken <- struct{}{}:
		return sync.OnceFunc(func() { <-p.limit.taken }), nil
	case <-p.ctx.Done():
		return nil, ErrClosed
	}
}

// evict ends the connection that was idle longest, if any is, and returns it.
func (p *Pool) evict() *link {
	p.mu.Lock()
	conns := make([]*Conn, 0, len(p.conns))
	for _, c := range p.conns {
		conns = append(conns, c)
	}
	p.mu.Unlock()
	var idle *link
	var since time.Time
	for _, c := range conns {
		c.mu.Lock()
		if l := c.live; l != nil && l.users == 0 && (idle == nil || l.idleSince.Before(since)) {
			idle, since = l, l.idleSince
		}
		c.mu.Unlock()
	}
	if idle == nil {
		return nil
	}
	idle.conn.mu.Lock()
	defer idle.conn.mu.Unlock()
	if !idle.evict() {
		return nil
	}
	return idle
}

// evict ends a link that nobody uses if a dial waits for the limit, and reports whether it did. The caller must hold
// conn.mu.
func (l *link) evict() bool {
	c := l.conn
	if l.users > 0 || c.hop || c.pool.limit.waiting.Load() == 0 {
		return false
	}
	if c.live == l {
		c.live = nil
	}
	l.end(errEvicted)
	return true
}
