//go:build vm

package provider_test

// Machines that systemd does not start: what the prediction says of them, and what their reboots then bring.

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"

	"github.com/host-provider/terraform-provider-host/internal/vmtest"
)

const (
	audit = `
data "host_boot" "a" {
  depends_on = [host_sysctl.a, host_sysctl.be_liberal]
}
`
	liberalPath = "net/netfilter/nf_conntrack_tcp_be_liberal"
)

// predicts wants these attributes of the data source.
func predicts(want map[string]string) resource.TestCheckFunc {
	var checks []resource.TestCheckFunc
	for attribute, value := range want {
		checks = append(checks, resource.TestCheckResourceAttr("data.host_boot.a", attribute, value))
	}
	return resource.ComposeAggregateTestCheckFunc(checks...)
}

func mustSh(t *testing.T, v *vmtest.VM, script string) {
	t.Helper()
	if out, status := v.Sh(script); status != 0 {
		t.Fatalf("%s: %s", script, out)
	}
}

// Guards what is said of OpenRC, on a Debian machine that it boots: a plain key holds; a module's key holds only where the order of the services is set, and that
// order decides indeed; a service in no runlevel applies nothing.
func TestVMOpenRC(t *testing.T) {
	t.Parallel()
	const plain, liberal = "keys.vm.swappiness.", "keys.net.netfilter.nf_conntrack_tcp_be_liberal."
	v := startVMWith(t, vmtest.Options{Init: vmtest.OpenRC})
	c := config(v, conntrack+beLiberal+swappiness+audit)
	run(t,
		resource.TestStep{Config: c, Check: predicts(map[string]string{
			"init": "openrc", plain + "holds": "true", plain + "boot_value": "10", "modules.nf_conntrack.loaded_at_boot": "true",
			liberal + "holds": "false", liberal + "reason": "init_unknown",
		})},
		resource.TestStep{
			PreConfig: func() {
				mustSh(t, v, `mkdir -p /etc/conf.d && echo 'rc_after="kmod"' >/etc/conf.d/procps`)
			},
			Config: c, Check: predicts(map[string]string{liberal + "holds": "true", liberal + "boot_value": "1", "holds": "true"}),
		},
		emptyAfterReboot(t, v, c, func() { reads(t, v, map[string]string{"vm/swappiness": "10", liberalPath: "1"}) }),
		resource.TestStep{
			PreConfig: func() { mustSh(t, v, `rm /etc/conf.d/procps; echo 'rc_kmod_after="procps"' >>/etc/rc.conf`) },
			Config:    c, Check: predicts(map[string]string{liberal + "holds": "false", liberal + "reason": "init_unknown"}),
		},
		resource.TestStep{
			PreConfig: func() {
				reboot(t, v)
				reads(t, v, map[string]string{"vm/swappiness": "10", liberalPath: "0"})
				mustSh(t, v, `rc-update del procps sysinit`)
			},
			Config: c, ExpectError: words("the OpenRC service sysctl is in no runlevel of /etc/runlevels"),
		},
	)
	reboot(t, v)
	reads(t, v, map[string]string{"vm/swappiness": "60"})
}

// Guards what is said of an init that nobody knows, here BusyBox's, which reads no file: the files are written, and nothing is promised.
func TestVMOtherInit(t *testing.T) {
	t.Parallel()
	v := startVMWith(t, vmtest.Options{Init: vmtest.BusyBox})
	c := config(v, swappiness+"data \"host_boot\" \"a\" {\n  depends_on = [host_sysctl.a]\n}\n")
	unknown := predicts(map[string]string{"holds": "false", "keys.vm.swappiness.holds": "false", "keys.vm.swappiness.reason": "init_unknown"})
	run(t,
		resource.TestStep{Config: c, Check: unknown},
		resource.TestStep{
			PreConfig: func() {
				if text, _ := v.ReadFile("/etc/sysctl.d/90-terraform-vm.swappiness.conf"); text == "" {
					t.Error("no file is there")
				}
				reboot(t, v)
				reads(t, v, map[string]string{"vm/swappiness": "60"})
			},
			Config: c, Check: unknown,
		},
	)
}
