package sshconn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/hostkey"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// Conn is the connection to one host. It is made when first needed, closed when idle, and made anew when it broke. It
// is safe for concurrent use.
type Conn struct {
	pool     *Pool
	host     string
	settings route.Settings
	route    *route.Route
	addr     string
	dialer   dialer
	// control reaches the host over a master; nil if none is asked.
	control *control
	// via is the jump host that the way goes through; nil for a host that is dialled directly.
	via *Conn
	// hop says that this is a jump host: connections go through it, and no shell is started, which many jump hosts do not
	// allow.
	hop     bool
	batches atomic.Int64
	// holders counts the changes that need the lock on the host from one exchange to the next.
	holders atomic.Int64
	// expected counts the requests that are about to come.
	expected atomic.Int64

	mu      sync.Mutex
	live    *link
	dialing *dialing
	// failed is why the last dial failed, which answers for calls until then.
	failed error
	until  time.Time
	// lockedSince is since when another process has had the lock on the host; zero if it is free. over are the nonces of
	// links that are over.
	lockedSince time.Time
	over        map[string]bool
	// fileLocks has the lock of each path that was written: see fileLock.
	fileLocks map[string]chan struct{}
}

// dialing is one try to connect, shared by all who wait for it.
type dialing struct {
	// waiters are those who use the link from its first moment on.
	waiters int
	// anew says that failures which answer for others do not answer here, also those of the jump hosts.
	anew bool
	// early are requests that leave with the shell's first line, which saves a round trip. They belong to conn.mu.
	early []*request
	// log carries the values, such as a logger, of the context of whoever began it.
	log  context.Context
	done chan struct{}
	link *link
	err  error
}

// errNotSent is given to a request that the connection was lost before: it certainly did not happen.
var errNotSent = errors.New("the connection ended before the request was sent")

// Batches counts the writes to the host's shell so far; each is one round trip.
func (c *Conn) Batches() int { return int(c.batches.Load()) }

// Run runs s in the host's shell. Requests that arrive while the shell is busy leave together when it is free, in
// order.
//
// Besides an *Error, Run returns ctx's error when ctx ended before s was sent. An error that matches ErrLost means that
// s was sent and its reply is missing: it may have run. In every other case of an error s did not run, unless it only
// reads (shell.Script.Merge): such a script leaves with the first line of a new shell, whatever becomes of that. A
// repeatable script whose reply was lost with the connection is run once more.
//
// An exclusive script waits until no other process changes the host. After Config.LockTimeout Run gives up, with an
// *Error of the kind Locked.
func (c *Conn) Run(ctx context.Context, s shell.Script) (res shell.Result, err error) {
	if !s.Exclusive {
		return c.run(ctx, s)
	}
	err = c.whenFree(ctx, func() error {
		res, err = c.run(ctx, s)
		if err == nil {
			err = taken(res)
		}
		return err
	})
	return res, err
}

func (c *Conn) run(ctx context.Context, s shell.Script) (shell.Result, error) {
	var res shell.Result
	run := func() error {
		early := c.early(ctx, s)
		return c.with(ctx, early, func(l *link) (err error) {
			if early != nil && early.left {
				res, err = l.shell.await(ctx, early)
			} else {
				res, err = l.shell.run(ctx, s)
			}
			return err
		})
	}
	err := run()
	if s.Repeatable && c.settles(ctx, err) {
		err = c.again(err, run)
	}
	return res, err
}

// again does once more what lost its reply. Where the host does not answer this time either, what became of the first
// stays open.
func (c *Conn) again(lost error, do func() error) error {
	err := do()
	if file := (*fault.FileError)(nil); err == nil || errors.As(err, &file) {
		return err
	}
	return stillOpen(lost, err)
}

// settles reports whether err leaves an outcome open that a new connection can settle. It returns false for a host that
// hangs, because that would hang again.
func (c *Conn) settles(ctx context.Context, err error) bool {
	return errors.Is(err, fault.ErrLost) && hung(err) == nil && ctx.Err() == nil && c.pool.ctx.Err() == nil
}

// early is s as a request that may leave before it is known that a shell takes it, or that anybody still waits for it:
// nil for one that does more than read.
func (c *Conn) early(ctx context.Context, s shell.Script) *request {
	if s.Merge == nil || s.Exclusive {
		return nil
	}
	if _, err := shell.Encode(nonce(), s); err != nil {
		return nil
	}
	return newRequest(ctx, s)
}

// with runs do on a live connection, and once more on a new one when the first turned out to be dead before do sent
// anything. Where it waits for a dial, early, if any, may leave with the shell's first line, and says so.
func (c *Conn) with(ctx context.Context, early *request, do func(*link) error) error {
	for again := false; ; again = true {
		l, err := c.use(ctx, false, early)
		if err != nil {
			return err
		}
		err = do(l)
		c.release(l)
		switch {
		case err == nil || !errors.Is(err, errNotSent):
			return err
		case again:
			return c.fault(fault.Unreachable, "two connections in a row were cut before the request was sent",
				"Look at the sshd log of the host", err)
		}
	}
}

