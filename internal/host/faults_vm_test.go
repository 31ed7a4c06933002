//go:build vm

package host_test

// Faults that really happen, on a Debian machine: what is cut, refused, killed or reset there leaves nothing that
// nobody tells of, and the next apply goes through.

import (
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
	"github.com/host-provider/terraform-provider-host/internal/vmtest"
)

// vmPlant is a plant whose machine boots. It is slow, so two of them work at a time.
type vmPlant struct {
	*plant
	*vmtest.VM
}

func newVMPlant(t *testing.T) vmPlant {
	t.Helper()
	t.Parallel()
	v, err := vmtest.Start(t.Context(), vmtest.Options{})
	must(t, err)
	p := vmPlant{&plant{machine: v, wire: newWire(t, v.Addr()), modules: true}, v}
	t.Cleanup(func() {
		p.wire.close()
		must(t, v.Close())
	})
	return p
}

// modules are the operations on a module; those on keys are tried in a container, which is faster.
func modules(t *testing.T) (ops []operation) {
	t.Helper()
	for _, op := range operations(t) {
		if strings.Contains(op.name, "module") {
			ops = append(ops, op)
		}
	}
	return ops
}

// Guards what TestConnectionCutOnTheWire does, for modules that are really loaded and unloaded.
func TestVMConnectionCutAtEveryExchange(t *testing.T) {
	p := newVMPlant(t)
	p.each(t, modules(t), route.Settings{}, func(t *testing.T, o *prepared) {
		o.cutEverywhere(
			t, unsent, sent, answered)
	})
	p.figures(t)
}

// Guards what TestContainerFaults does, for modules.
func TestVMServerKilledAtEveryExchange(t *testing.T) {
	p := newVMPlant(t)
	p.serverKilled(t, modules(t))
	p.figures(t)
}

// Guards what TestContainerFaults does, for modules.
func TestVMFileSystemAndSudoRefuse(t *testing.T) {
	p := newVMPlant(t)
	p.fileSystemRefuses(t, modules(t))
	p.rootRefused(t, modules(t))
	p.figures(t)
}

// Guards that a machine that is reset in mid-apply, when it loses what is not on its disk, comes back with whole files,
// the old or the new ones; and that what an apply has written is there after a reset. FAULT_RESETS=all resets it at
// every exchange, not at the last of each change alone.
func TestVMResetInMidApply(t *testing.T) {
	p := newVMPlant(t)
	var ops []operation
	for _, op := range operations(t) {
		if !strings.Contains(op.name, "sysctls") && !op.sftp {
			ops = append(ops, op)
		}
	}
	p.each(t, ops, route.Settings{}, func(t *testing.T, o *prepared) {
		reset := func(at int) bool {
			f := o.onTheWire(at, answered, func() {
				if err := p.PressReset(t.Context()); err != nil {
					t.Error(err)
				}
				p.wire.hangUp()
			})
			f.mend = func() {
				must(t, p.WaitBoot(t.Context()))
				p.wire.listen(t)
			}
			f.name, f.ends, f.resets = "reset, "+f.name, failed, true
			return o.tries(t, f)
		}
		// A packet that SSH sends for itself may have made an exchange of its own, so the last one may be the one before.
		at := o.exchanges
		if !reset(at) {
			if at--; !reset(at) {
				t.Errorf("neither exchange %d nor the one after it came", at)
			}
		}
		for at--; at > 0 && os.Getenv("FAULT_RESETS") == "all"; at-- {
			if !reset(at) {
				t.Errorf("exchange %d did not come", at)
			}
		}
		if strings.HasPrefix(o.name, "create") {
			must(t, p.Reset(t.Context()))
			if left := o.holds(t, ""); !maps.Equal(left, o.want) {
				t.Errorf("after a reset the machine holds %v, not %v", left, o.want)
			}
		}
	})
	p.figures(t)
}

// Guards what TestModelOnRealKernel does, for keys that no namespace has: a limit in bytes or in percent, each of which
// sets the other to zero, and a key that comes with a module.
func TestVMModel(t *testing.T) {
	modelSequences(t, 5)
	bytes, percent := []string{"8388608", "100000000"}, []string{"5", "30"}
	pool := []modelKey{
		{"vm.dirty_bytes", bytes}, {"vm.dirty_ratio", percent},
		{"vm.dirty_background_bytes", bytes[:1]}, {"vm.dirty_background_ratio", percent[:1]},
		{"net.netfilter.nf_conntrack_max", []string{"65536", "131072"}},
	}
	start := func(t *testing.T) *modelMachine {
		t.Helper()
		v, err := vmtest.Start(t.Context(), vmtest.Options{})
		must(t, err)
		p := &plant{machine: v, wire: newWire(t, v.Addr())}
		t.Cleanup(func() {
			p.wire.close()
			must(t, v.Close())
		})
		module := host.Module{Name: "nf_conntrack", Persist: true}
		_, err = p.reach(t, false, route.Settings{}).SetModule(t.Context(), module, nil)
		must(t, err)
		return realModel(t, p)
	}
	checkModel(t, 1, start, pool, realFaults)
}
