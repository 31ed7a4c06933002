package host_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/host"
)

// Guards that a key which refuses every write, and already has its value, is left alone beside a key that others
// follow:
// only those that follow it are written again.
func TestKeyThatHasItsValueIsNotWrittenBehindALeader(t *testing.T) {
	b := newBench(t)
	_, err := b.host.SetSysctls(t.Context(), keepAll(t, "net.ipv4.ip_forward = 1", "kernel.nmi_watchdog = 0",
		"net.ipv4.conf.all.accept_redirects = 1"), nil, nil)
	must(t, err)
	if out, _ := b.Sh("cat /proc/sys/net/ipv4/conf/all/accept_redirects"); strings.TrimSpace(out) != "1" {
		t.Errorf("accept_redirects, which follows ip_forward, is %s", out)
	}
}

// Guards that a module's file which is a link, or holds somebody's line, is neither replaced nor removed.
func TestModuleFileOfSomebodyElseStays(t *testing.T) {
	m := host.Module{Name: "nf_conntrack", Persist: true}
	for name, prepare := range map[string]string{
		"a line of another module": "echo overlay >>" + m.LoadPath(),
		"a link":                   "mv " + m.LoadPath() + " /etc/site.conf; ln -s /etc/site.conf " + m.LoadPath(),
		"a blacklist line":         "echo 'blacklist floppy' >" + m.OptionsPath(),
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			_, err := b.host.SetModule(t.Context(), m, nil)
			must(t, err)
			if out, status := b.Sh(prepare); status != 0 {
				t.Fatal(out)
			}
			before := b.holds()
			changed := m
			changed.Parameters = map[string]string{"hashsize": "8192"}
			_, updated := b.host.SetModule(t.Context(), changed, &m)
			for step, err := range map[string]error{"update": updated, "destroy": b.host.UnsetModule(t.Context(), m, false)} {
				if !errors.Is(err, &host.Error{Kind: host.DropInForeign}) {
					t.Errorf("the %s ends with %v", step, err)
				}
			}
			if after := b.holds(); after[m.LoadPath()] != before[m.LoadPath()] ||
				after[m.OptionsPath()] != before[m.OptionsPath()] {
				t.Errorf("it holds %v, and held %v", after, before)
			}
		})
	}
}
