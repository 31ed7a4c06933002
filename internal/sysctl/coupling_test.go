package sysctl

import (
	"path"
	"slices"
	"strings"
	"testing"
)

// TestFollows guards which keys one write changes together, in which direction and how.
func TestFollows(t *testing.T) {
	const apart = Effect("")
	for _, tt := range []struct {
		written, other string
		want           Effect
	}{
		{"net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding", Copies},
		{"net.ipv4.conf.all.forwarding", "net.ipv4.ip_forward", Copies},
		{"net.ipv4.ip_forward", "net.ipv4.conf.eth0/100.forwarding", Copies},
		{"net.ipv4.ip_forward", "net.ipv4.conf.default.forwarding", Copies},
		{"net.ipv4.ip_forward", "net.ipv4.conf.all.accept_redirects", Opposes},
		{"net.ipv4.ip_forward", "net.ipv4.conf.eth0.accept_redirects", apart},
		{"net.ipv4.ip_forward", "net.ipv4.conf.eth0.mc_forwarding", apart},
		{"net.ipv4.conf.all.accept_redirects", "net.ipv4.ip_forward", apart},
		{"net.ipv4.conf.eth0.forwarding", "net.ipv4.ip_forward", apart},
		{"net.ipv4.conf.eth0.forwarding", "net.ipv4.conf.eth1.forwarding", apart},
		{"net.ipv4.conf.default.rp_filter", "net.ipv4.conf.eth0.rp_filter", Inherits},
		{"net.ipv4.conf.default.rp_filter", "net.ipv4.conf.all.rp_filter", apart},
		{"net.ipv6.conf.all.forwarding", "net.ipv6.conf.eth0.forwarding", Copies},
		{"net.ipv6.conf.all.forwarding", "net.ipv6.conf.all.forwarding", apart},
		{"net.ipv6.conf.all.forwarding", "net.ipv4.conf.lo.forwarding", apart},
		{"net.ipv6.conf.all.disable_ipv6", "net.ipv6.conf.lo.disable_ipv6", Copies},
		{"net.ipv6.conf.all.addr_gen_mode", "net.ipv6.conf.default.addr_gen_mode", Copies},
		{"net.ipv6.conf.all.addr_gen_mode", "net.ipv6.conf.eth0.addr_gen_mode", Copies},
		{"net.ipv6.conf.all.ignore_routes_with_linkdown", "net.ipv6.conf.default.ignore_routes_with_linkdown", Copies},
		{"net.ipv4.neigh.eth0.base_reachable_time", "net.ipv4.neigh.eth0.base_reachable_time_ms", Rescales},
		{"net.ipv4.neigh.eth0.base_reachable_time", "net.ipv4.neigh.eth1.base_reachable_time_ms", apart},
		{"net.ipv4.neigh.default.unres_qlen", "net.ipv4.neigh.default.unres_qlen_bytes", Rescales},
		{"net.nf_conntrack_max", "net.netfilter.nf_conntrack_max", Copies},
		{"fs.inotify.max_user_watches", "user.max_inotify_watches", Copies},
		{"vm.dirty_bytes", "vm.dirty_ratio", Zeroes},
		{"vm.dirty_ratio", "vm.dirty_bytes", Zeroes},
		{"vm.dirty_background_ratio", "vm.dirty_background_bytes", Zeroes},
		{"vm.dirty_bytes", "vm.dirty_background_bytes", apart},
		{"vm.overcommit_kbytes", "vm.overcommit_ratio", Zeroes},
		{"vm.swappiness", "vm.swappiness", apart},
	} {
		got, ok := Follows(mustKey(t, tt.written), mustKey(t, tt.other))
		if got != tt.want || ok != (tt.want != apart) {
			t.Errorf("Follows(%s, %s) = %q, %t, not %q", tt.written, tt.other, got, ok, tt.want)
		}
	}
}

