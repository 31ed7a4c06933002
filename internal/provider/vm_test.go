//go:build vm

package provider_test

// The failure that the project exists for, and its cure, on a Debian machine that really reboots.

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"

	"github.com/host-provider/terraform-provider-host/internal/vmtest"
)

// onEach runs a test on a fresh virtual machine, as root and as a user with sudo.
func onEach(t *testing.T, test func(t *testing.T, m machine)) {
	t.Helper()
	t.Run("vm", func(t *testing.T) { test(t, startVM(t)) })
	t.Run("vm with sudo", func(t *testing.T) { test(t, sudoer{startVM(t)}) })
}

// sudoer is a virtual machine that the provider reaches as a user with sudo.
type sudoer struct{ *vmtest.VM }

func (sudoer) User() string { return vmtest.Sudoer }

// startVM starts a fresh virtual machine.
func startVM(t *testing.T) *vmtest.VM {
	t.Helper()
	v, err := vmtest.Start(t.Context(), vmtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(t, v) })
	return v
}

func reboot(t *testing.T, v *vmtest.VM) {
	t.Helper()
	if err := v.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// reads wants these keys, as paths below /proc/sys, to read these values.
func reads(t *testing.T, v *vmtest.VM, want map[string]string) {
	t.Helper()
	for path, value := range want {
		if got := reading(t, v, path); got != value {
			t.Errorf("%s reads %q, not %q", path, got, value)
		}
	}
}

// emptyAfterReboot reboots the machine, looks at it, and wants the plan to be empty.
func emptyAfterReboot(t *testing.T, v *vmtest.VM, c string, look func()) resource.TestStep {
	return resource.TestStep{PreConfig: func() { reboot(t, v); look() }, Config: c, ConfigPlanChecks: resource.ConfigPlanChecks{
		PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()},
	}}
}

// Guards the failure as it is on a real machine, and that the provider says so before: a file in sysctl.d alone, a reboot, and nothing looks failed, but the value
// is gone once a firewall rule loads the module.
func TestVMFileAloneIsLost(t *testing.T) {
	const key, path = "net.netfilter.nf_conntrack_tcp_be_liberal", "net/netfilter/nf_conntrack_tcp_be_liberal"
	v := startVM(t)
	if out, status := v.Sh("modprobe nf_conntrack"); status != 0 {
		t.Fatal(out)
	}
	alone := config(v, fmt.Sprintf("resource \"host_sysctl\" \"a\" {\n  key = %q\n  value = \"1\"\n}\n", key))
	run(t, resource.TestStep{Config: alone, ExpectError: words("sysctl would be lost at the next boot")})
	if got := reading(t, v, path); got != "0" {
		t.Errorf("apply refused, and left %s", got)
	}

	v.WriteFile("/etc/sysctl.d/90-site.conf", key+" = 1\n")
	reboot(t, v)
	if _, status := v.Sh("[ -e /proc/sys/" + path + " ]"); status == 0 {
		t.Fatal("the key is there without its module: this test would see nothing")
	}
	if out, _ := v.Sh("systemctl is-system-running --wait"); strings.TrimSpace(out) != "running" {
		t.Errorf("the system is %s", out)
	}
	if out, status := v.Sh("iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT"); status != 0 {
		t.Fatal(out)
	}
	reads(t, v, map[string]string{path: "0"})
}

// Guards the cure: the same key with its module holds after a reboot, and so does the plan.
func TestVMModuleAndItsKeySurviveAReboot(t *testing.T) {
	v := startVM(t)
	c := config(v, conntrack+beLiberal)
	run(t, resource.TestStep{Config: c, ConfigPlanChecks: emptyAfter()}, emptyAfterReboot(t, v, c, func() {
		reads(t, v, map[string]string{"net/netfilter/nf_conntrack_tcp_be_liberal": "1"})
	}))
}
