package provider_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"

	"github.com/host-provider/terraform-provider-host/internal/hosttest"
)

// words makes a pattern of a sentence that the CLI may have wrapped and framed.
func words(sentence string) *regexp.Regexp {
	parts := strings.Fields(sentence)
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile(strings.Join(parts, `[\s│]+`))
}

// bad is one configuration that must be refused.
type bad struct {
	name, resources string
	// prepare makes the host one that refuses.
	prepare func(m machine)
	want    string
}

// refuse applies each, one after the other on each machine, and wants the error, the files as they were, and these keys too.
func refuse(t *testing.T, cases []bad, keys ...string) {
	t.Helper()
	onEach(t, func(t *testing.T, m machine) {
		for _, test := range cases {
			t.Run(test.name, func(t *testing.T) { refuseOn(t, m, test, keys...) })
		}
	})
}

func refuseOn(t *testing.T, m machine, test bad, keys ...string) {
	t.Helper()
	if test.prepare != nil {
		clean := files(t, m)
		test.prepare(m)
		defer func() { // for the next case
			for path := range files(t, m) {
				if _, had := clean[path]; !had {
					m.RemoveFile(path)
				}
			}
		}()
	}
	before, had := readings(t, m, keys...), files(t, m)
	run(t, resource.TestStep{Config: config(m, test.resources), ExpectError: words(test.want)})
	unchanged(t, had, files(t, m))
	unchanged(t, before, readings(t, m, keys...))
}

// running is a sysctlResource of which nothing is promised for the next boot.
func running(key, value string) string {
	return strings.Replace(sysctlResource(key, value), "\n}", "\n  persist = false\n}", 1)
}

func sysctlResource(key, value string) string {
	return fmt.Sprintf("resource \"host_sysctl\" \"a\" {\n  key = %q\n  value = %q\n}\n", key, value)
}

// Guards that bad input gets a clear error and changes nothing, on the simulated host and on a real kernel alike.
func TestAccOnEachBadSysctlChangesNothing(t *testing.T) {
	refuse(t, []bad{
		{"empty key", sysctlResource("", "1"), nil, "malformed sysctl key"},
		{"key that leads out of /proc/sys", sysctlResource("net/ipv4/../../kernel/sysrq", "1"), nil, "malformed sysctl key"},
		{"newline in a key", sysctlResource("net.ipv4.ip_forward\nkernel.sysrq", "1"), nil, "malformed sysctl key"},
		{"newline in a value", sysctlResource("net.ipv4.ip_forward", "1\nkernel.sysrq = 1"), nil, "malformed sysctl value"},
		{"key that does not exist", sysctlResource("net.ipv4.no_such_key", "1"), nil, "net.ipv4.no_such_key does not exist. Check its spelling."},
		{"value that the kernel refuses", sysctlResource("net.ipv4.tcp_fin_timeout", "21abc"), nil,
			`the kernel refused "21abc" for net.ipv4.tcp_fin_timeout: Invalid argument.`},
		{"vector of which a refused value changes a part", sysctlResource("net.ipv4.tcp_rmem", "5000 140000 x"), nil, `the kernel refused "5000 140000 x"`},
		{"vector that is too short", sysctlResource("net.ipv4.tcp_rmem", "8192"), nil, "kernel kept another value"},
		{"more fields than the key has", sysctlResource("net.ipv4.tcp_fin_timeout", "31 32"), nil, "kernel kept another value"},
		{"value that names nothing the kernel has", sysctlResource("net.ipv4.tcp_congestion_control", "nosuch"), nil,
			"The key exists; the value names something the kernel does not have"},
		{"write-only trigger", sysctlResource("net.ipv4.route.flush", "1"), nil, "net.ipv4.route.flush is a trigger"},
		{"secret that cannot be read before it is set", sysctlResource("net.ipv6.conf.default.stable_secret", "::1"), nil,
			"net.ipv6.conf.default.stable_secret cannot be read: Input/output error."},
		{"secret that is set", sysctlResource("net.ipv4.tcp_fastopen_key", "1-2-3-4"), nil, "net.ipv4.tcp_fastopen_key holds a secret"},
		{"read-only key", running("net.netfilter.nf_conntrack_count", "1"), func(m machine) { m.Sh("iptables -A INPUT -m conntrack") },
			"net.netfilter.nf_conntrack_count cannot be written: Permission denied."},
		{"drop-in that is not ours", sysctlResource("net.ipv4.tcp_fin_timeout", "41"), func(m machine) {
			m.WriteFile("/etc/sysctl.d/90-terraform-net.ipv4.tcp_fin_timeout.conf", "net.ipv4.tcp_fin_timeout = 59\n")
		}, "terraform import host_sysctl.<name> 'web1/net.ipv4.tcp_fin_timeout'"},
		{"drop-in that is not ours and sets another key", sysctlResource("net.ipv4.tcp_fin_timeout", "41"), func(m machine) {
			m.WriteFile("/etc/sysctl.d/90-terraform-net.ipv4.tcp_fin_timeout.conf", "net.ipv4.tcp_fin_timeout = 59\nnet.ipv4.tcp_syncookies = 1\n")
		}, "also sets net.ipv4.tcp_syncookies, and a host_sysctl keeps one key in a file of its own."},
		{"VLAN interface in dots", sysctlResource("net.ipv4.conf.eth0.100.forwarding", "1"), nil,
			"If its interface has a dot in the name, the key is net.ipv4.conf.eth0/100.forwarding."},
		{"file name in another directory", "resource \"host_sysctl\" \"a\" {\n  key = \"net.ipv4.ip_forward\"\n  value = \"1\"\n  file_name = \"../x.conf\"\n}\n", nil,
			"file name without a directory"},
		{"file name that no program reads", "resource \"host_sysctl\" \"a\" {\n  key = \"net.ipv4.ip_forward\"\n  value = \"1\"\n  file_name = \"x\"\n}\n", nil,
			"ends in .conf"},
		{"module name that is an option", "resource \"host_kernel_module\" \"a\" {\n  name = \"-r\"\n}\n", nil, "malformed kernel module name"},
	}, "net/ipv4/tcp_fin_timeout", "net/ipv4/tcp_rmem", "net/ipv4/ip_forward", "net/ipv4/tcp_congestion_control")
}

