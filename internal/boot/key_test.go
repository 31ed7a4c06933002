package boot

import (
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// TestKeysThatNoBootKeeps guards what no boot keeps: a key that a later write of another changes, and a key that udev
// never applies.
func TestKeysThatNoBootKeeps(t *testing.T) {
	mask := map[string]string{sysctlUnit: "/etc/systemd/system/systemd-sysctl.service"}
	for _, tt := range []struct {
		name, text, key, want string
		off                   map[string]string
	}{
		{
			"lo after ip_forward", "net.ipv4.conf.lo.forwarding = 0\nnet.ipv4.ip_forward = 1\n",
			"net.ipv4.conf.lo.forwarding", "0", nil,
		},
		{
			"lo after all", "net.ipv6.conf.lo.disable_ipv6 = 0\nnet.ipv6.conf.all.disable_ipv6 = 1\n",
			"net.ipv6.conf.lo.disable_ipv6", "0", nil,
		},
		{
			"default after all", "net.ipv6.conf.default.forwarding = 0\nnet.ipv6.conf.all.forwarding = 1\n",
			"net.ipv6.conf.default.forwarding", "0", nil,
		},
		{
			"overcommit in two units", "vm.overcommit_ratio = 80\nvm.overcommit_kbytes = 1000\n",
			"vm.overcommit_ratio", "80", nil,
		},
		{
			"accept_redirects after ip_forward", "net.ipv4.conf.all.accept_redirects = 1\nnet.ipv4.ip_forward = 1\n",
			"net.ipv4.conf.all.accept_redirects", "1", nil,
		},
		{
			"lo, unit masked: udev's rule has KERNEL!=lo", "net.ipv4.conf.lo.rp_filter = 1\n",
			"net.ipv4.conf.lo.rp_filter", "1", mask,
		},
	} {
		s := &Snapshot{Init: "systemd", Off: tt.off, Values: map[string]Reading{}}
		s.AddFile(confdir.File{Path: "/etc/sysctl.d/a.conf", Regular: true, Text: tt.text})
		k, err := sysctl.ParseKey(tt.key)
		if err != nil {
			t.Fatal(err)
		}
		s.Values[k.Path()] = Reading{Text: tt.want}
		if o := Predict(s).Key(k, tt.want); o.Holds {
			t.Errorf("%s: %s = %s is said to hold, by %s", tt.name, tt.key, tt.want, o.Source)
		}
	}
}

// TestMaskedSysctlUnitFailsOfNoLine guards that a unit that never starts is not said to fail.
func TestMaskedSysctlUnitFailsOfNoLine(t *testing.T) {
	off := map[string]string{sysctlUnit: "/etc/systemd/system/systemd-sysctl.service"}
	s := &Snapshot{Init: "systemd", Off: off, Values: map[string]Reading{}}
	s.AddFile(confdir.File{Path: "/etc/sysctl.d/a.conf", Regular: true, Text: "junk\n"})
	if f := Predict(s).Failures(); len(f) > 0 {
		t.Errorf("%v", f)
	}
}
