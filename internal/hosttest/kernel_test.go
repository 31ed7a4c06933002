package hosttest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/shell"
)

// writeKey writes a value as the provider does, in one write(2) with a closing newline, and returns the kernel's words and what the key reads then.
func writeKey(h *Host, key, value string) (words, after string) {
	file := "/proc/sys/" + strings.ReplaceAll(key, ".", "/")
	out, status := h.Sh(fmt.Sprintf("cat >%s <<'EOF'\n%s\nEOF\n", file, value))
	words = "OK"
	if status != 0 {
		words = strings.TrimSpace(out[strings.LastIndex(out, ": ")+2:])
	}
	after, _ = h.Sh("cat " + file)
	return words, strings.TrimSuffix(after, "\n")
}

// Guards the kernel's treatment of values, each line observed on Debian 12: what is refused, what is changed, what is cut short. (semantics 3)
func TestTheKernelTreatsAValueAsLinuxDoes(t *testing.T) {
	long := strings.Repeat("a", 200)
	h := start(t, Options{})
	for _, c := range []struct{ key, value, words, after string }{
		{"net.ipv4.tcp_rmem", "4096 131072 7000000", "OK", "4096\t131072\t7000000"},
		{"net.ipv4.tcp_rmem", "4096\t131072\t6291456", "OK", "4096\t131072\t6291456"},
		{"net.ipv4.tcp_rmem", "8192", "OK", "8192\t131072\t6291456"},
		{"net.ipv4.tcp_rmem", "5000 140000 x", "Invalid argument", "5000\t140000\t6291456"},
		{"net.ipv4.tcp_rmem", "0", "Invalid argument", "5000\t140000\t6291456"},
		{"net.ipv4.ip_local_port_range", "32768,60999", "Invalid argument", "32768\t60999"},
		{"net.ipv4.ip_local_port_range", "32768 60998", "OK", "32768\t60998"},
		{"net.ipv4.ip_local_port_range", "60999 32768", "Invalid argument", "32768\t60998"},
		{"net.ipv4.ip_local_reserved_ports", "8080,9000-9002,8081,9003,22", "OK", "22,8080-8081,9000-9003"},
		{"net.ipv4.ip_local_reserved_ports", "70000", "Invalid argument", "22,8080-8081,9000-9003"},
		{"net.ipv4.ip_local_reserved_ports", "9-8", "Invalid argument", "22,8080-8081,9000-9003"},
		{"net.ipv4.ip_local_reserved_ports", "1, 2", "Invalid argument", "22,8080-8081,9000-9003"},
		{"net.ipv4.ip_local_reserved_ports", "", "OK", ""},
		{"net.ipv4.ping_group_range", "0 2147483647", "OK", "0\t2147483647"},
		{"net.ipv4.ping_group_range", "100 50", "OK", "1\t0"},
		{"vm.nr_hugepages", "100000", "OK", "303"},
		{"vm.nr_hugepages", "4", "OK", "4"},
		{"kernel.core_pattern", "|/bin/x %p", "OK", "|/bin/x %p"},
		{"kernel.core_pattern", long, "OK", long[:127]},
		{"vm.swappiness", "0x10", "OK", "16"},
		{"vm.swappiness", "010", "OK", "8"},
		{"vm.swappiness", "08", "Invalid argument", "8"},
		{"vm.swappiness", " 20 ", "OK", "20"},
		{"vm.swappiness", "+21", "Invalid argument", "20"},
		{"vm.swappiness", "21abc", "Invalid argument", "20"},
		{"vm.swappiness", "21 22", "OK", "21"},
		{"vm.swappiness", "201", "Invalid argument", "21"},
		{"vm.swappiness", "-1", "Invalid argument", "21"},
		{"vm.swappiness", "true", "Invalid argument", "21"},
		{"vm.swappiness", "", "Invalid argument", "21"},
		{"vm.swappiness", "99999999999999999999", "Invalid argument", "21"},
		{"kernel.printk", "3", "OK", "3\t4\t1\t7"},
		{"vm.lowmem_reserve_ratio", "128 32", "OK", "128\t32\t32\t0\t0"},
		{"net.ipv4.tcp_congestion_control", "nosuch", "No such file or directory", "cubic"},
		{"net.ipv4.tcp_congestion_control", "bbr", "OK", "bbr"},
		{"net.core.default_qdisc", "nosuch", "No such file or directory", "fq_codel"},
		{"net.core.default_qdisc", "fq", "OK", "fq"},
		{"kernel.hostname", "a-b_c d", "OK", "a-b_c d"},
		{"kernel.pid_max", "100", "Invalid argument", "4194304"},
		{"kernel.pid_max", "4194305", "Invalid argument", "4194304"},
		{"kernel.sem", "250 32000 32 128", "OK", "250\t32000\t32\t128"},
		{"kernel.shmmax", "18446744073692774399", "OK", "18446744073692774399"},
		{"kernel.shmmax", "18446744073709551616", "Invalid argument", "18446744073692774399"},
		{"fs.file-max", "9223372036854775808", "Invalid argument", "9223372036854775807"},
		{"fs.nr_open", "100", "OK", "100"},
		{"kernel.unprivileged_bpf_disabled", "1", "OK", "1"},
		{"kernel.unprivileged_bpf_disabled", "0", "Operation not permitted", "1"},
		{"kernel.kexec_load_disabled", "1", "OK", "1"},
		{"kernel.kexec_load_disabled", "0", "Invalid argument", "1"},
		{"kernel.modules_disabled", "0", "Invalid argument", "0"},
		{"kernel.yama.ptrace_scope", "3", "OK", "3"},
		{"kernel.yama.ptrace_scope", "0", "Invalid argument", "3"},
		{"kernel.osrelease", "1", "Permission denied", "6.1.0-56-amd64"},
		{"kernel.random.boot_id", "1", "Permission denied", ""},
		{"kernel.cap_last_cap", "2", "Permission denied", "40"},
		{"kernel.ns_last_pid", "3", "OK", "46"},
		{"kernel.domainname", "", "OK", ""},
		{"kernel.watchdog_cpumask", "0", "OK", "0"},
		{"vm.min_free_kbytes", "1", "OK", "1"},
		{"vm.dirty_bytes", "0", "Invalid argument", "0"},
		{"vm.overcommit_memory", "3", "Invalid argument", "0"},
		{"vm.max_map_count", "-5", "Invalid argument", "65530"},
		{"vm.stat_refresh", "1", "OK", ""},
		{"vm.drop_caches", "4", "OK", "cat: /proc/sys/vm/drop_caches: Permission denied"},
		{"vm.drop_caches", "5", "Invalid argument", "cat: /proc/sys/vm/drop_caches: Permission denied"},
		{"vm.compact_memory", "2", "OK", "cat: /proc/sys/vm/compact_memory: Permission denied"},
		{"net.ipv4.route.flush", "1", "OK", "cat: /proc/sys/net/ipv4/route/flush: Permission denied"},
		{"net.core.somaxconn", "70000000000", "Invalid argument", "4096"},
		{"net.core.rmem_max", "100", "Invalid argument", "212992"},
		{"vm.dirty_bytes", "0", "Invalid argument", "0"},
		{"kernel.nmi_watchdog", "0", "Unknown error 524", "0"},
		{"net.core.rps_sock_flow_entries", "100", "OK", "128"},
		{"net.netfilter.nf_log.2", "nosuch", "No such file or directory", "NONE"},
		{"net.ipv4.tcp_fastopen_key", "1-2-3-4", "OK", "00000001-00000002-00000003-00000004"},
		{"user.max_user_namespaces", "99999999999", "Invalid argument", "2775"},
		{"kernel.keys.maxkeys", "0", "Invalid argument", "200"},
		{"net.ipv6.conf.all.stable_secret", "nonsense", "Input/output error", "cat: /proc/sys/net/ipv6/conf/all/stable_secret: Input/output error"},
		{"net.ipv6.conf.all.stable_secret", "2001:db8::1", "OK", "2001:0db8:0000:0000:0000:0000:0000:0001"},
		{"net.ipv4.tcp_syncookies", "256", "Invalid argument", "1"},
		{"net.ipv6.conf.lo.use_tempaddr", "-1", "OK", "-1"},
		{"kernel.sched_rt_runtime_us", "-2", "Invalid argument", "950000"},
		{"net.ipv4.nope", "1", "Directory nonexistent", "cat: /proc/sys/net/ipv4/nope: No such file or directory"},
	} {
		words, after := writeKey(h, c.key, c.value)
		if c.key == "kernel.random.boot_id" {
			after = ""
		}
		if words != c.words || after != c.after {
			t.Errorf("%s = %.40q: %s, reads %.200q; want %s, %.200q", c.key, c.value, words, after, c.words, c.after)
		}
	}
}

