package host_test

// Faults that reviews found and that no other test covers.

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sshconn"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// Guards that a snapshot which was under way when a plan asked for a module is not what answers the plan: the module
// trees were not searched for that module.
func TestSnapshotUnderWayDoesNotAnswerForAModule(t *testing.T) {
	t.Parallel()
	inFlight, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	b := over(t, func(c host.Conn) host.Conn {
		return runner{c, func(ctx context.Context, s shell.Script) (shell.Result, error) {
			r, err := c.Run(ctx, s)
			if s.Name == "snapshot" {
				once.Do(func() { close(inFlight); <-goOn })
			}
			return r, err
		}}
	})
	var work sync.WaitGroup
	work.Go(func() {
		if _, err := b.host.ReadSysctl(t.Context(), keep(t, "vm.swappiness", "60")); err != nil {
			t.Error(err)
		}
	})
	<-inFlight
	asking := make(chan struct{})
	work.Go(func() {
		close(asking)
		p, err := b.host.PlanModule(t.Context(), host.Module{Name: "overlay", Persist: true}, nil)
		if err != nil || len(p.All()) > 0 {
			t.Errorf("the plan of a module that the host has says %v, %v", p.All(), err)
		}
	})
	<-asking
	close(goOn)
	work.Wait()
}

// Guards that a host which was down when it was prefetched, and came up since, is asked by the first resource that
// needs it, for a report as for a key.
func TestHostThatCameUpAfterItsPrefetchFailed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		ask  func(*testing.T, *host.Host) error
	}{
		{"a key", func(t *testing.T, h *host.Host) error {
			_, err := h.ReadSysctl(t.Context(), keep(t, "vm.swappiness", "60"))
			return err
		}},
		{"a module", func(t *testing.T, h *host.Host) error {
			_, err := h.ReadModule(t.Context(), host.Module{Name: "nf_conntrack"})
			return err
		}},
		{"a report", func(t *testing.T, h *host.Host) error { _, err := h.BootReport(t.Context(), nil); return err }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			pool := sshconn.NewPool(sshconn.Config{
				Defaults: route.Settings{Login: route.Login{PrivateKey: b.PrivateKey(), HostKey: b.HostKey()}},
			})
			t.Cleanup(pool.Close)
			var up atomic.Bool
			failed := make(chan struct{})
			var once sync.Once
			fleet := host.NewFleet(func(name string) (host.Conn, error) {
				c, err := pool.Conn(b.Addr())
				return runner{c, func(ctx context.Context, s shell.Script) (shell.Result, error) {
					if name == "late" && !up.Load() {
						defer once.Do(func() { close(failed) })
						return shell.Result{}, errors.New("no answer")
					}
					return c.Run(ctx, s)
				}}, err
			})
			t.Cleanup(fleet.Close)
			names := []string{"one", "two", "three"}
			fleet.Prefetch(append(names, "late"), 20)
			for _, name := range names {
				h, err := fleet.Host(name)
				must(t, err)
				_, err = h.ReadSysctl(t.Context(), keep(t, "vm.swappiness", "60"))
				must(t, err)
			}
			<-failed
			fleet.Close() // the prefetch has ended
			up.Store(true)
			late, err := fleet.Host("late")
			must(t, err)
			if err := tt.ask(t, late); err != nil {
				t.Errorf("it is asked for and says %v", err)
			}
		})
	}
}

// Guards that a change of a drop-in that is a link is refused before anything is touched, so that neither it nor its
// undoing puts a file in the place of the link.
func TestDropInThatIsALinkStays(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.WriteFile("/etc/site.conf", "vm.swappiness = 10\n")
	if out, status := b.Sh("mkdir -p /etc/sysctl.d; ln -s /etc/site.conf " + testDropIn); status != 0 {
		t.Fatal(out)
	}
	before := rshValue(b, "vm.swappiness")
	prior := keep(t, "vm.swappiness", "10")
	_, updated := b.host.SetSysctl(t.Context(), keep(t, "vm.swappiness", "20"), &prior, nil)
	destroyed := b.host.UnsetSysctl(t.Context(), prior, nil, true)
	for _, err := range []error{updated, destroyed} {
		if !errors.Is(err, &host.Error{Kind: host.DropInForeign}) || host.MayHaveChanged(err) {
			t.Errorf("it ends with %v", err)
		}
	}
	target, _ := b.Sh("readlink " + testDropIn)
	held, _ := b.ReadFile("/etc/site.conf")
	if strings.TrimSpace(target) != "/etc/site.conf" || held != "vm.swappiness = 10\n" {
		t.Errorf("it links to %q, which holds %q", target, held)
	}
	if got := rshValue(b, "vm.swappiness"); got != before {
		t.Errorf("vm.swappiness is %s, and was %s", got, before)
	}
}

