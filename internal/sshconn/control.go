package sshconn

// The way over a master: an ssh that the user has started, which shares its connection (ControlMaster in ssh_config).
// Whatever logged in there, such as a second factor, need not be done again.

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// control reaches a host over a master.
type control struct {
	conn *Conn
	route.Control
}

// overMaster makes a link over a master. It returns errNoMaster if the host is to be reached in the usual way.
func (c *Conn) overMaster(d *dialing, limit time.Duration) (took time.Duration, l *link, err error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(c.pool.ctx, limit)
	defer cancel()
	m, err := c.control.dial(ctx)
	switch {
	case c.pool.ctx.Err() != nil:
		if err == nil {
			_ = m.Close()
		}
		return 0, nil, ErrClosed
	case err != nil && c.control.Required:
		return time.Since(began), nil, c.control.absent(err)
	case err != nil:
		c.pool.log(d.log, "no SSH connection to share", map[string]any{"host": c.host, "why": err.Error()})
		return time.Since(began), nil, errNoMaster
	}
	leave, waited, err := c.acquireFor(m)
	if err != nil {
		return time.Since(began) - waited, nil, err
	}
	ctx, cancel = context.WithTimeout(c.pool.ctx, c.shellTimeLeft(limit-time.Since(began)+waited))
	defer cancel()
	l, err = c.open(ctx, d, m, leave)
	if err != nil {
		leave() // a link does so at its end
		err = c.control.failed(m.path, err)
	}
	return time.Since(began) - waited, l, err
}

// acquireFor counts the connection over m, as dialAndAcquire does one that is dialled, and says how long it waited. On
// an error m is closed.
func (c *Conn) acquireFor(m *master) (release func(), waited time.Duration, err error) {
	if c.hop {
		return func() {}, 0, nil
	}
	release, free := c.pool.acquireOrEvict()
	if free {
		return release, 0, nil
	}
	began := time.Now()
	if release, err = c.pool.acquire(); err != nil {
		_ = m.Close()
	}
	return release, time.Since(began), err
}

// errNoMaster says that no master serves and none has to.
var errNoMaster = errors.New("no master serves")

// absent says that no master lives, and how one is started.
func (c *control) absent(err error) *fault.Error {
	path := strings.Join(c.Paths, " and ")
	e := c.conn.fault(fault.Unreachable, "no ssh shares its connection at its control_path "+path+" ("+err.Error()+")",
		"Log in with '"+c.command("-fNM -o ControlPersist=1h")+"' and run this again, or unset control_path", err)
	e.Final = true
	return e
}

// command is a command of ssh that a user may type for the master.
func (c *control) command(options string) string {
	s := c.conn.settings
	path := c.Paths[0]
	if strings.ContainsAny(path, " '\"$`\\*?[](){}<>|;&") {
		path = `"` + path + `"`
	}
	text := "ssh " + options + " -S " + path
	if s.Port != 22 {
		text += " -p " + strconv.Itoa(s.Port)
	}
	return text + " " + s.User + "@" + s.Address
}

// failed is the error of a link over the master at path that could not be made.
func (c *control) failed(path string, err error) error {
	var refusal *masterRefusal
	var e *fault.Error
	refused := errors.As(err, &refusal)
	if refused && !c.Required {
		c.conn.pool.log(c.conn.pool.ctx, "the shared SSH connection has no room", map[string]any{"host": c.conn.host,
			"control path": path, "why": refusal.Error()})
		return errNoMaster
	}
	if !errors.As(err, &e) {
		return err
	}
	if refused { // others may end their sessions
		e.Redials = redialsRefused
	} else if e.Kind == fault.Unreachable && !cut(err) {
		e.Next = "The connection that ssh shares at " + path + " may be dead: end it with '" + c.command("-O exit") +
			"', and log in again"
	}
	return e
}

// dial asks for a master at each of the paths.
func (c *control) dial(ctx context.Context) (*master, error) {
	ctx, cancel := context.WithTimeout(ctx, c.conn.pool.pace.master)
	defer cancel()
	var failed error
	for _, path := range c.Paths {
		m, err := dialMaster(ctx, path)
		if err == nil {
			return m, nil
		}
		failed = cmp.Or(failed, err)
	}
	return nil, failed
}
