package hosttest

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Guards modprobe: words and results as of kmod 30, observed on Debian 12. Each case starts from a fresh boot. (semantics 4.1 to 4.3,
// 4.5 to 4.8, 4.10 to 4.15, 4.17, 4.19, 4.20)
func TestModprobe(t *testing.T) {
	const notFound = " not found in directory /lib/modules/6.1.0-56-amd64\n"
	for _, c := range []struct{ name, conf, script, want string }{
		{"loads what it needs first", "", "modprobe -v nf-conntrack",
			"insmod /lib/modules/6.1.0-56-amd64/kernel/lib/libcrc32c.ko \n" +
				"insmod /lib/modules/6.1.0-56-amd64/kernel/net/ipv4/netfilter/nf_defrag_ipv4.ko \n" +
				"insmod /lib/modules/6.1.0-56-amd64/kernel/net/ipv6/netfilter/nf_defrag_ipv6.ko \n" +
				"insmod /lib/modules/6.1.0-56-amd64/kernel/net/netfilter/nf_conntrack.ko \n"},
		{"says without doing", "", "modprobe -n -v -b overlay; modprobe -n overlay; [ -e /sys/module/overlay ]",
			"insmod /lib/modules/6.1.0-56-amd64/kernel/fs/overlayfs/overlay.ko \n(1)\n"},
		{"loaded twice", "", "modprobe overlay; modprobe -v overlay a=1; cat /sys/module/overlay/initstate", "live\n"},
		{"keys come and go", "", "modprobe br_netfilter; cat /proc/sys/net/bridge/bridge-nf-call-iptables; modprobe -r br_netfilter; ls /proc/sys/net/bridge",
			"1\nls: cannot access '/proc/sys/net/bridge': No such file or directory\n(2)\n"},
		{"values are lost with it", "", "modprobe nf_conntrack; K=/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal; echo 1 >$K; modprobe -r nf_conntrack; " +
			"ls /proc/sys/net/netfilter; modprobe nf_conntrack; cat $K", "nf_log\nnf_log_all_netns\n0\n"},
		{"built in", "", "modprobe ipv6; modprobe -n -v unix; modprobe -R tcp_cubic; ls -d /sys/module/ipv6 /sys/module/tcp_cubic; ls /sys/module/unix",
			"tcp_cubic\n/sys/module/ipv6\n/sys/module/tcp_cubic\nls: cannot access '/sys/module/unix': No such file or directory\n(2)\n"},
		{"not found", "", "modprobe nosuch-mod", "modprobe: FATAL: Module nosuch-mod" + notFound + "(1)\n"},
		{"dropped", "", "modprobe -R nf_conntrack_ipv4", "modprobe: FATAL: Module nf_conntrack_ipv4" + notFound + "(1)\n"},
		{"renamed", "", "modprobe -R nf_log_ipv4", "nf_log_syslog\n"},
		{"alias of the module", "", "modprobe -R net-pf-2-proto-132; modprobe net-pf-2-proto-132; [ -d /sys/module/sctp ] && echo there", "sctp\nthere\n"},
		{"alias of the configuration", "alias two dummy\nalias two overlay\nalias w-* tun", "modprobe -R two; modprobe -R w_x", "dummy\noverlay\ntun\n"},
		{"alias to nothing", "alias dummy off", "modprobe -R dummy; modprobe dummy",
			"off\nmodprobe: ERROR: ../libkmod/libkmod-module.c:895 kmod_module_insert_module() could not find module by name='off'\n" +
				"modprobe: ERROR: could not insert 'off': Unknown symbol in module, or unknown parameter (see dmesg)\n(1)\n"},
		{"blacklist does not stop a name", "blacklist dummy", "modprobe dummy; ls -d /sys/module/dummy", "/sys/module/dummy\n"},
		{"blacklist stops an alias", "blacklist sctp", "modprobe net-pf-2-proto-132; modprobe -b sctp; ls /sys/module/sctp",
			"ls: cannot access '/sys/module/sctp': No such file or directory\n(2)\n"},
		{"blacklist does not stop a dependency", "blacklist nf-conntrack", "modprobe -b ip_vs; ls -d /sys/module/nf_conntrack", "/sys/module/nf_conntrack\n"},
		{"install line that does nothing", "install overlay /bin/true", "modprobe -v overlay p=1; ls /sys/module/overlay",
			"install /bin/true p=1\nls: cannot access '/sys/module/overlay': No such file or directory\n(2)\n"},
		{"install line that fails", "install ifb /bin/false", "modprobe ifb",
			"modprobe: ERROR: ../libkmod/libkmod-module.c:1047 command_do() Error running install command '/bin/false' for module ifb: retcode 1\n" +
				"modprobe: ERROR: could not insert 'ifb': Invalid argument\n(1)\n"},
		{"install line loads by itself", "install tun /sbin/modprobe --ignore-install tun", "modprobe tun; ls -d /sys/module/tun", "/sys/module/tun\n"},
		{"install line for a name of its own", "install mine /bin/true", "modprobe -R mine; modprobe mine", "mine\n"},
		{"what it needs is loaded before an install line", "install ip_vs /bin/true", "modprobe ip_vs; ls -d /sys/module/nf_conntrack", "/sys/module/nf_conntrack\n"},
		{"options are joined", "options dummy numdummies=0\noptions dummy x=1 # c", "modprobe -n -v dummy y=2",
			"insmod /lib/modules/6.1.0-56-amd64/kernel/drivers/net/dummy.ko numdummies=0 numdummies=0 x=1 # c y=2\n"},
		{"an unknown parameter is one line in dmesg", "", "modprobe overlay nope=1; dmesg", "overlay: unknown parameter 'nope' ignored\n"},
		{"a bad parameter", "", "modprobe nf_conntrack hashsize=abc", "modprobe: ERROR: could not insert 'nf_conntrack': Invalid argument\n(1)\n"},
		{"size of the table", "options nf_conntrack hashsize=4000 acct=1", "modprobe nf_conntrack; cd /proc/sys/net/netfilter; " +
			"cat nf_conntrack_buckets nf_conntrack_max /sys/module/nf_conntrack/parameters/hashsize /sys/module/nf_conntrack/parameters/acct", "4096\n32768\n4096\nY\n"},
		{"modes of parameters", "", "modprobe nf_conntrack; cd /sys/module/nf_conntrack/parameters; stat -c '%a %n' *; echo 1 >expect_hashsize",
			"644 acct\n600 enable_hooks\n400 expect_hashsize\n600 hashsize\n644 tstamp\nsh: 1: cannot create expect_hashsize: Permission denied\n(1)\n"},
		{"softdep", "softdep overlay pre: llc post: tun", "modprobe -n -v overlay",
			"insmod /lib/modules/6.1.0-56-amd64/kernel/net/llc/llc.ko \ninsmod /lib/modules/6.1.0-56-amd64/kernel/fs/overlayfs/overlay.ko \n" +
				"insmod /lib/modules/6.1.0-56-amd64/kernel/drivers/net/tun.ko \n"},
		{"in use", "", "modprobe ip_vs; modprobe -r nf_conntrack", "modprobe: FATAL: Module nf_conntrack is in use.\n(1)\n"},
		{"in use by a rule", "", "iptables -A INPUT -m conntrack --ctstate NEW -j ACCEPT; modprobe -r nf_conntrack; iptables -F INPUT; modprobe -r xt_conntrack; lsmod",
			"modprobe: FATAL: Module nf_conntrack is in use.\nModule                  Size  Used by\next4                  983040  1 \nloop                   36864  0 \n"},
		{"-r of what is built in", "", "modprobe -r ipv6", "modprobe: FATAL: Module ipv6 is builtin.\n(1)\n"},
		{"-r of what is not loaded", "", "modprobe -r dummy; modprobe -r nosuch", "modprobe: FATAL: Module nosuch not found.\n(1)\n"},
		{"remove line", "remove dummy /bin/false", "modprobe dummy; modprobe -r dummy", "modprobe: FATAL: Error running remove command for dummy\n(1)\n"},
		{"rmmod", "", "rmmod ext4; rmmod nosuch; rmmod ipv6; modprobe nf-conntrack; rmmod nf-defrag-ipv4; rmmod nf-conntrack; lsmod | grep nf_",
			"rmmod: ERROR: Module ext4 is in use\nrmmod: ERROR: Module nosuch is not currently loaded\nrmmod: ERROR: Module ipv6 is builtin.\n" +
				"rmmod: ERROR: Module nf_defrag_ipv4 is in use by: nf_conntrack\nnf_defrag_ipv6         24576  0 \nnf_defrag_ipv4         16384  0 \n"},
		{"no modules any more", "", "modprobe tun; echo 1 >/proc/sys/kernel/modules_disabled; modprobe dummy; rmmod tun; echo bbr >/proc/sys/net/ipv4/tcp_congestion_control",
			"modprobe: ERROR: could not insert 'dummy': Operation not permitted\n" +
				"rmmod: ERROR: ../libkmod/libkmod-module.c:856 kmod_module_remove_module() could not remove 'tun': Operation not permitted\n" +
				"rmmod: ERROR: could not remove module tun: Operation not permitted\nsh: 1: echo: echo: I/O error\n(1)\n"},
		{"kernel upgraded, not rebooted", "", "rm -r /usr/lib/modules/6.1.0-56-amd64; modprobe nf_conntrack; modprobe ext4",
			"modprobe: FATAL: Module nf_conntrack" + notFound + "modprobe: FATAL: Module ext4" + notFound + "(1)\n"},
		{"modinfo leaves out a parameter that can be set", "", "modinfo -F parm nf_conntrack | grep -c hashsize; modinfo -F filename ipv6; modinfo -F parm nosuch",
			"1\n(builtin)\nmodinfo: ERROR: Module nosuch not found.\n(1)\n"},
		{"quiet", "install ifb /bin/false", "modprobe -q ifb; modprobe -q nosuch", "(1)\n"},
		{"several", "", "modprobe -a tun overlay; ls -d /sys/module/tun /sys/module/overlay", "/sys/module/tun\n/sys/module/overlay\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := start(t, Options{Files: map[string]string{"/etc/modprobe.d/test.conf": c.conf + "\n"}})
			out, status := h.Sh(c.script)
			if status != 0 {
				out += "(" + itoa(status) + ")\n"
			}
			if out != c.want {
				t.Errorf("%s\ngot  %q\nwant %q", c.script, out, c.want)
			}
		})
	}
}

