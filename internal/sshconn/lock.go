package sshconn

// The lock on a host. It keeps two processes from changing the host at the same time. Each is held by the shell of a
// connection (shell.Prologue) and goes with it.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/shell"
)

// defaultLockTimeout is how long a change waits for the lock: another process may be in the middle of a step that takes
// long, such as the load of a module.
const defaultLockTimeout = 2 * time.Minute

// The pauses between two tries to take the lock.
const (
	lockPause     = 50 * time.Millisecond
	lockPauseMost = 500 * time.Millisecond
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

// Expect has the next batch wait until asked is called, but no longer than gatherAtMost. It does no I/O.
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

// lockTaken says that another process has the lock.
type lockTaken struct{ holder string }

func (e *lockTaken) Error() string { return "locked by " + e.holder }

// taken returns a lockTaken if that is why a script did not run, else nil.
func taken(r shell.Result) error {
	if r.Skipped != shell.Busy {
		return nil
	}
	holder := ""
	if len(r.Records) > 0 {
		holder = excerpt(r.Records[0].Body)
	}
	return &lockTaken{holder}
}

// whenFree calls do until it returns another error than a lockTaken, or the time is over.
func (c *Conn) whenFree(ctx context.Context, do func() error) error {
	var since time.Time
	for pause := lockPause; ; pause = min(2*pause, lockPauseMost) {
		err := do()
		var b *lockTaken
		if !errors.As(err, &b) {
			return err
		}
		if since.IsZero() {
			since = time.Now()
			c.pool.log(ctx, "waiting for the lock on the host", map[string]any{"host": c.host, "holder": b.holder})
		}
		if time.Since(since) >= c.pool.config.LockTimeout {
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

// locked is the error for a host that another process has changed for too long.
func (c *Conn) locked(b *lockTaken) *Error {
	holder := strings.TrimSpace(b.holder)
	if holder == "" {
		holder = "a process that did not leave its name"
	}
	return c.fault(Locked, fmt.Sprintf("another run has been changing the host for more than %s (%s), so nothing was "+
		"changed", c.pool.config.LockTimeout, holder), "Apply again when that run has ended. If it ended without its "+
		"connection, its shell keeps the lock until the host notices: 'lslocks' on the host shows the process that has "+
		shell.LockPath+", which can be ended", b)
}
