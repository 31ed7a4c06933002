package host_test

import (
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// comesBack asks the host about its files' keys and these, and finds one of them.
func comesBack(t *testing.T, b bench, key string) (host.BootReport, host.KeyReport) {
	t.Helper()
	k, err := sysctl.ParseKey(key)
	must(t, err)
	c, err := b.host.BootReport(t.Context(), []sysctl.Key{k})
	must(t, err)
	for _, found := range c.Keys {
		if found.Key == k {
			return c, found
		}
	}
	t.Fatalf("%s is not among %v", key, c.Keys)
	return c, host.KeyReport{}
}

// Guards what is said of a host that nobody manages yet, against the reboot that follows: what is said to hold holds,
// what is said to be lost is lost.
func TestBootReportAgreesWithTheReboot(t *testing.T) {
	for _, tt := range []struct {
		name, key, setUp string
		holds, all       bool
		reason           boot.Reason
		after            string // the value after the reboot; "" where the key is gone
	}{
		{"nothing set", "vm.swappiness", "", false, false, boot.Unset, "60"},
		{
			"set and running", "vm.swappiness", "sysctl -w vm.swappiness=10; echo vm.swappiness=10 >/etc/sysctl.d/a.conf", true,
			true, "", "10",
		},
		{
			"set by hand over the file", "vm.swappiness",
			"sysctl -w vm.swappiness=20; echo vm.swappiness=10 >/etc/sysctl.d/a.conf", false, false, boot.NotApplied, "10",
		},
		{"module loaded by hand", "net.netfilter.nf_conntrack_tcp_be_liberal",
			"modprobe nf_conntrack; sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1; echo " +
				"net.netfilter.nf_conntrack_tcp_be_liberal=1 >/etc/sysctl.d/a.conf",
			false, false, boot.LoadedNowOnly, ""},
		{"module listed", "net.netfilter.nf_conntrack_tcp_be_liberal",
			"modprobe nf_conntrack; sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1; echo " +
				"net.netfilter.nf_conntrack_tcp_be_liberal=1 >/etc/sysctl.d/a.conf; " +
				"echo nf_conntrack >/etc/modules-load.d/a.conf", true, true, "", "1"},
		{"not there now, but at boot", "net.netfilter.nf_conntrack_tcp_be_liberal",
			"echo net.netfilter.nf_conntrack_tcp_be_liberal=1 >/etc/sysctl.d/a.conf; echo nf_conntrack " +
				">/etc/modules-load.d/a.conf", false, false, boot.KeyMissing, "1"},
		{
			"line that fails the unit", "vm.swappiness",
			"sysctl -w vm.swappiness=10; printf 'vm.swappiness=10\\njunk\\n' >/etc/sysctl.d/a.conf", true, false, "", "10",
		},
		{"unit masked", "vm.swappiness",
			"mkdir -p /etc/systemd/system; ln -s /dev/null /etc/systemd/system/systemd-sysctl.service; sysctl -w " +
				"vm.swappiness=10; echo vm.swappiness=10 >/etc/sysctl.d/a.conf",
			false, false, boot.ServiceOff, "60"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			if out, status := b.Sh(tt.setUp); status != 0 {
				t.Fatal(out)
			}
			c, k := comesBack(t, b, tt.key)
			if k.Holds != tt.holds || k.Reason != tt.reason || c.Holds != tt.all {
				t.Errorf("holds %v for %q (%s), the host %v", k.Holds, k.Reason, k.Detail, c.Holds)
			}
			b.Reboot()
			out, _ := b.Sh("sysctl -n " + tt.key + " 2>/dev/null")
			if after := strings.TrimSpace(out); after != tt.after {
				t.Errorf("after the reboot it is %q", after)
			}
		})
	}
}

// Guards that units are reported as systemd has them, with how they ended.
func TestBootReportHasUnits(t *testing.T) {
	b := newBench(t)
	b.Sh("sysctl -w vm.swappiness=10; echo vm.swappiness=10 >/etc/sysctl.d/a.conf")
	c, _ := comesBack(t, b, "vm.swappiness")
	if len(c.Units) != 2 || c.Units[0].Name != "systemd-modules-load.service" || c.Units[1].ActiveState != "active" ||
		c.Units[1].Result != "success" || !c.Holds {
		t.Errorf("holds %v, units %+v", c.Holds, c.Units)
	}
}

