package sshconn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
)

func TestConcurrentFirstUseDialsOnce(t *testing.T) {
	s := startSSHD(t)
	c := conn(t, pool(t, s.settings()))
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() { mustEcho(t, c) })
	}
	all.Wait()
	if n := s.count("Accepted publickey"); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
}

// hold is a script that runs until the file is closed.
func hold(t *testing.T) (shell.Script, *os.File) {
	t.Helper()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if out, err := exec.CommandContext(t.Context(), "mkfifo", fifo).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f, err := os.OpenFile(fifo, os.O_RDWR, 0) // to write alone would wait for a reader
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return shell.Script{Name: "hold", Text: `IFS= read -r word <"$1"; printf '%s' "$word"`, Args: []string{fifo}}, f
}

// busy makes the host's shell wait until free is called.
func busy(t *testing.T, c *Conn) (free func()) {
	t.Helper()
	script, f := hold(t)
	done := make(chan error, 1)
	before := c.Batches()
	go func() {
		_, err := c.Run(context.Background(), script)
		done <- err
	}()
	until(t, "the shell is busy", func() bool {
		if len(done) > 0 {
			t.Fatal(<-done)
		}
		return c.Batches() > before
	})
	free = sync.OnceFunc(func() {
		_, _ = f.WriteString("\n")
		if err := <-done; err != nil && !errors.Is(err, fault.ErrLost) {
			t.Error(err)
		}
	})
	t.Cleanup(free)
	return free
}

// queued returns when n requests wait for the shell to be free.
func queued(t *testing.T, c *Conn, n int) {
	t.Helper()
	c.mu.Lock()
	l := c.live
	c.mu.Unlock()
	until(t, fmt.Sprintf("%d requests in the queue", n), func() bool {
		l.shell.mu.Lock()
		defer l.shell.mu.Unlock()
		return len(l.shell.queue) == n
	})
}

func TestRequestsThatArriveWhileTheShellIsBusyLeaveAsOneBatch(t *testing.T) {
	s := startSSHD(t)
	c := conn(t, pool(t, s.settings()))
	free := busy(t, c)
	const n = 20
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			word := fmt.Sprint(i)
			res, err := c.Run(t.Context(), shell.Script{Name: "cat", Text: `cat; printf '%s' "$1"; exit "$1"`,
				Args: []string{word}, Stdin: "EOF " + word + "\n"})
			if err != nil {
				t.Error(err)
				return
			}
			if body, _ := res.Get(""); body != "EOF "+word+"\n"+word || res.Status != i {
				t.Errorf("request %d got the reply %+v", i, res)
			}
		})
	}
	queued(t, c, n)
	free()
	all.Wait()
	if c.Batches() != 2 {
		t.Errorf("%d batches, want 2", c.Batches())
	}
}

func TestRequestWhoseCallerLeavesBeforeItIsSentIsNotSent(t *testing.T) {
	s := startSSHD(t)
	c := conn(t, pool(t, s.settings()))
	free := busy(t, c)
	file := filepath.Join(t.TempDir(), "file")
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() {
		_, err := c.Run(ctx, shell.Script{Name: "touch", Text: `: >"$1"`, Args: []string{file}})
		got <- err
	}()
	queued(t, c, 1)
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) || errors.Is(err, fault.ErrLost) {
		t.Errorf("got %v", err)
	}
	free()
	mustEcho(t, c)
	if _, err := os.Stat(file); err == nil {
		t.Error("it ran all the same")
	}
}

func TestRequestWhoseCallerLeavesAfterItWasSentMayHaveRun(t *testing.T) {
	s := startSSHD(t)
	c := conn(t, pool(t, s.settings()))
	mustEcho(t, c)
	script, f := hold(t)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() {
		_, err := c.Run(ctx, script)
		got <- err
	}()
	until(t, "the request is sent", func() bool { return c.Batches() == 2 })
	cancel()
	if err := <-got; !errors.Is(err, fault.ErrLost) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	_, _ = f.WriteString("late words\n")
	mustEcho(t, c) // the late reply went to nobody, and the session lives
	if n := s.count("Accepted publickey"); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
}

