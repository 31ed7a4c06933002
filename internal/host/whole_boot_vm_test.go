//go:build vm

package host

// What other writers make of a boot of Debian 13, against a recorder in its kernel.

import (
	"fmt"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
	"github.com/host-provider/terraform-provider-host/internal/vmtest"
)

// otherWriters are files of a host on which much writes keys at boot.
var otherWriters = map[string]string{
	"/etc/systemd/system/tune.service": "[Service]\nType=oneshot\nExecStart=/sbin/sysctl -q -w vm.swappiness=1 " +
		"net.ipv4.ip_forward=1\n[Install]\nWantedBy=multi-user.target\n",
	"/etc/systemd/system/shell.service": "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo 2 > " +
		"/proc/sys/net/ipv4/tcp_fin_timeout'\n[Install]\nWantedBy=multi-user.target\n",
	"/etc/systemd/system/ssh.service.d/tune.conf": "[Service]\nExecStartPre=/sbin/sysctl -q -w vm.dirty_ratio=7\n",
	"/etc/systemd/system/by-timer.service":        "[Service]\nType=oneshot\nExecStart=/sbin/sysctl -q kernel.panic=3\n",
	"/etc/systemd/system/by-timer.timer": "[Timer]\nOnBootSec=1s\nAccuracySec=1ms\n[Install]\n" +
		"WantedBy=timers.target\n",
	// Debian's own unit is the same in what counts.
	"/etc/systemd/system/ufw.service": "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\n" +
		"ExecStart=/sbin/sysctl -e -q -p /etc/ufw/sysctl.conf\n[Install]\nWantedBy=multi-user.target\n",
	"/etc/ufw/ufw.conf":         "ENABLED=yes\n",
	"/etc/ufw/sysctl.conf":      "# Redirects\nnet/ipv4/conf/all/accept_source_route=0\nnet/ipv4/icmp_echo_ignore_all=0\n",
	"/etc/default/ufw":          "IPV6=yes\nIPT_SYSCTL=/etc/ufw/sysctl.conf\n",
	"/etc/tmpfiles.d/tune.conf": "# sockets\nw /proc/sys/net/core/somaxconn - - - - 99\n",
	"/etc/udev/rules.d/60-tune.rules": "ACTION==\"add\", SUBSYSTEM==\"net\", KERNEL==\"eth0\", " +
		"SYSCTL{net/ipv4/tcp_keepalive_time}=\"77\"\n",
	"/etc/systemd/network/10-dummy.netdev": "[NetDev]\nName=dummy7\nKind=dummy\n",
	"/etc/systemd/network/20-dummy.network": "[Match]\nName=dummy7\n[Network]\nIPv4ProxyARP=yes\n" +
		"LinkLocalAddressing=no\n",
	"/etc/rc.local": "#!/bin/sh\nsysctl -q -w vm.vfs_cache_pressure=50\n",
	// What the program does is in no line that anybody could look for.
	"/etc/systemd/system/docker.service": "[Service]\nType=oneshot\nExecStart=/usr/local/sbin/stand-in\n[Install]\n" +
		"WantedBy=multi-user.target\n",
	"/usr/local/sbin/stand-in": "#!/bin/sh\necho 1 >/proc/sys/net/ipv6/conf/all/forwarding\n",
}

