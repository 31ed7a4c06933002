package provider_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"

	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/sshdtest"
)

const (
	conntrack = `
resource "host_kernel_module" "conntrack" {
  name = "nf_conntrack"
}
`
	beLiberal = `
resource "host_sysctl" "be_liberal" {
  module = host_kernel_module.conntrack.name
  key    = "net.netfilter.nf_conntrack_tcp_be_liberal"
  value  = "1"
}
`
)

// Guards the failure the project exists for: the key with its module holds after a reboot, and the plan after it is empty.
func TestAccModuleAndItsKeySurviveAReboot(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	run(t,
		resource.TestStep{Config: config(m, conntrack+beLiberal), ConfigPlanChecks: emptyAfter(), Check: resource.ComposeTestCheckFunc(
			resource.TestCheckResourceAttr("host_kernel_module.conntrack", "loaded", "true"),
			resource.TestCheckResourceAttr("host_kernel_module.conntrack", "builtin", "false"),
			resource.TestCheckResourceAttr("host_kernel_module.conntrack", "boot_source", "/etc/modules-load.d/terraform-nf_conntrack.conf:2"),
			resource.TestCheckResourceAttr("host_sysctl.be_liberal", "original_value", "0"),
		)},
		resource.TestStep{PreConfig: m.Reboot, Config: config(m, conntrack+beLiberal), ConfigPlanChecks: resource.ConfigPlanChecks{
			PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()},
		}, Check: func(*terraformState) error {
			if got := reading(t, m, "net/netfilter/nf_conntrack_tcp_be_liberal"); got != "1" {
				return fmt.Errorf("after the reboot it is %s", got)
			}
			return nil
		}},
	)
}

// Guards that the plan says which layer of a module drifted, in a line of its own, and that apply mends each.
func TestAccModuleDriftByLayer(t *testing.T) {
	t.Parallel()
	const file = "/etc/modules-load.d/terraform-nf_conntrack.conf"
	for _, test := range []struct {
		name                                        string
		drift                                       func(t *testing.T, m *hosttest.Host)
		address, attribute, planFrom, planTo, quiet string
	}{
		{"module unloaded", func(t *testing.T, m *hosttest.Host) {
			if out, status := m.Sh("modprobe -r nf_conntrack"); status != 0 {
				t.Fatal(out)
			}
		}, "host_kernel_module.conntrack", "loaded", "false", "true", "boot_source"},
		{"module unloaded takes the key with it", func(_ *testing.T, m *hosttest.Host) { m.Sh("modprobe -r nf_conntrack") },
			"host_sysctl.be_liberal", "value", "", "1", "boot_value"},
		{"modules-load file deleted", func(_ *testing.T, m *hosttest.Host) { m.RemoveFile(file) },
			"host_kernel_module.conntrack", "boot_source", "", file + ":2", "loaded"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := simulated(t)
			c := config(m, conntrack+beLiberal)
			run(t, resource.TestStep{Config: c}, resource.TestStep{
				PreConfig: func() { test.drift(t, m) },
				Config:    c,
				ConfigPlanChecks: resource.ConfigPlanChecks{
					PreApply: []plancheck.PlanCheck{
						expectChange(test.address, test.attribute, test.planFrom, test.planTo), expectNoChange(test.address, test.quiet),
					},
					PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()},
				},
				Check: func(*terraformState) error {
					if text, _ := m.ReadFile(file); !strings.HasSuffix(text, "\nnf_conntrack\n") {
						return fmt.Errorf("the modules-load file is %q", text)
					}
					if got := reading(t, m, "net/netfilter/nf_conntrack_tcp_be_liberal"); got != "1" {
						return fmt.Errorf("the key reads %s", got)
					}
					return nil
				},
			})
		})
	}
}