// Guards what only a host with modules and with keys of the whole machine can show.
func TestAccBadInputOnTheSimulatedHost(t *testing.T) {
	t.Parallel()
	module := func(name string) string {
		return fmt.Sprintf("resource \"host_kernel_module\" \"a\" {\n  name = %q\n}\n", name)
	}
	for _, test := range []bad{
		{"key whose module is not loaded", sysctlResource("net.netfilter.nf_conntrack_tcp_be_liberal", "1"), nil,
			"It belongs to the kernel module nf_conntrack, which is not loaded. Declare a host_kernel_module for it and set module = host_kernel_module.<name>.name."},
		{"value of which the kernel keeps what fits", sysctlResource("vm.nr_hugepages", "100000"), nil, `the kernel kept "303".`},
		{"value that the kernel rounds", running("net.netfilter.nf_conntrack_buckets", "1000"), func(m machine) { m.Sh("modprobe nf_conntrack") },
			`the kernel kept "1024".`},
		{"string that the kernel cuts", sysctlResource("kernel.core_pattern", strings.Repeat("a", 200)), nil, "kernel kept another value"},
		{"read-only key of the machine", sysctlResource("kernel.osrelease", "1"), nil, "kernel.osrelease cannot be written: Permission denied."},
		{"write-only key of the machine", sysctlResource("vm.drop_caches", "1"), nil, "vm.drop_caches is a trigger"},
		{"module whose install line does nothing", module("overlay"), func(m machine) { m.WriteFile("/etc/modprobe.d/cis.conf", "# CIS 1.1.1\ninstall overlay /bin/true\n") },
			`/etc/modprobe.d/cis.conf:2 runs "/bin/true" in place of loading overlay`},
		{"module whose install line fails", module("overlay"), func(m machine) { m.WriteFile("/etc/modprobe.d/cis.conf", "install overlay /bin/false\n") },
			`/etc/modprobe.d/cis.conf:1 runs "/bin/false" in place of loading overlay`},
		{"module that does not exist", module("nosuchmod"), nil, "there is no kernel module nosuchmod for the running kernel"},
		{"modules-load file that is not ours", module("overlay"), func(m machine) { m.WriteFile("/etc/modules-load.d/terraform-overlay.conf", "overlay\n") },
			"terraform import host_kernel_module.<name> 'web1/overlay'"},
		{"kernel that loads no more modules", module("overlay"), func(m machine) { m.Sh("sysctl -w kernel.modules_disabled=1") }, "kernel.modules_disabled = 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			refuseOn(t, simulated(t), test, "vm/nr_hugepages", "kernel/core_pattern")
		})
	}
}

// Guards that a failure to write the drop-in puts the running value back, with the kernel's reason in the error.
func TestAccFileThatCannotBeWrittenPutsTheValueBack(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, reason string
		fault        hosttest.Fault
	}{
		{"disk full", "No space left on device", hosttest.Fault{Errno: noSpace, Path: "/etc/sysctl.d"}},
		{"read-only file system", "Read-only file system", hosttest.Fault{Errno: readOnlyFS, Path: "/etc/sysctl.d"}},
		{"no permission", "Permission denied", hosttest.Fault{Errno: noPermission, Path: "/etc/sysctl.d"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := simulated(t)
			refuseOn(t, m, bad{
				resources: sysctlResource("vm.swappiness", "10"), prepare: func(machine) { m.Inject(test.fault) }, want: test.reason,
			}, "vm/swappiness")
		})
	}
}
