package host_test

// What resources on one host leave of each other's keys, case by case. Each was found by the model or by a review.

import (
	"context"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// object is a resource instance as Terraform has it in its state.
type object struct {
	address   string
	s         host.Sysctls
	originals map[sysctl.Key]string
	tainted   bool
	unsure    bool // a destroy failed and may have changed the host, so that a plan may find a difference
}

// keyNamed returns the key with this name.
func keyNamed(name string) sysctl.Key {
	k, err := sysctl.ParseKey(name)
	if err != nil {
		panic(err)
	}
	return k
}

// together is resources by name on one host, which the steps of a case create, update and destroy.
type together struct {
	bench
	objects map[string]*object
	// unpersisted says that the next steps persist nothing.
	unpersisted bool
}

// steps takes steps in order, each "NAME: KEY = VALUE, KEY = VALUE" or "NAME:".
func (g *together) steps(t *testing.T, all ...string) {
	t.Helper()
	for _, step := range all {
		name, settings, _ := strings.Cut(step, ":")
		if settings = strings.TrimSpace(settings); settings == "" {
			g.step(t, name)
		} else {
			g.step(t, name, strings.Split(settings, ", ")...)
		}
	}
}

// step makes the named resource set these, each "KEY = VALUE"; nothing destroys it. The file name is the resource's.
func (g *together) step(t *testing.T, name string, settings ...string) {
	t.Helper()
	old := g.objects[name]
	if len(settings) == 0 {
		must(t, g.host.UnsetSysctls(t.Context(), old.s, old.originals))
		delete(g.objects, name)
		return
	}
	s := keepAll(t, settings...)
	s.Name, s.FileName, s.Instance, s.Persist = name, name+".conf", name, !g.unpersisted
	var prior *host.Sysctls
	var known map[sysctl.Key]string
	if old != nil {
		prior, known = &old.s, old.originals
	}
	states, err := g.host.SetSysctls(t.Context(), s, prior, known)
	must(t, err)
	g.objects[name] = &object{address: name, s: s, originals: originals(states)}
}

// values returns the values of the keys that the lines "KEY = VALUE" name.
func (g *together) values(lines []string) map[string]string {
	all := map[string]string{}
	for _, line := range lines {
		key, _, _ := strings.Cut(line, " = ")
		text, _ := g.ReadFile(keyNamed(key).Path())
		all[key] = strings.TrimSpace(text)
	}
	return all
}

// Guards that keys which change each other have what is declared after each step, and what they had at the start when
// nothing is declared any more.
func TestCoupledKeysTogether(t *testing.T) {
	for _, tt := range []struct {
		name string
		// site is the host's own file, whose values run, after those that are written by hand.
		hand, site []string
		// steps are "NAME: KEY = VALUE, KEY = VALUE", or "NAME:", which destroys.
		steps []string
		// then are values after the last step.
		then []string
	}{
		{
			"a limit that a file of the host sets comes back when that in the other unit goes",
			nil, []string{"vm.dirty_bytes = 100000000"},
			[]string{"85-a: vm.dirty_ratio = 10", "85-a:"},
			[]string{"vm.dirty_bytes = 100000000", "vm.dirty_ratio = 0"},
		},
		{
			"a limit that another resource sets by now is kept when that in the other unit goes",
			nil, nil,
			[]string{"85-b: vm.dirty_ratio = 30", "85-c: vm.dirty_bytes = 8388608", "85-b:"},
			[]string{"vm.dirty_bytes = 8388608", "vm.dirty_ratio = 0"},
		},
		{
			"a resource changes its limit to the other unit",
			nil, nil,
			[]string{"85-a: vm.dirty_ratio = 30", "85-a: vm.dirty_bytes = 8388608", "85-b: vm.swappiness = 10"},
			[]string{"vm.dirty_bytes = 8388608", "vm.dirty_ratio = 0"},
		},
		{
			"what two names of one switch change comes back with the second of them",
			nil, nil,
			[]string{"85-a: net.ipv4.ip_forward = 1", "85-b: net.ipv4.conf.all.forwarding = 1", "85-a:", "85-b:"},
			[]string{"net.ipv4.conf.default.forwarding = 0", "net.ipv4.conf.lo.forwarding = 0", "net.ipv4.ip_forward = 0"},
		},
		{
			"a resource declares what its key changed in place of that key",
			[]string{"net.ipv4.conf.all.forwarding = 1", "net.ipv4.conf.lo.forwarding = 0"}, nil,
			[]string{"85-a: net.ipv4.conf.all.forwarding = 0", "85-a: net.ipv4.conf.lo.forwarding = 1"},
			[]string{"net.ipv4.conf.lo.forwarding = 1", "net.ipv4.conf.all.forwarding = 1"},
		},
		{
			"a key that was declared beside what changes it comes back though it is declared no more",
			[]string{"net.ipv4.conf.all.accept_redirects = 0"}, nil,
			[]string{
				"85-a: net.ipv4.ip_forward = 1, net.ipv4.conf.all.accept_redirects = 0", "85-a: net.ipv4.ip_forward = 1", "85-a:",
			},
			[]string{"net.ipv4.conf.all.accept_redirects = 0", "net.ipv4.ip_forward = 0"},
		},
		{
			"the same when what changes it has moved to another resource",
			[]string{"net.ipv4.conf.all.accept_redirects = 0"}, nil,
			[]string{
				"85-a: net.ipv4.ip_forward = 1, net.ipv4.conf.all.accept_redirects = 0", "85-b: net.ipv4.ip_forward = 1", "85-a:",
				"85-b:",
			},
			[]string{"net.ipv4.conf.all.accept_redirects = 0", "net.ipv4.ip_forward = 0"},
		},
		{
			"what a key changed comes back though the key itself has its value from before already",
			[]string{"net.ipv4.ip_forward = 0", "net.ipv4.conf.lo.forwarding = 1"}, nil,
			[]string{"85-a: net.ipv4.ip_forward = 1", "85-a: net.ipv4.ip_forward = 0", "85-a:"},
			[]string{"net.ipv4.conf.lo.forwarding = 1"},
		},
		{
			"a key that has its value from before already keeps it when what changes it is restored",
			[]string{"net.ipv4.ip_forward = 0", "net.ipv4.conf.lo.forwarding = 1"}, nil,
			[]string{"85-a: net.ipv4.ip_forward = 1, net.ipv4.conf.lo.forwarding = 1", "85-a:"},
			[]string{"net.ipv4.conf.lo.forwarding = 1"},
		},
		{
			"two names of one switch, one of which a file of the host sets, go together",
			nil, []string{"net.ipv4.conf.all.forwarding = 1"},
			[]string{"85-a: net.ipv4.conf.all.forwarding = 0, net.ipv4.ip_forward = 0", "85-a:"},
			[]string{"net.ipv4.conf.all.forwarding = 1", "net.ipv4.ip_forward = 1"},
		},
		{
			"a key of an interface keeps what a resource sets, and what it inherited, when the default goes",
			nil, nil,
			[]string{"85-a: net.ipv4.conf.default.arp_ignore = 1", "85-b: net.ipv4.conf.lo.arp_ignore = 1", "85-a:"},
			[]string{"net.ipv4.conf.lo.arp_ignore = 1", "net.ipv4.conf.default.arp_ignore = 0"},
		},
		{
			"the same when the default changes",
			nil, nil,
			[]string{
				"85-a: net.ipv4.conf.default.arp_ignore = 1", "85-b: net.ipv4.conf.lo.arp_ignore = 1",
				"85-a: net.ipv4.conf.default.arp_ignore = 2",
			},
			[]string{"net.ipv4.conf.lo.arp_ignore = 1", "net.ipv4.conf.default.arp_ignore = 2"},
		},
		{
			"a resource sets a default and, for an interface, what that inherits by now",
			[]string{"net.ipv4.conf.default.arp_ignore = 1"}, nil,
			[]string{"85-a: net.ipv4.conf.default.arp_ignore = 0, net.ipv4.conf.lo.arp_ignore = 1"},
			[]string{"net.ipv4.conf.lo.arp_ignore = 1", "net.ipv4.conf.default.arp_ignore = 0"},
		},
		{
			"an interface's key has its value from before again though the default was set first and goes first",
			nil, nil,
			[]string{
				"85-a: net.ipv4.conf.default.arp_ignore = 1", "85-b: net.ipv4.conf.lo.arp_ignore = 2", "85-a:", "85-b:",
			},
			[]string{"net.ipv4.conf.lo.arp_ignore = 0", "net.ipv4.conf.default.arp_ignore = 0"},
		},
		{
			"a value that was written by hand before the default got the same one is no inherited one",
			[]string{"net.ipv4.conf.lo.arp_ignore = 2"}, nil,
			[]string{
				"85-a: net.ipv4.conf.default.arp_ignore = 2", "85-b: net.ipv4.conf.lo.arp_ignore = 1", "85-b:", "85-a:",
			},
			[]string{"net.ipv4.conf.lo.arp_ignore = 2", "net.ipv4.conf.default.arp_ignore = 0"},
		},
		{
			"nor one that comes back in the change that gives the default the same",
			[]string{"net.ipv4.conf.lo.arp_ignore = 1"}, nil,
			[]string{
				"85-b: net.ipv4.conf.lo.arp_ignore = 2", "85-b: net.ipv4.conf.default.arp_ignore = 1",
				"85-a: net.ipv4.conf.lo.arp_ignore = 2",
			},
			[]string{"net.ipv4.conf.lo.arp_ignore = 2", "net.ipv4.conf.default.arp_ignore = 1"},
		},
		{
			"nor one that comes back when the default of another resource has the same",
			[]string{"net.ipv4.conf.lo.arp_ignore = 2"}, nil,
			[]string{
				"85-a: net.ipv4.conf.lo.arp_ignore = 1", "85-b: net.ipv4.conf.default.arp_ignore = 2", "85-a:",
				"85-c: net.ipv4.conf.lo.arp_ignore = 1",
			},
			[]string{"net.ipv4.conf.lo.arp_ignore = 1", "net.ipv4.conf.default.arp_ignore = 2"},
		},
		{
			"a key of an interface has its value from before again, though its default was set in the other unit",
			nil, nil,
			[]string{
				"85-a: net.ipv4.neigh.default.unres_qlen_bytes = 425984", "85-b: net.ipv4.neigh.eth0.unres_qlen = 50",
				"85-a:", "85-b:",
			},
			[]string{"net.ipv4.neigh.eth0.unres_qlen = 101", "net.ipv4.neigh.eth0.unres_qlen_bytes = 212992"},
		},
		{
			"the same in one unit",
			nil, nil,
			[]string{
				"85-a: net.ipv4.neigh.default.unres_qlen = 50", "85-b: net.ipv4.neigh.eth0.unres_qlen = 60", "85-a:", "85-b:",
			},
			[]string{"net.ipv4.neigh.eth0.unres_qlen = 101", "net.ipv4.neigh.eth0.unres_qlen_bytes = 212992"},
		},
		{
			"what was set by hand in the other unit comes back",
			[]string{"net.ipv4.neigh.eth0.base_reachable_time = 50"}, nil,
			[]string{
				"85-a: net.ipv4.neigh.default.base_reachable_time_ms = 50000",
				"85-b: net.ipv4.neigh.eth0.base_reachable_time = 60", "85-a:", "85-b:",
			},
			[]string{"net.ipv4.neigh.eth0.base_reachable_time = 50"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := &together{bench: newBench(t), objects: map[string]*object{}}
			if len(tt.site) > 0 {
				g.WriteFile("/etc/sysctl.d/10-site.conf", strings.Join(tt.site, "\n")+"\n")
			}
			for _, line := range append(tt.hand, tt.site...) {
				key, v, _ := strings.Cut(line, " = ")
				g.WriteFile(keyNamed(key).Path(), v)
			}
			start := g.values(tt.then)
			g.steps(t, tt.steps...)
			want := map[string]string{}
			for _, line := range tt.then {
				key, v, _ := strings.Cut(line, " = ")
				want[key] = v
			}
			if now := g.values(tt.then); !maps.Equal(now, want) {
				t.Errorf("after the last step the host runs %v, not %v", now, want)
			}
			for name := range maps.Clone(g.objects) {
				g.step(t, name)
			}
			if now := g.values(tt.then); !maps.Equal(now, start) {
				t.Errorf("after the last destroy the host runs %v, and ran %v", now, start)
			}
		})
	}
}

// Guards that a drop-in remembers what its key changes although the state knows the key's value from before already, as
// it does after an update that failed.
func TestFollowerIsRememberedAfterAFailedUpdate(t *testing.T) {
	g := &together{bench: newBench(t), objects: map[string]*object{}}
	lines := []string{"vm.dirty_bytes = 0", "vm.dirty_ratio = 20"}
	start := g.values(lines)
	g.step(t, "85-a", "vm.swappiness = 10")
	g.objects["85-a"].originals[keyNamed("vm.dirty_bytes")] = "0"
	g.step(t, "85-a", "vm.swappiness = 10", "vm.dirty_bytes = 8388608")
	g.step(t, "85-a")
	if now := g.values(lines); !maps.Equal(now, start) {
		t.Errorf("after the destroy the host runs %v, and ran %v", now, start)
	}
}

// Guards that a snapshot which was under way while a value was written is not what later readers get.
func TestSnapshotUnderWayDuringAWriteIsNotKept(t *testing.T) {
	inFlight, goOn := make(chan struct{}), make(chan struct{})
	var late atomic.Bool
	b := over(t, func(c host.Conn) host.Conn {
		return runner{c, func(ctx context.Context, s shell.Script) (shell.Result, error) {
			r, err := c.Run(ctx, s)
			if s.Name == "snapshot" && late.CompareAndSwap(false, true) {
				close(inFlight)
				<-goOn
			}
			return r, err
		}}
	})
	s := keep(t, "vm.swappiness", "10")
	var reader sync.WaitGroup
	reader.Go(func() {
		if _, err := b.host.ReadSysctl(t.Context(), s); err != nil {
			t.Error(err)
		}
	})
	<-inFlight
	_, err := b.host.SetSysctl(t.Context(), s, nil, nil)
	must(t, err)
	close(goOn)
	reader.Wait()
	st, err := b.host.ReadSysctl(t.Context(), s)
	must(t, err)
	if text(st.Running) != "10" {
		t.Errorf("after the write it reads %s: an older snapshot was kept", text(st.Running))
	}
}

// Guards that a module which nobody had asked for when the host was read is searched for when it is planned, and not
// called unknown.
func TestModuleIsSearchedForThoughTheHostWasRead(t *testing.T) {
	b := newBench(t)
	s := keep(t, "vm.swappiness", "60")
	_, err := b.host.ReadSysctl(t.Context(), s)
	must(t, err)
	_, err = b.host.PlanSysctl(t.Context(), s, nil)
	must(t, err)
	p, err := b.host.PlanModule(t.Context(), host.Module{Name: "overlay", Persist: true}, nil)
	must(t, err)
	if all := p.All(); len(all) > 0 {
		t.Errorf("the plan of a module that the host has says %v", all)
	}
}

// Guards that lines which somebody added to a module's file stay: neither an update nor a destroy goes over them.
func TestForeignLinesInAModulesFilesStay(t *testing.T) {
	b := newBench(t)
	m := host.Module{Name: "nf_conntrack", Persist: true}
	_, err := b.host.SetModule(t.Context(), m, nil)
	must(t, err)
	text, _ := b.ReadFile(m.LoadPath())
	b.WriteFile(m.LoadPath(), text+"overlay\n")
	with := m
	with.Parameters = map[string]string{"hashsize": "8192"}
	_, updated := b.host.SetModule(t.Context(), with, &m)
	destroyed := b.host.UnsetModule(t.Context(), m, false)
	if now, _ := b.ReadFile(m.LoadPath()); now != text+"overlay\n" || updated == nil || destroyed == nil {
		t.Errorf("the file holds %q; the update ends with %v, and the destroy with %v", now, updated, destroyed)
	}
}
