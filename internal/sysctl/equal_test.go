package sysctl

import (
	"strings"
	"testing"
)

func mustKey(t *testing.T, s string) Key {
	t.Helper()
	k, err := ParseKey(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestEqual guards both ways of being wrong: a difference that is none makes a plan that never ends, an equality that is none hides drift. The rows are what a
// kernel kept of what was written to it.
func TestEqual(t *testing.T) {
	tests := []struct {
		name, key, a, b string
		want            bool
	}{
		{"a vector reads back with tabs", "net.ipv4.tcp_rmem", "4096 131072 6291456", "4096\t131072\t6291456\n", true},
		{"outer white space", "vm.swappiness", " 20 ", "20\n", true},
		{"octal", "vm.swappiness", "010", "8", true},
		{"octal is not decimal", "vm.swappiness", "010", "10", false},
		{"hexadecimal", "vm.swappiness", "0x10", "16", true},
		{"hexadecimal in capitals", "vm.swappiness", "0X1F", "31", true},
		{"negative", "kernel.sched_rt_runtime_us", "-0x1", "-1", true},
		{"the sign counts", "kernel.sched_rt_runtime_us", "-1", "1", false},
		{"minus nothing", "vm.swappiness", "-0", "0", true},
		{"a plus sign is no number to the kernel", "vm.swappiness", "+21", "21", false},
		{"nor are letters behind one", "vm.swappiness", "21abc", "21", false},
		{"nor is a word", "vm.swappiness", "true", "1", false},
		{"nor is 08", "vm.swappiness", "08", "8", false},
		{"nor are the forms of other languages", "vm.swappiness", "1_0", "10", false},
		{"64 bits", "kernel.shmmax", "0xfffffffffeffffff", "18446744073692774399", true},
		{"more than 64 bits", "kernel.shmmax", "018446744073709551616", "18446744073709551616", false},
		{"a short vector", "net.ipv4.tcp_rmem", "8192", "8192\t131072\t6291456", false},
		{"a long vector", "vm.swappiness", "5 6", "5", false},
		{"each field by value", "kernel.printk", "04 0x4 1 7", "4\t4\t1\t7", true},
		{"one field differs", "kernel.printk", "4 4 1 7", "3\t4\t1\t7", false},
		{"the order of a vector counts", "net.ipv4.ip_local_port_range", "60998 32768", "32768\t60998", false},
		{"a comma does not separate fields", "net.ipv4.ip_local_port_range", "32768,60999", "32768\t60999", false},
		{"a comment is part of a value", "vm.swappiness", "19 # note", "19", false},
		{"nothing and a number", "vm.swappiness", "", "0", false},
		{"nothing and nothing", "net.ipv4.ip_local_reserved_ports", "", "\n", true},
		{"ports sort and join", "net.ipv4.ip_local_reserved_ports", "8080,9000-9002,8081,9003,22", "22,8080-8081,9000-9003", true},
		{"ports that overlap", "net.ipv4.ip_local_reserved_ports", "10-20,15-30,30", "10-30", true},
		{"ports one apart stay apart", "net.ipv4.ip_local_reserved_ports", "1-2,4", "1-4", false},
		{"a port more", "net.ipv4.ip_local_reserved_ports", "22,80", "22", false},
		{"ports up to the largest number", "net.ipv4.ip_local_reserved_ports", "5,0-18446744073709551615,7", "0-18446744073709551615", true},
		{"a blank between ports is refused by the kernel", "net.ipv4.ip_local_reserved_ports", "22, 80", "22,80", false},
		{"no ports", "net.ipv4.ip_local_reserved_ports", "", "22", false},
		{"a range of processors", "kernel.watchdog_cpumask", "0,1,2", "0-2", true},
		{"that a list is one is the key's matter", "vm.swappiness", "0,1,2", "0-2", false},
		{"a mask's leading zeros", "net.core.rps_default_mask", "3", "00000000,00000003", true},
		{"a mask's groups", "net.core.flow_limit_cpu_bitmap", "1,00000000", "1,0", true},
		{"another mask", "net.core.rps_default_mask", "3", "1", false},
		{"a group of more than 32 bits is none", "net.core.rps_default_mask", "000000003", "3", false},
		{"fastopen keys are padded", "net.ipv4.tcp_fastopen_key", "1-2-3-4", "00000001-00000002-00000003-00000004", true},
		{"in another spelling", "net.ipv4.tcp_fastopen_key", "0x1-02-3-0xa", "00000001-00000002-00000003-0000000A", true},
		{"two of them", "net.ipv4.tcp_fastopen_key", "1-2-3-4,5-6-7-8", "00000001-00000002-00000003-00000004,00000005-00000006-00000007-00000008", true},
		{"another fastopen key", "net.ipv4.tcp_fastopen_key", "1-2-3-4", "00000001-00000002-00000003-00000005", false},
		{"one of two", "net.ipv4.tcp_fastopen_key", "1-2-3-4", "1-2-3-4,5-6-7-8", false},
		{"three are too many", "net.ipv4.tcp_fastopen_key", "1-2-3-4,1-2-3-4,1-2-3-4", "01-2-3-4,1-2-3-4,1-2-3-4", false},
		{"an address in full", "net.ipv6.conf.eth0.stable_secret", "2001:db8::1", "2001:0db8:0000:0000:0000:0000:0000:0001", true},
		{"another address", "net.ipv6.conf.eth0.stable_secret", "2001:db8::1", "2001:db8::2", false},
		{"an address with a zone is none", "net.ipv6.conf.eth0.stable_secret", "fe80::1%a", "fe80:0::1%a", false},
		{"a set's order", "net.ipv4.tcp_allowed_congestion_control", "cubic reno", "reno cubic", true},
		{"a set lacks one", "net.ipv4.tcp_allowed_congestion_control", "cubic reno bbr", "reno cubic", false},
		{"seccomp's set", "kernel.seccomp.actions_logged", "trap kill_process", "kill_process trap", true},
		{"text", "net.ipv4.tcp_congestion_control", "bbr", "cubic", false},
		{"text by case", "kernel.hostname", "Web1", "web1", false},
		{"text keeps its inner blanks", "kernel.core_pattern", "|/bin/x  %p", "|/bin/x %p", false},
		{"text that looks like a number", "kernel.hostname", "010", "8", false},
		{"text that was cut", "kernel.core_pattern", "aaaa", "aaa", false},
		{"a word for a number", "kernel.printk_devkmsg", "on", "ratelimit", false},
		{"a switch reads back as a word", "fs.binfmt_misc.status", "1", "enabled", true},
		{"and the other way", "fs.binfmt_misc.status", "0", "enabled", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := mustKey(t, tt.key)
			if got := Equal(k, tt.a, tt.b); got != tt.want {
				t.Errorf("Equal(%s, %q, %q) = %v", k, tt.a, tt.b, got)
			}
			if got := Equal(k, tt.b, tt.a); got != tt.want {
				t.Errorf("Equal(%s, %q, %q) = %v, but not the other way round", k, tt.b, tt.a, got)
			}
		})
	}
}

// FuzzEqual guards that Equal is an equivalence: a value equals itself and its own spelling with other outer white space, order of arguments does not
// matter, and what equals one of two equal values equals the other. Explain must have a sentence for every pair.
func FuzzEqual(f *testing.F) {
	for i := range forms {
		f.Add(i, "1-2-3-4", "00000001-2-3-4", "x")
		f.Add(i, "22,8080-8081", "22,8080,8081", "")
		f.Add(i, "010 0x10", "8\t16", "8 16 24")
	}
	f.Add(-1, "18446744073709551615", "0xffffffffffffffff", "-1")
	f.Fuzz(func(t *testing.T, i int, a, b, c string) {
		k := Key{path: "vm/swappiness"}
		if i >= 0 && i < len(forms) {
			k = Key{path: strings.ReplaceAll(forms[i].path, "*", "eth0")}
		}
		if !Equal(k, a, a) || !Equal(k, a, " "+a+"\n") {
			t.Errorf("%s: %q does not equal itself", k, a)
		}
		if Equal(k, a, b) != Equal(k, b, a) {
			t.Errorf("%s: %q and %q are equal in one order only", k, a, b)
		}
		if Equal(k, a, b) && Equal(k, b, c) && !Equal(k, a, c) {
			t.Errorf("%s: %q equals %q equals %q, but not the first the last", k, a, b, c)
		}
		if s := Explain(k, a, b); !strings.HasSuffix(s, ".") {
			t.Errorf("%s: Explain(%q, %q) = %q", k, a, b, s)
		}
	})
}

// TestIntegers guards which values a key of integers can take at all: what is none is refused by the kernel. (semantics 3)
func TestIntegers(t *testing.T) {
	tests := map[string]bool{
		"0": true, "-1": true, "010": true, "0x10": true, "4096 131072\t6291456": true, "18446744073709551615": true,
		"": false, " ": false, "+21": false, "21abc": false, "08": false, "true": false, "0x": false, "1,2": false, "19 # note": false, "18446744073709551616": false,
	}
	for value, want := range tests {
		if got := Integers(value); got != want {
			t.Errorf("Integers(%q) = %v", value, got)
		}
	}
}
