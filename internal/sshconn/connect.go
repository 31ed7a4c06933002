package sshconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/hostkey"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/login"
)

// redials is how often a refused or dropped dial is tried again; a host that refuses for good is not asked as often as
// one that drops by chance.
const (
	redialsRefused = 2
	redialsDropped = 8
)

// redial is 0.2, 0.4, 0.8, 1.6 s, and from then on 2, each a quarter more or less: those who were dropped together do
// not come back together.
func redial(try int) time.Duration {
	d := min(200*time.Millisecond<<min(try, 4), 2*time.Second)
	return d*3/4 + rand.N(d/2) //nolint:gosec // nothing depends on nobody guessing it
}

// answersFor is how long a failure answers for further calls: a refusal since newer sshd and pam_faillock lock out who
// tries wrong secrets in a row, any other since what took long to find out, as that a jump host is down, need not be
// found out again by all who come after.
func answersFor(err error, took time.Duration) time.Duration {
	var e *fault.Error
	if errors.As(err, &e) && (e.Kind == fault.AuthRefused || e.Kind == fault.SudoRefused || e.Kind == fault.DoasRefused) {
		return refusalHold
	}
	return min(4*took, failureHold)
}

// mayPass reports whether err is what waiting may mend.
func mayPass(err error) bool {
	var e *fault.Error
	return errors.As(err, &e) && e.Kind == fault.Unreachable && !e.Final
}

// dialer is one way to open the stream of bytes that an SSH connection to a host uses.
type dialer interface {
	// prepare makes what the dials of one try to connect need, such as the connection to a jump host. The caller calls
	// leave when the connection to the host is over. If anew is set, no earlier failure answers, as in use.
	prepare(anew bool) (dial dialFunc, leave func(), err error)
	// slotName is where those who dial the same address wait for each other.
	slotName() string
	// passage waits until one more handshake may go this way. The caller gives it back when the handshake has ended.
	passage() (giveBack func(), err error)
}

// dialFunc dials the host once. Its error is a *fault.Error if the way itself knows the reason.
type dialFunc func(ctx context.Context) (net.Conn, error)

// connect makes a connection: the way through the jump hosts, TCP, handshake, login, and the shell. A dial that is
// refused or dropped, as by sshd's MaxStartups, is tried again within the same connect timeout. It says how much of
// that was spent.
func (c *Conn) connect(d *dialing) (time.Duration, *link, error) {
	var spent time.Duration
	var otherKeys []string
	var other error
	for try := 0; ; try++ {
		took, l, err := c.attempt(d, c.connectTimeout()-spent, otherKeys)
		spent += took
		var e *fault.Error
		switch {
		case err == nil || !errors.As(err, &e):
			return spent, l, err
		case e.OtherKey != "":
			otherKeys, other = append(otherKeys, e.OtherKey), err
			continue
		case other != nil && e.Kind == fault.HostKeyChanged:
			return spent, nil, other // the host has no further key
		case try-len(otherKeys) >= e.Redials:
			return spent, nil, err
		}
		pause := c.pool.pace.redial(try)
		if spent += pause; spent >= c.connectTimeout() {
			return spent, nil, err
		}
		c.pool.log(d.log, "SSH dial tried again", map[string]any{"host": c.host, "address": c.addr, "try": try + 1,
			"why": e.Why})
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-c.pool.ctx.Done():
			timer.Stop()
			return spent, nil, ErrClosed
		}
	}
}

// attempt makes one try that may take so long, the time apart that it waits for others, and says how long it took. A
// master is asked first, as ssh does. Host keys of the types in without are not asked for.
func (c *Conn) attempt(d *dialing, limit time.Duration, without []string) (took time.Duration, l *link, err error) {
	if c.control != nil {
		took, l, err = c.overMaster(d, limit)
		if !errors.Is(err, errNoMaster) {
			return took, l, err
		}
	}
	// A master that was asked in vain must not take all the time.
	again, l, err := c.attemptAlone(d, max(limit-took, limit/2), without)
	return took + again, l, err
}

