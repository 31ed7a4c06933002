package host_test

import (
	"errors"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/host"
)

// Guards that two resources of one run which cannot both hold are told so at plan, by the second one planned, and that
// values which can are not.
func TestPlanTellsKeysThatFight(t *testing.T) {
	for _, tt := range []struct {
		name                     string
		key, value, key2, value2 string
		fight                    bool
	}{
		{"limit in two units", "vm.dirty_bytes", "100000000", "vm.dirty_ratio", "10", true},
		{"limit in two units, the other order", "vm.dirty_ratio", "10", "vm.dirty_bytes", "100000000", true},
		{"one unit off", "vm.dirty_ratio", "0", "vm.dirty_bytes", "100000000", false},
		{"one switch under two names", "net.ipv4.ip_forward", "1", "net.ipv4.conf.all.forwarding", "0", true},
		{"one switch under two names, alike", "net.ipv4.ip_forward", "1", "net.ipv4.conf.all.forwarding", "0x1", false},
		{"one interface otherwise than all", "net.ipv4.conf.lo.forwarding", "0", "net.ipv4.ip_forward", "1", false},
		{"keys apart", "vm.swappiness", "10", "net.ipv4.ip_forward", "1", false},
		{"one key, planned twice", "vm.swappiness", "10", "vm.swappiness", "20", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			first, err := b.host.PlanSysctl(t.Context(), keep(t, tt.key, tt.value), nil)
			must(t, err)
			second, err := b.host.PlanSysctl(t.Context(), keep(t, tt.key2, tt.value2), nil)
			must(t, err)
			fights := 0
			for _, w := range append(first.All(), second.All()...) {
				if errors.Is(w, &host.Error{Kind: host.KeysFight}) {
					fights++
				}
			}
			if (fights == 1) != tt.fight || fights > 1 {
				t.Errorf("%d warnings: %v %v", fights, first.All(), second.All())
			}
		})
	}
}

// Guards that a value which the kernel takes and no host survives is told at plan.
func TestPlanTellsValueThatDoesHarm(t *testing.T) {
	b := newBench(t)
	p, err := b.host.PlanSysctl(t.Context(), keep(t, "fs.nr_open", "100"), nil)
	must(t, err)
	if len(p.Warnings) != 1 || !errors.Is(p.Warnings[0], &host.Error{Kind: host.Dangerous}) {
		t.Errorf("the plan says %v", p.Warnings)
	}
}
