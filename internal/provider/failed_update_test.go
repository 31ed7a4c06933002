package provider_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"

	"github.com/host-provider/terraform-provider-host/internal/hosttest"
)

// Guards that an update which fails half-way, on a host that is gone before it can be undone, keeps the value from before of a key that it adds: the next apply would
// take its own value for that, and destroy would leave it.
func TestAccFailedUpdateKeepsTheValueFromBefore(t *testing.T) {
	t.Parallel()
	const key = "net/core/somaxconn"
	block := func(settings string) string {
		return fmt.Sprintf("resource \"host_sysctls\" \"a\" {\n  name     = \"a\"\n  settings = {\n    \"net.ipv4.tcp_fin_timeout\" = \"41\"\n%s  }\n}\n", settings)
	}
	// Which exchange writes the value is not for this test to know: the host goes away after each in turn, until the value was written.
	for gone := 7; gone < 20; gone++ {
		m := simulated(t)
		before := reading(t, m, key)
		var undo []func()
		back := func() {
			for _, u := range undo {
				u()
			}
		}
		written := false
		few := config(m, block(""))
		more := strings.Replace(config(m, block("    \"net.core.somaxconn\" = \"77\"\n")), `"2m"`, `"2s"`, 1) // connect_timeout, for a host that is gone
		run(t,
			resource.TestStep{Config: few},
			resource.TestStep{
				PreConfig: func() {
					for at := gone; at < gone+200; at++ {
						undo = append(undo, m.Inject(hosttest.Fault{CutAt: at, After: true}))
					}
				},
				Config:      more,
				ExpectError: regexp.MustCompile("."), // of the plan in the apply, where the host is gone before that
			},
			resource.TestStep{
				PreConfig: func() {
					back()
					written = reading(t, m, key) == "77"
				},
				Config:           more,
				ConfigPlanChecks: emptyAfter(),
				Check:            resource.TestCheckResourceAttr("host_sysctls.a", "original_values.net.core.somaxconn", before),
			},
		)
		if got := reading(t, m, key); got != before {
			t.Errorf("destroy leaves %s, not %s", got, before)
		}
		if written {
			t.Logf("the host was gone after exchange %d", gone)
			return
		}
	}
	t.Error("no update failed after the value was written: this test has seen nothing")
}