// attemptAlone makes one try with a connection of its own.
func (c *Conn) attemptAlone(d *dialing, limit time.Duration, without []string) (
	took time.Duration, l *link, err error,
) {
	attempt, err := login.New(c.route, acceptedKeys(c.route.Algorithms.PublicKeys), &c.pool.keys, c.faults())
	if err != nil {
		return 0, nil, err
	}
	algorithms, hostKeys, authorities, err := c.algorithms(c.route.Algorithms)
	if err != nil {
		return 0, nil, err
	}
	keys, err := c.hostKeys(hostKeys, authorities, without)
	if err != nil {
		return 0, nil, err
	}
	dial, pass, err := c.dialer.prepare(d.anew)
	if err != nil {
		return 0, nil, err
	}
	leave := pass
	defer func() {
		if err != nil {
			leave() // a link does so at its end
		}
	}()
	giveBack, err := c.pool.slot(c.pool.ctx, c.dialer.slotName())
	if err != nil {
		return 0, nil, ErrClosed
	}
	defer giveBack()

	tcp, took, release, err := c.dialAndAcquire(dial, limit)
	if err != nil {
		return took, nil, err
	}
	leave = func() {
		pass()
		release()
	}
	passed, err := c.dialer.passage()
	if err != nil {
		_ = tcp.Close()
		return took, nil, err
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(c.pool.ctx, limit-took)
	defer cancel()
	client, err := c.handshake(ctx, tcp, algorithms, attempt, keys)
	passed()
	if err == nil {
		ctx, cancel = context.WithTimeout(c.pool.ctx, c.shellTimeLeft(limit-took-time.Since(began)))
		defer cancel()
		l, err = c.open(ctx, d, client, leave)
	}
	return took + time.Since(began), l, err
}

// dialAndAcquire opens the connection to the host within limit, and counts it once the host answers, so that hosts that
// do not answer hold up none that do. If too many connections are open it hangs up, so that no server waits for a
// login, and dials again when one has ended.
func (c *Conn) dialAndAcquire(dial dialFunc, limit time.Duration) (
	tcp net.Conn, took time.Duration, release func(), err error,
) {
	tcp, took, err = c.dialWithin(dial, limit)
	if err != nil || c.hop {
		return tcp, took, func() {}, err
	}
	release, free := c.pool.acquireOrEvict()
	if free {
		return tcp, took, release, nil
	}
	_ = tcp.Close()
	if release, err = c.pool.acquire(); err != nil {
		return nil, took, nil, err
	}
	tcp, again, err := c.dialWithin(dial, limit-took)
	if err != nil {
		release()
	}
	return tcp, took + again, release, err
}

// dialWithin dials the host, and says how long it took.
func (c *Conn) dialWithin(dial dialFunc, limit time.Duration) (tcp net.Conn, took time.Duration, err error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(c.pool.ctx, limit)
	defer cancel()
	tcp, err = dial(ctx)
	var known *fault.Error
	if err != nil && (c.pool.ctx.Err() != nil || !errors.As(err, &known)) {
		err = c.unreachable(ctx, "", err)
	}
	return tcp, time.Since(began), err
}

// handshake makes an SSH connection of tcp, and logs in. On an error tcp is closed.
func (c *Conn) handshake(
	ctx context.Context, tcp net.Conn, algorithms ssh.Config, attempt *login.Attempt, keys *hostkey.Verifier,
) (transport, error) {
	// x/crypto/ssh knows no context: closing the connection frees whatever waits.
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = tcp.Close()
		close(closed)
	})
	defer func() {
		if !stop() {
			<-closed
		}
	}()
	hostKeys, err := keys.Algorithms(ctx)
	if err != nil {
		_ = tcp.Close()
		if c.pool.ctx.Err() != nil {
			err = ErrClosed
		}
		return nil, err
	}
	methods, agentDone := attempt.Methods(ctx)
	defer agentDone()
	if err := attempt.Mute(); err != nil {
		_ = tcp.Close()
		if c.pool.ctx.Err() != nil {
			err = ErrClosed
		}
		return nil, err
	}
	var banner string
	conn, chans, reqs, err := ssh.NewClientConn(tcp, c.addr, &ssh.ClientConfig{
		Config:       algorithms,
		User:         c.settings.User,
		Auth:         methods,
		AuthCallback: attempt.Listen,
		HostKeyCallback: func(_ string, remote net.Addr, key ssh.PublicKey) error {
			return keys.Check(ctx, remote, key)
		},
		HostKeyAlgorithms: hostKeys,
		BannerCallback: func(text string) error {
			banner = text
			return nil
		},
	})
	if err != nil {
		return nil, c.handshakeFailed(ctx, keys, attempt, banner, err)
	}
	return ownTransport{ssh.NewClient(conn, chans, reqs)}, nil
}

