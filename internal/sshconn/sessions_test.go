package sshconn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshdtest"
)

func TestHostThatAllowsOneSessionTakesFilesThroughTheShell(t *testing.T) {
	s := startSSHD(t, "MaxSessions 1")
	c := conn(t, pool(t, s.settings()))
	file := filepath.Join(t.TempDir(), "x.conf")
	for range 2 {
		if err := c.WriteFile(t.Context(), file, "x\n"); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); string(got) != "x\n" {
		t.Errorf("got %q, %v", got, err)
	}
	if n := s.count("Accepted publickey"); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
}

// However much is asked of a host at once, a connection has two sessions, the shell and SFTP, and never asks for a
// third: sshd may allow ten, some servers crash at eight.
func TestAConnectionHasTwoSessions(t *testing.T) {
	s := startSSHD(t, "MaxSessions 2")
	c := conn(t, pool(t, s.settings()))
	dir := t.TempDir()
	var all sync.WaitGroup
	for i := range 40 {
		file := filepath.Join(dir, fmt.Sprintf("%d.conf", i))
		all.Go(func() {
			mustEcho(t, c)
			if err := c.WriteFile(t.Context(), file, "x\n"); err != nil {
				t.Error(err)
			}
			if err := c.Remove(t.Context(), file); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	open, most := 0, 0
	for line := range strings.Lines(s.log()) {
		switch {
		case strings.Contains(line, "Starting session"):
			open++
			most = max(most, open)
		case strings.Contains(line, "Close session"):
			open--
		}
	}
	if n := s.count("Accepted publickey"); n != 1 || most != 2 || strings.Contains(s.log(), "no more sessions") {
		t.Errorf("%d connections, %d sessions at once, want one and two:\n%s", n, most, s.log())
	}
}

func TestHostThatAllowsNoSession(t *testing.T) {
	s := startSSHD(t, "MaxSessions 0")
	fails(t, conn(t, pool(t, s.settings())), fault.NoShell, "runs no command")
}

func TestKeyboardInteractiveLogin(t *testing.T) {
	if err := realAvailable(); err != nil {
		t.Skipf("NOT TESTED: %v", err)
	}
	h, err := sshdtest.Start(sshdtest.Options{
		Users:      []sshdtest.User{{Name: "ops", Password: "ops-secret"}},
		SSHDConfig: "UsePAM yes\nPasswordAuthentication no\nKbdInteractiveAuthentication yes",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	set := reach(h, "ops")
	set.PrivateKey, set.Password = "", "ops-secret"
	mustEcho(t, conn(t, pool(t, set)))
	set.Password = "not-the-secret"
	fails(t, conn(t, pool(t, set)), fault.AuthRefused, "keyboard-interactive")
}

func TestFileOperationsEndWithTheirContextOnADarkNetwork(t *testing.T) {
	s := startSSHD(t)
	w := startWire(t, s.addr)
	c := conn(t, pool(t, w.settings(s.settings())))
	dir := t.TempDir()
	if err := c.WriteFile(t.Context(), dir+"/a.conf", "a\n"); err != nil {
		t.Fatal(err)
	}
	w.dark()
	for _, op := range []struct {
		name string
		do   func(context.Context) error
	}{ // in this order: what was cancelled leaves the shell busy, and the removal needs it
		{"remove", func(ctx context.Context) error { return c.Remove(ctx, dir+"/a.conf") }},
		{"write", func(ctx context.Context) error { return c.WriteFile(ctx, dir+"/a.conf", "b\n") }},
	} {
		name, do := op.name, op.do
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error, 1)
		before := c.Batches()
		go func() { got <- do(ctx) }()
		if name == "remove" {
			until(t, "the script is sent", func() bool { return c.Batches() > before })
		}
		cancel()
		err := <-got
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		if lost := errors.Is(err, fault.ErrLost); lost != (name == "remove") {
			t.Errorf("%s: lost is %v: %v", name, lost, err)
		}
	}
	if got, _ := os.ReadFile(dir + "/a.conf"); string(got) != "a\n" {
		t.Errorf("the file holds %q", got)
	}
}

func TestWriteThatWaitsForTheShellIsWithdrawn(t *testing.T) {
	s := startSSHD(t, "Subsystem sftp /bin/false")
	c := conn(t, pool(t, s.settings()))
	file := filepath.Join(t.TempDir(), "x.conf")
	if err := c.WriteFile(t.Context(), file, "old\n"); err != nil {
		t.Fatal(err)
	}
	free := busy(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() { got <- c.WriteFile(ctx, file, "new\n") }()
	queued(t, c, 1)
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) || errors.Is(err, fault.ErrLost) {
		t.Errorf("got %v", err)
	}
	free()
	mustEcho(t, c)
	if got, _ := os.ReadFile(file); string(got) != "old\n" {
		t.Errorf("the file holds %q", got)
	}
}
