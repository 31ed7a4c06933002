package host_test

// How often a host is asked, which must not grow with the number of resources.

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/sshconn"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// atOnce is how many calls Terraform has under way.
const atOnce = 10

// manyKeys are keys of a host that has enough interfaces for them.
func manyKeys(t *testing.T, n int) []sysctl.Key {
	t.Helper()
	leaves := []string{"accept_redirects", "send_redirects", "log_martians", "rp_filter", "arp_ignore", "arp_announce",
		"secure_redirects", "shared_media", "proxy_arp",
		"accept_source_route"}
	var keys []sysctl.Key
	for i := range n {
		k, err := sysctl.ParseKey(fmt.Sprintf("net/ipv4/conf/veth%d/%s", i/len(leaves), leaves[i%len(leaves)]))
		must(t, err)
		keys = append(keys, k)
	}
	return keys
}

// wide is a host with so many interfaces, and one that reads it anew, as a process of its own does.
func wide(t *testing.T, interfaces int) (sim *hosttest.Host, process func() *host.Host) {
	t.Helper()
	var names []string
	for i := range interfaces {
		names = append(names, fmt.Sprintf("veth%d", i))
	}
	sim, err := hosttest.Start(hosttest.Options{Interfaces: names})
	must(t, err)
	t.Cleanup(func() {
		must(t, sim.Close())
		if unknown := sim.Unknown(); len(unknown) > 0 {
			t.Errorf("the simulated host was asked for what it does not have: %q", unknown)
		}
	})
	return sim, func() *host.Host {
		pool := sshconn.NewPool(sshconn.Config{Defaults: route.Settings{
			Login: route.Login{PrivateKey: sim.PrivateKey(), HostKey: sim.HostKey()},
		}})
		t.Cleanup(pool.Close)
		h, err := host.NewFleet(func(name string) (host.Conn, error) { return pool.Conn(name) }).Host(sim.Addr())
		must(t, err)
		return h
	}
}

// walk does n things as Terraform does, ten at a time.
func walk(n int, do func(i int)) {
	next := make(chan int)
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
}

// Guards that a refresh and a plan of a host take one batch, however many resources it has and whatever names their
// keys, and one more for all of them if keys are not what their files set, which asks what the boot has shown.
func TestPlanTakesOneBatch(t *testing.T) {
	for _, n := range []int{1, 10, 100} {
		keys := manyKeys(t, n)
		sysctls := func(persist bool) func(context.Context, *host.Host, int) error {
			return func(ctx context.Context, h *host.Host, i int) error {
				s := host.Sysctl{Key: keys[i], Value: "1", FileName: keys[i].DropInName(), Persist: persist}
				_, err := h.ReadSysctl(ctx, s)
				if err == nil {
					_, err = h.PlanSysctl(ctx, s, &s)
				}
				return err
			}
		}
		for name, read := range map[string]func(context.Context, *host.Host, int) error{
			"in files":   sysctls(true),
			"drifted":    sysctls(true),
			"in no file": sysctls(false),
			"both":       func(ctx context.Context, h *host.Host, i int) error { return sysctls(i%2 == 0)(ctx, h, i) },
			"with module": func(ctx context.Context, h *host.Host, i int) error {
				if i%2 == 0 {
					return sysctls(true)(ctx, h, i)
				}
				m := host.Module{Name: "nf_conntrack", Parameters: map[string]string{"hashsize": "4096"}, Persist: true}
				_, err := h.ReadModule(ctx, m)
				if err == nil {
					_, err = h.PlanModule(ctx, m, nil)
				}
				return err
			},
		} {
			t.Run(fmt.Sprintf("%d %s", n, name), func(t *testing.T) {
				sim, process := wide(t, 10)
				sim.Sh("modprobe nf_conntrack")
				for _, k := range keys {
					sim.WriteFile("/etc/sysctl.d/"+k.DropInName(), sysctl.Format(k, "1"))
					if name != "drifted" {
						sim.WriteFile(k.Path(), "1\n")
					}
				}
				h := process()
				must(t, h.Wait(t.Context()))
				start := sim.Exchanges()
				walk(n, func(i int) {
					if err := read(t.Context(), h, i); err != nil {
						t.Error(err)
					}
				})
				// Whoever comes first may be alone, and not know that others' keys stand in no file.
				most := 1
				if name != "in files" && name != "in no file" {
					most = 2
				}
				if got := sim.Exchanges() - start; got > most {
					t.Errorf("%d exchanges, not %d", got, most)
				}
			})
		}
	}
}