// Guards the table of keys against the map of a whole Debian kernel: a module that brings keys here brings just those.
func TestModulesBringTheKeysTheyBringOnDebian(t *testing.T) {
	b, err := os.ReadFile("../kmod/owners.tsv")
	if err != nil {
		t.Fatal(err)
	}
	real := map[string][]string{}
	for line := range strings.Lines(string(b)) {
		if w := strings.Fields(line); len(w) == 2 && line[0] != '#' {
			real[w[0]] = append(real[w[0]], strings.ReplaceAll(w[1], ".", "/"))
		}
	}
	here := map[string][]string{}
	for _, def := range keyDefs() {
		if def.module != "" {
			here[def.module] = append(here[def.module], def.path)
		}
	}
	if len(here) < 5 {
		t.Errorf("only %d modules bring keys", len(here))
	}
	for module, keys := range here {
		slices.Sort(keys)
		slices.Sort(real[module])
		if !slices.Equal(keys, real[module]) {
			t.Errorf("%s brings\n%q; on Debian\n%q", module, keys, real[module])
		}
	}
}

// Guards the failure the project exists for: a sysctl whose module is loaded later than systemd-sysctl runs is lost, and only the journal says so.
func TestASysctlWithoutItsModuleIsLostAtABoot(t *testing.T) {
	const key = "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal"
	h := start(t, Options{})
	h.WriteFile("/etc/sysctl.d/90-test.conf", "net.netfilter.nf_conntrack_tcp_be_liberal = 1\n")
	h.Reboot()
	journal := strings.Join(h.Journal(), "\n")
	if want := "Couldn't write '1' to 'net/netfilter/nf_conntrack_tcp_be_liberal', ignoring: No such file or directory"; journal != want || len(h.FailedUnits()) > 0 {
		t.Errorf("journal %q, failed units %q; want %q and none", journal, h.FailedUnits(), want)
	}
	if out, _ := h.Sh("cat " + key + "; iptables -t nat -L; iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT; cat " + key); !strings.HasSuffix(out, "\n0\n") {
		t.Errorf("loaded on demand it reads %q; want 0", out)
	}
	h.WriteFile("/etc/modules-load.d/test.conf", "nf_conntrack\n")
	h.Reboot()
	if got := h.mustRead(t, key); got != "1\n" {
		t.Errorf("with its module in modules-load.d it reads %q; want 1", got)
	}
	if got := strings.Join(h.Journal(), "\n"); got != "Inserted module 'nf_conntrack'" {
		t.Errorf("journal %q", got)
	}
}
