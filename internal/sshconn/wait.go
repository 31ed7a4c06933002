package sshconn

import (
	"context"
	"errors"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
)

// Wait connects, for a machine that may be booting: while nobody listens, nothing answers in time or the handshake is
// cut it tries again, ever more slowly, for at most Config.Timeout. A refused login, a host key that is not known, sudo
// and a missing shell end it at once. The error is an *Error, or ctx's when that ended.
func (c *Conn) Wait(ctx context.Context) error {
	limit := c.pool.config.Timeout
	enough := time.NewTimer(limit)
	defer enough.Stop()
	for try := 0; ; try++ {
		l, err := c.use(ctx, true, nil)
		if err == nil {
			c.release(l)
			return nil
		}
		var e *fault.Error
		if !errors.As(err, &e) || !mayPass(err) {
			return err
		}
		c.pool.log(ctx, "SSH host not there yet", map[string]any{"host": c.host, "address": c.addr, "try": try + 1,
			"why": e.Why})
		pause := time.NewTimer(c.pool.pace.backoff(try))
		select {
		case <-pause.C:
		case <-enough.C:
			pause.Stop()
			return c.fault(fault.Unreachable, "there was no connection within "+limit.String()+", and at last "+e.Why,
				e.Next+", or raise timeout", e)
		case <-ctx.Done():
			pause.Stop()
			return c.cancelled(ctx, "while waiting for it to come up, where at last "+e.Why)
		case <-c.pool.ctx.Done():
			pause.Stop()
			return ErrClosed
		}
	}
}

// backoff is 1, 2, 4, 8 s, and from then on 10.
func backoff(try int) time.Duration { return min(time.Second<<min(try, 4), 10*time.Second) }
