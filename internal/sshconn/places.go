package sshconn

import (
	"sync"
	"sync/atomic"
	"time"
)

// places are the connections that a pool may have open at once, jump hosts apart: those last as long as the hosts behind them.
type places struct {
	taken chan struct{}
	// waiting are the dials that found none free. While there are any, a connection that nobody uses ends at once.
	waiting atomic.Int64
}

// freePlace takes a place if one is free, or is as soon as an idle connection has ended; the caller gives it back, and may do so twice.
func (p *Pool) freePlace() (giveBack func(), free bool) {
	if giveBack, free = p.takePlace(); free {
		return giveBack, true
	}
	p.places.waiting.Add(1)
	defer p.places.waiting.Add(-1)
	idle := p.makeRoom()
	if idle == nil {
		return nil, false
	}
	<-idle.over
	return p.takePlace()
}

// takePlace takes a place if one is free.
func (p *Pool) takePlace() (giveBack func(), free bool) {
	select {
	case p.places.taken <- struct{}{}:
		return sync.OnceFunc(func() { <-p.places.taken }), true
	default:
		return nil, false
	}
}

// place waits for a place, for which an idle connection makes room; the caller gives it back, and may do so twice.
func (p *Pool) place() (giveBack func(), err error) {
	p.places.waiting.Add(1)
	defer p.places.waiting.Add(-1)
	p.makeRoom()
	select {
	case p.places.taken <- struct{}{}:
		return sync.OnceFunc(func() { <-p.places.taken }), nil
	case <-p.ctx.Done():
		return nil, ErrClosed
	}
}

// makeRoom ends the connection that was idle longest, if any is, and returns it.
func (p *Pool) makeRoom() *link {
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
	if !idle.yield() {
		return nil
	}
	return idle
}

// yield ends a link that nobody uses while somebody waits for its place, and says whether it did. It needs conn.mu.
func (l *link) yield() bool {
	c := l.conn
	if l.users > 0 || c.hop || c.pool.places.waiting.Load() == 0 {
		return false
	}
	if c.live == l {
		c.live = nil
	}
	l.end(errRoom)
	return true
}
