package boot

import (
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// TestCouplingOf guards which keys one write changes together, and in which direction.
func TestCouplingOf(t *testing.T) {
	for _, tt := range []struct {
		written, other string
		want           Coupling
	}{
		{"vm.dirty_bytes", "vm.dirty_ratio", Zeroes},
		{"vm.dirty_ratio", "vm.dirty_bytes", Zeroes},
		{"vm.dirty_background_ratio", "vm.dirty_background_bytes", Zeroes},
		{"vm.dirty_bytes", "vm.dirty_background_bytes", Apart},
		{"net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding", Copies},
		{"net.ipv4.conf.all.forwarding", "net.ipv4.ip_forward", Copies},
		{"net.ipv4.ip_forward", "net.ipv4.conf.eth0/100.forwarding", Copies},
		{"net.ipv4.conf.eth0.forwarding", "net.ipv4.ip_forward", Apart},
		{"net.ipv4.ip_forward", "net.ipv4.conf.eth0.mc_forwarding", Apart},
		{"net.ipv6.conf.all.disable_ipv6", "net.ipv6.conf.lo.disable_ipv6", Copies},
		{"net.ipv6.conf.all.forwarding", "net.ipv4.conf.lo.forwarding", Apart},
		{"vm.overcommit_kbytes", "vm.overcommit_ratio", Zeroes},
		{"net.nf_conntrack_max", "net.netfilter.nf_conntrack_max", Copies},
		{"net.ipv4.conf.all.forwarding", "net.ipv4.conf.all.accept_redirects", Opposes},
		{"net.ipv4.conf.all.accept_redirects", "net.ipv4.ip_forward", Apart},
		{"net.ipv6.conf.all.ignore_routes_with_linkdown", "net.ipv6.conf.default.ignore_routes_with_linkdown", Copies},
		{"net.ipv4.conf.default.rp_filter", "net.ipv4.conf.lo.rp_filter", Apart},
		{"net.ipv6.conf.all.addr_gen_mode", "net.ipv6.conf.eth0.addr_gen_mode", Copies},
		{"net.ipv4.neigh.lo.unres_qlen", "net.ipv4.neigh.lo.unres_qlen_bytes", sysctl.Rescales},
		{"vm.swappiness", "vm.swappiness", Apart},
		{"net.ipv6.conf.all.forwarding", "net.ipv6.conf.all.forwarding", Apart},
	} {
		written, err := sysctl.ParseKey(tt.written)
		if err != nil {
			t.Fatal(err)
		}
		other, err := sysctl.ParseKey(tt.other)
		if err != nil {
			t.Fatal(err)
		}
		if got := CouplingOf(written, other); got != tt.want {
			t.Errorf("CouplingOf(%s, %s) = %q, not %q", written, other, got, tt.want)
		}
	}
}
