package host_test

// Keys that cannot be kept side by side, and that move from one resource to another.

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sshconn"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// another returns the machine as a process of its own sees it, which knows nothing of the first.
func (b bench) another(t *testing.T) *host.Host {
	t.Helper()
	pool := sshconn.NewPool(sshconn.Config{
		Defaults: route.Settings{Login: route.Login{PrivateKey: b.PrivateKey(), HostKey: b.HostKey()}},
	})
	t.Cleanup(pool.Close)
	h, err := host.NewFleet(func(name string) (host.Conn, error) { return pool.Conn(name) }).Host(b.Addr())
	must(t, err)
	return h
}

// Guards that a key can be created before the key that it excludes is destroyed or declared no more, whatever the names
// of the files, and that the last destroy restores both.
func TestExcludedKeyMoves(t *testing.T) {
	t.Parallel()
	const bytes, ratio = "vm.dirty_bytes = 8388608", "vm.dirty_ratio = 30"
	const forward, all = "net.ipv4.ip_forward = 1", "net.ipv4.conf.all.forwarding = 0"
	limits := []string{"vm.dirty_bytes", "vm.dirty_ratio"}
	switches := []string{"net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding", "net.ipv4.conf.lo.forwarding"}
	for _, tt := range []struct {
		name  string
		hand  []string
		steps []string
		keys  []string
		then  []string
	}{
		{"from the ratio to the bytes", nil, []string{"85-z: " + ratio, "85-a: " + bytes, "85-z:"}, limits, []string{bytes}},
		{"from the bytes to the ratio", nil, []string{"85-z: " + bytes, "85-a: " + ratio, "85-z:"}, limits, []string{ratio}},
		{"to a file that is read later", nil, []string{"85-a: " + bytes, "85-z: " + ratio, "85-a:"}, limits, []string{ratio}},
		{
			"and the bytes were set by hand before", []string{"vm.dirty_bytes = 100000000"},
			[]string{"85-z: " + bytes, "85-a: " + ratio, "85-z:"},
			limits, []string{ratio},
		},
		{
			"and the ratio was set by hand before", []string{"vm.dirty_ratio = 7"},
			[]string{"85-z: " + ratio, "85-a: " + bytes, "85-z:"},
			limits, []string{bytes},
		},
		{
			"there and back", []string{"vm.dirty_bytes = 100000000"},
			[]string{"85-z: " + bytes, "85-a: " + ratio, "85-z:", "85-y: " + bytes, "85-a:"},
			limits, []string{bytes},
		},
		{
			"out of a group that keeps another key", nil,
			[]string{"85-z: vm.swappiness = 10, " + ratio, "85-a: " + bytes, "85-z: vm.swappiness = 10"},
			append(limits, "vm.swappiness"), []string{bytes, "vm.swappiness = 10"},
		},
		{
			"from one name of a switch to the other", nil,
			[]string{"85-z: " + forward, "85-a: " + all, "85-z:"},
			switches, []string{all, "net.ipv4.ip_forward = 0"},
		},
		{
			"and the host forwarded before", []string{forward},
			[]string{"85-z: " + all, "85-a: " + forward, "85-z:"},
			switches, []string{forward, "net.ipv4.conf.all.forwarding = 1"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := &together{bench: newBench(t), objects: map[string]*object{}}
			for _, line := range tt.hand {
				key, v, _ := strings.Cut(line, " = ")
				g.WriteFile(keyNamed(key).Path(), v)
			}
			start := g.values(tt.keys)
			g.steps(t, tt.steps...)
			for _, line := range tt.then {
				key, want, _ := strings.Cut(line, " = ")
				if got := g.values([]string{line})[key]; got != want {
					t.Errorf("%s is %s, not %s", key, got, want)
				}
			}
			for name := range maps.Clone(g.objects) {
				g.step(t, name)
			}
			if now := g.values(tt.keys); !maps.Equal(now, start) {
				t.Errorf("after the last destroy the host runs %v, and ran %v", now, start)
			}
		})
	}
}

