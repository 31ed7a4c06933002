package host_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/sshconn"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// Guards that a value whose write happened, and whose reply alone was lost, is looked at and not written again: for
// some keys each write does something.
func TestWriteThatHappenedIsNotRepeated(t *testing.T) {
	t.Parallel()
	for _, op := range operations(t) {
		if op.sftp {
			continue
		}
		t.Run(op.name, func(t *testing.T) {
			whole, exchanges := writesOf(t, op, hosttest.Fault{})
			for at := 1; at <= exchanges; at++ {
				if n, _ := writesOf(t, op, hosttest.Fault{CutAt: at, After: true}); n != whole {
					t.Errorf("with the reply of exchange %d lost there are %d writes, not %d", at, n, whole)
				}
			}
		})
	}
}

// writesOf makes the change under a fault, and counts its writes of values and its exchanges.
func writesOf(t *testing.T, op operation, fault hosttest.Fault) (writes, exchanges int) {
	t.Helper()
	sim, err := hosttest.Start(hosttest.Options{})
	must(t, err)
	var mu sync.Mutex
	var sent []string
	pool := sshconn.NewPool(sshconn.Config{
		Defaults: route.Settings{Login: route.Login{PrivateKey: sim.PrivateKey(), HostKey: sim.HostKey()}},
		Log: func(_ context.Context, _ string, fields map[string]any) {
			mu.Lock()
			defer mu.Unlock()
			if scripts, ok := fields["scripts"]; ok {
				sent = append(sent, strings.Fields(fmt.Sprint(scripts))...)
			}
		},
	})
	defer func() {
		pool.Close()
		must(t, sim.Close())
	}()
	h, err := host.NewFleet(func(name string) (host.Conn, error) { return pool.Conn(name) }).Host(sim.Addr())
	must(t, err)
	must(t, op.prepare(t.Context(), h))
	must(t, h.Wait(t.Context()))
	mu.Lock()
	sent = nil
	mu.Unlock()
	start := sim.Exchanges()
	undo := sim.Inject(fault)
	err = op.change(t.Context(), h)
	undo()
	must(t, err)
	mu.Lock()
	defer mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(sent), func(name string) bool { return name != "set" })),
		sim.Exchanges() - start
}
