package kmod

// Which module a key, or a value of one, needs.

import (
	_ "embed" // for owners.tsv
	"path"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// owners maps keys to modules: a line each, the module, a tab and the key.
//
//go:embed owners.tsv
var owners string

// perDevice are keys that a module makes once for each device or conference of names, so that no list can hold them: a `*` stands for one part.
var perDevice = [...]struct{ path, module string }{
	{"net/mpls/conf/*/input", "mpls_router"},           // net/mpls/af_mpls.c
	{"dev/parport/*/*", "parport"},                     // drivers/parport/procfs.c
	{"dev/parport/*/devices/*/*", "parport"},           // drivers/parport/procfs.c
	{"net/ax25/*/*", "ax25"},                           // net/ax25/sysctl_net_ax25.c
	{"net/bridge/bridge-nf-*", "br_netfilter"},         // net/bridge/br_netfilter_hooks.c
	{"net/sctp/*", "sctp"},                             // net/sctp/sysctl.c
	{"net/ieee802154/6lowpan/*", "ieee802154_6lowpan"}, // net/ieee802154/6lowpan/reassembly.c
}

// Owner returns the module that brings k; ok is false if none is known to, which is also so for keys of the kernel itself. It knows Debian 12's kernel
// 6.1 for amd64; on another kernel the module may be built in, or the key may not exist.
func Owner(k sysctl.Key) (module string, ok bool) {
	name := "\t" + k.String() + "\n"
	if i := strings.Index(owners, name); i >= 0 {
		return owners[strings.LastIndexByte(owners[:i], '\n')+1 : i], true
	}
	below := strings.TrimPrefix(k.Path(), "/proc/sys/")
	for _, d := range perDevice {
		if match, _ := path.Match(d.path, below); match {
			return d.module, true
		}
	}
	return "", false
}

// ForValue returns the module that must be there for k to take this value, such as tcp_bbr for net.ipv4.tcp_congestion_control = bbr. The module may be
// built in.
func ForValue(k sysctl.Key, value string) (module string, ok bool) {
	value = strings.TrimSpace(value)
	below := strings.TrimPrefix(k.Path(), "/proc/sys/")
	switch {
	case below == "net/ipv4/tcp_congestion_control":
		switch value {
		case "reno": // in the kernel itself
			return "", false
		case "dctcp-reno": // the fallback that tcp_dctcp.c brings
			return "tcp_dctcp", true
		}
		module = "tcp_" + value
	case below == "net/core/default_qdisc":
		switch value {
		case "bfifo", "mq", "noop", "noqueue", "pfifo", "pfifo_fast", "pfifo_head_drop": // in the kernel itself: net/sched/sch_fifo.c, sch_generic.c, sch_mq.c
			return "", false
		}
		module = "sch_" + value
	case strings.HasPrefix(below, "net/netfilter/nf_log/"):
		switch value {
		case "nf_log_arp", "nf_log_bridge", "nf_log_ipv4", "nf_log_ipv6", "nf_log_netdev":
			return "nf_log_syslog", true // since Linux 5.13; before, the module had the value's name
		case "nfnetlink_log":
			return value, true
		}
		return "", false
	}
	if value == "" || !isName(module) {
		return "", false
	}
	return Canonical(module), true
}