// Guards what the write of one key does to others. (semantics 3, 4.13)
func TestTheKernelChangesOtherKeysToo(t *testing.T) {
	for _, c := range []struct{ name, do, keys, want string }{
		{"forwarding on", "echo 1 >net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding net/ipv4/conf/default/forwarding net/ipv4/conf/eth0/forwarding " +
			"net/ipv4/conf/all/accept_redirects", "1 1 1 0"},
		{"forwarding off again", "echo 1 >net/ipv4/conf/all/forwarding; echo 0 >net/ipv4/ip_forward",
			"net/ipv4/conf/all/forwarding net/ipv4/conf/default/forwarding net/ipv4/conf/all/accept_redirects", "0 0 1"},
		{"forwarding of one interface", "echo 1 >net/ipv4/conf/eth0/forwarding", "net/ipv4/ip_forward net/ipv4/conf/lo/forwarding", "0 0"},
		{"IPv6 off everywhere", "echo 1 >net/ipv6/conf/all/disable_ipv6", "net/ipv6/conf/default/disable_ipv6 net/ipv6/conf/eth0/disable_ipv6", "1 1"},
		{"dirty_bytes", "echo 100000000 >vm/dirty_bytes", "vm/dirty_ratio", "0"},
		{"dirty_ratio", "echo 100000000 >vm/dirty_bytes; echo 20 >vm/dirty_ratio", "vm/dirty_bytes vm/dirty_ratio", "0 20"},
		{"forwarding with a value that is neither", "echo 2 >net/ipv4/ip_forward",
			"net/ipv4/conf/all/forwarding net/ipv4/conf/eth0/forwarding net/ipv4/conf/all/accept_redirects", "2 2 0"},
		{"forwarding leaves other redirects", "echo 0 >net/ipv4/conf/eth0/accept_redirects; " +
			"echo 0 >net/ipv4/conf/all/send_redirects; echo 1 >net/ipv4/ip_forward; echo 0 >net/ipv4/ip_forward",
			"net/ipv4/conf/eth0/accept_redirects net/ipv4/conf/all/send_redirects net/ipv4/conf/eth0/send_redirects", "0 0 1"},
		{"forwarding as it is", "echo 0 >net/ipv4/conf/all/accept_redirects; echo 0 >net/ipv4/ip_forward",
			"net/ipv4/conf/all/accept_redirects", "0"},
		{"addresses of IPv6", "echo 1 >net/ipv6/conf/all/addr_gen_mode",
			"net/ipv6/conf/default/addr_gen_mode net/ipv6/conf/eth0/addr_gen_mode", "1 1"},
		{"background bytes of 0", "echo 5 >vm/dirty_background_bytes; echo 0 >vm/dirty_background_bytes",
			"vm/dirty_background_bytes vm/dirty_background_ratio", "5 0"},
		{"overcommit_kbytes", "echo 5 >vm/overcommit_kbytes", "vm/overcommit_ratio", "0"},
		{"overcommit_ratio", "echo 5 >vm/overcommit_kbytes; echo 60 >vm/overcommit_ratio", "vm/overcommit_kbytes", "0"},
		{"retrans time", "echo 200 >net/ipv4/neigh/lo/retrans_time", "net/ipv4/neigh/lo/retrans_time_ms", "2000"},
		{"queue of a neighbour", "echo 102 >net/ipv4/neigh/lo/unres_qlen", "net/ipv4/neigh/lo/unres_qlen_bytes", "213180"},
		{"queue of a neighbour in bytes", "echo 425984 >net/ipv4/neigh/lo/unres_qlen_bytes",
			"net/ipv4/neigh/lo/unres_qlen", "203"},
		{"two names", "echo 8 >fs/inotify/max_user_instances", "user/max_inotify_instances", "8"},
		{"reachable time", "echo 31 >net/ipv4/neigh/default/base_reachable_time", "net/ipv4/neigh/default/base_reachable_time_ms", "31000"},
		{"connection tracking limit", "modprobe nf_conntrack; echo 100001 >net/nf_conntrack_max", "net/netfilter/nf_conntrack_max", "100001"},
		{"buckets", "modprobe nf_conntrack; echo 1000 >net/netfilter/nf_conntrack_buckets",
			"net/netfilter/nf_conntrack_buckets ../../sys/module/nf_conntrack/parameters/hashsize", "1024 1024"},
		{"hashsize", "modprobe nf_conntrack; echo 2000 >/sys/module/nf_conntrack/parameters/hashsize",
			"../../sys/module/nf_conntrack/parameters/hashsize net/netfilter/nf_conntrack_buckets", "2048 2048"},
		{"bbr is loaded and stays in use", "echo bbr >net/ipv4/tcp_congestion_control; echo cubic >net/ipv4/tcp_congestion_control; modprobe -r tcp_bbr",
			"../modules net/ipv4/tcp_available_congestion_control", "tcp_bbr 20480 1 - Live 0x0000000000000000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := start(t, Options{})
			out, _ := h.Sh("cd /proc/sys\n" + c.do + "\ncat " + c.keys)
			if got := strings.Join(strings.Fields(out), " "); !strings.Contains(got, c.want) {
				t.Errorf("%s\ngot  %s\nwant %s", c.do, got, c.want)
			}
		})
	}
}

