package sshconn

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// command reaches a host by a program that the user names, ProxyCommand of ssh_config. Its standard input and output
// are the connection.
type command struct {
	conn *Conn
	text string
}

// commandEnds is how long a command may take to end when it is told to, and its output to end when it has.
const commandEnds = 2 * time.Second

func (c command) prepare(bool) (dial dialFunc, leave func(), err error) {
	return c.dial, func() {}, nil
}

func (c command) slotName() string { return "by command to " + c.conn.addr }

func (c command) passage() (giveBack func(), err error) { return func() {}, nil }

// dial starts the command. Whether the host answers shows in the handshake.
func (c command) dial(ctx context.Context) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	inside, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, outside, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, inside.Close(), in.Close())
	}
	p := &piped{filePair: filePair{in: in, out: out}, said: newTranscript(),
		closed: make(chan struct{}), over: make(chan struct{})}
	p.excerpt = func(said string) string { return fault.Excerpt(said, c.conn.settings.Secrets()...) }
	cmd := shellCommandLine(c.text)
	cmd.Env = c.conn.pool.config.sources().CommandEnvironment()
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = inside, outside, p.said, commandEnds
	err = errors.Join(cmd.Start(), inside.Close(), outside.Close())
	if err != nil {
		return nil, errors.Join(err, in.Close(), out.Close())
	}
	wait := func() {
		_ = cmd.Wait() // its state tells more
		p.how = cmd.ProcessState.String()
		close(p.over)
	}
	end := func() {
		select {
		case <-p.over:
		case <-p.closed:
			route.HangUp(cmd)
			timer := time.NewTimer(commandEnds)
			defer timer.Stop()
			select {
			case <-p.over:
			case <-timer.C:
			}
		}
		route.Kill(cmd) // what it started and left behind, too
	}
	if !c.conn.pool.own(wait) {
		route.Kill(cmd)
		wait()
		return nil, errors.Join(ErrClosed, p.Close())
	}
	if !c.conn.pool.own(end) {
		route.Kill(cmd)
		return nil, errors.Join(ErrClosed, p.Close())
	}
	return p, nil
}

// piped is the connection that a command makes. Close ends the command and what it started.
type piped struct {
	filePair
	said    *transcript
	excerpt func(said string) string
	once    sync.Once
	// closed is closed when the connection is, and over when the command has ended, as how says.
	closed, over chan struct{}
	how          string
}

// commandError says how a command ended, with what it complained of.
type commandError struct{ how string }

func (e *commandError) Error() string { return e.how }

// Unwrap makes a commandError match io.EOF: the connection was cut.
func (e *commandError) Unwrap() error { return io.EOF }

func (p *piped) Read(b []byte) (int, error) {
	n, err := p.out.Read(b)
	if errors.Is(err, os.ErrClosed) {
		return n, net.ErrClosed
	}
	if errors.Is(err, io.EOF) {
		err = p.why()
	}
	return n, err
}

func (p *piped) Write(b []byte) (int, error) {
	n, err := p.in.Write(b)
	switch {
	case errors.Is(err, os.ErrClosed):
		err = net.ErrClosed
	case err != nil:
		err = p.why()
	}
	return n, err
}

// why says how the command ended.
func (p *piped) why() error {
	timer := time.NewTimer(commandEnds)
	defer timer.Stop()
	select {
	case <-p.over:
	case <-timer.C:
		return &commandError{"it closed the connection"}
	}
	how := p.how
	if said := p.excerpt(p.said.String()); said != "" {
		how += ", and it said: " + said
	}
	return &commandError{how}
}

func (p *piped) Close() error {
	var err error
	p.once.Do(func() {
		close(p.closed)
		err = errors.Join(p.in.Close(), p.out.Close())
	})
	return err
}

// filePair are the files that a connection is read from and written to. Nobody knows its addresses here.
type filePair struct{ in, out *os.File }

func (p filePair) SetDeadline(t time.Time) error {
	return errors.Join(p.SetReadDeadline(t), p.SetWriteDeadline(t))
}
func (p filePair) SetReadDeadline(t time.Time) error  { return p.out.SetReadDeadline(t) }
func (p filePair) SetWriteDeadline(t time.Time) error { return p.in.SetWriteDeadline(t) }
func (p filePair) LocalAddr() net.Addr                { return pipedAddr{} }
func (p filePair) RemoteAddr() net.Addr               { return pipedAddr{} }

// pipedAddr is the address of a connection over pipes.
type pipedAddr struct{}

func (pipedAddr) Network() string { return "pipe" }
func (pipedAddr) String() string  { return "0.0.0.0:0" }

// shellCommandLine runs a line as ssh runs it, by the user's shell, in a group of its own.
func shellCommandLine(text string) *exec.Cmd {
	cmd := exec.Command(route.Shell(), "-c", "exec "+text) //nolint:noctx // ends with the connection
	route.InGroup(cmd)
	return cmd
}