func TestRequestIsLostWhenTheConnectionEndsAfterItWasSent(t *testing.T) {
	s := startSSHD(t)
	c := conn(t, pool(t, s.settings()))
	mustEcho(t, c)
	_, err := c.Run(t.Context(), shell.Script{Name: "suicide", Text: `kill -9 "$PPID"; cat "$1"`,
		Args: []string{"/dev/tty"}})
	var e *fault.Error
	if !errors.Is(err, fault.ErrLost) || !errors.As(err, &e) || e.Kind != fault.Lost ||
		!strings.Contains(err.Error(), `"suicide"`) {
		t.Errorf("got %v", err)
	}
	mustEcho(t, c)
}

// What may be run twice is run again, once, when its reply was lost.
func TestRepeatableScriptIsRunAgain(t *testing.T) {
	s := startSSHD(t)
	c := conn(t, pool(t, s.settings()))
	once := filepath.Join(t.TempDir(), "once")
	end := shell.Script{Name: "end", Text: `[ -e "$1" ] || { : >"$1"; kill -9 "$PPID"; }; echo there`,
		Args: []string{once}, Repeatable: true}
	res, err := c.Run(t.Context(), end)
	if body, _ := res.Get(""); err != nil || strings.TrimSpace(body) != "there" {
		t.Errorf("got %q, %v", body, err)
	}
	always := shell.Script{Name: "end", Text: `kill -9 "$PPID"`, Repeatable: true}
	if _, err := c.Run(t.Context(), always); !errors.Is(err, fault.ErrLost) {
		t.Errorf("got %v", err)
	}
}

// What may not be run twice is run once, whatever becomes of its reply.
func TestScriptThatIsNotRepeatableIsRunOnce(t *testing.T) {
	s := startSSHD(t)
	c := conn(t, pool(t, s.settings()))
	runs := filepath.Join(t.TempDir(), "runs")
	end := shell.Script{Name: "end", Text: `echo run >>"$1"; kill -9 "$PPID"`, Args: []string{runs}}
	if _, err := c.Run(t.Context(), end); !errors.Is(err, fault.ErrLost) {
		t.Errorf("got %v", err)
	}
	mustEcho(t, c)
	if text, err := os.ReadFile(runs); string(text) != "run\n" {
		t.Errorf("runs: %q, %v", text, err)
	}
}