// open makes a link of client: with its shell, unless the host is a jump host. The link calls leave at its end.
func (c *Conn) open(ctx context.Context, d *dialing, client transport, leave func()) (*link, error) {
	l, err := c.newLink(d.log, client, leave)
	if err != nil {
		return nil, err
	}
	fields := map[string]any{"host": c.host, "address": c.addr, "user": c.settings.User}
	if m, ok := client.(*master); ok {
		fields["control path"] = m.path
	} else if c.via != nil {
		fields["through"] = c.via.String()
	}
	if c.hop {
		c.pool.log(d.log, "SSH connection to a jump host made", fields)
		return l, nil
	}
	if err := l.openShell(ctx, d); err != nil {
		l.end(err)
		<-l.over
		if e := (*fault.Error)(nil); c.pool.ctx.Err() == nil && errors.As(err, &e) {
			return nil, err
		}
		return nil, c.unreachable(ctx, "while the shell was started", context.Cause(l.ctx))
	}
	fields["root by"] = c.settings.RootBy()
	c.pool.log(d.log, "SSH connection made", fields)
	return l, nil
}

// handshakeFailed tells apart what NewClientConn failed of.
func (c *Conn) handshakeFailed(
	ctx context.Context, keys *hostkey.Verifier, attempt *login.Attempt, banner string, err error,
) error {
	var algorithms *ssh.AlgorithmNegotiationError
	text := err.Error()
	accepted, keyFault := keys.Outcome()
	switch {
	case c.pool.ctx.Err() != nil:
		return ErrClosed
	case keyFault != nil:
		return keyFault
	case errors.As(err, &algorithms):
		return keys.NoAlgorithm(algorithms)
	case ctx.Err() != nil:
		return c.unreachable(ctx, "during the SSH handshake", err)
	case strings.Contains(banner, "System is booting up"), strings.Contains(banner, "System is going down"):
		// pam_nologin: who is right is refused too.
		return c.fault(fault.Unreachable, "the host lets nobody in yet or any more ("+fault.Excerpt(banner)+")",
			"Try again when it is up", err)
	case strings.Contains(text, "unable to authenticate"), strings.Contains(text, "Too many authentication failures"),
		strings.Contains(text, "authentication attempts"):
		return attempt.Refused(banner, err)
	case accepted && !cut(err):
		// Our own side gave up: a question that nobody can answer, an agent that does not sign.
		attempt.Note(strings.TrimPrefix(text, "ssh: handshake failed: "))
		return attempt.Refused(banner, err)
	default:
		return c.unreachable(ctx, "during the SSH handshake", err)
	}
}

// unreachable says why there is no connection; stage is "" for TCP itself.
func (c *Conn) unreachable(ctx context.Context, stage string, err error) error {
	var dns *net.DNSError
	var byCommand *commandError
	var source *sourceError
	host, port, _ := net.SplitHostPort(c.addr)
	why, next := err.Error(), "Check that the host is up and that an SSH server listens there"
	redials := 0
	switch {
	case c.pool.ctx.Err() != nil:
		return ErrClosed
	case fault.TimedOut(ctx.Err()) || fault.TimedOut(err):
		if why = "there was no answer within " + c.connectTimeout().String(); stage != "" {
			why += " " + stage
		}
		next = "Check that the host is up and that no firewall drops the packets, or raise connect_timeout"
	case errors.As(err, &byCommand):
		why = "its ProxyCommand has ended: " + byCommand.Error()
		next = "Run 'ssh' to the host, or that command by hand, to see what it needs"
	case errors.As(err, &source) && !errors.Is(err, syscall.ECONNREFUSED):
		why = "it cannot be connected to from the address that ssh_config wants (" + source.Error() + ")"
		next = "Correct BindAddress, BindInterface or AddressFamily in ssh_config"
	case errors.As(err, &dns):
		why, next = fmt.Sprintf("the name %s does not resolve (%s)", host, dns.Err),
			"Check the address and the resolver of this machine"
	case errors.Is(err, syscall.ECONNREFUSED):
		why, redials = "nobody listens on port "+port+" (connection refused)", redialsRefused
	case cut(err):
		redials = redialsDropped
		why = "the connection was cut " + stage
		next = "Check that an SSH server listens there and that it does not limit or ban this machine " +
			"(MaxStartups, PerSourcePenalties, fail2ban)"
	}
	e := c.fault(fault.Unreachable, why, next, err)
	e.Redials = redials
	return e
}

// cut reports whether err is what the end of a connection looks like.
func cut(err error) bool {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed, errHangup} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}