// Guards that a plan refuses to take an excluded key from a resource that this run does not know, and names its file.
func TestExcludedKeyOfAnUnknownInstanceStays(t *testing.T) {
	t.Parallel()
	for _, adopt := range []bool{false, true} {
		b := newBench(t)
		foreign, mine := keep(t, "vm.dirty_bytes", "8388608"), keep(t, "vm.dirty_ratio", "30")
		foreign.FileName, foreign.Instance = "85-foreign.conf", "foreign"
		mine.FileName, mine.Instance, mine.Adopt = "90-mine.conf", "mine", adopt
		_, err := b.host.SetSysctl(t.Context(), foreign, nil, nil)
		must(t, err)
		h := b.another(t)
		other := keep(t, "vm.swappiness", "60")
		_, err = h.ReadSysctl(t.Context(), other) // so that the run is one that refreshes
		must(t, err)
		p, err := h.PlanSysctl(t.Context(), mine, nil)
		must(t, err)
		named := false
		for _, e := range p.All() {
			named = named || e.Kind == host.DropInUnknown && strings.Contains(e.Detail, "85-foreign.conf")
		}
		if named == adopt {
			t.Errorf("adopt %t: the plan says %v", adopt, p.All())
		}
	}
}

// Guards that the value from before follows a key between instances of which one at least has no file, within one
// process and between two, and that what the last of them leaves is that value.
func TestValueFromBeforeMovesWithoutAFile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name              string
		oldFile, newFile  bool
		processes, forget bool
	}{
		{"both without", false, false, false, false},
		{"both without, in two processes", false, false, true, false},
		{"to one with a file", false, true, false, false},
		{"to one with a file, in two processes", false, true, true, false},
		{"from one with a file", true, false, false, false},
		{"from one with a file, in two processes", true, false, true, false},
		{"from one that the state has forgotten", false, false, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			before := rshValue(b, "vm.swappiness")
			files := b.List("/run/sysctl.d")
			old, successor := keep(t, "vm.swappiness", "10"), keep(t, "vm.swappiness", "20")
			old.Persist, old.Instance, successor.Persist, successor.Instance = tt.oldFile, "old", tt.newFile, "new"
			next := func() *host.Host {
				if tt.processes {
					return b.another(t)
				}
				return b.host
			}
			was, err := b.host.SetSysctl(t.Context(), old, nil, nil)
			must(t, err)
			is, err := next().SetSysctl(t.Context(), successor, nil, nil)
			must(t, err)
			if text(is.Original) != before {
				t.Errorf("the new instance takes %s for the value from before, not %s", text(is.Original), before)
			}
			if !tt.forget {
				must(t, next().UnsetSysctl(t.Context(), old, was.Original, true))
				if got := rshValue(b, "vm.swappiness"); got != "20" {
					t.Errorf("after the destroy of the old instance it is %s", got)
				}
			}
			must(t, next().UnsetSysctl(t.Context(), successor, is.Original, true))
			if got := rshValue(b, "vm.swappiness"); got != before {
				t.Errorf("after the last destroy it is %s, and was %s", got, before)
			}
			if left := b.List("/run/sysctl.d"); len(left) != len(files) {
				t.Errorf("it leaves %q", left)
			}
		})
	}
}

// Guards that a resource without a file changes and goes as one with a file does: its keys and their values from before
// stay with it when it is updated, given a file, and deprived of it.
func TestResourceWithoutAFileIsUpdated(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const one, two = "vm.swappiness", "net.core.somaxconn"
	before := map[string]string{one: rshValue(b, one), two: rshValue(b, two)}
	var prior *host.Sysctls
	var known map[sysctl.Key]string
	for i, settings := range [][]string{
		{one + " = 10"}, {one + " = 11", two + " = 77"}, {one + " = 12", two + " = 78"}, {one + " = 12", two + " = 78"},
		{two + " = 79"},
	} {
		s := keepAll(t, settings...)
		s.Instance, s.Persist = "one", i == 2
		states, err := b.another(t).SetSysctls(t.Context(), s, prior, known)
		must(t, err)
		prior, known = &s, originals(states)
		for _, line := range settings {
			key, want, _ := strings.Cut(line, " = ")
			if got := rshValue(b, key); got != want || known[keyNamed(key)] != before[key] {
				t.Errorf("step %d: %s is %s and was %s", i, key, got, known[keyNamed(key)])
			}
		}
	}
	if got := rshValue(b, one); got != before[one] {
		t.Errorf("%s is %s", one, got)
	}
	must(t, b.another(t).UnsetSysctls(t.Context(), *prior, known))
	if got := rshValue(b, two); got != before[two] {
		t.Errorf("%s is %s", two, got)
	}
	if left := b.List("/run/sysctl.d"); len(left) > 0 {
		t.Errorf("it leaves %q", left)
	}
}

