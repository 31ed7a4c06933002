package writer

// Programs that write keys by their own code, in no file that a host could be searched for.

import (
	"path"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// Program is a program that writes a key while it starts or works.
type Program struct {
	// Unit is the unit that starts it, and Key the pattern of the key, as a path below /proc/sys.
	Unit, Key string
	// Value is what it writes; "" if that depends on its configuration.
	Value string
	// Why says when it does so.
	Why string
}

// programs are those that were seen to write keys, or that say so in their sources.
var programs = slices.Concat(
	forwarding("docker.service", "the Docker daemon switches forwarding on"),
	forwarding("lxc-net.service", "lxc-net switches forwarding on"),
	forwarding("firewalld.service", "firewalld switches forwarding on for a zone with masquerade or forward"),
	forwarding("libvirtd.service", "libvirt switches forwarding on for its networks"),
	forwarding("virtnetworkd.service", "libvirt switches forwarding on for its networks"),
	forwarding("k3s.service", "k3s switches forwarding on"),
	kubelet("kubelet.service", "the kubelet sets it unless protectKernelDefaults is on"),
	kubelet("k3s.service", "k3s sets it, as the kubelet does"),
	[]Program{
		{"keepalived.service", "net/ipv4/conf/all/rp_filter", "0", "keepalived sets it for use_vmac"},
		{"kube-proxy.service", "net/netfilter/nf_conntrack_max", "", "kube-proxy raises it"},
		{"kube-proxy.service", "net/netfilter/nf_conntrack_tcp_timeout_established", "", "kube-proxy sets it"},
		{"kube-proxy.service", "net/netfilter/nf_conntrack_tcp_timeout_close_wait", "", "kube-proxy sets it"},
		{"kube-proxy.service", "net/ipv4/conf/all/route_localnet", "1", "kube-proxy sets it"},
		{"k3s.service", "net/netfilter/nf_conntrack_max", "", "k3s raises it"},
		{"wg-quick@.service", "net/ipv4/conf/all/src_valid_mark", "1", "wg-quick sets it for AllowedIPs = 0.0.0.0/0"},
	},
)

func forwarding(unit, why string) []Program {
	return []Program{{unit, "net/ipv4/ip_forward", "1", why}, {unit, "net/ipv6/conf/all/forwarding", "1", why}}
}

func kubelet(unit, why string) (all []Program) {
	for key, value := range map[string]string{"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10",
		"kernel/panic_on_oops": "1", "kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000"} {
		all = append(all, Program{unit, key, value, why})
	}
	return all
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
			if p.Unit == template && "/proc/sys/"+p.Key == k.Path() {
				p.Unit = unit
				found = append(found, p)
			}
		}
	}
	return found
}
