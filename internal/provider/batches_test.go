package provider_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/hosttest"
)

// Guards how often a real CLI's plan and apply ask a host: a plan once, however many resources there are; fifty changes do not take a batch each.
func TestAccBatchesOfAHost(t *testing.T) {
	for _, n := range []int{1, 10, 50} {
		for _, persist := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d, persist=%v", n, persist), func(t *testing.T) {
				m := simulatedWith(t, hosttest.Options{Interfaces: interfaces(10)})
				var resources strings.Builder
				for i := range n {
					leaf := []string{"accept_redirects", "send_redirects", "log_martians", "rp_filter", "arp_ignore"}[i%5]
					fmt.Fprintf(&resources, "resource \"host_sysctl\" \"k%d\" {\n  key = \"net.ipv4.conf.veth%d.%s\"\n  value = \"1\"\n  persist = %v\n}\n", i, i/5, leaf, persist)
				}
				w := newWorkspace(t, required+config(m, resources.String()))
				ask := func(most int, args ...string) {
					t.Helper()
					start := m.Batches()
					_, dialled := m.Connections()
					w.run(args...)
					_, now := m.Connections()
					if got := m.Batches() - start; got > most {
						t.Errorf("%s takes %d batches, not %d", args[0], got, most)
					} else {
						t.Logf("%s takes %d batches", args[0], got)
					}
					if now-dialled > 2 {
						t.Errorf("%s dials %d times", args[0], now-dialled)
					}
				}
				ask(40, "apply", "-auto-approve") // plan and apply are a process each, and each starts a shell and reads
				ask(1+1, "plan")                  // one starts the shell
				ask(40, "destroy", "-auto-approve")
			})
		}
	}
}
