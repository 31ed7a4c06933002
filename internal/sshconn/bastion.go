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

// pass takes the link of the jump host, made where there is none; via is nil for a host that is dialled directly. Leave ends its use; a second call does nothing. Anew is
// as for use.
func (c *Conn) pass(anew bool) (via *link, leave func(), err error) {
	if c.via == nil {
		return nil, func() {}, nil
	}
	via, err = c.via.use(c.pool.ctx, anew, nil)
	var e *fault.Error
	switch {
	case err == nil:
		return via, sync.OnceFunc(func() { c.via.release(via) }), nil
	case c.pool.ctx.Err() != nil:
		return nil, nil, ErrClosed
	case errors.As(err, &e):
		f := c.fault(e.Kind, fmt.Sprintf("its jump host %s cannot be passed: %s", c.via, e.Why), e.Next, e)
		f.Final = e.Final
		return nil, nil, f
	default:
		return nil, nil, err
	}
}

// slotName is where those who dial the same address wait for each other.
func (c *Conn) slotName() string {
	if c.via == nil {
		return c.addr
	}
	return fmt.Sprintf("%s through %p", c.addr, c.via)
}

// passage waits for one of the handshakes that may go through one jump host at a time. It is given back when the handshake has ended, or takes too long.
func (c *Conn) passage() (giveBack func(), err error) {
	if c.via == nil {
		return func() {}, nil
	}
	free, err := c.pool.slot(c.pool.ctx, fmt.Sprintf("through %p", c.via))
	if err != nil {
		return nil, ErrClosed
	}
	late := make(chan struct{})
	timer := time.AfterFunc(c.pool.pace.passageHold, func() {
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

// dialThrough opens the connection to the host within limit, from the jump host whose link via is, or from here where it is nil, and says how long it took.
func (c *Conn) dialThrough(via *link, limit time.Duration) (tcp net.Conn, took time.Duration, err error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(c.pool.ctx, limit)
	defer cancel()
	if via == nil {
		tcp, err = (&net.Dialer{}).DialContext(ctx, "tcp", c.addr)
	} else {
		tcp, err = via.forward(ctx, c.addr)
	}
	if err != nil {
		err = c.unreachable(ctx, "", err)
	}
	return tcp, time.Since(began), err
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

// forwarded is a connection through a jump host. Close frees who reads from it, also where the jump host no longer answers.
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

// notForwarded says why the jump host did not open a connection.
func (c *Conn) notForwarded(e *ssh.OpenChannelError) (why, next string, redials int, final bool) {
	said := fault.Excerpt(e.Message)
	if e.Reason == ssh.Prohibited {
		return fmt.Sprintf("its jump host %s does not let connections through (%s)", c.via, said),
			"Look at AllowTcpForwarding, PermitOpen and DisableForwarding in its sshd_config, and at the options in authorized_keys there", 0, true
	}
	if strings.Contains(said, "refused") {
		redials = redialsRefused
	}
	return fmt.Sprintf("its jump host %s does not reach it (%s)", c.via, said),
		"Check that the host is up, and that its address is right as seen from the jump host", redials, false
}
