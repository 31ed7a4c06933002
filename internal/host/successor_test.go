package host_test

// What a successor holds by the time its predecessor is destroyed.

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sshconn"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// byTwoNames is a machine that one run reaches by two names. before runs before each script.
func byTwoNames(t *testing.T, before func(name string, s shell.Script)) (b bench, one, other *host.Host) {
	t.Helper()
	b = newBench(t)
	pool := sshconn.NewPool(sshconn.Config{Defaults: route.Settings{Login: route.Login{PrivateKey: b.PrivateKey(),
		HostKey: b.HostKey()}}})
	t.Cleanup(pool.Close)
	fleet := host.NewFleet(func(name string) (host.Conn, error) {
		c, err := pool.Conn(b.Addr())
		return runner{c, func(ctx context.Context, s shell.Script) (shell.Result, error) {
			before(name, s)
			return c.Run(ctx, s)
		}}, err
	})
	t.Cleanup(fleet.Close)
	one, err := fleet.Host("web1")
	must(t, err)
	other, err = fleet.Host("10.0.0.1")
	must(t, err)
	return b, one, other
}

// Guards that a destroy by one name of a machine and a create by another, which a CLI runs at once, wait for each
// other.
func TestChangesByTwoNamesOfAMachineWaitForEachOther(t *testing.T) {
	destroying, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	armed := false
	b, one, other := byTwoNames(t, func(name string, s shell.Script) {
		if armed && name == "web1" && s.Name == "set" {
			once.Do(func() { close(destroying); <-goOn })
		}
	})
	old, successor := keep(t, "vm.swappiness", "10"), keep(t, "vm.swappiness", "20")
	old.Instance, successor.Instance = "old", "new"
	st, err := one.SetSysctl(t.Context(), old, nil, nil)
	must(t, err)
	_, err = other.ReadSysctl(t.Context(), successor)
	must(t, err)
	armed = true
	var both sync.WaitGroup
	both.Go(func() {
		if err := one.UnsetSysctl(t.Context(), old, st.Original, true); err != nil {
			t.Error(err)
		}
	})
	<-destroying
	impatient, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := other.SetSysctl(impatient, successor, nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the create does not wait for the destroy: %v", err)
	}
	close(goOn)
	both.Wait()
	_, err = other.SetSysctl(t.Context(), successor, nil, nil)
	must(t, err)
	if out, _ := b.Sh("cat /proc/sys/vm/swappiness"); strings.TrimSpace(out) != "20" {
		t.Errorf("it is %s", out)
	}
	text, _ := b.ReadFile(testDropIn)
	if !strings.Contains(text, "vm.swappiness = 20\n") || !strings.Contains(text, *st.Original) {
		t.Errorf("the drop-in is %q", text)
	}
}

// Guards that a value without a file, and a module without one, are left to the instance that has set them since, by
// whichever name of the machine.
func TestSuccessorWithoutAFileKeepsWhatItSet(t *testing.T) {
	b, one, other := byTwoNames(t, func(string, shell.Script) {})
	old, successor := keep(t, "vm.swappiness", "10"), keep(t, "vm.swappiness", "10")
	old.Persist, old.Instance, successor.Persist, successor.Instance = false, "old", false, "new"
	st, err := one.SetSysctl(t.Context(), old, nil, nil)
	must(t, err)
	_, err = other.SetSysctl(t.Context(), successor, nil, nil)
	must(t, err)
	must(t, one.UnsetSysctl(t.Context(), old, st.Original, true))
	if out, _ := b.Sh("cat /proc/sys/vm/swappiness"); strings.TrimSpace(out) != "10" {
		t.Errorf("it is %s", out)
	}
	m, next := host.Module{Name: "nf_conntrack", Instance: "old"}, host.Module{Name: "nf_conntrack", Instance: "new"}
	_, err = one.SetModule(t.Context(), m, nil)
	must(t, err)
	_, err = other.SetModule(t.Context(), next, nil)
	must(t, err)
	must(t, one.UnsetModule(t.Context(), m, true))
	if out, _ := b.Sh("grep -c '^nf_conntrack ' /proc/modules"); strings.TrimSpace(out) != "1" {
		t.Errorf("nf_conntrack is gone")
	}
	must(t, other.UnsetModule(t.Context(), next, true))
	if out, _ := b.Sh("grep -c '^nf_conntrack ' /proc/modules"); strings.TrimSpace(out) != "0" {
		t.Errorf("nf_conntrack is still there")
	}
}

// Guards that a group which is replaced, the new one first and with a key less, keeps its keys, and that the destroy of
// the old one restores the key that is declared no more.
func TestReplacedGroupMayDropAKey(t *testing.T) {
	b := newBench(t)
	before := rshValue(b, "net.core.somaxconn")
	old, successor := keepAll(t, "vm.swappiness = 10", "net.core.somaxconn = 77"), keepAll(t, "vm.swappiness = 10")
	old.Instance, successor.Instance = "old", "new"
	states, err := b.host.SetSysctls(t.Context(), old, nil, nil)
	must(t, err)
	_, err = b.host.SetSysctls(t.Context(), successor, nil, nil)
	must(t, err)
	originals := map[sysctl.Key]string{}
	for k, st := range states {
		originals[k] = *st.Original
	}
	must(t, b.host.UnsetSysctls(t.Context(), old, originals))
	if got := rshValue(b, "net.core.somaxconn"); got != before {
		t.Errorf("net.core.somaxconn is %s, and was %s", got, before)
	}
	if got := rshValue(b, "vm.swappiness"); got != "10" {
		t.Errorf("vm.swappiness is %s", got)
	}
	if text, _ := b.ReadFile(testDropIn); !strings.Contains(text, "(instance new)") {
		t.Errorf("the drop-in is %q", text)
	}
}

func rshValue(b bench, key string) string {
	out, _ := b.Sh("cat /proc/sys/" + strings.ReplaceAll(key, ".", "/"))
	return strings.TrimSpace(out)
}
