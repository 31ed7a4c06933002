package host_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

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

// Guards that a prefetch keeps in step with demand. A plan for one or two hosts of a fleet, as with -target or
// -refresh=false, logs in to no other, and neither does one for hosts outside of hosts. A plan for all of them
// prefetches as many as were asked for, so that when a CLI has asked for its usual ten at a time, ten more are read.
func TestPrefetchKeepsInStepWithDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		got := map[string]bool{}
		fleet := host.NewFleet(func(name string) (host.Conn, error) {
			return asked{ask: func(context.Context) error {
				mu.Lock()
				defer mu.Unlock()
				got[name] = true
				return nil
			}}, nil
		})
		defer fleet.Close()
		var names []string
		for i := range 30 {
			names = append(names, fmt.Sprintf("h%02d", i))
		}
		fleet.Prefetch(names, 20)
		for _, step := range []struct {
			read string
			want int // of the hosts are read then
		}{
			{"other1", 1}, {"other2", 2}, {"other3", 3}, {"other4", 4},
			{"h29", 5}, {"h29", 5}, {"h28", 6}, // one host and another: nobody else
			{"h27", 4 + 3 + 3},
			{"h00", 4 + 4 + 4}, // it was prefetched, so that two are left of the three
			{"h26", 4 + 5 + 5},
			{"h01", 4 + 6 + 6}, {"h02", 4 + 7 + 7}, {"h03", 4 + 8 + 8}, {"h04", 4 + 9 + 9}, {"h05", 4 + 10 + 10},
			{"h06", 4 + 11 + 11}, {"h07", 4 + 12 + 12}, {"h08", 4 + 13 + 13}, {"h09", 4 + 14 + 14}, {"h10", 4 + 30},
		} {
			h, err := fleet.Host(step.read)
			must(t, err)
			_, err = h.ReadSysctl(t.Context(), keep(t, "vm.swappiness", "1"))
			must(t, err)
			synctest.Wait()
			mu.Lock()
			if len(got) != step.want {
				t.Errorf("after a read of %s %d hosts are read, not %d", step.read, len(got), step.want)
			}
			mu.Unlock()
		}
	})
}

// Guards that a prefetch reads each host once, that one which does not answer holds up no other, and that Close ends
// it.
func TestPrefetchReadsEachHostOnce(t *testing.T) {
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
	for _, name := range []string{"h0", "h1", "h2"} {
		read(name)
	}
	<-all
	fleet.Close()
	mu.Lock()
	defer mu.Unlock()
	for name, n := range got {
		// the reader's own key, which is in no file, may take a second exchange
		if n != 1 && (n != 2 || name > "h2") {
			t.Errorf("%s is asked %d times", name, n)
		}
	}
}
