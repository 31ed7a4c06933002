package sysctl

import "testing"

// TestExplain guards the sentence a user reads when the kernel took a value and kept another: it must name the reason that is true of that key.
func TestExplain(t *testing.T) {
	tests := []struct{ name, key, wrote, kept, want string }{
		{"short vector", "net.ipv4.tcp_rmem", "8192", "8192\t131072\t6291456",
			"The key holds 3 numbers and one was written, so the kernel left the others as they were; write all 3."},
		{"shorter by some", "vm.lowmem_reserve_ratio", "256 32", "256\t32\t32\t0\t0",
			"The key holds 5 numbers and 2 were written, so the kernel left the others as they were; write all 5."},
		{"too many fields", "vm.swappiness", "5 6", "5", "The key holds 1, and 2 were written: the kernel ignored the rest."},
		{"a comment", "vm.swappiness", "19 # note", "19", "A value holds no comments: the kernel took the number and ignored the rest."},
		{"huge pages", "vm.nr_hugepages", "100000", "303", "There was not enough free memory in one piece for more huge pages."},
		{"held down", "net.core.somaxconn", "70000", "65535", "The kernel holds this key down to what it allows, or what this host has."},
		{"a power of two", "net.netfilter.nf_conntrack_buckets", "1000", "1024", "The kernel rounds this key up to a power of two."},
		{"a power of two of another key", "net.core.rps_sock_flow_entries", "100", "128", "The kernel rounds this key up to a power of two."},
		{"raised", "net.core.rmem_max", "100", "2304", "The kernel raises this key to the least it allows, or rounds it up."},
		{"the field that differs", "net.ipv4.tcp_rmem", "1 2 300", "1\t2\t200", "The kernel holds this key down to what it allows, or what this host has."},
		{"cut", "kernel.core_pattern", "aaaaa", "aaa", "The kernel cut it after 3 bytes, all the key can hold."},
		{"left out of a set", "net.ipv4.tcp_allowed_congestion_control", "bbr reno cubic", "reno cubic", "The kernel left out bbr."},
		{"added to a set", "net.ipv4.tcp_allowed_congestion_control", "cubic", "reno cubic", "The kernel keeps more than was written."},
		{"a trigger", "vm.drop_caches", "1", "0", "The key is a trigger: writing to it does something, and it keeps no value."},
		{"not stable", "kernel.ns_last_pid", "3", "46", "The key changes with every process that starts, so no value stays."},
		{"a list of ranges is not cut", "net.ipv4.ip_local_reserved_ports", "22,80", "22", unexplained},
		{"a secret", "net.ipv4.tcp_fastopen_key", "1-2-3-4", "1-2-3", unexplained},
		{"a sign", "kernel.sched_rt_runtime_us", "-5", "-1", unexplained},
		{"another text", "kernel.hostname", "a", "b", unexplained},
		{"nothing", "kernel.core_pattern", "core", "", unexplained},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Explain(mustKey(t, tt.key), tt.wrote, tt.kept); got != tt.want {
				t.Errorf("Explain(%s, %q, %q) = %q, want %q", tt.key, tt.wrote, tt.kept, got, tt.want)
			}
		})
	}
}

// TestWriteOnly guards that a trigger is refused, and that no ordinary key is.
func TestWriteOnly(t *testing.T) {
	tests := map[string]bool{
		"vm.compact_memory": true, "vm.drop_caches": true, "vm.stat_refresh": true, "net.ipv4.route.flush": true, "net.ipv6.route.flush": true,
		"fs.binfmt_misc.register": true, "fs.binfmt_misc.status": false, "vm.swappiness": false, "net.ipv4.route.max_size": false,
	}
	for key, want := range tests {
		if got := WriteOnly(mustKey(t, key)); got != want {
			t.Errorf("WriteOnly(%s) = %v", key, got)
		}
	}
}

// TestOneWay guards the warning that only a reboot undoes a value, in whatever spelling the value is.
func TestOneWay(t *testing.T) {
	tests := []struct {
		key, value string
		want       bool
	}{
		{"kernel.modules_disabled", "1", true},
		{"kernel.modules_disabled", "0x1", true},
		{"kernel.modules_disabled", "0", false},
		{"kernel.kexec_load_disabled", "1", true},
		{"kernel.unprivileged_bpf_disabled", "1", true},
		{"kernel.unprivileged_bpf_disabled", "2", false},
		{"kernel.yama.ptrace_scope", "3", true},
		{"kernel.yama.ptrace_scope", "2", false},
		{"kernel.kexec_load_limit_reboot", "0", true},
		{"kernel.kexec_load_limit_reboot", "-1", false},
		{"kernel.tainted", "64", true},
		{"kernel.tainted", "0", false},
		{"vm.swappiness", "1", false},
	}
	for _, tt := range tests {
		if got := OneWay(mustKey(t, tt.key), tt.value); got != tt.want {
			t.Errorf("OneWay(%s, %q) = %v", tt.key, tt.value, got)
		}
	}
}

// TestSecret guards that values which open a host are never shown.
func TestSecret(t *testing.T) {
	tests := map[string]bool{
		"net.ipv4.tcp_fastopen_key": true, "net.ipv6.conf.all.stable_secret": true, "net.ipv6.conf.eth0/100.stable_secret": true, "net.ipv4.tcp_fastopen": false,
	}
	for key, want := range tests {
		if got := Secret(mustKey(t, key)); got != want {
			t.Errorf("Secret(%s) = %v", key, got)
		}
	}
}

// TestDangerous guards that a value which leaves a host without services is told, and no other: a value that the kernel
// refuses does no harm.
func TestDangerous(t *testing.T) {
	tests := []struct {
		key, value string
		want       bool
	}{
		{"fs.nr_open", "100", true},
		{"fs.nr_open", "524287", true},
		{"fs.nr_open", "524288", false},
		{"fs.nr_open", "0x100000", false},
		{"fs.nr_open", "abc", false},
		{"fs.nr_open", "01000", true},
		{"fs.nr_open", "100 1048576", true}, // the kernel takes the first field and drops the rest
		// Spellings that Go reads and the kernel refuses.
		{"fs.nr_open", "0b11", false},
		{"fs.nr_open", "1_0", false},
		{"fs.nr_open", "0o17", false},
		{"fs.nr_open", "+100", false},
		{"fs.file-max", "100", false},
	}
	for _, tt := range tests {
		if got := Dangerous(mustKey(t, tt.key), tt.value) != ""; got != tt.want {
			t.Errorf("Dangerous(%s, %q) = %v", tt.key, tt.value, got)
		}
	}
}
