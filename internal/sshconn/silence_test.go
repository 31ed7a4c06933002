package sshconn

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
)

// soon makes a pool give up a host that sends nothing for a moment.
func soon(p *Pool) { p.config.ReplyTimeout = 500 * time.Millisecond }

// Guards that a host on which a step hangs is given up: the error names the step and says that its outcome is open, who
// waits behind the step fails too and hears that nothing of it was begun, and the next request gets a new connection.
func TestHostThatHangsIsGivenUp(t *testing.T) {
	for _, test := range []struct {
		name, hang string
		sftp       bool
		do         func(context.Context, *Conn) error
		says       string
	}{
		{name: "write", hang: "sync", says: "while it was writing " + dropIn,
			do: func(ctx context.Context, c *Conn) error { return c.WriteFile(ctx, dropIn, "x\n") }},
		{name: "write by SFTP", hang: "sync", sftp: true, says: "while it was writing " + dropIn,
			do: func(ctx context.Context, c *Conn) error { return c.WriteFile(ctx, dropIn, "x\n") }},
		{name: "remove", hang: "sync", says: "while it was removing " + dropIn,
			do: func(ctx context.Context, c *Conn) error { return c.Remove(ctx, dropIn) }},
		{name: "repeatable script", hang: "modprobe", says: "while it was unloading a kernel module",
			do: func(ctx context.Context, c *Conn) error {
				_, err := c.Run(ctx, shell.Script{Name: "unload", Text: "modprobe -r nosuch", Repeatable: true})
				return err
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := simulated(t, machineOptions{})
			p := pool(t, reach(h, "root"), soon, func(p *Pool) { p.config.SFTP = test.sftp })
			c := conn(t, p)
			mustEcho(t, c)
			undo := h.Inject(hosttest.Fault{Hang: test.hang})
			failed, behind := make(chan error, 1), make(chan error, 1)
			sent := c.Batches()
			go func() { failed <- test.do(t.Context(), c) }()
			if !test.sftp { // by SFTP nobody waits behind it
				until(t, "the step is sent", func() bool { return c.Batches() > sent })
				go func() {
					_, err := c.Run(t.Context(), echo("x"))
					behind <- err
				}()
				wantError(t, c.settings, <-behind, fault.Unreachable, test.says, "was waiting behind that, and it was not begun")
			}
			err := <-failed
			wantError(t, c.settings, err, fault.Hung, test.says, "It may still happen", "dmesg", "state D")
			var e interface{ OutcomeUnknown() bool }
			if !errors.Is(err, fault.ErrLost) || !errors.As(err, &e) || !e.OutcomeUnknown() {
				t.Errorf("%v says that the outcome is known", err)
			}
			mustEcho(t, c)
			if _, total := h.Connections(); total != 2 {
				t.Errorf("%d connections, want a second one", total)
			}
			undo()
		})
	}
}

// Guards the same on a real sshd, which goes on to answer keepalive requests while a command hangs.
func TestRealHostThatHangsIsGivenUp(t *testing.T) {
	s := startSSHD(t)
	c := conn(t, pool(t, s.settings(), soon))
	mustEcho(t, c)
	script, _ := hold(t)
	_, err := c.Run(t.Context(), script)
	wantError(t, c.settings, err, fault.Hung, `while it was running the script "hold"`, "It may still happen")
	mustEcho(t, c)
	if n := s.count("Accepted publickey"); n != 2 {
		t.Errorf("%d logins, want 2", n)
	}
}

// Guards that silence counts, not the time that a request takes: a reply that arrives slowly comes in whole, and so
// does a long request that the host takes slowly. An idle session stays. Only a host that then sends nothing is given
// up, after the limit. The clock is simulated.
func TestOnlySilenceCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(Config{})
		defer p.Close()
		ctx, end := context.WithCancelCause(t.Context())
		l := &link{conn: &Conn{pool: p, host: "web1"}, ctx: ctx, end: end}
		requests, in := io.Pipe()
		out, replies := io.Pipe()
		s := newSession(l, "nonce", in)
		served := make(chan struct{})
		go func() {
			defer close(served)
			s.serve(out)
		}()
		context.AfterFunc(ctx, func() { requests.Close(); replies.Close() })
		long := strings.Repeat(strings.Repeat("x", 1<<10)+"\n", 100)
		go func() {
			host := bufio.NewReaderSize(requests, 1<<10)
			for line := ""; line != "}\n"; line, _ = host.ReadString('\n') { // the host takes 1 KiB in 2 s
				time.Sleep(2 * time.Second)
			}
			for range 10 {
				time.Sleep(defaultReplyTimeout / 2)
				_, _ = io.WriteString(replies, "x")
			}
			_, _ = io.WriteString(replies, "\n\x1enonce = 0\n")
			_, _ = io.Copy(io.Discard, host)
		}()
		res, err := s.run(t.Context(), shell.Script{Name: "slow", Text: "cat", Stdin: long})
		if body, _ := res.Get(""); err != nil || body != strings.Repeat("x", 10) {
			t.Errorf("slow: got %+v, %v", res, err)
		}
		time.Sleep(10*defaultReplyTimeout + time.Second)
		_, err = s.run(t.Context(), shell.Script{Name: "snapshot", Text: "cat"})
		got := hung(err)
		if got == nil || got.limit != defaultReplyTimeout ||
			!strings.Contains(err.Error(), "reading its configuration files") {
			t.Errorf("silent: got %v", err)
		}
		<-served
	})
}

// Guards that every script which internal/host sends has words of its own for the user.
func TestEveryStepHasWords(t *testing.T) {
	files, err := filepath.Glob("../host/*.go")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`shell\.Script\{Name: "([^"]+)"|s\.Name, .* = "([^"]+)"`)
	steps := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			steps++
			if name := m[1] + m[2]; strings.Contains(doing(name), name+`"`) {
				t.Errorf("%s: doing has no words for the script %q", file, name)
			}
		}
	}
	if steps < 8 {
		t.Errorf("%d scripts were found: the code is not read", steps)
	}
}
