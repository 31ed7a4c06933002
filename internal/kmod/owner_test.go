package kmod

import (
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

func mustKey(t *testing.T, s string) sysctl.Key {
	t.Helper()
	k, err := sysctl.ParseKey(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestOwners guards the embedded map itself: each line is a module and a well-formed key in canonical spelling, each key has one owner.
func TestOwners(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(owners, "\n"), "\n")
	if want := "# Kernel 6.1.0-56-amd64; keys of 38 modules"; lines[0] != want {
		t.Fatalf("the map begins with %q, not %q", lines[0], want)
	}
	modules, seen := map[string]bool{}, map[string]bool{}
	for _, line := range lines[1:] {
		module, key, _ := strings.Cut(line, "\t")
		if _, err := ParseName(module); err != nil || Canonical(module) != module {
			t.Errorf("%q: no module's name: %v", line, err)
		}
		k := mustKey(t, key)
		if k.String() != key {
			t.Errorf("%q: the key's canonical spelling is %q", line, k)
		}
		if seen[key] {
			t.Errorf("%q: the key is there twice", line)
		}
		seen[key], modules[module] = true, true
		if got, ok := Owner(k); got != module || !ok {
			t.Errorf("Owner(%s) = %q, %v; want %q", k, got, ok, module)
		}
	}
	if len(modules) != 38 || len(seen) != 279 {
		t.Errorf("the map has %d modules and %d keys, not 38 and 279", len(modules), len(seen))
	}
}

// TestOwner guards the module an error names: prefixes mislead, and a key of the kernel itself has none.
func TestOwner(t *testing.T) {
	tests := []struct{ key, want string }{
		{"net.netfilter.nf_conntrack_tcp_be_liberal", "nf_conntrack"},
		{"net/netfilter/nf_conntrack_tcp_be_liberal", "nf_conntrack"},
		{"net.nf_conntrack_max", "nf_conntrack"},
		{"net.netfilter.nf_conntrack_frag6_timeout", "nf_defrag_ipv6"},
		{"net.bridge.bridge-nf-call-iptables", "br_netfilter"},
		{"net.bridge.bridge-nf-call-new", "br_netfilter"},
		{"fs.nfs.nlm_tcpport", "lockd"},
		{"fs.nfs.nfs_callback_tcpport", "nfsv4"},
		{"fs.nfs.nfs_congestion_kb", "nfs"},
		{"sunrpc.rdma_pad_optimize", "rpcrdma"},
		{"net.rds.ping_enable", "rds"},
		{"net.rds.ib.flow_control", "rds_rdma"},
		{"net.mpls.conf.eth0.input", "mpls_router"},
		{"net.mpls.conf.eth0/100.input", "mpls_router"},
		{"dev.parport.parport0.devices.lp.timeslice", "parport"},
		{"net.ipv4.ip_forward", ""},
		{"net.netfilter.nf_log.2", ""},
		{"net.netfilter.nf_conntrack_tcp_be_libera", ""},
		{"net.netfilter.nf_conntrack_tcp_be_liberal.x", ""},
	}
	for _, tt := range tests {
		if got, ok := Owner(mustKey(t, tt.key)); got != tt.want || ok != (tt.want != "") {
			t.Errorf("Owner(%s) = %q, %v; want %q", tt.key, got, ok, tt.want)
		}
	}
}

// TestForValue guards the module that a value, and not a key, needs.
func TestForValue(t *testing.T) {
	tests := []struct{ key, value, want string }{
		{"net.ipv4.tcp_congestion_control", "bbr", "tcp_bbr"},
		{"net.ipv4.tcp_congestion_control", " cubic\n", "tcp_cubic"},
		{"net.ipv4.tcp_congestion_control", "reno", ""},
		{"net.ipv4.tcp_congestion_control", "dctcp-reno", "tcp_dctcp"},
		{"net.ipv4.tcp_congestion_control", "", ""},
		{"net.ipv4.tcp_congestion_control", "../x", ""},
		{"net.core.default_qdisc", "fq", "sch_fq"},
		{"net.core.default_qdisc", "fq_codel", "sch_fq_codel"},
		{"net.core.default_qdisc", "pfifo_fast", ""},
		{"net.netfilter.nf_log.2", "nf_log_ipv4", "nf_log_syslog"},
		{"net.netfilter.nf_log.10", "nfnetlink_log", "nfnetlink_log"},
		{"net.netfilter.nf_log.2", "NONE", ""},
		{"net.ipv4.ip_forward", "1", ""},
	}
	for _, tt := range tests {
		if got, ok := ForValue(mustKey(t, tt.key), tt.value); got != tt.want || ok != (tt.want != "") {
			t.Errorf("ForValue(%s, %q) = %q, %v; want %q", tt.key, tt.value, got, ok, tt.want)
		}
	}
}
