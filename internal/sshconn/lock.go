package sshconn

// The lock on a host. It keeps two processes from changing the host at the same time. Each is held by the shell of a
// connection (shell.Prologue) and goes with it.

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
)

// defaultLockTimeout is how long a change waits for the lock: another process may be in the middle of a step that takes
// long, such as the load of a module.
const defaultLockTimeout = 2 * time.Minute

// The pauses between two tries to take the lock.
const (
	lockPause     = 50 * time.Millisecond
	lockPauseMost = 500 * time.Millisecond
	// lockTries is how often a change tries again although another one has just waited for too long.
	lockTries = 3
)

// whoLocks names this process in the file of a host's lock.
func whoLocks() string {
	name, err := os.Hostname()
	if err != nil {
		name = "a machine without a name"
	}
	return fmt.Sprintf("process %d on %s", os.Getpid(), name)
}

// Hold keeps the lock on the host from the next exclusive script on, until release is called. Without it an exchange
// gives the lock back at its end. It does no I/O.
func (c *Conn) Hold() (release func()) {
	c.holders.Add(1)
	return sync.OnceFunc(func() {
		if c.holders.Add(-1) > 0 {
			return
		}
		c.mu.Lock()
		l := c.live
		c.mu.Unlock()
		if l != nil && l.shell != nil {
			l.shell.giveBack()
		}
	})
}

// Expect has the next batch wait until asked is called, but no longer than lingerAtMost. It does no I/O.
func (c *Conn) Expect() (asked func()) {
	c.expected.Add(1)
	return sync.OnceFunc(func() {
		c.expected.Add(-1)
		c.mu.Lock()
		l := c.live
		c.mu.Unlock()
		if l != nil && l.shell != nil {
			l.shell.wake()
		}
	})
}

// lockTaken says that another session has the lock: a shell with this process id on the host and this nonce.
type lockTaken struct{ pid, nonce, who string }

func (e *lockTaken) Error() string { return "locked by " + e.who }

// taken returns a lockTaken if that is why a script did not run, else nil.
func taken(r shell.Result) error {
	if r.Skipped != shell.Busy {
		return nil
	}
	e := &lockTaken{}
	if len(r.Records) > 0 {
		e.pid, e.who, _ = strings.Cut(r.Records[0].Body, " ")
		e.nonce, e.who, _ = strings.Cut(e.who, " ")
		e.who = fault.Excerpt(e.who)
	}
	return e
}

// whenFree calls do until it returns another error than a lockTaken, or the host has been locked for too long.
func (c *Conn) whenFree(ctx context.Context, do func() error) error {
	for tries, pause := 1, lockPause; ; tries, pause = tries+1, min(2*pause, lockPauseMost) {
		err := do()
		var b *lockTaken
		var given *fault.Error
		if !errors.As(err, &b) || errors.As(err, &given) {
			if given == nil && ctx.Err() == nil {
				c.noteLocked(false)
			}
			return err
		}
		since := c.noteLocked(true)
		c.endOwn(ctx, b)
		if time.Since(since) >= c.pool.config.LockTimeout && tries > lockTries {
			return c.locked(b)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return c.cancelled(ctx, "while another run changed it")
		}
	}
}

// noteLocked notes whether another session has the lock, and returns since when. All changes of a host share that, so
// that each does not wait for the whole time again.
func (c *Conn) noteLocked(locked bool) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !locked:
		c.lockedSince = time.Time{}
	case c.lockedSince.IsZero():
		c.lockedSince = time.Now()
	}
	return c.lockedSince
}

//go:embed scripts/endshell.sh
var endShellScript string

// endOwn ends the shell that has the lock if it is one of this connection's own whose link is over: where the network
// lost the connection in silence, the host may not notice for hours. A script that it runs goes on and keeps the lock.
func (c *Conn) endOwn(ctx context.Context, b *lockTaken) {
	c.mu.Lock()
	own := c.over[b.nonce]
	c.mu.Unlock()
	if own {
		c.pool.log(ctx, "ending the shell of a lost connection", map[string]any{"host": c.host, "pid": b.pid})
		_, _ = c.run(ctx, shell.Script{Name: "end a lost shell", Text: endShellScript, Args: []string{b.pid, shell.LockPath}})
	}
}

// locked is the error for a host that another process has changed for too long.
func (c *Conn) locked(b *lockTaken) *fault.Error {
	who := "a process that did not leave its name"
	if b.who != "" {
		who = b.who + ", by the shell with process id " + fault.Excerpt(b.pid) + " on the host"
	}
	return c.fault(fault.Locked, fmt.Sprintf("another run has been changing the host for more than %s (%s), "+
		"so nothing was changed", c.pool.config.LockTimeout, who),
		"Apply again when that run has ended. If it ended without its connection, its shell keeps "+shell.LockPath+
			" until the host notices, and can be ended there", b)
}
