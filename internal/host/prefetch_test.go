package host_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/shell"
)

// asked is a connection that says who is asked, and answers nothing.
type asked struct {
	host.Conn
	ask func(ctx context.Context) error
}

func (a asked) Run(ctx context.Context, _ shell.Script) (shell.Result, error) {
	return shell.Result{}, a.ask(ctx)
}

// Wait finds the host.
func (a asked) Wait(context.Context) error { return nil }

// Guards that a host which does not answer is asked once, and not for each of its resources: it costs one timeout. Who
// waited for it asks again.
func TestHostThatDoesNotAnswerIsAskedOnce(t *testing.T) {
	gone, asks := errors.New("no answer"), 0
	h, err := host.NewFleet(func(string) (host.Conn, error) {
		return asked{ask: func(context.Context) error { asks++; return gone }}, nil
	}).Host("dead")
	must(t, err)
	swappiness := keep(t, "vm.swappiness", "1")
	reads := func(want int) {
		t.Helper()
		for range 3 {
			_, read := h.ReadSysctl(t.Context(), swappiness)
			_, plan := h.PlanSysctl(t.Context(), keep(t, "vm.dirty_ratio", "21"), nil)
			_, module := h.ReadModule(t.Context(), host.Module{Name: "nf_conntrack"})
			for _, err := range []error{read, plan, module} {
				if !errors.Is(err, gone) {
					t.Errorf("got %v", err)
				}
			}
		}
		if asks != want {
			t.Errorf("asked %d times, not %d", asks, want)
		}
	}
	reads(1)
	must(t, h.Wait(t.Context()))
	reads(2)
}

// Guards that the first read of a host reads those that were named with it, each once, that another host's read reads
// nobody else, and that Close ends it.
func TestFirstReadReadsOthersAhead(t *testing.T) {
	var mu sync.Mutex
	got := map[string]int{}
	all := make(chan struct{})
	fleet := host.NewFleet(func(name string) (host.Conn, error) {
		return asked{ask: func(ctx context.Context) error {
			mu.Lock()
			got[name]++
			if len(got) == 5 {
				close(all)
			}
			mu.Unlock()
			if name == "h4" {
				<-ctx.Done() // one that does not answer
				return ctx.Err()
			}
			return nil
		}}, nil
	})
	defer fleet.Close()
	fleet.Prefetch([]string{"h0", "h1", "h2", "h3", "h4"}, 2)
	read := func(name string) {
		t.Helper()
		h, err := fleet.Host(name)
		must(t, err)
		if _, err := h.ReadSysctl(
			t.Context(), keep(t, "vm.swappiness", "1")); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	read("other")
	mu.Lock()
	if len(got) != 1 {
		t.Errorf("%v are asked", got)
	}
	delete(got, "other")
	mu.Unlock()
	read("h1")
	<-all
	fleet.Close()
	mu.Lock()
	defer mu.Unlock()
	for name, n := range got {
		// the reader's own key, which is in no file, may take a second exchange
		if n != 1 && name != "h1" {
			t.Errorf("%s is asked %d times", name, n)
		}
	}
	if len(got) != 5 || !slices.Contains([]int{1, 2}, got["h1"]) {
		t.Error(fmt.Sprint(got))
	}
}