// Guards that one value is one write(2): what comes later at an offset is not part of a number, continues a string, and adds to a list of ports.
func TestASecondWriteIsNotPartOfTheValue(t *testing.T) {
	h := start(t, Options{})
	for _, c := range []struct{ key, first, second, want string }{
		{"vm/swappiness", "6", "6", "6"},
		{"kernel/hostname", "ab", "cd", "abcd"},
		{"net/ipv4/ip_local_reserved_ports", "22,", "80", "22,80"},
	} {
		out, status := h.Sh(fmt.Sprintf("{ printf %s; printf '%s\\n'; } >/proc/sys/%s; cat /proc/sys/%s", c.first, c.second, c.key, c.key))
		if status != 0 || out != c.want+"\n" {
			t.Errorf("%s: %q then %q: %q, status %d; want %q", c.key, c.first, c.second, out, status, c.want)
		}
	}
}

// Guards the words of programs that write to the kernel: the shell's own printf and echo know only that something failed.
func TestTheWordsOfARefusedWrite(t *testing.T) {
	h := start(t, Options{})
	for _, c := range []struct{ script, want string }{
		{"cat >/proc/sys/vm/swappiness <<E\n999\nE", "cat: write error: Invalid argument\n"},
		{"printf '999\\n' >/proc/sys/vm/swappiness", "sh: 1: printf: printf: I/O error\n"},
		{"echo 999 >/proc/sys/vm/swappiness", "sh: 1: echo: echo: I/O error\n"},
		{"echo 1 >/proc/sys/kernel/osrelease", "sh: 1: cannot create /proc/sys/kernel/osrelease: Permission denied\n"},
		{"sysctl -w vm.swappiness=999", "sysctl: setting key \"vm.swappiness\": Invalid argument\n"},
		{"sysctl -w vm.nope=1", "sysctl: cannot stat /proc/sys/vm/nope: No such file or directory\n"},
		{"sysctl vm.drop_caches", "sysctl: permission denied on key 'vm.drop_caches'\n"},
		{"sysctl -w net.ipv4.tcp_rmem='4096 1 2'; sysctl net/ipv4/tcp_rmem", "net.ipv4.tcp_rmem = 4096 1 2\nnet.ipv4.tcp_rmem = 4096\t1\t2\n"},
		{"sysctl -n net.ipv4.conf.eth0.rp_filter", "0\n"},
		{"mkdir /proc/sys/x", "mkdir: cannot create directory '/proc/sys/x': No such file or directory\n"},
		{"rm /proc/sys/vm/swappiness", "rm: cannot remove '/proc/sys/vm/swappiness': Permission denied\n"},
		{"chmod 600 /proc/sys/vm/swappiness", "chmod: changing permissions of '/proc/sys/vm/swappiness': Operation not permitted\n"},
		{"cat </dev/null >/proc/sys/vm/swappiness; cat /proc/sys/vm/swappiness", "60\n"},
		{"cat /proc/sys/vm", "cat: /proc/sys/vm: Is a directory\n"},
		{"cat </dev/null >/proc/sys/vm", "sh: 1: cannot create /proc/sys/vm: Is a directory\n"},
	} {
		if out, _ := h.Sh(c.script); out != c.want {
			t.Errorf("%s\ngot  %q\nwant %q", c.script, out, c.want)
		}
	}
	if h.WriteFile("/proc/sys/vm/swappiness", "5"); h.mustRead(t, "/proc/sys/vm/swappiness") != "5\n" {
		t.Error("WriteFile did not write to the kernel")
	}
}