// Guards that a line which somebody added to a file of a module is not lost: a plan that changes nothing warns of it and
// says whether the module is loaded at boot all the same, and destroy is an error.
func TestAccModuleFileWithOtherLinesIsKept(t *testing.T) {
	t.Parallel()
	const load, options = "/etc/modules-load.d/terraform-nf_conntrack.conf", "/etc/modprobe.d/terraform-nf_conntrack.conf"
	for _, test := range []struct{ file, text, says, holds string }{
		{load, "overlay\n", load + ":1 loads overlay", "false"},
		{load, "nf_conntrack\noverlay\n", load + ":2 loads overlay", "true"},
		{options, "blacklist floppy\n", options + ":1 says \"blacklist floppy\"", "true"},
	} {
		t.Run(test.says, func(t *testing.T) {
			t.Parallel()
			m := simulated(t)
			c, kept := config(m, conntrack), words(test.says+", a line that this resource did not write and a change would drop.")
			with := config(m, strings.Replace(conntrack, "}", "  parameters = { hashsize = \"4096\" }\n}", 1))
			run(t,
				resource.TestStep{Config: c},
				resource.TestStep{PreConfig: func() { m.WriteFile(test.file, test.text) }, Config: c, ConfigPlanChecks: emptyAfter(),
					Check: resource.ComposeTestCheckFunc(resource.TestCheckResourceAttr("host_kernel_module.conntrack", "holds_at_boot", test.holds),
						func(*terraformState) error {
							if text, _ := m.ReadFile(test.file); text != test.text {
								return fmt.Errorf("%s is %q", test.file, text)
							}
							return nil
						})},
				resource.TestStep{Config: with, ExpectError: kept},
				resource.TestStep{Config: c, Destroy: true, ExpectError: kept},
				resource.TestStep{PreConfig: func() { m.RemoveFile(test.file) }, Config: c, ConfigPlanChecks: emptyAfter(),
					Check: resource.TestCheckResourceAttr("host_kernel_module.conntrack", "holds_at_boot", "true")},
			)
		})
	}
}

// Guards that a built-in module counts as loaded, on a kernel that lists its built-in modules and on one that only shows them in /sys/module. A
// container shows neither.
func TestAccOnEachBuiltinCountsAsLoaded(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		c := config(m, "resource \"host_kernel_module\" \"a\" {\n  name = \"ipv6\"\n}\n")
		if _, is := m.(*sshdtest.Container); is {
			run(t, resource.TestStep{Config: c, ExpectError: words("this host may not load ipv6, or any module")})
			return
		}
		if out, _ := m.Sh("ls /sys/module/ipv6/parameters"); !strings.Contains(out, "disable") {
			t.Fatalf("ipv6 is no module or not built in: %s", out)
		}
		run(t, resource.TestStep{Config: c, ConfigPlanChecks: emptyAfter(), Check: resource.ComposeTestCheckFunc(
			resource.TestCheckResourceAttr("host_kernel_module.a", "loaded", "true"), resource.TestCheckResourceAttr("host_kernel_module.a", "builtin", "true"),
		)})
		if _, left := m.ReadFile("/etc/modules-load.d/terraform-ipv6.conf"); left {
			t.Error("the modules-load file is left after destroy")
		}
	})
}

// Guards that spellings of one module are one module, and that an alias is resolved: it is the module that counts.
func TestAccModuleNames(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	named := func(name string) string {
		return config(m, fmt.Sprintf("resource \"host_kernel_module\" \"a\" {\n  name = %q\n}\n", name))
	}
	run(t,
		resource.TestStep{Config: named("br-netfilter"), ConfigPlanChecks: emptyAfter()},
		resource.TestStep{Config: named("br_netfilter"), ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}}},
		resource.TestStep{Config: named("net-pf-2-proto-132"), ConfigPlanChecks: resource.ConfigPlanChecks{
			PreApply:             []plancheck.PlanCheck{plancheck.ExpectResourceAction("host_kernel_module.a", plancheck.ResourceActionDestroyBeforeCreate)},
			PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()},
		}, Check: func(*terraformState) error {
			if out, status := m.Sh("grep '^sctp ' /proc/modules"); status != 0 {
				return fmt.Errorf("sctp is not loaded: %s", out)
			}
			return nil
		}},
	)
}

