//go:build vm

package vmtest

import (
	"fmt"
	"slices"
	"testing"
)

// Guards that a recording has the writes of a boot in their order, with value, program, unit and error, from the
// kernel's command line to a unit that starts late; and the modules that are loaded.
func TestVMRecording(t *testing.T) {
	v := start(t, Options{Suite: Trixie, Record: true, Cmdline: "sysctl.vm.swappiness=10"})
	for path, text := range map[string]string{
		"/etc/sysctl.d/50-test.conf":      "vm.swappiness = 11\n-vm.dirty_ratio = 101\nnet.ipv4.conf.eth0.rp_filter = 2\n",
		"/etc/modules-load.d/test.conf":   "dummy\n",
		"/etc/tmpfiles.d/test.conf":       "w /proc/sys/vm/swappiness - - - - 12\n",
		"/etc/systemd/system/own.service": "[Service]\nType=oneshot\nExecStart=sysctl -q -w vm.swappiness=13\nExecStart=/bin/sh -c 'echo 14 >/proc/sys/vm/swappiness'\n[Install]\nWantedBy=multi-user.target\n",
		// systemd itself sets no order between the two.
		"/etc/systemd/system/systemd-tmpfiles-setup.service.d/test.conf": "[Unit]\nAfter=systemd-sysctl.service\n",
	} {
		sh(t, v, "mkdir -p $(dirname "+path+")")
		v.WriteFile(path, text)
	}
	sh(t, v, "systemctl -q enable own.service; sync")
	if err := v.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	sh(t, v, "systemctl is-system-running --wait")
	r, err := v.Recording()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{
		"/proc/sys/vm/swappiness": {
			"10 by swapper/0 of : 0", "11 by systemd-sysctl of systemd-sysctl.service: 0",
			"12 by systemd-tmpfile of systemd-tmpfiles-setup.service: 0",
			"13 by sysctl of own.service: 0", "14 by sh of own.service: 0",
		},
		"/proc/sys/vm/dirty_ratio": {"101 by systemd-sysctl of systemd-sysctl.service: 22"},
	} {
		var got []string
		for _, w := range r.Writes(path) {
			got = append(got, fmt.Sprintf("%s by %s of %s: %d", w.Value, w.Comm, w.Unit, w.Errno))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if last, ok := r.Last("/proc/sys/net/ipv4/conf/eth0/rp_filter"); !ok || last.Value != "2" {
		t.Errorf("the last write to rp_filter is %s", last)
	}
	if !slices.ContainsFunc(r.Loads, func(l Load) bool {
		return l.Module == "dummy" && l.Comm == "systemd-modules" && l.Unit == "systemd-modules-load.service" && l.Errno == 0
	}) {
		t.Errorf("dummy is not among the loads %s", r.Loads)
	}
	if t.Failed() {
		t.Logf("%s\n%s", r.All, r.Loads)
	}
}