// Guards that a resource alone is created, changed and taken back in three batches.
func TestChangeTakesThreeBatches(t *testing.T) {
	for _, op := range operations(t) {
		if op.sftp || op.name == "update a sysctl" || op.name == "update sysctls" {
			continue // the updates move the file, which takes two more: the new one is proved before the old one goes
		}
		t.Run(op.name, func(t *testing.T) {
			b := newBench(t)
			must(t, op.prepare(t.Context(), b.host))
			start := b.Exchanges()
			must(t, op.change(t.Context(), b.host))
			if got := b.Exchanges() - start; got > 3 {
				t.Errorf("%d exchanges, not 3", got)
			}
		})
	}
}

// Guards that a resource that was planned is created, changed and moved in one exchange.
func TestPlannedChangeTakesOneExchange(t *testing.T) {
	few := keepAll(t, "vm.swappiness = 10", "net.core.somaxconn = 77", "net.ipv4.tcp_fin_timeout = 30")
	other := keepAll(t, "vm.swappiness = 20", "net.core.somaxconn = 77")
	other.FileName = "50-few.conf"
	b := newBench(t)
	var prior *host.Sysctls
	for _, s := range []host.Sysctls{few, other} {
		_, err := b.host.PlanSysctls(t.Context(), s, prior)
		must(t, err)
		start := b.Exchanges()
		_, err = b.host.SetSysctls(t.Context(), s, prior, nil)
		must(t, err)
		if got := b.Exchanges() - start; got != 1 {
			t.Errorf("%d exchanges, not 1", got)
		}
		prior = &s
	}
}

// Guards that a change which was decided on an earlier look is decided anew if the host has changed since: a value that
// somebody wrote meanwhile is the one from before, and a file of somebody else is not overwritten.
func TestHostThatChangedSinceThePlan(t *testing.T) {
	s := keepAll(t, "vm.swappiness = 10", "net.core.somaxconn = 77")
	swappiness := s.Settings[0].Key
	for _, test := range []struct {
		name, change, original string
		kind                   host.Kind
	}{
		{name: "nothing", change: "true", original: "60"},
		{name: "a value", change: "echo 33 >/proc/sys/vm/swappiness", original: "33"},
		{name: "a value to the wanted one", change: "echo 10 >/proc/sys/vm/swappiness", original: "10"},
		{name: "another file", change: "echo 'vm.laptop_mode = 1' >/etc/sysctl.d/40-other.conf", original: "60"},
		{name: "a file that shadows", change: "echo 'vm.swappiness = 5' >/etc/sysctl.d/99-other.conf", kind: host.KeyLost},
		{name: "the own file", change: "echo 'vm.laptop_mode = 1' >" + s.Path(), kind: host.DropInForeign},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			_, err := b.host.PlanSysctls(t.Context(), s, nil)
			must(t, err)
			if out, status := b.Sh(test.change); status != 0 {
				t.Fatal(out)
			}
			before := b.holds()
			states, err := b.host.SetSysctls(t.Context(), s, nil, nil)
			if test.original == "" {
				wantKind(t, err, test.kind)
				b.unchanged(t, before)
				return
			}
			must(t, err)
			if got := text(states[swappiness].Original); got != test.original {
				t.Errorf("the value from before is %s, not %s", got, test.original)
			}
			must(t, b.host.UnsetSysctls(t.Context(), s, nil))
			b.unchanged(t, before)
		})
	}
}

// Guards that changes of one host that are under way together share batches.
func TestFiftyChangesShareBatches(t *testing.T) {
	keys := manyKeys(t, 50)
	sim, process := wide(t, 5)
	var originals [50]string
	for i, k := range keys {
		originals[i], _ = sim.Sh("cat " + k.Path())
	}
	resource := func(i int) host.Sysctl {
		return host.Sysctl{
			Key: keys[i], Value: map[string]string{"0": "1", "1": "0"}[strings.TrimSpace(originals[i])],
			FileName: keys[i].DropInName(), Persist: true,
		}
	}
	for _, op := range []struct {
		name   string
		change func(h *host.Host, i int) error
	}{
		{"create planned", func(h *host.Host, i int) error {
			if _, err := h.PlanSysctl(t.Context(), resource(i), nil); err != nil {
				return err
			}
			_, err := h.SetSysctl(t.Context(), resource(i), nil, nil)
			return err
		}},
		{"delete planned", func(h *host.Host, i int) error { return h.UnsetSysctl(t.Context(), resource(i), nil, true) }},
		{"create", func(h *host.Host, i int) error { _, err := h.SetSysctl(t.Context(), resource(i), nil, nil); return err }},
		{"delete", func(h *host.Host, i int) error { return h.UnsetSysctl(t.Context(), resource(i), nil, true) }},
	} {
		t.Run(op.name, func(t *testing.T) {
			h, start := process(), sim.Batches()
			walk(len(keys), func(i int) {
				if err := op.change(h, i); err != nil {
					t.Error(err)
				}
			})
			if got := sim.Batches() - start; got >= 30 {
				t.Errorf("%d batches, not fewer than 30", got)
			} else {
				t.Logf("%d batches", got)
			}
		})
	}
}
