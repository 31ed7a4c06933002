package host_test

// Keys that cannot be kept side by side, and that move from one resource to another.

import (
	"maps"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/sshconn"
)

// another returns the machine as a process of its own sees it, which knows nothing of the first.
func (b bench) another(t *testing.T) *host.Host {
	t.Helper()
	pool := sshconn.NewPool(sshconn.Config{
		Defaults: sshconn.Settings{PrivateKey: b.PrivateKey(), HostKey: b.HostKey()},
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
			g := &together{newBench(t), map[string]*object{}}
			for _, line := range tt.hand {
				key, v, _ := strings.Cut(line, " = ")
				g.WriteFile(keyNamed(key).Path(), v)
			}
			start := g.values(tt.keys)
			for _, step := range tt.steps {
				name, settings, _ := strings.Cut(step, ":")
				if settings = strings.TrimSpace(settings); settings == "" {
					g.step(t, name)
				} else {
					g.step(t, name, strings.Split(settings, ", ")...)
				}
			}
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