// TestCouplingTable guards that every line of the table is understood, found from both of its keys, and within the
// order of writes.
func TestCouplingTable(t *testing.T) {
	effects := []Effect{Copies, Zeroes, Opposes, Rescales, Inherits, Resets}
	lines := 0
	for line := range strings.Lines(couplingTable + unmeasured) {
		if strings.HasPrefix(line, "#") || line == "\n" {
			continue
		}
		lines++
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) < 3 {
			t.Fatalf("the line %q has %d fields", line, len(fields))
		}
		written := mustKey(t, strings.Replace(fields[0], "*", "eth0", 1))
		other := mustKey(t, strings.Replace(fields[1], "*", "eth0", 1))
		effect, ok := Follows(written, other)
		if !ok || !slices.Contains(effects, effect) {
			t.Errorf("Follows(%s, %s) = %q, %t", written, other, effect, ok)
		}
		if !Leads(written) || !slices.Contains(Leaders(other), written) {
			t.Errorf("%s does not lead %s", written, other)
		}
		matches := func(pattern string) bool { ok, _ := path.Match(pattern, other.Path()); return ok }
		patterns := FollowerPatterns(written)
		if effect == Inherits {
			patterns = InheritorPatterns(written)
		}
		if !slices.ContainsFunc(patterns, matches) {
			t.Errorf("the patterns of %s are %q, and lack %s", written, patterns, other.Path())
		}
		if _, mutual := Follows(other, written); !mutual && Compare(written, other) >= 0 {
			t.Errorf("%s does not come before %s, which follows it", written, other)
		}
	}
	if lines < 50 {
		t.Errorf("the table has %d lines", lines)
	}
	if k := mustKey(t, "vm.swappiness"); Leads(k) || FollowerPatterns(k) != nil || Leaders(k) != nil {
		t.Errorf("%s is coupled", k)
	}
}

// TestCompare guards the order of writes: the switches of all interfaces, the defaults, then the rest by name.
func TestCompare(t *testing.T) {
	want := []string{
		"net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding", "net.ipv6.conf.all.forwarding",
		"net.ipv4.conf.all.accept_redirects", "net.ipv4.conf.all.rp_filter",
		"net.ipv4.conf.default.rp_filter",
		"kernel.sysrq", "net.ipv4.conf.eth0.forwarding", "net.ipv4.conf.eth0.rp_filter", "vm.swappiness",
	}
	var keys []Key
	for _, s := range slices.Backward(want) {
		keys = append(keys, mustKey(t, s))
	}
	slices.SortFunc(keys, Compare)
	for i, k := range keys {
		if k.String() != want[i] {
			t.Fatalf("the order is %v, not %v", keys, want)
		}
	}
}

// Guards that keys which change each other, over however many steps, are of one cluster, and that others are of none.
func TestCluster(t *testing.T) {
	cluster := func(name string) string {
		k, err := ParseKey(name)
		if err != nil {
			t.Fatal(err)
		}
		return Cluster(k)
	}
	forwarding := cluster("net.ipv4.ip_forward")
	for _, name := range []string{"net.ipv4.conf.all.forwarding", "net.ipv4.conf.eth0.forwarding", "net.ipv4.conf.all.accept_redirects"} {
		if got := cluster(name); got != forwarding || got == "" {
			t.Errorf("%s is of the cluster %q, and ip_forward of %q", name, got, forwarding)
		}
	}
	for _, name := range []string{"vm.swappiness", "net.ipv4.conf.eth0.rp_filter", "net.ipv4.conf.eth0.accept_redirects"} {
		if got := cluster(name); got != "" {
			t.Errorf("%s is of the cluster %q", name, got)
		}
	}
	if cluster("vm.dirty_bytes") == forwarding || cluster("vm.dirty_bytes") != cluster("vm.dirty_ratio") {
		t.Error("vm.dirty_bytes is not of the cluster of vm.dirty_ratio alone")
	}
}
