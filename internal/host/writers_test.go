package host_test

import (
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// Guards that each kind of file that writes keys at boot is found on a host if it is in use, with its line, and is not
// found if it is not.
func TestOtherWritersAreFound(t *testing.T) {
	b := newBench(t)
	unit := func(name, text string) { b.WriteFile("/etc/systemd/system/"+name, "[Service]\n"+text+"\n") }
	unit("on.service", "ExecStart=/sbin/sysctl -w vm.swappiness=1")
	unit("off.service", "ExecStart=/sbin/sysctl -w vm.swappiness=2")
	unit("by-timer.service", "ExecStart=/sbin/sysctl -w kernel.panic=1")
	unit("at@.service", "ExecStart=/sbin/sysctl -w kernel.sysrq=1")
	b.WriteFile("/usr/lib/systemd/system/cron.service", "[Service]\nExecStart=/usr/sbin/cron\n")
	b.WriteFile("/etc/systemd/system/cron.service.d/tune.conf",
		"[Service]\nExecStartPre=/sbin/sysctl -w vm.dirty_ratio=7\n")
	b.WriteFile("/usr/lib/systemd/system/masked.service", "[Service]\nExecStart=/sbin/sysctl -w vm.overcommit_memory=1\n")
	b.WriteFile("/etc/tmpfiles.d/tune.conf", "w /proc/sys/net/core/somaxconn - - - - 77\n")
	b.WriteFile("/usr/lib/tmpfiles.d/hidden.conf", "w /proc/sys/net/ipv4/tcp_syncookies - - - - 0\n")
	b.WriteFile("/etc/rc.local", "#!/bin/sh\nsysctl -w net.ipv4.tcp_fin_timeout=11\n")
	b.WriteFile("/etc/network/if-up.d/tune", "#!/bin/sh\nsysctl -w net.ipv4.tcp_syncookies=0\n")
	b.WriteFile("/etc/cron.d/tune", "@reboot root sysctl -w vm.vfs_cache_pressure=9\n")
	b.WriteFile("/etc/ufw/ufw.conf", "ENABLED=yes\n")
	b.WriteFile("/etc/default/ufw", "IPV6=yes\nIPT_SYSCTL=/etc/ufw/sysctl.conf\n")
	b.WriteFile("/etc/ufw/sysctl.conf", "net/ipv4/conf/all/log_martians=0\n")
	unit("loads.service", "ExecStart=/sbin/sysctl -q -p /etc/my.conf")
	unit("asleep.service", "ExecStart=/sbin/sysctl -w vm.overcommit_memory=1")
	b.WriteFile("/etc/my.conf", "# ours\nkernel.panic_on_oops = 9\n")
	b.WriteFile("/etc/cron.d/tune.disabled", "@reboot root sysctl -w vm.overcommit_memory=1\n")
	b.WriteFile("/etc/systemd/system/masked.service.d/tune.conf",
		"[Service]\nExecStart=/sbin/sysctl -w vm.overcommit_memory=1\n")
	b.WriteFile("/etc/wireguard/wg0.conf",
		"[Interface]\nPrivateKey = c2VjcmV0\nPostUp = sysctl -w net.ipv4.conf.all.proxy_arp=1\n")
	if out, status := b.Sh(`cd /etc/systemd/system &&
mkdir -p multi-user.target.wants timers.target.wants sleep.target.wants &&
ln -s /etc/systemd/system/loads.service multi-user.target.wants/loads.service &&
ln -s /etc/systemd/system/asleep.service sleep.target.wants/asleep.service &&
ln -s /usr/lib/systemd/system/wg-quick@.service multi-user.target.wants/wg-quick@wg0.service &&
ln -s /etc/systemd/system/on.service multi-user.target.wants/on.service &&
ln -s /usr/lib/systemd/system/cron.service multi-user.target.wants/cron.service &&
ln -s /usr/lib/systemd/system/ufw.service multi-user.target.wants/ufw.service &&
ln -s /etc/systemd/system/at@.service multi-user.target.wants/at@eth0.service &&
ln -s /usr/lib/systemd/system/masked.service multi-user.target.wants/masked.service && ln -s /dev/null masked.service &&
ln -s /usr/lib/systemd/system/by-timer.timer timers.target.wants/by-timer.timer &&
ln -s /dev/null /etc/tmpfiles.d/hidden.conf && chmod 755 /etc/rc.local`); status != 0 {
		t.Fatal(out)
	}
	b.Sh("sysctl -w net.ipv4.conf.all.log_martians=1")
	want := map[string]string{
		"vm.swappiness":                  "/etc/systemd/system/on.service:2",
		"kernel.panic":                   "/etc/systemd/system/by-timer.service:2",
		"kernel.sysrq":                   "/etc/systemd/system/at@.service:2",
		"vm.dirty_ratio":                 "/etc/systemd/system/cron.service.d/tune.conf:2",
		"net.core.somaxconn":             "/etc/tmpfiles.d/tune.conf:1",
		"net.ipv4.tcp_fin_timeout":       "/etc/rc.local:2",
		"vm.vfs_cache_pressure":          "/etc/cron.d/tune:1",
		"net.ipv4.conf.all.log_martians": "/etc/ufw/sysctl.conf:1",
		"net.ipv4.tcp_syncookies":        "", // its hook is not executable, and its line of tmpfiles.d is masked
		"vm.overcommit_memory":           "", // masked, wanted by sleep alone, and not read by cron
		"kernel.panic_on_oops":           "/etc/my.conf:2",
		"net.ipv4.conf.all.proxy_arp":    "/etc/wireguard/wg0.conf:3",
	}
	var text strings.Builder
	var keys []sysctl.Key
	for name := range want {
		k, err := sysctl.ParseKey(name)
		must(t, err)
		keys = append(keys, k)
		now, _ := b.Sh("sysctl -n " + name)
		text.WriteString(name + " = " + now)
	}
	b.WriteFile("/etc/sysctl.d/50-all.conf", text.String())
	report, err := b.host.BootReport(t.Context(), keys)
	must(t, err)
	seen := 0
	for _, k := range report.Keys {
		source, asked := want[k.Key.String()]
		switch {
		case !asked:
		case source == "" && !k.Holds:
			t.Errorf("%s: %s, by %s", k.Key, k.Reason, k.Source)
		case source != "" && (k.Holds || k.Reason != boot.OtherWriter || k.Source != source || k.Boot != nil):
			t.Errorf("%s holds %v: %q, by %s, want %s", k.Key, k.Holds, k.Reason, k.Source, source)
		default:
			seen++
		}
	}
	if seen != len(want) {
		t.Errorf("%d of %d keys are as they should be", seen, len(want))
	}
}

// Guards that ufw's file counts only if ufw is on.
func TestUFWThatIsOffWritesNothing(t *testing.T) {
	for enabled, want := range map[string]boot.Reason{"yes": boot.OtherWriter, "no": "", "\"YES\"": boot.OtherWriter} {
		b := newBench(t)
		b.WriteFile("/etc/ufw/ufw.conf", "# on at boot\nENABLED="+enabled+"\nLOGLEVEL=low\n")
		b.WriteFile("/etc/default/ufw", "IPV6=yes\nIPT_SYSCTL=\"/etc/ufw/sysctl.conf\"\n")
		b.WriteFile("/etc/ufw/sysctl.conf", "vm.swappiness=1\n")
		b.WriteFile("/etc/sysctl.d/a.conf", "vm.swappiness=60\n")
		b.Sh("mkdir -p /etc/systemd/system/multi-user.target.wants && " +
			"ln -s x /etc/systemd/system/multi-user.target.wants/ufw.service")
		if _, k := comesBack(t, b, "vm.swappiness"); k.Reason != want {
			t.Errorf("ENABLED=%s: %q, %s", enabled, k.Reason, k.Detail)
		}
	}
}

// Guards that a key which something else writes at boot is applied with a warning that names the line, and is not said
// to hold.
func TestOtherWriterIsAWarningOfThePlan(t *testing.T) {
	b := newBench(t)
	b.WriteFile("/etc/cron.d/tune", "# nothing\n@reboot root sysctl -w vm.swappiness=1\n")
	k, err := sysctl.ParseKey("vm.swappiness")
	must(t, err)
	s := host.Sysctl{Key: k, Value: "10", Persist: true, FileName: k.DropInName(), Instance: "0123456789abcdef"}
	p, err := b.host.PlanSysctl(t.Context(), s, nil)
	must(t, err)
	if len(p.Refusals) > 0 || len(p.Conflicts) > 0 || len(p.Warnings) != 1 || p.Warnings[0].Kind != host.KeyContested ||
		!strings.Contains(p.Warnings[0].Detail, "/etc/cron.d/tune:2") {
		t.Errorf("the plan has %v", p.All())
	}
	if got := p.Keys[k]; got.Holds || got.Reason != boot.OtherWriter || got.Contested != "/etc/cron.d/tune:2" {
		t.Errorf("%+v", got)
	}
	st, err := b.host.SetSysctl(t.Context(), s, nil, nil)
	must(t, err)
	if st.Holds || st.Reason != boot.OtherWriter || st.Boot != nil || *st.BootSource != "/etc/cron.d/tune:2" ||
		*st.Running != "10" {
		t.Errorf("%+v", st)
	}
}
