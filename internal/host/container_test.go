package host_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
	"github.com/host-provider/terraform-provider-host/internal/sshdtest"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// newContainer is a Debian that systemd-nspawn boots, as a plant.
func newContainer(t *testing.T) (*sshdtest.Container, *plant) {
	t.Helper()
	c, err := sshdtest.StartContainer(t.Context())
	if sshdtest.Lacking(err) {
		t.Skipf("NOT PROVED IN A CONTAINER: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	p := &plant{machine: c, wire: newWire(t, c.Addr())}
	t.Cleanup(func() {
		p.wire.close()
		must(t, c.Close())
	})
	return c, p
}

func oneKey(t *testing.T, name, value string, persist bool) host.Sysctl {
	t.Helper()
	k, err := sysctl.ParseKey(name)
	must(t, err)
	return host.Sysctl{Key: k, Value: value, FileName: k.DropInName(), Persist: persist}
}

// Guards that of a container, which loads no modules and writes no key but its network's, the plan says what will fail
// and where to turn, and that apply refuses it in the same words and touches nothing.
func TestContainerRefusesAtPlanTime(t *testing.T) {
	_, p := newContainer(t)
	before := p.holds(t, "")
	for _, persist := range []bool{true, false} {
		h := p.reach(t, false, route.Settings{})
		key, module := oneKey(t, "vm.swappiness", "10", persist), host.Module{Name: "dummy", Persist: persist}
		planned, err := h.PlanSysctl(t.Context(), key, nil)
		must(t, err)
		_, err = h.SetSysctl(t.Context(), key, nil, nil)
		wantBoth(t, planned.All(), err, host.KeyReadOnly, "cannot be written", "on the machine that runs the container")

		plannedModule, err := h.PlanModule(t.Context(), module, nil)
		must(t, err)
		_, err = h.SetModule(t.Context(), module, nil)
		kind := host.ModuleLost
		if !persist {
			kind = host.ModuleNotLoaded
		}
		wantBoth(t, plannedModule.All(), err, kind, "may not load dummy", "on the machine that runs the container")
	}
	if left := p.holds(t, ""); !maps.Equal(left, before) {
		t.Errorf("left %v, not %v", left, before)
	}
}

// wantBoth wants the warning of a plan and the error of an apply to be of one kind, the warning with these words.
func wantBoth(t *testing.T, planned []*host.Error, applied error, kind host.Kind, words ...string) {
	t.Helper()
	if len(planned) != 1 || planned[0].Kind != kind {
		t.Errorf("the plan warns of %v, not that %q", planned, kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(planned[0].Detail, w) {
			t.Errorf("the plan does not say %q: %s", w, planned[0].Detail)
		}
	}
	if !errors.Is(applied, &host.Error{Kind: kind}) {
		t.Errorf("apply ends with %v, not that %q", applied, kind)
	}
}

// Guards that a key of the container's network works from plan to reboot, and that what was predicted is what the
// reboot leaves, of a key that is applied and of one that systemd-sysctl passes over.
func TestContainerRebootsAsPredicted(t *testing.T) {
	c, p := newContainer(t)
	fin, swap := oneKey(t, "net.ipv4.tcp_fin_timeout", "41", true), oneKey(t, "vm.swappiness", "11", true)
	h := p.reach(t, false, route.Settings{})
	planned, err := h.PlanSysctl(t.Context(), fin, nil)
	must(t, err)
	if len(planned.All()) > 0 || !planned.Keys[fin.Key].Own {
		t.Errorf("the plan is %+v", planned)
	}
	_, err = h.SetSysctl(t.Context(), fin, nil, nil)
	must(t, err)
	c.WriteFile("/etc/sysctl.d/10-site.conf", "vm.swappiness = 11\n")
	predicted := func() (finBoot, swapBoot *string) {
		h := p.reach(t, false, route.Settings{})
		st, err := h.ReadSysctl(t.Context(), fin)
		must(t, err)
		other, err := h.ReadSysctl(t.Context(), swap)
		must(t, err)
		return st.Boot, other.Boot
	}
	finBoot, swapBoot := predicted()
	if finBoot == nil || *finBoot != "41" || swapBoot != nil {
		t.Errorf("predicted are %v and %v", finBoot, swapBoot)
	}
	must(t, c.Reboot(t.Context()))
	out, _ := c.Sh("cat /proc/sys/net/ipv4/tcp_fin_timeout; [ $(cat /proc/sys/vm/swappiness) = 11 ] || echo other")
	if out != "41\nother\n" {
		t.Errorf("after the reboot: %q", out)
	}
	if finBoot, _ := predicted(); finBoot == nil || *finBoot != "41" {
		t.Errorf("after the reboot %v is predicted", finBoot)
	}
	must(t, p.reach(t, false, route.Settings{}).UnsetSysctl(t.Context(), fin, new("60"), true))
	if out, _ := c.Sh("cat /proc/sys/net/ipv4/tcp_fin_timeout; ls /etc/sysctl.d | grep -c terraform"); out != "60\n0\n" {
		t.Errorf("after the removal: %q", out)
	}
}
