package sshconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// connect makes one try: TCP, handshake, login, and the shell. The context is for logs alone.
func (c *Conn) connect(log context.Context) (*link, error) {
	login, err := c.login()
	if err != nil {
		return nil, err
	}
	keys, err := c.hostKeys()
	if err != nil {
		return nil, err
	}
	giveBack, err := c.pool.slot(c.addr)
	if err != nil {
		return nil, err
	}
	defer giveBack()
	ctx, cancel := context.WithTimeout(c.pool.ctx, c.pool.config.ConnectTimeout)
	defer cancel()

	tcp, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, c.unreachable(ctx, "", err)
	}
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

	methods, agentDone := login.methods(ctx)
	defer agentDone()
	var banner string
	conn, chans, reqs, err := ssh.NewClientConn(tcp, c.addr, &ssh.ClientConfig{
		User:              c.settings.User,
		Auth:              methods,
		HostKeyCallback:   keys.check,
		HostKeyAlgorithms: keys.algorithms,
		BannerCallback: func(text string) error {
			banner = text
			return nil
		},
	})
	if err != nil {
		return nil, c.handshakeFailed(ctx, keys, login, banner, err)
	}
	l, err := c.newLink(log, ssh.NewClient(conn, chans, reqs))
	if err != nil {
		return nil, err
	}
	if err := l.openShell(ctx); err != nil {
		l.end(err)
		<-l.over
		if e := (*Error)(nil); c.pool.ctx.Err() == nil && errors.As(err, &e) {
			return nil, err
		}
		return nil, c.unreachable(ctx, "while the shell was started", context.Cause(l.ctx))
	}
	c.pool.log(log, "SSH connection made", map[string]any{"host": c.host, "address": c.addr, "user": c.settings.User, "sudo": c.settings.sudo()})
	return l, nil
}

// handshakeFailed tells apart what NewClientConn failed of.
func (c *Conn) handshakeFailed(ctx context.Context, keys *hostKeys, login *login, banner string, err error) error {
	var algorithms *ssh.AlgorithmNegotiationError
	text := err.Error()
	accepted, keyFault := keys.outcome()
	switch {
	case keyFault != nil:
		return keyFault
	case errors.As(err, &algorithms):
		return c.noAlgorithm(keys, algorithms)
	case ctx.Err() != nil:
		return c.unreachable(ctx, "during the SSH handshake", err)
	case strings.Contains(banner, "System is booting up"), strings.Contains(banner, "System is going down"):
		// pam_nologin: who is right is refused too.
		return c.fault(Unreachable, "the host lets nobody in yet or any more ("+excerpt(banner)+")", "Try again when it is up", err)
	case strings.Contains(text, "unable to authenticate"), strings.Contains(text, "Too many authentication failures"), strings.Contains(text, "authentication attempts"):
		return login.refused(banner, err)
	case accepted && !cut(err):
		// Our own side gave up: a question that nobody can answer, an agent that does not sign.
		login.notes = append(login.notes, strings.TrimPrefix(text, "ssh: handshake failed: "))
		return login.refused(banner, err)
	default:
		return c.unreachable(ctx, "during the SSH handshake", err)
	}
}

// unreachable says why there is no connection; stage is "" for TCP itself.
func (c *Conn) unreachable(ctx context.Context, stage string, err error) error {
	var dns *net.DNSError
	host, port, _ := net.SplitHostPort(c.addr)
	why, next := err.Error(), "Check that the host is up and that an SSH server listens there"
	switch {
	case c.pool.ctx.Err() != nil:
		return ErrClosed
	case timedOut(ctx.Err()) || timedOut(err):
		if why = "there was no answer within " + c.pool.config.ConnectTimeout.String(); stage != "" {
			why += " " + stage
		}
		next = "Check that the host is up and that no firewall drops the packets, or raise connect_timeout"
	case errors.As(err, &dns):
		why, next = fmt.Sprintf("the name %s does not resolve (%s)", host, dns.Err), "Check the address and the resolver of this machine"
	case errors.Is(err, syscall.ECONNREFUSED):
		why = "nobody listens on port " + port + " (connection refused)"
	case cut(err):
		why = "the connection was cut " + stage
		next = "Check that an SSH server listens there and that it does not limit or ban this machine (MaxStartups, PerSourcePenalties, fail2ban)"
	}
	return c.fault(Unreachable, why, next, err)
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
