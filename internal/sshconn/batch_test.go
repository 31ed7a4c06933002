package sshconn

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// listing prints the names of its arguments and what the file holds; two of a batch are one with the arguments of both.
func listing(args ...string) shell.Script {
	return shell.Script{Name: "list", Text: `echo "$@"; cat ` + dropIn, Args: args,
		Merge: func(a, b shell.Script) shell.Script {
			a.Args = slices.Concat(a.Args, b.Args)
			return a
		}}
}

// Guards that scripts which may answer for one another run once a batch, behind all others of it, and that each asker
// gets the answer.
func TestScriptsThatMergeRunOnceBehindTheOthers(t *testing.T) {
	h := simulated(t, machineOptions{})
	h.WriteFile(dropIn, "old\n")
	c := conn(t, pool(t, reach(h, "root")))
	mustEcho(t, c)
	l, err := c.use(t.Context(), false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.release(l)
	start := h.Batches()
	results, errs := l.shell.runAll(t.Context(), listing("a"), writeFileScript(dropIn, "new\n"), listing("b"),
		listing("c"))
	for i, want := range []string{"a b c\nnew\n", "", "a b c\nnew\n", "a b c\nnew\n"} {
		if got := results[i].Records[0].Body; got != want || errs[i] != nil {
			t.Errorf("script %d printed %q, %v; not %q", i, got, errs[i], want)
		}
	}
	if n := h.Batches() - start; n != 1 {
		t.Errorf("%d batches", n)
	}
}

// Guards that files which are written together, and what is read behind them, take one exchange by the shell, and hold
// whichever way they go.
func TestChangeOfFilesAndThenRead(t *testing.T) {
	const other = "/etc/modules-load.d/x.conf"
	for _, bySFTP := range []bool{true, false} {
		t.Run(fmt.Sprintf("SFTP %v", bySFTP), func(t *testing.T) {
			onMachines(t, machineOptions{}, func(t *testing.T, m machine) {
				p := NewPool(Config{Hosts: map[string]route.Settings{"web1": reach(m, "root")}, SFTP: bySFTP})
				t.Cleanup(p.Close)
				c := conn(t, p)
				mustEcho(t, c)
				start := c.Batches()
				then := listing("done")
				_, res, err := c.Change(t.Context(),
					shell.Change{Write: []shell.File{{Path: dropIn, Content: "a = 1"}, {Path: other, Content: "x\n"}}, Then: &then})
				if err != nil || res.Records[0].Body != "done\na = 1\n" {
					t.Errorf("got %v, %v", res, err)
				}
				wantFile(t, m, dropIn, "a = 1\n")
				wantFile(t, m, other, "x\n")
				if n := c.Batches() - start; !bySFTP && n != 1 {
					t.Errorf("%d batches", n)
				}
				if err := c.Remove(t.Context(), dropIn, other); err != nil {
					t.Error(err)
				}
				if _, ok := m.ReadFile(other); ok {
					t.Error("a removed file is there")
				}
			})
		})
	}
}

// Guards that the error is that of the file that failed, that the others are whole, and that a connection which ends in
// between makes no difference: a new one finds out what is there and goes on.
func TestChangeOfFilesThatFail(t *testing.T) {
	h := simulated(t, machineOptions{})
	p := NewPool(Config{Hosts: map[string]route.Settings{"web1": reach(h, "root")}})
	t.Cleanup(p.Close)
	c := conn(t, p)
	mustEcho(t, c)
	two := []shell.File{{Path: dropIn, Content: "a\n"}, {Path: "/etc/modules-load.d/x.conf", Content: "x\n"}}
	undo := h.Inject(hosttest.Fault{Errno: syscall.ENOSPC, Path: "/etc/modules-load.d"})
	var file *fault.FileError
	then := listing()
	writeTwo := shell.Change{Write: two, Then: &then}
	if _, _, err := c.Change(t.Context(), writeTwo); !errors.As(err, &file) || file.Path != two[1].Path ||
		!strings.Contains(file.Reason, "No space") {
		t.Errorf("got %v", err)
	}
	undo()
	for _, after := range []bool{false, true} {
		mustEcho(t, c)
		undo := h.Inject(hosttest.Fault{CutAt: 1, After: after})
		if _, _, err := c.Change(t.Context(), writeTwo); err != nil {
			t.Errorf("cut, after=%v: %v", after, err)
		}
		wantFile(t, h, two[0].Path, two[0].Content)
		wantFile(t, h, two[1].Path, two[1].Content)
		undo()
		if err := c.Remove(t.Context(), two[0].Path, two[1].Path); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []shell.File{{Path: "x.conf"}, {Path: dropIn, Content: "a\x00"}} {
		if _, _, err := c.Change(t.Context(), shell.Change{Write: []shell.File{bad}, Then: &then}); !errors.As(err, &file) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// Guards that a batch waits for those whom the last one answered: the second of two asks for more only when the first
// one's next request is there, and both leave together.
func TestBatchWaitsForThoseWhoWereAnswered(t *testing.T) {
	h := simulated(t, machineOptions{})
	c := conn(t, pool(t, reach(h, "root")))
	mustEcho(t, c)
	l, err := c.use(t.Context(), false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.release(l)
	h.Inject(hosttest.Fault{Latency: time.Second}) // of which a quarter is enough for the second one
	queued := func() int {
		l.shell.mu.Lock()
		defer l.shell.mu.Unlock()
		return len(l.shell.queue)
	}
	start := h.Batches()
	var requests []*request
	asked := c.Expect()
	for _, s := range []shell.Script{listing("a"), {Name: "b", Text: "echo b"}} {
		one, err := l.shell.ask(t.Context(), []shell.Script{s})
		if err != nil {
			t.Fatal(err)
		}
		requests = append(requests, one...)
	}
	asked()
	var both sync.WaitGroup
	for i, r := range requests {
		both.Go(func() {
			<-r.done
			for i == 1 && queued() == 0 && h.Batches() == start+1 {
				runtime.Gosched()
			}
			if _, err := l.shell.run(t.Context(), shell.Script{Name: "more", Text: "echo more"}); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if n := h.Batches() - start; n != 2 {
		t.Errorf("%d batches, not 2", n)
	}
}

// Guards that what only reads leaves together with the first line of a new shell, whoever asks while the connection is
// made, and that nothing else does.
func TestFirstReadLeavesWithTheShellsFirstLine(t *testing.T) {
	for _, reads := range []bool{true, false} {
		t.Run(fmt.Sprintf("reads %v", reads), func(t *testing.T) {
			h := simulated(t, machineOptions{})
			p := pool(t, reach(h, "root"))
			c := conn(t, p)
			var slots []func() // held until all wait for the connection
			for range handshakesAtOnce {
				giveBack, err := p.slot(t.Context(), c.dialer.slotName())
				if err != nil {
					t.Fatal(err)
				}
				slots = append(slots, giveBack)
			}
			var all sync.WaitGroup
			for i := range 3 {
				all.Go(func() {
					s := listing(fmt.Sprint(i))
					if s.Repeatable = true; !reads {
						s.Merge = nil
					}
					if r, err := c.Run(t.Context(), s); err != nil || !strings.Contains(r.Records[0].Body, fmt.Sprint(i)) {
						t.Errorf("script %d printed %v, %v", i, r, err)
					}
				})
			}
			until(t, "all wait for the connection", func() bool {
				c.mu.Lock()
				defer c.mu.Unlock()
				return c.dialing != nil && c.dialing.waiters == 3
			})
			for _, giveBack := range slots {
				giveBack()
			}
			all.Wait()
			if n := h.Batches(); (n == 1) != reads {
				t.Errorf("%d batches", n)
			}
		})
	}
}

// Guards that a session whose first batch answered several does not wait for them as if that batch had landed in year
// 1.
func TestGatherBeforeTheFirstBatchLanded(t *testing.T) {
	s := &session{woken: 2, left: time.Now(), queue: []*request{newRequest(t.Context(), listing())},
		link: &link{ctx: t.Context(), conn: &Conn{}}}
	s.linger()
}
