package hosttest

import (
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// Guards cuts: at each exchange of a run, before it nothing of it happened and after it all of it, and either way the client has no reply.
func TestCutsAtEachExchange(t *testing.T) {
	// One run: an exec, a session with its prologue and two batches, and an SFTP write.
	steps := func(c *ssh.Client) error {
		s, err := c.NewSession()
		if err != nil {
			return err
		}
		if err := s.Run("echo 1 >/etc/1"); err != nil {
			return err
		}
		if s, err = c.NewSession(); err != nil {
			return err
		}
		in, _ := s.StdinPipe()
		out, _ := s.StdoutPipe()
		if err := s.Start("/bin/sh -s"); err != nil {
			return err
		}
		x := &session{in: in, out: out}
		if _, err := io.WriteString(in, "N="+nonce+"\nmkdir -p /etc/2\necho ready\n"); err != nil {
			return err
		}
		if err := x.more(); err != nil {
			return err
		}
		x.seen = nil
		for _, name := range []string{"3", "4"} {
			if _, err := x.run(shell.Script{Text: "cat >/etc/" + name, Stdin: "x"}); err != nil {
				return err
			}
		}
		f, err := sftp.NewClient(c)
		if err != nil {
			return err
		}
		return f.Mkdir("/etc/5")
	}
	h := start(t, Options{})
	if err := steps(dial(t, h)); err != nil {
		t.Fatal(err)
	}
	total := h.Exchanges()
	if total != 8 {
		t.Fatalf("%d exchanges in a run; want 8: two execs, three batches, the subsystem and two packets", total)
	}
	marks := []string{"/etc/1", "/etc/2", "/etc/3", "/etc/4", "/etc/5"}
	count := func(h *Host) (n int) {
		for _, m := range marks {
			if out, _ := h.Sh("[ -e " + m + " ] && echo yes"); out == "yes\n" {
				n++
			}
		}
		return n
	}
	last := 0
	for n := 1; n <= total; n++ {
		var done [2]int
		for i, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("at %d, after %v", n, after), func(t *testing.T) {
				h := start(t, Options{})
				h.Inject(Fault{CutAt: n, After: after})
				c := dial(t, h)
				if err := steps(c); err == nil {
					t.Error("the run succeeded")
				}
				_ = c.Wait() // the connection is gone, whatever it says
				h.Reboot()   // waits for all that runs
				done[i] = count(h)
				if got := h.Exchanges(); got != n {
					t.Errorf("%d exchanges; want %d", got, n)
				}
			})
		}
		if done[0] != last || done[1] < done[0] || done[1] > done[0]+1 {
			t.Errorf("cut at exchange %d: %d effects before it, %d after; %d after the one before", n, done[0], done[1], last)
		}
		last = done[1]
	}
	if last != len(marks) {
		t.Errorf("cut after the last exchange left %d effects of %d", last, len(marks))
	}
}

// Guards that a cut is one: the next connection lives, and undo disarms what has not happened yet.
func TestACutHappensOnce(t *testing.T) {
	h := start(t, Options{})
	undo := h.Inject(Fault{CutAt: 1})
	h.Inject(Fault{CutAt: 1})()
	s, err := dial(t, h).NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run("true"); err == nil {
		t.Error("the cut did not happen")
	}
	if r := openSession(t, dial(t, h), "/bin/sh -s").one(t, shell.Script{Text: "echo up"}); r.Records[0].Body != "up\n" {
		t.Errorf("%q", r.Records[0].Body)
	}
	undo()
	undo()
}

// Guards that latency holds up an exchange: one that is held up for an hour is never answered, and closing the host does not wait for it.
func TestLatency(t *testing.T) {
	h := start(t, Options{})
	c, err := dial(t, h).NewSession()
	if err != nil {
		t.Fatal(err)
	}
	h.Inject(Fault{Latency: time.Hour})
	answer := make(chan error)
	go func() { answer <- c.Start("true") }()
	for h.Exchanges() == 0 { // until the host has the request
		runtime.Gosched()
	}
	h.Close()
	if err := <-answer; err == nil {
		t.Error("the exchange was answered")
	}
}

// Guards that a program hangs before it has any effect, that it goes on when the fault is undone, that other programs
// run meanwhile, and that closing the host does not wait for it.
func TestHang(t *testing.T) {
	h := start(t, Options{})
	c := dial(t, h)
	begin := func(command string) <-chan error {
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- s.Run(command) }()
		return ended
	}
	undo := h.Inject(Fault{Hang: "mkdir"})
	hung := begin("touch /etc/1; mkdir /etc/2; touch /etc/3")
	for out := ""; out != "yes\n"; out, _ = h.Sh("[ -e /etc/1 ] && echo yes") {
		runtime.Gosched()
	}
	if err := <-begin("touch /etc/4"); err != nil {
		t.Error(err)
	}
	if out, _ := h.Sh("[ -e /etc/2 ] || [ -e /etc/3 ] || echo neither"); out != "neither\n" || len(hung) > 0 {
		t.Error("the program did not hang")
	}
	undo()
	if err := <-hung; err != nil {
		t.Error(err)
	}
	if out, _ := h.Sh("[ -d /etc/2 ] && [ -e /etc/3 ] && echo both"); out != "both\n" {
		t.Error("the program did not go on")
	}
	h.Inject(Fault{Hang: "sync"})
	hung = begin("touch /etc/5; sync; touch /etc/6")
	for out := ""; out != "yes\n"; out, _ = h.Sh("[ -e /etc/5 ] && echo yes") {
		runtime.Gosched()
	}
	h.Close()
	if err := <-hung; err == nil {
		t.Error("the program ended")
	}
}
