package writer

// Programs that write keys by their own code, in no file that a host could be searched for.

import (
	"path"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// Program is a program that writes keys while it starts or works.
type Program struct {
	// Unit is the unit that starts it.
	Unit string
	// Keys are the patterns of the keys, as paths below /proc/sys.
	Keys []string
	// Why says when it does so.
	Why string
}

// programs are those that were seen to write keys, or that say so in their sources.
var programs = []Program{
	{"docker.service", []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/default/forwarding",
		"net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"},
		"the Docker daemon switches forwarding on"},
	{"lxc-net.service", []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"}, "lxc-net switches forwarding on"},
	{"firewalld.service", []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"},
		"firewalld switches forwarding on for a zone with masquerade or forward"},
	{"keepalived.service", []string{"net/ipv4/conf/*/rp_filter", "net/ipv4/conf/*/arp_ignore",
		"net/ipv4/conf/*/arp_filter"},
		"keepalived sets these for interfaces of its own (use_vmac)"},
	{"libvirtd.service", []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/*/disable_ipv6",
		"net/ipv6/conf/*/accept_ra"}, "libvirt sets these for its networks"},
	{"virtnetworkd.service", []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding",
		"net/ipv6/conf/*/disable_ipv6", "net/ipv6/conf/*/accept_ra"}, "libvirt sets these for its networks"},
	{"kubelet.service", []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
		"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"},
		"the kubelet sets these unless protectKernelDefaults is on"},
	{"kube-proxy.service", []string{"net/netfilter/nf_conntrack_max", "net/netfilter/nf_conntrack_tcp_timeout_established",
		"net/netfilter/nf_conntrack_tcp_timeout_close_wait", "net/ipv4/conf/all/route_localnet"}, "kube-proxy sets these"},
	{"k3s.service", []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/netfilter/nf_conntrack_max",
		"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"}, "k3s sets these"},
	{"wg-quick@.service", []string{"net/ipv4/conf/all/src_valid_mark"},
		"wg-quick sets it for a peer with AllowedIPs = 0.0.0.0/0"},
}

// Programs returns the enabled ones that may write k, with the units that start them.
func Programs(enabled []string, k sysctl.Key) []Program {
	var found []Program
	for _, unit := range enabled {
		template := unit
		if before, instance, ok := strings.Cut(unit, "@"); ok {
			template = before + "@" + path.Ext(instance)
		}
		for _, p := range programs {
			if p.Unit != template {
				continue
			}
			for _, pattern := range p.Keys {
				if (sysctl.Assignment{Pattern: pattern}).Matches(k) {
					p.Unit = unit
					found = append(found, p)
					break
				}
			}
		}
	}
	return found
}