// Guards that what starts services is found out, and what follows for the next boot: OpenRC with and without its
// services, and a host with neither.
func TestInitIsDetected(t *testing.T) {
	openrc := "rm -r /run/systemd; mkdir -p /run/openrc /etc/runlevels/boot /etc/conf.d; "
	modules := "ln -s /etc/init.d/modules /etc/runlevels/boot/modules; "
	sysctls := "ln -s /etc/init.d/sysctl /etc/runlevels/boot/sysctl; "
	for _, tt := range []struct {
		name, setUp, init string
		plain, ofModule   boot.Reason
	}{
		{"systemd", "", "systemd", "", ""},
		{"OpenRC, its services in no runlevel", openrc, "openrc", boot.ServiceOff, boot.ServiceOff},
		{"OpenRC", openrc + modules + sysctls, "openrc", "", boot.InitUncertain},
		{
			"OpenRC, sysctl after modules", openrc + modules + sysctls + `echo 'rc_after="modules"' >/etc/conf.d/sysctl`,
			"openrc", "", "",
		},
		{"neither", "rm -r /run/systemd", "", boot.InitUncertain, boot.InitUncertain},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			out, status := b.Sh(tt.setUp + "\nmodprobe nf_conntrack; echo nf_conntrack >/etc/modules-load.d/a.conf; " +
				"printf 'vm.swappiness=60\\nnet.netfilter.nf_conntrack_tcp_be_liberal=0\\n' >/etc/sysctl.d/a.conf")
			if status != 0 {
				t.Fatal(out)
			}
			c, plain := comesBack(t, b, "vm.swappiness")
			_, ofModule := comesBack(t, b, "net.netfilter.nf_conntrack_tcp_be_liberal")
			if c.Init != tt.init || plain.Reason != tt.plain || ofModule.Reason != tt.ofModule {
				t.Errorf("init %q, %q (%s), %q (%s)", c.Init, plain.Reason, plain.Detail, ofModule.Reason, ofModule.Detail)
			}
		})
	}
}

// Guards that a key which a file sets is read, however the line spells it: else it would show as empty now.
func TestBootReportReadsEveryKeyOfTheFiles(t *testing.T) {
	for _, line := range []string{
		"vm.swappiness=60", "- vm.swappiness = 60", "/vm/swappiness = 60", "vm//swappiness=60", `# c\rvm.swappiness=60`,
		`\000vm.swappiness=60\000x`,
	} {
		t.Run(line, func(t *testing.T) {
			b := newBench(t)
			b.Sh("printf '" + line + "\\n' >/etc/sysctl.d/a.conf")
			c, err := b.host.BootReport(t.Context(), nil)
			must(t, err)
			for _, k := range c.Keys {
				if k.Key.String() == "vm.swappiness" && (!k.Holds || text(k.Running) != "60") {
					t.Errorf("holds %v, running %s: %s", k.Holds, text(k.Running), k.Detail)
				}
			}
			if len(c.Keys) == 0 {
				t.Error("no key is found")
			}
		})
	}
}

// Guards that a host whose root is not the machine's, as in a container of a plain user, is told apart though root has
// every capability there.
func TestRootOfAUserNamespace(t *testing.T) {
	b := newBench(t)
	b.WriteFile("/proc/self/uid_map", "         0     100000      65536\n")
	b.Sh("echo vm.swappiness=60 >/etc/sysctl.d/a.conf; echo tun >/etc/modules-load.d/a.conf")
	c, k := comesBack(t, b, "vm.swappiness")
	if k.Reason != boot.ReadOnly || k.Holds {
		t.Errorf("vm.swappiness: %q, holds %v", k.Reason, k.Holds)
	}
	for _, m := range c.Modules {
		if m.Name == "tun" && (m.Reason != boot.Container || m.LoadedAtBoot) {
			t.Errorf("tun: %+v", m)
		}
	}
}