// Guards module parameters: given at load, written to a loaded module, kept for the next load, and the one that waits is a warning and no endless diff.
func TestAccModuleParameters(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	with := func(parameters string) string {
		return config(m, "resource \"host_kernel_module\" \"a\" {\n  name = \"nf_conntrack\"\n  parameters = {"+parameters+"}\n}\n")
	}
	hashsize := func(want string) resource.TestCheckFunc {
		return func(*terraformState) error {
			if out, _ := m.Sh("cat /sys/module/nf_conntrack/parameters/hashsize"); strings.TrimSpace(out) != want {
				return fmt.Errorf("hashsize is %s", out)
			}
			return nil
		}
	}
	const file = "/etc/modprobe.d/terraform-nf_conntrack.conf"
	run(t,
		resource.TestStep{Config: with(`hashsize = "4096"`), ConfigPlanChecks: emptyAfter(), Check: hashsize("4096")},
		resource.TestStep{Config: with(`hashsize = "8192", acct = "1"`), ConfigPlanChecks: emptyAfter(), Check: hashsize("8192")},
		resource.TestStep{
			PreConfig: func() { m.WriteFile(file, "options nf_conntrack hashsize=16384\n") },
			Config:    with(`hashsize = "8192", acct = "1"`),
			ConfigPlanChecks: resource.ConfigPlanChecks{
				PreApply: []plancheck.PlanCheck{
					expectChange("host_kernel_module.a", "boot_parameters", "map[hashsize:16384]", "map[acct:1 hashsize:8192]"),
					expectNoChange("host_kernel_module.a", "parameters"),
				},
				PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()},
			},
		},
		resource.TestStep{Config: with(`hashsize = "8192", expect_hashsize = "512"`), ConfigPlanChecks: emptyAfter()},
		resource.TestStep{PreConfig: m.Reboot, Config: with(`hashsize = "8192", expect_hashsize = "512"`), ConfigPlanChecks: resource.ConfigPlanChecks{
			PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()},
		}, Check: hashsize("8192")},
		resource.TestStep{Config: with(`nosuch = "1"`), ExpectError: regexp.MustCompile(`(?s)no such\s+parameter.*has\s+no\s+parameter\s+nosuch`)},
		resource.TestStep{Config: with(`hashsize = "2000"`), ExpectError: regexp.MustCompile(`(?s)another value.*kept "2048"`)},
	)
	if _, left := m.ReadFile(file); left {
		t.Error("the modprobe.d file is left after destroy")
	}
}

// Guards both ways to destroy a module.
func TestAccModuleOnDestroy(t *testing.T) {
	t.Parallel()
	for onDestroy, loaded := range map[string]int{"keep": 0, "unload": 1} {
		t.Run(onDestroy, func(t *testing.T) {
			t.Parallel()
			m := simulated(t)
			run(t, resource.TestStep{Config: config(m, fmt.Sprintf("resource \"host_kernel_module\" \"a\" {\n  name = \"dummy\"\n  on_destroy = %q\n}\n", onDestroy))})
			if _, status := m.Sh("grep '^dummy ' /proc/modules"); (status != 0) != (loaded != 0) {
				t.Errorf("grep for the module ended with %d", status)
			}
		})
	}
}

// Guards import of a module, by either spelling.
func TestAccModuleImport(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	c := config(m, conntrack)
	run(t,
		resource.TestStep{Config: c},
		resource.TestStep{Config: c, ResourceName: "host_kernel_module.conntrack", ImportState: true, ImportStateId: "web1/nf_conntrack", ImportStateVerify: true,
			ImportStateVerifyIdentifierAttribute: "name"},
		resource.TestStep{Config: c, ResourceName: "host_kernel_module.conntrack", ImportState: true, ImportStateId: "web1/", ExpectError: regexp.MustCompile("has not the form")},
	)
}

// Guards that a plan promises of a host with OpenRC what apply then finds, where the order of its services leaves a module's key uncertain: the provider's own line.
func TestAccUncertainOrderOfOpenRC(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	m.Sh("rm -r /run/systemd; mkdir -p /run/openrc /etc/runlevels/boot; touch /etc/runlevels/boot/modules /etc/runlevels/boot/sysctl")
	run(t, resource.TestStep{Config: config(m, conntrack+beLiberal), ConfigPlanChecks: emptyAfter(), Check: resource.ComposeTestCheckFunc(
		resource.TestCheckResourceAttr("host_sysctl.be_liberal", "boot_value", "1"),
		resource.TestCheckResourceAttr("host_sysctl.be_liberal", "boot_source", "/etc/sysctl.d/90-terraform-net.netfilter.nf_conntrack_tcp_be_liberal.conf:3"),
	)})
}