// What may have happened stays open where the host does not come back to be asked: never is it said that nothing was
// done.
func TestLostReplyStaysOpenWhenTheHostDoesNotComeBack(t *testing.T) {
	ctx := context.Background()
	for name, do := range map[string]func(*Conn, shell.Script, string) error{
		"repeatable script": func(c *Conn, hold shell.Script, _ string) error {
			hold.Repeatable = true
			_, err := c.Run(ctx, hold)
			return err
		},
		"removal": func(c *Conn, _ shell.Script, dir string) error { return c.Remove(ctx, filepath.Join(dir, "x.conf")) },
		"write": func(c *Conn, _ shell.Script, dir string) error {
			return c.WriteFile(ctx, filepath.Join(dir, "x.conf"), "x\n")
		},
		"writes and a script": func(c *Conn, hold shell.Script, dir string) error {
			_, _, err := c.Change(ctx, shell.Change{Write: []shell.File{{Path: filepath.Join(dir, "x.conf"), Content: "x\n"}},
				Then: &hold})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := startSSHD(t)
			p := pool(t, s.settings(), func(p *Pool) { p.config.SFTP = false })
			w := startWire(t, s.addr)
			p.config.Hosts["web1"] = w.settings(s.settings())
			c := conn(t, p)
			mustEcho(t, c)
			w.dark() // what is sent goes nowhere, and nobody can tell
			script, _ := hold(t)
			got, before := make(chan error, 1), c.Batches()
			go func() { got <- do(c, script, t.TempDir()) }()
			until(t, "it is sent", func() bool { return c.Batches() > before })
			w.stop()
			s.stop()
			err := <-got
			var e *fault.Error
			if !errors.Is(err, fault.ErrLost) || !errors.As(err, &e) ||
				!strings.Contains(err.Error(), "may or may not have happened") || !strings.Contains(err.Error(), "refused") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestShellThatEndsIsReplaced(t *testing.T) {
	s := startSSHD(t)
	c := conn(t, pool(t, s.settings()))
	mustEcho(t, c)
	if _, err := c.Run(t.Context(), shell.Script{Name: "kill", Text: `kill -9 $$`}); !errors.Is(err, fault.ErrLost) {
		t.Errorf("got %v", err)
	}
	mustEcho(t, c)
}

func TestConnectionIsMadeAnewAfterTheServerRestarted(t *testing.T) {
	s := startSSHD(t)
	c := conn(t, pool(t, s.settings()))
	mustEcho(t, c)
	c.mu.Lock()
	old := c.live
	c.mu.Unlock()
	s.stop()
	s.start()
	<-old.over
	mustEcho(t, c)
}

func TestRequestThatADeadConnectionCannotTakeIsSentOverANewOne(t *testing.T) {
	s := startSSHD(t)
	c := conn(t, pool(t, s.settings()))
	mustEcho(t, c)
	free := busy(t, c)
	c.mu.Lock()
	old := c.live
	c.mu.Unlock()
	got := make(chan error, 1)
	go func() {
		_, err := c.Run(t.Context(), echo("x"))
		got <- err
	}()
	queued(t, c, 1)
	old.client.Close()
	if err := <-got; err != nil {
		t.Errorf("the request that waited in the queue: %v", err)
	}
	free()
	if n := s.count("Accepted publickey"); n != 2 {
		t.Errorf("%d logins, want 2", n)
	}
}

func TestIdleConnectionIsClosed(t *testing.T) {
	s := startSSHD(t)
	closed := make(chan any, 10)
	p := pool(t, s.settings(), func(p *Pool) {
		p.config.IdleTimeout = 20 * time.Millisecond
		p.config.Log = func(_ context.Context, msg string, fields map[string]any) {
			if msg == "SSH connection closed" {
				closed <- fields["why"]
			}
		}
	})
	c := conn(t, p)
	mustEcho(t, c)
	if why := <-closed; why != errIdle.Error() {
		t.Errorf("closed because %s", why)
	}
	mustEcho(t, c)
}

func TestConnectionInUseIsNotIdle(t *testing.T) {
	s := startSSHD(t)
	p := pool(t, s.settings(), func(p *Pool) { p.config.IdleTimeout = time.Millisecond })
	free := busy(t, conn(t, p))
	c := conn(t, p)
	c.mu.Lock()
	l := c.live
	c.mu.Unlock()
	for range 3 {
		if again, retired := c.retire(l); retired || again != time.Millisecond {
			t.Fatal("a connection in use was taken out of use")
		}
	}
	free()
}

func TestHostThatGoesDarkIsNoticed(t *testing.T) {
	s := startSSHD(t)
	w := startWire(t, s.addr)
	c := conn(t, pool(t, w.settings(s.settings()), func(p *Pool) { p.pace.keepalive = 300 * time.Millisecond }))
	mustEcho(t, c)
	w.dark()
	_, err := c.Run(t.Context(), echo("x"))
	if !errors.Is(err, fault.ErrLost) || !errors.Is(err, errSilent) {
		t.Errorf("got %v", err)
	}
}

func TestClosedPoolAnswersEverybody(t *testing.T) {
	s := startSSHD(t)
	p := pool(t, s.settings())
	c := conn(t, p)
	mustEcho(t, c)
	script, _ := hold(t)
	got := make(chan error, 1)
	go func() {
		_, err := c.Run(context.Background(), script)
		got <- err
	}()
	until(t, "request sent", func() bool { return c.Batches() == 2 })
	p.Close()
	if err := <-got; !errors.Is(err, fault.ErrLost) || !errors.Is(err, ErrClosed) {
		t.Errorf("in flight: %v", err)
	}
	if _, err := c.Run(t.Context(), echo("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("afterwards: %v", err)
	}
	if _, err := p.Conn("web2"); !errors.Is(err, ErrClosed) {
		t.Errorf("new one: %v", err)
	}
}

func TestDataThatNoShellCanCarryIsRefused(t *testing.T) {
	s := startSSHD(t)
	c := conn(t, pool(t, s.settings()))
	if _, err := c.Run(t.Context(), echo("a\x00b")); !errors.Is(err, shell.ErrNUL) {
		t.Errorf("got %v", err)
	}
	mustEcho(t, c)
}

func TestReplyOfManyPacketsArrivesWhole(t *testing.T) {
	s := startSSHD(t)
	c := conn(t, pool(t, s.settings()))
	in := strings.Repeat("0123456789abcde\n", 64<<10) // 1 MiB
	res, err := c.Run(t.Context(), shell.Script{Name: "cat", Text: "cat", Stdin: in})
	if body, _ := res.Get(""); err != nil || body != in {
		t.Errorf("%d bytes came back of %d, error %v", len(body), len(in), err)
	}
}
