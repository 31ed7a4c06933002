package host_test

import (
	"strings"
	"testing"
)

// Guards that a module of /etc/modules on OpenRC is looked for in the module tree although its line has parameters or a
// comment.
func TestModulesLineWithParametersIsLookedFor(t *testing.T) {
	for _, line := range []string{"tun", "tun a=1", "tun # why"} {
		b := newBench(t)
		b.Sh("rm -r /run/systemd; mkdir -p /run/openrc /etc/runlevels/boot; touch /etc/runlevels/boot/modules " +
			"/etc/runlevels/boot/sysctl; rm -f /etc/modules-load.d/*; echo '" + line + "' >/etc/modules")
		c, err := b.host.BootReport(t.Context(), nil)
		must(t, err)
		for _, m := range c.Modules {
			if m.Name == "tun" && m.Reason != "" {
				t.Errorf("%q: %s %s", line, m.Reason, m.Detail)
			}
		}
	}
}

// Guards that what the error tells a user to do leads out of it: destroy succeeds after the other key's line was moved
// to another file.
func TestAdviceOfForeignDropInLeadsOut(t *testing.T) {
	b := newBench(t)
	s := keep(t, "vm.swappiness", "10")
	b.WriteFile(s.Path(), "vm.dirty_ratio = 5\n")
	err := b.host.UnsetSysctl(t.Context(), s, nil, true)
	if err == nil || !strings.Contains(err.Error(), "Move the line of vm.dirty_ratio to another file") {
		t.Fatal(err)
	}
	b.Sh("mv " + s.Path() + " /etc/sysctl.d/other.conf")
	must(t, b.host.UnsetSysctl(t.Context(), s, nil, true))
}
