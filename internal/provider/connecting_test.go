package provider_test

// How hosts are reached: jump hosts, ssh_config, the environment, fleets of which a part is not there.

import (
	"fmt"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
)

// Guards that a resource's host is reached through the provider's jump host, whose own key and login are as its block says, and through that one alone.
func TestAccBastion(t *testing.T) {
	bastion, m := simulated(t), simulated(t)
	config := func(bastionKey string) string {
		return configWith(m, fmt.Sprintf("bastion = { host = %q, private_key = %q, host_key = %q }", bastion.Addr(), bastion.PrivateKey(), bastionKey), swappiness)
	}
	run(t,
		resource.TestStep{Config: config(m.HostKey()), ExpectError: words("its jump host " + bastion.Addr())},
		resource.TestStep{Config: config(bastion.HostKey()), ConfigPlanChecks: emptyAfter(), Check: func(*terraformState) error {
			if got := reading(t, m, "vm/swappiness"); got != "10" {
				return fmt.Errorf("vm.swappiness is %s", got)
			}
			if _, jumps := bastion.Connections(); jumps == 0 {
				return fmt.Errorf("nothing went through the jump host")
			}
			return nil
		}},
	)
}
