package boot

import (
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// TestEffectOf guards which keys one write changes together, and in which direction.
func TestEffectOf(t *testing.T) {
	for _, tt := range []struct {
		written, other string
		want           sysctl.Effect
	}{
		{"vm.dirty_bytes", "vm.dirty_ratio", sysctl.Zeroes},
		{"vm.dirty_ratio", "vm.dirty_bytes", sysctl.Zeroes},
		{"vm.dirty_background_ratio", "vm.dirty_background_bytes", sysctl.Zeroes},
		{"vm.dirty_bytes", "vm.dirty_background_bytes", ""},
		{"net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding", sysctl.Copies},
		{"net.ipv4.conf.all.forwarding", "net.ipv4.ip_forward", sysctl.Copies},
		{"net.ipv4.ip_forward", "net.ipv4.conf.eth0/100.forwarding", sysctl.Copies},
		{"net.ipv4.conf.eth0.forwarding", "net.ipv4.ip_forward", ""},
		{"net.ipv4.ip_forward", "net.ipv4.conf.eth0.mc_forwarding", ""},
		{"net.ipv6.conf.all.disable_ipv6", "net.ipv6.conf.lo.disable_ipv6", sysctl.Copies},
		{"net.ipv6.conf.all.forwarding", "net.ipv4.conf.lo.forwarding", ""},
		{"vm.overcommit_kbytes", "vm.overcommit_ratio", sysctl.Zeroes},
		{"net.nf_conntrack_max", "net.netfilter.nf_conntrack_max", sysctl.Copies},
		{"net.ipv4.conf.all.forwarding", "net.ipv4.conf.all.accept_redirects", sysctl.Opposes},
		{"net.ipv4.conf.all.accept_redirects", "net.ipv4.ip_forward", ""},
		{"net.ipv6.conf.all.ignore_routes_with_linkdown", "net.ipv6.conf.default.ignore_routes_with_linkdown", sysctl.Copies},
		{"net.ipv4.conf.default.rp_filter", "net.ipv4.conf.lo.rp_filter", ""},
		{"net.ipv6.conf.all.addr_gen_mode", "net.ipv6.conf.eth0.addr_gen_mode", sysctl.Copies},
		{"net.ipv4.neigh.lo.unres_qlen", "net.ipv4.neigh.lo.unres_qlen_bytes", sysctl.Rescales},
		{"vm.swappiness", "vm.swappiness", ""},
		{"net.ipv6.conf.all.forwarding", "net.ipv6.conf.all.forwarding", ""},
	} {
		written, err := sysctl.ParseKey(tt.written)
		if err != nil {
			t.Fatal(err)
		}
		other, err := sysctl.ParseKey(tt.other)
		if err != nil {
			t.Fatal(err)
		}
		if got := effectOf(written, other); got != tt.want {
			t.Errorf("effectOf(%s, %s) = %q, not %q", written, other, got, tt.want)
		}
	}
}
