// Package sshconn reaches Linux hosts over SSH: one connection a host, with one framed shell session for scripts and
// SFTP for files. It is the only package that knows of the network.
package sshconn

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/login"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

const (
	defaultConnectTimeout = 15 * time.Second
	defaultTimeout        = 5 * time.Minute
	defaultIdleTimeout    = 60 * time.Second
	// defaultMaxConnections leaves room below the 1,024 files that a process may usually open.
	defaultMaxConnections = 100

	// handshakesAtOnce keeps below the default MaxStartups of sshd (10, from which it drops connections by chance) when a
	// fleet hides behind one address, and spares a jump host.
	handshakesAtOnce = 4
	// passageHold is how long a handshake counts among those through one jump host: one that takes longer waits for its
	// own host, and holds up no other.
	passageHold = 3 * time.Second
	// rootTime is how long sudo or doas may take at least, whatever a connection may: where the host's own name does not
	// resolve, sudo waits for it.
	rootTime = time.Minute
	// masterTime is how long a master, which is a process of this machine, may take to say that it lives.
	masterTime = 5 * time.Second
	// keepaliveEvery and keepaliveMisses: a network that goes dark is noticed after three unanswered questions.
	keepaliveEvery  = 15 * time.Second
	keepaliveMisses = 3
	// refusalHold is how long a refused login or sudo password answers for further calls, and failureHold the longest that
	// another failure does.
	refusalHold = 6 * time.Second
	failureHold = time.Minute
)

// pace holds the durations of a pool that are no setting.
type pace struct {
	keepalive   time.Duration
	passageHold time.Duration
	root        time.Duration
	// master is how long a master may take to say that it lives.
	master     time.Duration
	answersFor func(err error, took time.Duration) time.Duration
	// backoff is the pause of Conn.Wait, redial the one within a single try to connect.
	backoff, redial func(try int) time.Duration
}

// ErrClosed is returned for a connection whose pool is closed.
var ErrClosed = errors.New("the SSH connections are closed")

// Pool holds the connections of a process. It is safe for concurrent use.
type Pool struct {
	config Config
	pace   pace
	// who names this process to others that wait for a host's lock.
	who string
	// ctx ends with the pool; it, and no caller's, is what a dial runs on.
	ctx context.Context
	end context.CancelCauseFunc

	mu     sync.Mutex
	closed bool
	owned  sync.WaitGroup
	conns  map[string]*Conn
	// hops are the connections to jump hosts, one for all the hosts behind it, by what they are made with.
	hops  map[string]*Conn
	slots map[string]chan struct{}
	keys  login.Keys
	limit connLimit
	// resolver reads ssh_config once.
	resolver func() (*route.Resolver, error)
}

// NewPool returns a pool without any connection. Close ends it.
func NewPool(c Config) *Pool {
	c.Timeout, c.IdleTimeout = cmp.Or(c.Timeout, defaultTimeout), cmp.Or(c.IdleTimeout, defaultIdleTimeout)
	c.ReplyTimeout = cmp.Or(c.ReplyTimeout, defaultReplyTimeout)
	c.LockTimeout = cmp.Or(c.LockTimeout, defaultLockTimeout)
	c.MaxConnections = cmp.Or(c.MaxConnections, defaultMaxConnections)
	if c.Log == nil {
		c.Log = func(context.Context, string, map[string]any) {}
	}
	p := &Pool{
		config: c,
		who:    whoLocks(),
		pace: pace{keepalive: keepaliveEvery, passageHold: passageHold, root: rootTime, master: masterTime,
			answersFor: answersFor,
			backoff:    backoff, redial: redial},
		conns: map[string]*Conn{},
		hops:  map[string]*Conn{},
		slots: map[string]chan struct{}{},
	}
	p.limit.taken = make(chan struct{}, c.MaxConnections)
	p.ctx, p.end = context.WithCancelCause(context.Background())
	p.resolver = sync.OnceValues(func() (*route.Resolver, error) { return route.NewResolver(p.ctx, c.sources()) })
	return p
}

// Conn returns the connection to host, which is a name in Hosts, an alias in ssh_config, or [user@]address[:port], an
// IPv6 address in brackets or bare. It reads ssh_config, runs its commands of Match exec, and connects to nothing; the
// same host is the same Conn. The error is an *Error of kind Misconfigured, ErrUnknown or ErrClosed.
func (p *Pool) Conn(host string) (*Conn, error) {
	if c, err := p.known(host, nil); c != nil || err != nil {
		return c, err
	}
	resolver, err := p.resolver()
	if err != nil {
		return nil, &fault.Error{Kind: fault.Misconfigured, Host: host, Why: "ssh_config cannot be used: " + err.Error(),
			Next: sshConfigNext}
	}
	r, err := resolver.Resolve(host) // may take a minute, so nobody else waits for it
	switch {
	case p.ctx.Err() != nil:
		return nil, ErrClosed
	case err != nil:
		return nil, err
	}
	return p.known(host, r)
}

// known returns the connection to host, which it makes if there is a route and no connection yet.
func (p *Pool) known(host string, r *route.Route) (*Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	c, ok := p.conns[host]
	if !ok && r != nil {
		c = p.newConn(r)
		p.conns[host] = c
	}
	return c, nil
}

// sshConfigNext is what to do about files that cannot be used.
const sshConfigNext = "Take out what is not understood, or name other files in ssh_config_files; [] does without any"

// newConn needs p.mu.
func (p *Pool) newConn(r *route.Route) *Conn {
	c := &Conn{pool: p, host: r.Host, settings: r.Settings, route: r, addr: r.Addr(),
		fileLocks: map[string]chan struct{}{}}
	c.dialer = direct{c.addr, r.AddressFamily, r.BindAddress, r.BindInterface}
	if r.ProxyCommand != "" {
		c.dialer = command{c, r.ProxyCommand}
	}
	if len(r.Control.Paths) > 0 {
		c.control = &control{c, r.Control}
	}
	if r.Via != nil {
		c.via = p.hop(r.Via)
		c.dialer = jump{c, c.via}
	}
	return c
}

// hop returns the connection to a jump host; it needs p.mu. Those who pass the same host in the same way share it.
func (p *Pool) hop(r *route.Route) *Conn {
	key := r.Key()
	c, ok := p.hops[key]
	if !ok {
		c = p.newConn(r)
		c.hop = true
		p.hops[key] = c
	}
	return c
}

// MaxConnections is how many hosts may be connected at once.
func (p *Pool) MaxConnections() int { return p.config.MaxConnections }

// Close ends all connections and waits for every goroutine of the pool.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.end(ErrClosed)
	p.owned.Wait()
}

// own runs f in a goroutine that Close waits for; false means that the pool is closed.
func (p *Pool) own(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.owned.Go(f)
	return true
}

// slot waits for one of the handshakes that may be under way at one place; the caller gives it back. The error is
// ctx's.
func (p *Pool) slot(ctx context.Context, place string) (giveBack func(), err error) {
	p.mu.Lock()
	s, ok := p.slots[place]
	if !ok {
		s = make(chan struct{}, handshakesAtOnce)
		p.slots[place] = s
	}
	p.mu.Unlock()
	select {
	case s <- struct{}{}:
		return func() { <-s }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *Pool) log(ctx context.Context, msg string, fields map[string]any) {
	p.config.Log(ctx, msg, fields)
}
