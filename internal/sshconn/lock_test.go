package sshconn

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
)

// exclusive is a script that changes the host.
func exclusive(text string) shell.Script {
	return shell.Script{Name: "change", Text: text, Exclusive: true}
}

// byShell has a pool write files by the shell.
func byShell(p *Pool) { p.config.SFTP = false }

// twoProcesses are connections of two processes to one machine.
func twoProcesses(t *testing.T, m machine) (a, b *Conn) {
	t.Helper()
	a = conn(t, pool(t, reach(m, "root"), byShell))
	b = conn(t, pool(t, reach(m, "root"), byShell, func(p *Pool) { p.config.LockTimeout = time.Second }))
	mustEcho(t, a)
	mustEcho(t, b)
	return a, b
}

// must wants a script to succeed.
func (c *Conn) must(t *testing.T, s shell.Script) {
	t.Helper()
	if r, err := c.Run(t.Context(), s); err != nil || r.Status != 0 {
		t.Errorf("%s: %v, %+v", s.Text, err, r)
	}
}

// Guards that a change of one process waits while another one's is under way, from its first exchange to its last, and
// that the error says who it is when that takes too long. Who only reads does not wait.
func TestChangesOfTwoProcessesDoNotInterleave(t *testing.T) {
	onMachines(t, machineOptions{}, func(t *testing.T, m machine) {
		a, b := twoProcesses(t, m)
		release := a.Hold()
		a.must(t, exclusive("true"))
		mustEcho(t, b)
		_, err := b.Run(t.Context(), exclusive("true"))
		wantError(t, b.settings, err, fault.Locked, "another run has been changing the host for more than 1s", a.pool.who,
			"nothing was changed", "by the shell with process id ", "can be ended there")
		if err := b.WriteFile(t.Context(), dropIn, "x\n"); err == nil {
			t.Error("a file was written under another's lock")
		}
		a.must(t, exclusive("true"))
		release()
		b.must(t, exclusive("true"))
		a.must(t, exclusive("true"))
	})
}

// Guards that an exchange alone gives the lock back by itself, that a script which fails keeps it until its change is
// undone, and that it goes with its connection.
func TestLockIsGivenBack(t *testing.T) {
	onMachines(t, machineOptions{}, func(t *testing.T, m machine) {
		a, b := twoProcesses(t, m)
		a.must(t, exclusive("true"))
		b.must(t, exclusive("true"))

		release := a.Hold()
		last := exclusive("true")
		last.Last = true
		a.must(t, last)
		b.must(t, exclusive("true"))
		last.Text = "false"
		if _, err := a.Run(t.Context(), last); err != nil {
			t.Error(err)
		}
		_, err := b.Run(t.Context(), exclusive("true"))
		wantError(t, b.settings, err, fault.Locked)
		release()
		b.must(t, exclusive("true"))

		a.Hold()
		a.must(t, exclusive("true"))
		a.mu.Lock()
		live := a.live
		a.mu.Unlock()
		live.end(errIdle)
		<-live.over
		b.must(t, exclusive("true"))
	})
}

// Guards that the wait for the lock ends though others read the host meanwhile.
func TestReadersDoNotPutOffTheEndOfAWait(t *testing.T) {
	h := simulated(t, machineOptions{})
	a, b := twoProcesses(t, h)
	defer a.Hold()()
	a.must(t, exclusive("true"))
	over := make(chan struct{})
	var readers sync.WaitGroup
	defer readers.Wait()
	readers.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				mustEcho(t, b)
			}
		}
	})
	defer close(over)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := b.Run(ctx, exclusive("true"))
	wantError(t, b.settings, err, fault.Locked)
}

// Guards that a host without flock is changed all the same.
func TestHostWithoutLocks(t *testing.T) {
	h := simulated(t, machineOptions{})
	if out, status := h.Sh("rm /usr/bin/flock"); status != 0 {
		t.Fatal(out)
	}
	a, b := twoProcesses(t, h)
	defer a.Hold()()
	a.must(t, exclusive("true"))
	b.must(t, exclusive("true"))
}

// Guards that a change in one exchange goes on only while all is as it was decided on: files are changed behind a
// script that ran and succeeded, and the host is read in any case.
func TestChangeInOneExchange(t *testing.T) {
	onMachines(t, machineOptions{}, func(t *testing.T, m machine) {
		c := conn(t, pool(t, reach(m, "root"), byShell))
		mustEcho(t, c)
		for _, test := range []struct {
			name, first, expect string
			skipped             shell.Skip
			written             bool
		}{
			{name: "as expected", first: "true", expect: "as it was", written: true},
			{name: "the script fails", first: "false", expect: "as it was"},
			{name: "another state", first: "true", expect: "something else", skipped: shell.Stale},
		} {
			first, then := exclusive(test.first), listing("then")
			first.Mark, first.Expect = "echo 'as it was'", test.expect
			old := "/etc/sysctl.d/50-old.conf"
			if err := c.WriteFile(t.Context(), old, "x\n"); err != nil {
				t.Fatal(err)
			}
			sent := c.Batches()
			got, looked, err := c.Change(t.Context(), shell.Change{First: &first, Then: &then, Last: true,
				Write: []shell.File{{Path: dropIn, Content: "a\n"}}, Remove: []string{old}})
			if err != nil || got.Skipped != test.skipped || !strings.HasPrefix(looked.Records[0].Body, "then\n") {
				t.Errorf("%s: %v, %+v, %+v", test.name, err, got, looked)
			}
			if n := c.Batches() - sent; n != 1 {
				t.Errorf("%s: %d exchanges", test.name, n)
			}
			if _, written := m.ReadFile(dropIn); written != test.written {
				t.Errorf("%s: the file was written: %v", test.name, written)
			}
			if _, left := m.ReadFile(old); left == test.written {
				t.Errorf("%s: the other file is there: %v", test.name, left)
			}
			if err := c.Remove(t.Context(), dropIn, old); err != nil {
				t.Error(err)
			}
		}
	})
}

// Guards that a connection which was lost in silence, so that its shell on the host still has the lock, does not lock
// out the one that takes its place.
func TestLostConnectionDoesNotLockItselfOut(t *testing.T) {
	m := realHost(t, machineOptions{})
	w := startWire(t, m.Addr())
	p := pool(t, w.settings(reach(m, "root")), byShell)
	p.config.Defaults.HostKey = m.HostKey()
	c := conn(t, p)
	defer c.Hold()()
	c.must(t, exclusive("true"))
	c.mu.Lock()
	live := c.live
	c.mu.Unlock()
	w.lose()
	live.end(errSilent)
	<-live.over
	c.must(t, exclusive("true"))
}

// Guards that a script whose connection was lost is over before another change begins.
func TestScriptOfALostConnectionKeepsTheLock(t *testing.T) {
	m := realHost(t, machineOptions{})
	c := conn(t, pool(t, reach(m, "root"), byShell))
	mustEcho(t, c)
	c.mu.Lock()
	live := c.live
	c.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		_, err := c.Run(t.Context(), exclusive(": >/run/begun; sleep 2; echo first >>/run/order"))
		done <- err
	}()
	until(t, "it runs", func() bool {
		_, begun := m.ReadFile("/run/begun")
		return begun
	})
	live.end(errHangup)
	if err := <-done; !errors.Is(err, fault.ErrLost) {
		t.Errorf("it ended with %v", err)
	}
	c.must(t, exclusive("echo second >>/run/order"))
	if order, _ := m.ReadFile("/run/order"); order != "first\nsecond\n" {
		t.Errorf("the scripts ran as %q", order)
	}
}
