package hosttest

import (
	"crypto/rand"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// effect is what a sysctl does beyond storing its numbers.
type effect struct {
	// check may refuse or change the numbers; they are stored together or not at all.
	check func(m *machine, k *key, nums []uint64) ([]uint64, error)
	// after follows a store.
	after func(m *machine, k *key, old []uint64)
}

// effects are the names in the EFFECT column of tables/keys.txt.
var effects = map[string]effect{
	// net/core/sock.c rounds the flow table up; kernel facts: 100 reads back as 128.
	"pow2": {check: func(_ *machine, _ *key, n []uint64) ([]uint64, error) { return []uint64{roundPow2(n[0])}, nil }},
	// fs/pipe.c: at least a page, then a power of two.
	"page2": {check: func(_ *machine, _ *key, n []uint64) ([]uint64, error) {
		return []uint64{roundPow2(max(n[0], 4096))}, nil
	}},
	// What memory there is holds 303 huge pages.
	"fits": {check: func(_ *machine, _ *key, n []uint64) ([]uint64, error) { return []uint64{min(n[0], 303)}, nil }},
	"bool": {check: func(_ *machine, _ *key, n []uint64) ([]uint64, error) { return []uint64{min(n[0], 1)}, nil }},
	"low-high": {check: func(_ *machine, _ *key, n []uint64) ([]uint64, error) {
		if n[1] < n[0] {
			return nil, syscall.EINVAL
		}
		return n, nil
	}},
	// net/ipv4/sysctl_net_ipv4.c: an empty range is stored as 1 0.
	"groups": {check: func(_ *machine, _ *key, n []uint64) ([]uint64, error) {
		if n[1] < n[0] {
			return []uint64{1, 0}, nil
		}
		return n, nil
	}},
	"once": {check: func(_ *machine, k *key, n []uint64) ([]uint64, error) {
		if k.nums[0] == 1 && n[0] != 1 {
			return nil, syscall.EPERM
		}
		return n, nil
	}},
	// security/yama: the highest level cannot be left.
	"ratchet": {check: func(_ *machine, k *key, n []uint64) ([]uint64, error) {
		if k.nums[0] == 3 && n[0] != 3 {
			return nil, syscall.EINVAL
		}
		return n, nil
	}},
	// Another process takes the number before anyone can read it back.
	"last_pid": {after: func(_ *machine, k *key, _ []uint64) { k.nums[0] += 43 }},

	// Couplings, as internal/sysctl/couplings.tsv has them of a real kernel. Two limits of which one counts:
	"dirty_bytes":            {after: zero("vm/dirty_ratio")},
	"dirty_ratio":            {after: zero("vm/dirty_bytes")},
	"dirty_background_bytes": {after: zero("vm/dirty_background_ratio")},
	"dirty_background_ratio": {after: zero("vm/dirty_background_bytes")},
	"overcommit_kbytes":      {after: zero("vm/overcommit_ratio")},
	"overcommit_ratio":       {after: zero("vm/overcommit_kbytes")},

	// A switch of all interfaces:
	"forward4": {after: forward4},
	"forward6": {after: func(m *machine, k *key, _ []uint64) { m.spread6(k, "forwarding") }},
	"disable6": {after: func(m *machine, k *key, _ []uint64) { m.spread6(k, "disable_ipv6") }},
	"linkdown6": {after: func(m *machine, k *key, _ []uint64) {
		m.spread6(k, "ignore_routes_with_linkdown")
	}},
	"addr_gen6": {after: func(m *machine, k *key, _ []uint64) { m.spread6(k, "addr_gen_mode") }},

	// Two units of one value: NAME and NAME_ms in milliseconds, or NAME_bytes of packets with their buffers.
	"seconds":          unit("_ms", 1000),
	"centiseconds":     unit("_ms", 10),
	"packets":          unit("_bytes", 2090),
	"of-seconds":       unitOf("_ms", 1000),
	"of-centiseconds":  unitOf("_ms", 10),
	"bytes-of-packets": unitOf("_bytes", 2090),

	// Two names of one value:
	"inotify_instances": {after: copyTo("fs/inotify/max_user_instances", "user/max_inotify_instances")},
	"inotify_watches":   {after: copyTo("fs/inotify/max_user_watches", "user/max_inotify_watches")},
	"fanotify_groups":   {after: copyTo("fs/fanotify/max_user_groups", "user/max_fanotify_groups")},
	"fanotify_marks":    {after: copyTo("fs/fanotify/max_user_marks", "user/max_fanotify_marks")},

	// kernel/watchdog.c: a machine without counters of events in its processor, as most virtual ones.
	"no-counters": {check: func(*machine, *key, []uint64) ([]uint64, error) { return nil, errNotSupported }},

	"conntrack_max": {after: copyTo("net/nf_conntrack_max", "net/netfilter/nf_conntrack_max")},
	"buckets": {
		check: func(_ *machine, _ *key, n []uint64) ([]uint64, error) {
			if n[0] == 0 {
				return nil, syscall.EINVAL
			}
			return []uint64{hashSize(n[0])}, nil
		},
		after: func(m *machine, k *key, _ []uint64) { m.setParam("nf_conntrack", "hashsize", k.String()) },
	},
}

// hashSize is how many buckets a connection tracking table of n gets: whole pages of them.
func hashSize(n uint64) uint64 { return (n + 511) / 512 * 512 }

func roundPow2(n uint64) uint64 {
	if n < 2 {
		return n
	}
	return 1 << bits.Len64(n-1)
}

func zero(path string) func(*machine, *key, []uint64) {
	return func(m *machine, _ *key, _ []uint64) { m.setKey(path, 0) }
}

// copyTo gives the value to keys that are all one.
func copyTo(paths ...string) func(*machine, *key, []uint64) {
	return func(m *machine, k *key, _ []uint64) {
		for _, path := range paths {
			m.setKey(path, k.nums[0])
		}
	}
}

// unit is the effect of a key whose value times factor is the value of the key with this suffix.
func unit(suffix string, factor uint64) effect {
	return effect{after: func(m *machine, k *key, _ []uint64) { m.setKey(k.path+suffix, k.nums[0]*factor) }}
}

// unitOf is the effect of the key with the suffix.
func unitOf(suffix string, factor uint64) effect {
	return effect{after: func(m *machine, k *key, _ []uint64) {
		m.setKey(strings.TrimSuffix(k.path, suffix), k.nums[0]/factor)
	}}
}

// forward4 is devinet_sysctl_forward: ip_forward and conf.all.forwarding are one, and a change of it reaches every interface.
func forward4(m *machine, k *key, old []uint64) {
	if k.path != "net/ipv4/ip_forward" && k.path != "net/ipv4/conf/all/forwarding" || old[0] == k.nums[0] {
		return
	}
	on := k.nums[0]
	m.setKey("net/ipv4/ip_forward", on)
	m.setKey("net/ipv4/conf/all/forwarding", on)
	for _, name := range append([]string{"default", "lo"}, m.interfaces...) {
		m.setKey("net/ipv4/conf/"+name+"/forwarding", on)
	}
	m.setKey("net/ipv4/conf/all/accept_redirects", 1-min(on, 1))
}

// spread6 gives the value that a key of IPv6 has for all interfaces to default and every interface.
func (m *machine) spread6(k *key, name string) {
	if k.path != "net/ipv6/conf/all/"+name {
		return
	}
	for _, device := range append([]string{"default", "lo"}, m.interfaces...) {
		m.setKey("net/ipv6/conf/"+device+"/"+name, k.nums[0])
	}
}

// inherit is devinet_copy_dflt_conf and neigh_copy_dflt_parms: a default that is written goes to every interface whose
// own key nobody has written.
func (m *machine) inherit(k *key) {
	words := strings.Split(k.path, "/")
	if len(words) != 5 || words[1] != "ipv4" || words[2] != "conf" && words[2] != "neigh" {
		return
	}
	leaf := strings.TrimSuffix(strings.TrimSuffix(words[4], "_ms"), "_bytes")
	path := func(name string) string { return "net/ipv4/" + words[2] + "/" + name + "/" + leaf }
	m.kernel.touched[path(words[3])] = true
	if words[3] != "default" || slices.Contains([]string{"forwarding", "route_localnet", "promote_secondaries"}, leaf) {
		return
	}
	for _, name := range append([]string{"lo"}, m.interfaces...) {
		if m.kernel.touched[path(name)] {
			continue
		}
		for _, unit := range []string{"", "_ms", "_bytes"} {
			if from := m.kernel.keys[path("default")+unit]; from != nil {
				m.setKey(path(name)+unit, from.nums[0])
			}
		}
	}
}

// parseText is what the types that are neither numbers nor plain strings make of a write.
func (m *machine) parseText(k *key, off int64, p []byte) (string, error) {
	if off > 0 {
		return k.text, nil
	}
	word := strings.TrimRight(string(p), "\n")
	if k.room > 0 {
		word = word[:min(len(word), k.room-1)]
	}
	switch k.kind {
	case "congestion":
		if !slices.Contains(m.congestionControls(), word) && m.request("tcp_"+word) != nil {
			return "", syscall.ENOENT
		}
		m.hold("tcp_" + word)
	case "qdisc":
		if word != "fq_codel" && word != "pfifo_fast" && word != "noqueue" && m.request("sch_"+word) != nil {
			return "", syscall.ENOENT
		}
		m.hold("sch_" + word)
	case "nflog":
		if word != "NONE" && (word != "nf_log_ipv4" && word != "nf_log_ipv6" || !m.loaded("nf_log_syslog")) {
			return "", syscall.ENOENT
		}
	case "fastopen":
		return parseFastOpen(word)
	case "cpus":
		if word == "" || strings.Trim(word, "0123456789,-") != "" {
			return "", syscall.EINVAL
		}
	case "secret":
		a, err := netip.ParseAddr(strings.TrimSpace(word))
		if err != nil || !a.Is6() {
			return "", syscall.EIO
		}
		return a.StringExpanded(), nil
	default:
		panic("hosttest: unknown type " + k.kind)
	}
	return word, nil
}

// parseFastOpen reads a key of four hexadecimal numbers and pads each with zeros.
func parseFastOpen(s string) (string, error) {
	words := strings.Split(s, "-")
	if len(words) != 4 {
		return "", syscall.EINVAL
	}
	for i, w := range words {
		n, err := strconv.ParseUint(w, 16, 32)
		if err != nil {
			return "", syscall.EINVAL
		}
		words[i] = fmt.Sprintf("%08x", n)
	}
	return strings.Join(words, "-"), nil
}

// congestionControls are those the kernel has now.
func (m *machine) congestionControls() []string {
	all := []string{"reno", "cubic"}
	if m.loaded("tcp_bbr") {
		all = append(all, "bbr")
	}
	return all
}

func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