func (h *Host) mustRead(t *testing.T, path string) string {
	t.Helper()
	s, ok := h.ReadFile(path)
	if !ok {
		t.Errorf("%s cannot be read", path)
	}
	return s
}

// Guards that an ordinary user may read most keys, write none, and that the modes are Linux's.
func TestAnOrdinaryUserMayOnlyRead(t *testing.T) {
	h := start(t, Options{Users: []User{{Name: "ops", Password: "pw"}}})
	s := openSession(t, dialAs(t, h, "ops", password("pw")), "/bin/sh -s")
	r := s.one(t, shell.Script{Text: "cd /proc/sys; cat vm/swappiness net/core/bpf_jit_harden; echo 5 >vm/swappiness; modprobe nf_conntrack; [ -w vm/swappiness ] || echo no; " +
		"[ -r net/ipv4/route/flush ] || echo no; cat /root/x; mkdir /etc/x; echo >/etc/sysctl.conf; echo >/tmp/mine && rm /tmp/mine"})
	want := "60\ncat: net/core/bpf_jit_harden: Permission denied\nsh: 1: cannot create vm/swappiness: Permission denied\n" +
		"modprobe: ERROR: could not insert 'nf_conntrack': Operation not permitted\nno\nno\ncat: /root/x: Permission denied\n" +
		"mkdir: cannot create directory '/etc/x': Permission denied\nsh: 1: cannot create /etc/sysctl.conf: Permission denied\n"
	if got := r.Records[0].Body; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
