package host_test

import (
	"context"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/shell"
)

// Guards that a module which is gone already, as after an unload whose reply was lost, is left alone: rmmod would fail,
// and modprobe -r would run its remove line once more.
func TestUnloadOfAModuleThatIsGoneRunsNothing(t *testing.T) {
	var b bench
	sh := func(script string) string {
		t.Helper()
		out, status := b.Sh(script)
		if status != 0 {
			t.Errorf("%s: %s", script, out)
		}
		return out
	}
	b = over(t, func(c host.Conn) host.Conn {
		return runner{c, func(ctx context.Context, s shell.Script) (shell.Result, error) {
			if s.Name == "unload" {
				sh("rmmod nf_conntrack")
			}
			return c.Run(ctx, s)
		}}
	})
	sh("modprobe nf_conntrack; echo 'remove nf_conntrack modprobe overlay' >/etc/modprobe.d/site.conf")
	must(t, b.host.UnsetModule(t.Context(), host.Module{Name: "nf_conntrack"}, true))
	if loaded := sh("cat /proc/modules"); strings.Contains(loaded, "overlay") {
		t.Errorf("the remove line was run for a module that is gone:\n%s", loaded)
	}
}