// Guards that a key whose value has several lines is refused by plan and apply, alone and among others, and that
// nothing is written then: such a value could not be restored.
func TestValueOfSeveralLinesIsRefused(t *testing.T) {
	t.Parallel()
	for _, settings := range [][]string{
		{"kernel.core_pattern = corex"}, {"vm.swappiness = 10", "kernel.core_pattern = corex"},
	} {
		var written atomic.Int32
		b := over(t, func(c host.Conn) host.Conn {
			return runner{c, func(ctx context.Context, s shell.Script) (shell.Result, error) {
				if s.Name == "set" {
					written.Add(1)
				}
				r, err := c.Run(ctx, s)
				for i := range r.Records { // as fs.binfmt_misc.NAME is
					r.Records[i].Body = strings.ReplaceAll(r.Records[i].Body, "/proc/sys/kernel/core_pattern:core\n",
						"/proc/sys/kernel/core_pattern:enabled\n/proc/sys/kernel/core_pattern:interpreter /bin/x\n")
				}
				return r, err
			}}
		})
		before := b.holds()
		s := keepAll(t, settings...)
		p, err := b.host.PlanSysctls(t.Context(), s, nil)
		must(t, err)
		if len(p.Refusals) != 1 || !strings.Contains(p.Refusals[0].Detail, "several lines") {
			t.Errorf("%q: the plan says %v", settings, p.All())
		}
		_, err = b.host.SetSysctls(t.Context(), s, nil, nil)
		if !errors.Is(err, &host.Error{Kind: host.KeyUnreadable}) || host.MayHaveChanged(err) || written.Load() > 0 {
			t.Errorf("%q: the apply ends with %v after %d writes", settings, err, written.Load())
		}
		b.unchanged(t, before)
	}
}

// Guards that a wanted value of several lines reaches neither the kernel nor a file, also if no validator has seen it.
func TestWantedValueOfSeveralLinesIsRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	before, had := b.holds(), rshValue(b, "kernel.core_pattern")
	_, err := b.host.SetSysctl(t.Context(), keep(t, "kernel.core_pattern", "core\nkernel.panic = 1"), nil, nil)
	if err == nil || !strings.Contains(err.Error(), "several lines") || host.MayHaveChanged(err) {
		t.Errorf("it ends with %v", err)
	}
	b.unchanged(t, before)
	if got := rshValue(b, "kernel.core_pattern"); got != had {
		t.Errorf("kernel.core_pattern is %q", got)
	}
}

// Guards that two names of one machine count as one at plan: the same key with two values is an error that says so.
func TestPlanKnowsAMachineByTwoNames(t *testing.T) {
	t.Parallel()
	_, one, other := byTwoNames(t, func(string, shell.Script) {})
	a, b := keep(t, "vm.swappiness", "10"), keep(t, "vm.swappiness", "20")
	a.Instance, b.Instance = "a", "b"
	first, err := one.PlanSysctl(t.Context(), a, nil)
	must(t, err)
	second, err := other.PlanSysctl(t.Context(), b, nil)
	must(t, err)
	if len(first.Conflicts) > 0 || len(second.Conflicts) != 1 || second.Conflicts[0].Kind != host.KeyTwice ||
		!strings.Contains(second.Conflicts[0].Detail, "the same machine") {
		t.Errorf("the plans say %v and %v", first.Conflicts, second.Conflicts)
	}
}