// use returns a live connection, dialling where there is none: anew, or unless the last dial's failure still answers.
// The caller releases it. For early see with.
func (c *Conn) use(ctx context.Context, anew bool, early *request) (*link, error) {
	if err := ctx.Err(); err != nil {
		return nil, c.cancelled(ctx, "before a connection was there")
	}
	c.mu.Lock()
	if l := c.live; l != nil && l.ctx.Err() == nil {
		l.users++
		c.mu.Unlock()
		return l, nil
	}
	if c.failed != nil && time.Now().Before(c.until) && !(anew && mayPass(c.failed)) {
		defer c.mu.Unlock()
		return nil, c.failed
	}
	d := c.dialing
	if d == nil {
		d = &dialing{done: make(chan struct{}), log: context.WithoutCancel(ctx), anew: anew}
		if !c.pool.own(func() { c.dial(d) }) {
			c.mu.Unlock()
			return nil, ErrClosed
		}
		c.dialing = d
	}
	d.waiters++
	if early != nil && !early.left {
		d.early = append(d.early, early)
	}
	c.mu.Unlock()

	select {
	case <-d.done:
		return d.link, d.err
	case <-ctx.Done():
	}
	c.mu.Lock()
	d.waiters--
	late := d.link
	c.mu.Unlock()
	if late != nil {
		c.release(late)
	}
	return nil, c.cancelled(ctx, "before a connection was there")
}

func (c *Conn) release(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.users--
	l.idleSince = time.Now()
	l.evict()
}

// leaves returns the requests that leave with the shell's first line.
func (c *Conn) leaves(d *dialing) []*request {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range d.early {
		r.left, r.also = true, nil
	}
	return slices.Clone(d.early)
}

// dial makes the connection that d's waiters wait for.
func (c *Conn) dial(d *dialing) {
	took, l, err := c.connect(d)
	c.mu.Lock()
	defer c.mu.Unlock()
	d.link, d.err = l, err
	c.dialing = nil
	c.failed = err
	if err == nil {
		l.users, l.idleSince, c.live = d.waiters, time.Now(), l
		l.evict()
	} else {
		c.until = time.Now().Add(c.pool.pace.answersFor(err, took))
	}
	close(d.done)
}

// retire takes l out of use when nobody used it for the idle time, and else says when to ask again.
func (c *Conn) retire(l *link) (askAgain time.Duration, retired bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	idle := c.pool.config.IdleTimeout
	if l.users > 0 {
		return idle, false
	}
	if left := idle - time.Since(l.idleSince); left > 0 {
		return left, false
	}
	if c.live == l {
		c.live = nil
	}
	return 0, true
}

// forget takes a link that is over out of use.
func (c *Conn) forget(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live == l {
		c.live = nil
	}
	if l.shell != nil {
		if c.over == nil {
			c.over = map[string]bool{}
		}
		c.over[l.shell.nonce] = true
	}
}

// connectTimeout limits one try to connect.
func (c *Conn) connectTimeout() time.Duration {
	return cmp.Or(c.pool.config.ConnectTimeout, c.route.ConnectTimeout, c.pool.config.FallbackConnectTimeout,
		defaultConnectTimeout)
}

// hostKeys returns what decides on the host's key. The host is asked for keys by the allowed algorithms alone, and not
// for a key of the types in without; its certificate may be signed by those in authorities.
func (c *Conn) hostKeys(allowed, authorities, without []string) (*hostkey.Verifier, error) {
	s, added := c.settings, c.route.Added
	inOrder := added.Algorithms.HostKeys != "" && !strings.ContainsAny(added.Algorithms.HostKeys[:1], "+-")
	rules := hostkey.Rules{Pin: s.HostKey, Checking: s.HostKeyChecking, Files: s.KnownHostsFiles(),
		Hashed: added.HashKnownHosts, Command: hostkey.Command{Args: added.KnownHostsCommand, Run: c.runKnownHostsCommand},
		Revoked: added.RevokedHostKeys, RequiredRSASize: added.RequiredRSASize,
		Algorithms: allowed, InOrder: inOrder, Authorities: authorities,
		Host: strings.ToLower(s.Address), Port: s.Port, Alias: strings.ToLower(added.HostKeyAlias),
		CheckAddress: added.CheckHostIP && c.via == nil && c.route.ProxyCommand == ""}
	log := func(msg string, fields map[string]any) { c.pool.log(c.pool.ctx, msg, fields) }
	return hostkey.New(rules, without, c.faults(), log)
}

// String names the host for a message.
func (c *Conn) String() string { return c.host + " (" + c.addr + ")" }

// faults makes the errors of this host.
func (c *Conn) faults() fault.Maker { return fault.Maker{Host: c.host, Addr: c.addr} }

func (c *Conn) fault(kind fault.Kind, why, next string, err error) *fault.Error {
	return c.faults().New(kind, why, next, err)
}

// cancelled is the error for a caller that went away before anything was sent for it.
func (c *Conn) cancelled(ctx context.Context, when string) error {
	return fmt.Errorf("given up on %s (%s) %s: %w", c.host, c.addr, when, context.Cause(ctx))
}

// lost is the error for a request whose reply is missing.
func (c *Conn) lost(request string, cause error) *fault.Error {
	if s := hung(cause); s != nil {
		return c.silent(request, s)
	}
	return c.fault(fault.Lost,
		fmt.Sprintf("%q was sent and its reply did not come (%s), so it may or may not have happened", request, cause),
		"Run plan again: it reads what the host has now", cause)
}

// stillOpen is a lost reply's error where the host could not be asked afterwards either.
func stillOpen(lost, since error) error {
	var e, cause *fault.Error
	if !errors.As(lost, &e) {
		return lost
	}
	why := since.Error()
	if errors.As(since, &cause) {
		why = cause.Why
	}
	open := *e
	open.Why += ", and the host could not be asked since: " + why
	open.Err = errors.Join(e.Err, since)
	return &open
}