// Guards on a machine on which ten things other than systemd-sysctl write keys: that each is named with its line before
// the first boot, that what the recorder saw at the boot is what was said, and what a boot has refuted is not said
// again.
func TestVMOtherWriters(t *testing.T) {
	b := newBenchOf(t, vmtest.Options{Suite: vmtest.Trixie, Record: true})
	sh := func(script string) string {
		t.Helper()
		out, status := b.Sh(script)
		if status != 0 {
			t.Fatalf("%s: %s", script, out)
		}
		return strings.TrimSpace(out)
	}
	for path, text := range otherWriters {
		sh("mkdir -p $(dirname " + path + ")")
		b.WriteFile(path, text)
	}
	sh(`chmod 755 /etc/rc.local /usr/local/sbin/stand-in; rm -f /etc/systemd/system-generators/systemd-rc-local-generator
systemctl -q enable tune shell by-timer.timer ufw docker systemd-networkd
systemctl daemon-reload; systemctl start systemd-networkd`)
	want := []struct{ key, value, source string }{
		{"vm.swappiness", "10", "/etc/systemd/system/tune.service:3"},
		{"net.ipv4.ip_forward", "0", "/etc/systemd/system/tune.service:3"},
		{"net.ipv4.tcp_fin_timeout", "40", "/etc/systemd/system/shell.service:3"},
		{"vm.dirty_ratio", "21", "/etc/systemd/system/ssh.service.d/tune.conf:2"},
		{"kernel.panic", "10", "/etc/systemd/system/by-timer.service:3"},
		{"net.ipv4.icmp_echo_ignore_all", "1", "/etc/ufw/sysctl.conf:3"},
		{"net.core.somaxconn", "512", "/etc/tmpfiles.d/tune.conf:2"},
		{"net.ipv4.tcp_keepalive_time", "600", "/etc/udev/rules.d/60-tune.rules:1"},
		{"net.ipv4.conf.dummy7.proxy_arp", "0", "/etc/systemd/network/20-dummy.network:4"},
		{"vm.vfs_cache_pressure", "200", "/etc/rc.local:2"},
		{"net.ipv6.conf.all.forwarding", "0", ""}, // a note names docker.service
		{"net.ipv4.tcp_syn_retries", "5", ""},
	}
	s := Sysctls{Resource: "host_sysctls", Name: "all", FileName: "90-terraform-all.conf", Persist: true, Restore: true,
		Instance: "0123456789abcdef", Boots: &Boots{}}
	sources := map[sysctl.Key]string{}
	for _, w := range want {
		k, err := sysctl.ParseKey(w.key)
		if err != nil {
			t.Fatal(err)
		}
		s.Settings = append(s.Settings, Setting{k, w.value})
		sources[k] = w.source
	}
	plan := func() SysctlsPlan {
		t.Helper()
		p, err := b.host.PlanSysctls(t.Context(), s, &s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p, err := b.host.PlanSysctls(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	warned := fmt.Sprint(p.Warnings)
	for k, source := range sources {
		if got := p.Keys[k]; got.Contested != source || got.Holds != (source == "") || !strings.Contains(warned, source) {
			t.Errorf("%s: %+v, want a writer at %q", k, got, source)
		}
	}
	if !strings.Contains(warned, "docker.service is enabled, and may write net.ipv6.conf.all.forwarding") {
		t.Errorf("no warning names docker.service: %s", warned)
	}
	if _, err := b.host.SetSysctls(t.Context(), s, nil, nil); err != nil {
		t.Fatal(err)
	}

	again := func() {
		t.Helper()
		sh("sync")
		if err := b.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.Sh("systemctl is-system-running --wait; udevadm settle; sleep 2")
		b.host = process(t, b.VM)
		if _, err := b.host.ReadSysctls(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	again()
	recording, err := b.Recording()
	if err != nil {
		t.Fatal(err)
	}
	overwritten := 0
	for _, v := range s.Settings {
		last, ok := recording.Last(v.Key.Path())
		switch {
		case !ok:
			t.Errorf("nothing has written %s", v.Key)
		case last.Unit == "systemd-sysctl.service" || last.Comm == "systemd-sysctl":
			if !sysctl.Equal(v.Key, last.Value, v.Value) {
				t.Errorf("%s, and not %s", last, v.Value)
			}
		case sources[v.Key] == "" && v.Key.String() != "net.ipv6.conf.all.forwarding":
			t.Errorf("%s was to hold, and %s", v.Key, last)
		default:
			overwritten++
			t.Logf("%s, as %s says", last, sources[v.Key])
		}
	}
	if overwritten < 9 {
		t.Errorf("only %d of 11 keys were overwritten", overwritten)
	}

	lost, _ := sysctl.ParseKey("net.ipv6.conf.all.forwarding")
	p = plan()
	if got := p.Keys[lost]; got.Holds || got.Reason != boot.OverwrittenAtBoot {
		t.Errorf("%s: %+v", lost, got)
	}
	var said []string
	for _, w := range p.Warnings {
		if w.Kind == KeyOverwritten && strings.Contains(w.Detail, lost.String()) {
			said = append(said, w.Detail)
		}
	}
	for _, word := range []string{`left net.ipv6.conf.all.forwarding at "1"`, "docker.service is enabled"} {
		if len(said) != 1 || !strings.Contains(said[0], word) {
			t.Errorf("the plan says %q, without %q", said, word)
		}
	}
	report, err := b.host.BootReport(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range report.Keys {
		if k.Key.String() == "net.ipv4.tcp_syn_retries" && (!k.Holds || k.ProvenAt == "") {
			t.Errorf("%+v", k)
		}
		if k.Key == lost && (k.Holds || k.Reason != boot.ChangedSinceBoot || k.Boot != nil) {
			t.Errorf("%+v", k)
		}
	}

	sh("systemctl -q disable docker")
	if _, err := b.host.SetSysctls(t.Context(), s, &s, nil); err != nil {
		t.Fatal(err)
	}
	again()
	if got := plan().Keys[lost]; !got.Holds {
		t.Errorf("a boot has left %s, and the plan has %+v", lost, got)
	}
}
