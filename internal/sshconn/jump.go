package sshconn

// The way through jump hosts: each is a connection of its own, checked on its own, that all hosts behind it share.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
)

// jump reaches a host through a jump host.
type jump struct {
	conn *Conn
	// via is the jump host that is passed last.
	via *Conn
}

// prepare takes the link of the jump host, which is made if there is none. A second call of leave does nothing.
func (j jump) prepare(anew bool) (dial dialFunc, leave func(), err error) {
	pool := j.conn.pool
	link, err := j.via.use(pool.ctx, anew, nil)
	var e *fault.Error
	switch {
	case err == nil:
		dial = func(ctx context.Context) (net.Conn, error) {
			conn, err := link.forward(ctx, j.conn.addr)
			var forward *ssh.OpenChannelError
			switch {
			case errors.As(err, &forward):
				return nil, j.notForwarded(forward, err)
			case fault.TimedOut(ctx.Err()) && err != nil:
				return nil, j.silent(link, err)
			}
			return conn, err
		}
		return dial, sync.OnceFunc(func() { j.via.release(link) }), nil
	case pool.ctx.Err() != nil:
		return nil, nil, ErrClosed
	case errors.As(err, &e):
		f := j.conn.fault(e.Kind, fmt.Sprintf("its jump host %s cannot be passed: %s", j.via, e.Why), e.Next, e)
		f.Final = e.Final
		return nil, nil, f
	default:
		return nil, nil, err
	}
}

func (j jump) slotName() string { return fmt.Sprintf("%s through %p", j.conn.addr, j.via) }

// passage waits for one of the handshakes that may go through one jump host at a time. It is given back when the
// handshake has ended, or takes too long.
func (j jump) passage() (giveBack func(), err error) {
	pool := j.conn.pool
	free, err := pool.slot(pool.ctx, fmt.Sprintf("through %p", j.via))
	if err != nil {
		return nil, ErrClosed
	}
	late := make(chan struct{})
	timer := time.AfterFunc(pool.pace.passageHold, func() {
		free()
		close(late)
	})
	return func() {
		if timer.Stop() {
			free()
			return
		}
		<-late
	}, nil
}

// forward opens a connection from the jump host to addr. The name is resolved there.
func (l *link) forward(ctx context.Context, addr string) (net.Conn, error) {
	type dialled struct {
		conn net.Conn
		err  error
	}
	got := make(chan dialled)
	if !l.spawn(func() {
		// It returns when the jump host answers, or with the link.
		conn, err := l.client.Dial("tcp", addr)
		select {
		case got <- dialled{conn, err}:
		case <-ctx.Done():
			if err == nil {
				_ = conn.Close()
			}
		}
	}) {
		return nil, errHangup
	}
	select {
	case d := <-got:
		if d.err != nil {
			return nil, d.err
		}
		return l.readable(d.conn)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// forwarded is a connection through a jump host. Close frees who reads from it, also where the jump host no longer
// answers.
type forwarded struct {
	net.Conn
	out *io.PipeReader
}

func (l *link) readable(conn net.Conn) (net.Conn, error) {
	out, in := io.Pipe()
	if !l.spawn(func() {
		_, err := io.Copy(in, conn)
		_ = in.CloseWithError(err)
	}) {
		_ = conn.Close()
		return nil, errHangup
	}
	return &forwarded{Conn: conn, out: out}, nil
}

// Read reads what came through.
func (f *forwarded) Read(b []byte) (int, error) { return f.out.Read(b) }

// Close ends the connection.
func (f *forwarded) Close() error {
	_ = f.out.CloseWithError(net.ErrClosed)
	return f.Conn.Close()
}

// silent says that nothing came back through l, the link of the jump host.
func (j jump) silent(l *link, err error) error {
	why := fmt.Sprintf("there was no answer within %s through its jump host %s", j.conn.connectTimeout(), j.via)
	next := "Check that the host is up and that no firewall drops the packets, or raise connect_timeout"
	if m, ok := l.client.(*master); ok {
		next = "The connection that ssh shares at " + m.path + " may be dead: end it with '" +
			j.via.control.command("-O exit") + "', and log in again"
	}
	return j.conn.fault(fault.Unreachable, why, next, err)
}

// notForwarded says why the jump host did not open a connection. The cause is err.
func (j jump) notForwarded(refusal *ssh.OpenChannelError, err error) *fault.Error {
	said := fault.Excerpt(refusal.Message)
	if refusal.Reason == ssh.Prohibited {
		e := j.conn.fault(fault.Unreachable,
			fmt.Sprintf("its jump host %s does not let connections through (%s)", j.via, said),
			"Look at AllowTcpForwarding, PermitOpen and DisableForwarding in its sshd_config, and at the options in "+
				"authorized_keys there", err)
		e.Final = true
		return e
	}
	e := j.conn.fault(fault.Unreachable, fmt.Sprintf("its jump host %s does not reach it (%s)", j.via, said),
		"Check that the host is up, and that its address is right as seen from the jump host", err)
	if strings.Contains(said, "refused") {
		e.Redials = redialsRefused
	}
	return e
}
