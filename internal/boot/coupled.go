package boot

// Keys that one write changes together.

import (
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// Coupling is what a write to one key does to another.
type Coupling string

// The couplings.
const (
	// Apart: nothing.
	Apart Coupling = ""
	// Zeroes: the other reads 0 since, being the same limit in another unit.
	Zeroes Coupling = "zeroes"
	// Copies: the other takes the same value.
	Copies Coupling = "copies"
	// Opposes: the other is switched off where this one is switched on, and on where it is switched off.
	Opposes Coupling = "opposes"
)

// twins are keys of which writing one sets the other.
var twins = [...]struct {
	a, b string
	does Coupling
}{
	{"vm/dirty_bytes", "vm/dirty_ratio", Zeroes},                       // mm/page-writeback.c
	{"vm/dirty_background_bytes", "vm/dirty_background_ratio", Zeroes}, // mm/page-writeback.c
	{"vm/overcommit_kbytes", "vm/overcommit_ratio", Zeroes},            // mm/util.c
	{"net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding", Copies},    // net/ipv4/devinet.c
	{"net/nf_conntrack_max", "net/netfilter/nf_conntrack_max", Copies}, // net/netfilter/nf_conntrack_standalone.c
}

// forAll are keys whose change is made to the key of every interface too: a prefix before the interface's name, and what follows it.
var forAll = [...]struct{ written, prefix, suffix string }{
	{"net/ipv4/ip_forward", "net/ipv4/conf/", "/forwarding"},                                            // net/ipv4/devinet.c
	{"net/ipv4/conf/all/forwarding", "net/ipv4/conf/", "/forwarding"},                                   // net/ipv4/devinet.c
	{"net/ipv6/conf/all/forwarding", "net/ipv6/conf/", "/forwarding"},                                   // net/ipv6/addrconf.c
	{"net/ipv6/conf/all/disable_ipv6", "net/ipv6/conf/", "/disable_ipv6"},                               // net/ipv6/addrconf.c
	{"net/ipv6/conf/all/ignore_routes_with_linkdown", "net/ipv6/conf/", "/ignore_routes_with_linkdown"}, // net/ipv6/addrconf.c
}

// noRedirects is what a host that starts to forward does not do (inet_forward_change in net/ipv4/devinet.c).
const noRedirects = "net/ipv4/conf/all/accept_redirects"

// CouplingOf says what a write that changes written does to other.
func CouplingOf(written, other sysctl.Key) Coupling {
	w, o := belowProcSys(written), belowProcSys(other)
	for _, t := range twins {
		if w == t.a && o == t.b || w == t.b && o == t.a {
			return t.does
		}
	}
	for _, f := range forAll {
		rest, ok := strings.CutPrefix(o, f.prefix)
		name, found := strings.CutSuffix(rest, f.suffix)
		if w == f.written && w != o && ok && found && !strings.Contains(name, "/") {
			return Copies
		}
	}
	if o == noRedirects && (w == "net/ipv4/ip_forward" || w == "net/ipv4/conf/all/forwarding") {
		return Opposes
	}
	return Apart
}

// Coupled reports whether there is any key that a write to k changes, or whose write changes k.
func Coupled(k sysctl.Key) bool {
	below := belowProcSys(k)
	for _, t := range twins {
		if below == t.a || below == t.b {
			return true
		}
	}
	if below == noRedirects {
		return true
	}
	for _, f := range forAll {
		if below == f.written || strings.HasPrefix(below, f.prefix) && strings.HasSuffix(below, f.suffix) {
			return true
		}
	}
	return false
}

// leaders are the keys whose writes change k.
func leaders(k sysctl.Key) []sysctl.Key {
	var names []string
	for _, t := range twins {
		names = append(names, t.a, t.b)
	}
	for _, f := range forAll {
		names = append(names, f.written)
	}
	slices.Sort(names)
	var keys []sysctl.Key
	for _, name := range slices.Compact(names) {
		if w, ok := keyAt(name); ok && CouplingOf(w, k) != Apart {
			keys = append(keys, w)
		}
	}
	return keys
}

func belowProcSys(k sysctl.Key) string { return strings.TrimPrefix(k.Path(), "/proc/sys/") }
