package sshconn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// printedAtMost is how much a KnownHostsCommand may print.
const printedAtMost = 16 << 20

// runKnownHostsCommand runs a program in a group of its own, which ends with it and with ctx, and returns what it
// prints. No secret is in its environment.
func (c *Conn) runKnownHostsCommand(ctx context.Context, args []string) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out, said := &capped{end: cancel}, newTranscript()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	route.InGroup(cmd)
	cmd.Env = c.pool.config.sources().CommandEnvironment()
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, said, commandEnds
	cmd.Cancel = func() error {
		route.Kill(cmd)
		return nil
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	wait := func() {
		err := cmd.Wait()
		route.Kill(cmd) // what it started and left behind, too
		ended <- err
	}
	if !c.pool.own(wait) { // the pool is closed, and ctx with it
		wait()
	}
	err := <-ended
	switch {
	case out.full:
		return nil, fmt.Errorf("it printed more than %d MB", printedAtMost>>20)
	case fault.TimedOut(ctx.Err()):
		return nil, fmt.Errorf("it did not end within %s", c.connectTimeout())
	case errors.Is(err, exec.ErrWaitDelay):
		return nil, errors.New("it has ended, and what it left behind holds its output")
	case err != nil:
		if words := fault.Excerpt(said.String(), c.settings.Secrets()...); words != "" {
			return nil, fmt.Errorf("%w, and it said: %s", err, words)
		}
		return nil, err
	}
	return out.text.Bytes(), nil
}

// capped keeps what is written to it, and calls end if that is too much.
type capped struct {
	text bytes.Buffer
	full bool
	end  func()
}

// Write never fails.
func (c *capped) Write(b []byte) (int, error) {
	if c.full = c.full || c.text.Len()+len(b) > printedAtMost; c.full {
		c.end()
		return len(b), nil
	}
	return c.text.Write(b)
}