// Guards that a host whose /run takes no file can have values without one all the same.
func TestValueWithoutAFileNeedsNoRun(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	defer b.Inject(hosttest.Fault{Errno: syscall.EROFS, Path: "/run/sysctl.d"})()
	s := keep(t, "vm.swappiness", "10")
	s.Persist, s.Instance = false, "one"
	before := rshValue(b, "vm.swappiness")
	st, err := b.host.SetSysctl(t.Context(), s, nil, nil)
	must(t, err)
	must(t, b.host.UnsetSysctl(t.Context(), s, st.Original, true))
	if got := rshValue(b, "vm.swappiness"); got != before {
		t.Errorf("it is %s", got)
	}
}

// Guards that what no plan has seen, because the host could not be read before it is changed, is refused in the words
// of a plan if an instance wrote it that the run does not know, and taken over from one that it knows or adopts.
func TestForeignInstanceOnAHostThatNoPlanHasSeen(t *testing.T) {
	t.Parallel()
	key, module := keep(t, "vm.swappiness", "20"), host.Module{Name: "nf_conntrack", Persist: true}
	for _, tt := range []struct {
		name           string
		asked, refused bool
		adopt, known   bool
	}{
		{name: "unknown", refused: true},
		{name: "adopted", adopt: true},
		{name: "of the run", known: true},
		{name: "unknown, and the host was planned", asked: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var down atomic.Bool
			b := over(t, func(c host.Conn) host.Conn {
				return runner{c, func(ctx context.Context, s shell.Script) (shell.Result, error) {
					if down.Load() {
						return shell.Result{}, errors.New("no answer")
					}
					return c.Run(ctx, s)
				}}
			})
			foreignKey, foreignModule := key, module
			foreignKey.Value, foreignKey.FileName = "10", "50-old.conf"
			foreignKey.Instance, foreignModule.Instance = "old", "old"
			other := b.another(t)
			_, err := other.SetSysctl(t.Context(), foreignKey, nil, nil)
			must(t, err)
			_, err = other.SetModule(t.Context(), foreignModule, nil)
			must(t, err)

			mine, mineToo := key, module
			mine.Adopt, mineToo.Adopt = tt.adopt, tt.adopt
			down.Store(!tt.asked)
			_, err = b.host.PlanSysctl(t.Context(), mine, nil)
			_, errToo := b.host.PlanModule(t.Context(), mineToo, nil)
			if (err == nil) != tt.asked || (errToo == nil) != tt.asked {
				t.Fatalf("the plans end with %v and %v", err, errToo)
			}
			down.Store(false)
			must(t, b.host.Wait(t.Context()))
			if tt.known {
				b.host.Know("old", foreignKey.Path())
			}
			mine.Instance, mineToo.Instance = "new", "new"
			_, err = b.host.SetSysctl(t.Context(), mine, nil, nil)
			_, errToo = b.host.SetModule(t.Context(), mineToo, nil)
			for path, err := range map[string]error{foreignKey.Path(): err, module.LoadPath(): errToo} {
				unknown := errors.Is(err, &host.Error{Kind: host.DropInUnknown})
				if unknown != tt.refused || err != nil && !tt.refused {
					t.Errorf("it ends with %v", err)
				}
				if unknown && (!strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "adopt = true")) {
					t.Errorf("it names no way out: %v", err)
				}
			}
		})
	}
}
