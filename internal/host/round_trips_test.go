package host_test

// Round trips on the wire to a real sshd, counted by a proxy.

import (
	"fmt"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// namespaced are n keys of a network namespace that hold 0 or 1.
func namespaced(t *testing.T, n int) (keys []sysctl.Key) {
	t.Helper()
	for _, leaf := range []string{"accept_local", "accept_redirects", "accept_source_route", "arp_accept", "arp_filter",
		"arp_notify", "bootp_relay", "disable_policy", "disable_xfrm",
		"drop_gratuitous_arp", "drop_unicast_in_l2_multicast", "forwarding", "ignore_routes_with_linkdown", "log_martians",
		"promote_secondaries", "proxy_arp", "proxy_arp_pvlan",
		"route_localnet", "rp_filter", "secure_redirects", "send_redirects", "shared_media", "src_valid_mark",
		"igmpv3_unsolicited_report_interval", "medium_id"} {
		for _, at := range []string{"all", "default", "eth0", "lo"} {
			if len(keys) < n {
				k, err := sysctl.ParseKey("net/ipv4/conf/" + at + "/" + leaf)
				must(t, err)
				if n <= 50 && sysctl.Cluster(k) != "" {
					continue // changes of these wait for each other
				}
				keys = append(keys, k)
			}
		}
	}
	if len(keys) < n {
		t.Fatalf("only %d keys", len(keys))
	}
	return keys
}

// Guards on the wire what TestPlanTakesOneBatch does at the host: that a plan of a hundred resources goes back and
// forth as often as a plan of one; and that fifty changes which are planned and made together take fewer than thirty.
func TestRoundTripsOnTheWire(t *testing.T) {
	p := sshdPlant(t)
	m := p.machine
	for _, n := range []int{1, 10, 100} {
		t.Run(fmt.Sprintf("plan of %d", n), func(t *testing.T) {
			keys := namespaced(t, n)
			for range 2 { // a key may change others when it changes
				for _, k := range keys {
					if out, status := m.Sh("echo '" + k.String() + " = 1' >/etc/sysctl.d/" + k.DropInName() + " && echo 1 >" +
						k.Path()); status != 0 {
						t.Fatal(out)
					}
				}
			}
			h := p.reach(t, false, route.Settings{})
			p.wire.count(0, unsent, nil)
			walk(n, func(i int) {
				s := host.Sysctl{Key: keys[i], Value: "1", FileName: keys[i].DropInName(), Persist: true}
				_, err := h.ReadSysctl(t.Context(), s)
				if err == nil {
					_, err = h.PlanSysctl(t.Context(), s, &s)
				}
				if err != nil {
					t.Error(err)
				}
			})
			if got, _ := p.wire.counted(); got != 1 {
				t.Errorf("%d exchanges, not 1", got)
			}
		})
	}
	t.Run("fifty changes", func(t *testing.T) {
		keys := namespaced(t, 50)
		if out, status := m.Sh("rm -f /etc/sysctl.d/*-terraform-*"); status != 0 {
			t.Fatal(out)
		}
		var values []string
		for _, k := range keys {
			before, _ := m.Sh("cat " + k.Path())
			values = append(values, map[string]string{"0": "1", "1": "0"}[strings.TrimSpace(before)])
		}
		h := p.reach(t, false, route.Settings{})
		p.wire.count(0, unsent, nil)
		walk(len(keys), func(i int) {
			s := host.Sysctl{Key: keys[i], Value: values[i], FileName: keys[i].DropInName(), Persist: true}
			_, err := h.PlanSysctl(t.Context(), s, nil)
			if err == nil {
				_, err = h.SetSysctl(t.Context(), s, nil, nil)
			}
			if err != nil {
				t.Error(err)
			}
		})
		got, _ := p.wire.counted()
		// On an idle machine they are ten; on a busy one fewer changes wait at the same time.
		if t.Logf("%d exchanges", got); got > len(keys)*9/10 {
			t.Errorf("%d exchanges for %d changes", got, len(keys))
		}
	})
}
