//go:build vm

package provider_test

// The failure that the project exists for, and its cure, on a Debian machine that really reboots.

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"

	"github.com/host-provider/terraform-provider-host/internal/vmtest"
)

// onEach runs a test on a fresh virtual machine as root, and on another, at the same time, as a user with sudo.
func onEach(t *testing.T, test func(t *testing.T, m machine)) {
	t.Helper()
	checkName(t)
	t.Parallel()
	t.Run("vm", func(t *testing.T) {
		t.Parallel()
		test(t, startVM(t))
	})
	t.Run("vm with sudo", func(t *testing.T) {
		t.Parallel()
		test(t, sudoer{startVM(t)})
	})
}

// sudoer is a virtual machine that the provider reaches as a user with sudo.
type sudoer struct{ *vmtest.VM }

func (sudoer) User() string { return vmtest.Sudoer }

// startVM starts a fresh virtual machine.
func startVM(t *testing.T) *vmtest.VM {
	t.Helper()
	return startVMWith(t, vmtest.Options{})
}

func startVMWith(t *testing.T, o vmtest.Options) *vmtest.VM {
	t.Helper()
	v, err := vmtest.Start(t.Context(), o)
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
	got := readings(t, v, slices.Collect(maps.Keys(want))...)
	for path, value := range want {
		if got[path] != value {
			t.Errorf("%s reads %q, not %q", path, got[path], value)
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
	t.Parallel()
	t.Run("bookworm", func(t *testing.T) { fileAloneIsLost(t, vmtest.Bookworm) })
	t.Run("trixie", func(t *testing.T) { fileAloneIsLost(t, vmtest.Trixie) })
}

func fileAloneIsLost(t *testing.T, suite vmtest.Suite) {
	t.Helper()
	t.Parallel()
	const key, path = "net.netfilter.nf_conntrack_tcp_be_liberal", "net/netfilter/nf_conntrack_tcp_be_liberal"
	v := startVMWith(t, vmtest.Options{Suite: suite})
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
	t.Parallel()
	v := startVM(t)
	c := config(v, conntrack+beLiberal)
	run(t, resource.TestStep{Config: c, ConfigPlanChecks: emptyAfter()}, emptyAfterReboot(t, v, c, func() {
		reads(t, v, map[string]string{"net/netfilter/nf_conntrack_tcp_be_liberal": "1"})
	}))
}

// Guards the audit of a machine that nobody manages, asked of a real systemd: the order of its units, what is lost, and that it says just what the reboot brings.
func TestVMBootDataSource(t *testing.T) {
	t.Parallel()
	v := startVM(t)
	v.WriteFile("/etc/sysctl.d/50-site.conf", "net.netfilter.nf_conntrack_tcp_be_liberal = 1\nnet.ipv4.tcp_fin_timeout = 41\n")
	if out, status := v.Sh("modprobe nf_conntrack && sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1 net.ipv4.tcp_fin_timeout=41"); status != 0 {
		t.Fatal(out)
	}
	const key = "keys.net.netfilter.nf_conntrack_tcp_be_liberal."
	is := func(attribute, want string) resource.TestCheckFunc {
		return resource.TestCheckResourceAttr("data.host_boot.a", attribute, want)
	}
	ordered := resource.ComposeAggregateTestCheckFunc(
		is("init", "systemd"), is("units.#", "2"), is("units.0.name", "systemd-modules-load.service"), is("units.1.name", "systemd-sysctl.service"),
		is("units.1.load_state", "loaded"), is("units.1.active_state", "active"), is("units.1.result", "success"),
		resource.TestCheckTypeSetElemAttr("data.host_boot.a", "units.1.after.*", "systemd-modules-load.service"), is("failures.#", "0"),
	)
	c := config(v, "data \"host_boot\" \"a\" {\n}\n")
	run(t,
		resource.TestStep{Config: c, Check: resource.ComposeAggregateTestCheckFunc(
			ordered, is("holds", "false"), is(key+"reason", "module_loaded_by_hand"), is(key+"value", "1"), is("keys.net.ipv4.tcp_fin_timeout.holds", "true"),
			is("modules.nf_conntrack.loaded", "true"), is("modules.nf_conntrack.loaded_at_boot", "false"),
		)},
		resource.TestStep{
			PreConfig: func() { v.WriteFile("/etc/modules-load.d/site.conf", "nf_conntrack\n") },
			Config:    c,
			Check:     resource.ComposeAggregateTestCheckFunc(ordered, is("holds", "true"), is(key+"boot_value", "1"), is("modules.nf_conntrack.holds", "true")),
		},
		resource.TestStep{
			PreConfig: func() {
				reboot(t, v)
				reads(t, v, map[string]string{"net/netfilter/nf_conntrack_tcp_be_liberal": "1", "net/ipv4/tcp_fin_timeout": "41"})
			},
			Config: c,
			Check:  resource.ComposeAggregateTestCheckFunc(ordered, is("holds", "true")),
		},
		resource.TestStep{
			PreConfig: func() {
				if out, status := v.Sh("systemctl mask systemd-sysctl.service"); status != 0 {
					t.Fatal(out)
				}
			},
			Config: c,
			Check: resource.ComposeAggregateTestCheckFunc(is("holds", "false"), is("units.1.load_state", "masked"), is("keys.net.ipv4.tcp_fin_timeout.reason", "service_off"),
				is("failures.0.unit", "systemd-sysctl.service")),
		},
	)
	reboot(t, v)
	reads(t, v, map[string]string{"net/ipv4/tcp_fin_timeout": "60"})
}

// Guards a Kubernetes node: its modules and keys hold after a reboot, those of br_netfilter too, which are not there without it. One of them has a value that the
// kernel would not choose by itself.
func TestVMKubernetesNodeSurvivesAReboot(t *testing.T) {
	t.Parallel()
	v := startVM(t)
	const modules = `
resource "host_kernel_module" "overlay" {
  name = "overlay"
}
resource "host_kernel_module" "br_netfilter" {
  name = "br_netfilter"
}
`
	c := config(v, modules+
		group("modules = [host_kernel_module.br_netfilter.name]\n", "net.bridge.bridge-nf-call-iptables = 1", "net.bridge.bridge-nf-call-ip6tables = 1",
			"net.bridge.bridge-nf-filter-vlan-tagged = 1")+
		sysctlResource("net.ipv4.ip_forward", "1"))
	if out, status := v.Sh("[ -e /proc/sys/net/bridge ] || grep -E '^(overlay|br_netfilter) ' /proc/modules"); status == 0 {
		t.Fatalf("the node is one already: %s", out)
	}
	run(t, resource.TestStep{Config: c, ConfigPlanChecks: emptyAfter()}, emptyAfterReboot(t, v, c, func() {
		reads(t, v, map[string]string{
			"net/bridge/bridge-nf-call-iptables": "1", "net/bridge/bridge-nf-call-ip6tables": "1", "net/bridge/bridge-nf-filter-vlan-tagged": "1", "net/ipv4/ip_forward": "1",
		})
		if out, status := v.Sh("for m in overlay br_netfilter; do grep \"^$m \" /proc/modules || exit 1; done"); status != 0 {
			t.Errorf("the modules are not loaded: %s", out)
		}
	}))
}

// Guards values that name what a module brings: the kernel loads it when the value is written, now and at boot.
func TestVMCongestionControlSurvivesAReboot(t *testing.T) {
	t.Parallel()
	v := startVM(t)
	c := config(v, group("", "net.ipv4.tcp_congestion_control = bbr", "net.core.default_qdisc = fq"))
	reads(t, v, map[string]string{"net/ipv4/tcp_congestion_control": "cubic", "net/core/default_qdisc": "fq_codel"})
	run(t, resource.TestStep{Config: c, ConfigPlanChecks: emptyAfter()}, emptyAfterReboot(t, v, c, func() {
		reads(t, v, map[string]string{"net/ipv4/tcp_congestion_control": "bbr", "net/core/default_qdisc": "fq"})
	}))
}

// Guards parameters of a module: what it is loaded with at boot is what the plan shows, also of one that a running module does not take.
func TestVMModuleParametersSurviveAReboot(t *testing.T) {
	t.Parallel()
	v := startVM(t)
	c := config(v, strings.Replace(conntrack, "\n}", "\n  parameters = {\n    hashsize = \"4096\"\n    acct     = \"1\"\n  }\n}", 1))
	hold := func(when string) {
		for name, want := range map[string]string{"hashsize": "4096", "acct": "Y"} {
			if got, _ := v.ReadFile("/sys/module/nf_conntrack/parameters/" + name); strings.TrimSpace(got) != want {
				t.Errorf("%s is %q %s", name, got, when)
			}
		}
	}
	run(t, resource.TestStep{Config: c, ConfigPlanChecks: emptyAfter(), Check: func(*terraformState) error { hold("after the apply"); return nil }},
		emptyAfterReboot(t, v, c, func() { hold("after the reboot") }))
}
