package provider_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
)

// tenKeys are keys that need no module, with values that no kernel has by default.
var tenKeys = []struct{ key, value string }{
	{"net.ipv4.tcp_fin_timeout", "41"},
	{"net.ipv4.tcp_keepalive_time", "3601"},
	{"net.ipv4.tcp_keepalive_intvl", "71"},
	{"net.ipv4.tcp_keepalive_probes", "8"},
	{"net.ipv4.ip_local_port_range", "20000 50000"},
	{"net.ipv4.ip_local_reserved_ports", "8080,9000-9002,8081"},
	{"net.ipv4.tcp_rmem", "4096 131072 6000000"},
	{"net.ipv4.conf.all.log_martians", "1"},
	{"net/ipv4/conf/default/rp_filter", "2"},
	{"net.core.somaxconn", "0x400"},
}

func ten(values map[string]string) string {
	var b strings.Builder
	for i, k := range tenKeys {
		v := k.value
		if other, ok := values[k.key]; ok {
			v = other
		}
		fmt.Fprintf(&b, "resource \"host_sysctl\" \"k%d\" {\n  key = %q\n  value = %q\n}\n", i, k.key, v)
	}
	return b.String()
}

// Guards the main promise on a host: ten keys are applied, one changed behind our back is the only thing the plan shows, apply mends it, and destroy restores
// every value from before.
func TestAccOnEachTenKeysApplyDriftDestroy(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		before, had := readings(t, m, tenPaths()...), files(t, m)
		drifted := []plancheck.PlanCheck{expectOnlyChange("host_sysctl.k4", "value", "20001\t50000", "20000 50000")}
		run(t,
			resource.TestStep{Config: config(m, ten(nil)), ConfigPlanChecks: emptyAfter()},
			resource.TestStep{
				PreConfig:        func() { setting(t, m, "net/ipv4/ip_local_port_range", "20001 50000") },
				Config:           config(m, ten(nil)),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: drifted, PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}},
			},
			resource.TestStep{
				Config: config(m, ten(map[string]string{"net.core.somaxconn": "1024"})), // as 0x400
				ConfigPlanChecks: resource.ConfigPlanChecks{
					PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()},
				},
			},
		)
		unchanged(t, before, readings(t, m, tenPaths()...))
		unchanged(t, had, files(t, m))
	})
}

// tenPaths are the ten keys' paths below /proc/sys.
func tenPaths() (paths []string) {
	for _, k := range tenKeys {
		paths = append(paths, procPath(k.key))
	}
	return paths
}

func procPath(key string) string {
	if strings.Contains(key, "/") {
		return key
	}
	return strings.ReplaceAll(key, ".", "/")
}

// Guards that the plan says which layer drifted, in a line of its own, and that apply mends each.
func TestAccOnEachSysctlDriftByLayer(t *testing.T) {
	const file = "/etc/sysctl.d/90-terraform-net.ipv4.tcp_fin_timeout.conf"
	cases := []struct {
		name                  string
		drift                 func(t *testing.T, m machine)
		attribute             string
		planFrom, planTo, not string
	}{
		{"running value changed", func(t *testing.T, m machine) { setting(t, m, "net/ipv4/tcp_fin_timeout", "30") }, "value", "30", "41", "boot_value"},
		{"drop-in edited", func(_ *testing.T, m machine) { m.WriteFile(file, "net.ipv4.tcp_fin_timeout = 30\n") }, "boot_value", "30", "41", "value"},
		{"drop-in deleted", func(_ *testing.T, m machine) { m.RemoveFile(file) }, "boot_value", "", "41", "value"},
		{"drop-in emptied", func(_ *testing.T, m machine) { m.WriteFile(file, "# gone\n") }, "boot_value", "", "41", "value"},
	}
	onEach(t, func(t *testing.T, m machine) {
		for _, test := range cases {
			t.Run(test.name, func(t *testing.T) {
				c := config(m, "resource \"host_sysctl\" \"a\" {\n  key = \"net.ipv4.tcp_fin_timeout\"\n  value = \"41\"\n}\n")
				run(t,
					resource.TestStep{Config: c},
					resource.TestStep{
						PreConfig: func() { test.drift(t, m) },
						Config:    c,
						ConfigPlanChecks: resource.ConfigPlanChecks{
							PreApply: []plancheck.PlanCheck{
								plancheck.ExpectResourceAction("host_sysctl.a", plancheck.ResourceActionUpdate),
								expectChange("host_sysctl.a", test.attribute, test.planFrom, test.planTo),
								expectNoChange("host_sysctl.a", test.not),
							},
							PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()},
						},
						Check: func(*terraformState) error {
							if got := reading(t, m, "net/ipv4/tcp_fin_timeout"); got != "41" {
								return fmt.Errorf("the running value is %s", got)
							}
							if text, _ := m.ReadFile(file); !strings.HasSuffix(text, "\nnet.ipv4.tcp_fin_timeout = 41\n") {
								return fmt.Errorf("the drop-in is %q", text)
							}
							return nil
						},
					},
				)
			})
		}
	})
}

// Guards each attribute that changes where and whether the value is kept.
func TestAccOnEachSysctlPersistAndFileName(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		key := func(more string) string {
			return config(m, "resource \"host_sysctl\" \"a\" {\n  key = \"net.ipv4.tcp_fin_timeout\"\n  value = \"41\"\n"+more+"}\n")
		}
		only := func(want ...string) resource.TestCheckFunc {
			return func(*terraformState) error {
				var got []string
				for path, text := range files(t, m) {
					if strings.Contains(text, "tcp_fin_timeout") {
						got = append(got, strings.TrimPrefix(path, "/etc/sysctl.d/"))
					}
				}
				if fmt.Sprint(got) != fmt.Sprint(want) {
					return fmt.Errorf("drop-ins %q, not %q", got, want)
				}
				return nil
			}
		}
		original := reading(t, m, "net/ipv4/tcp_fin_timeout")
		run(t,
			resource.TestStep{Config: key("persist = false\n"), Check: resource.ComposeTestCheckFunc(only(),
				resource.TestCheckNoResourceAttr("host_sysctl.a", "boot_value"), resource.TestCheckResourceAttr("host_sysctl.a", "original_value", original))},
			resource.TestStep{Config: key(""), Check: resource.ComposeTestCheckFunc(only("90-terraform-net.ipv4.tcp_fin_timeout.conf"),
				resource.TestCheckResourceAttr("host_sysctl.a", "boot_source", "/etc/sysctl.d/90-terraform-net.ipv4.tcp_fin_timeout.conf:3"))},
			resource.TestStep{Config: key("file_name = \"50-net.conf\"\n"), Check: only("50-net.conf")},
			resource.TestStep{Config: key(""), Check: only("90-terraform-net.ipv4.tcp_fin_timeout.conf")},
			resource.TestStep{Config: key("persist = false\n"), Check: resource.ComposeTestCheckFunc(only(),
				resource.TestCheckResourceAttr("host_sysctl.a", "original_value", original))},
			resource.TestStep{Config: key("on_destroy = \"keep\"\n")},
		)
		if got := reading(t, m, "net/ipv4/tcp_fin_timeout"); got != "41" {
			t.Errorf("on_destroy = keep left %s", got)
		}
		if err := only()(nil); err != nil {
			t.Error(err)
		}
	})
}

// Guards that destroy puts the value to what the host's other files set, which need not be the value from before.
func TestAccOnEachDestroyRestoresWhatOtherFilesSet(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		m.WriteFile("/etc/sysctl.d/10-site.conf", "net.ipv4.tcp_fin_timeout = 33\n")
		run(t, resource.TestStep{Config: config(m, "resource \"host_sysctl\" \"a\" {\n  key = \"net.ipv4.tcp_fin_timeout\"\n  value = \"41\"\n}\n")})
		if got := reading(t, m, "net/ipv4/tcp_fin_timeout"); got != "33" {
			t.Errorf("after destroy it is %s, the file says 33", got)
		}
	})
}

// Guards that two files which name one key are no drift: each value is read once.
func TestAccOnEachKeyNamedByTwoFilesIsNoDrift(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		m.WriteFile("/etc/sysctl.d/10-site.conf", "net.ipv4.tcp_fin_timeout = 33\nnet.core.somaxconn = 77\nnet.ipv4.conf.*.log_martians = 0\n")
		run(t, resource.TestStep{Config: config(m, ten(nil)), ConfigPlanChecks: emptyAfter()})
	})
}

// Guards that persist = false says nothing of a file that somebody else has under the default name.
func TestAccOnEachNotPersistedLeavesFilesAlone(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		m.WriteFile("/etc/sysctl.d/90-terraform-net.ipv4.tcp_fin_timeout.conf", "net.ipv4.tcp_fin_timeout = 50\n")
		had := files(t, m)
		run(t, resource.TestStep{Config: config(m, running("net.ipv4.tcp_fin_timeout", "41")), ConfigPlanChecks: emptyAfter()})
		unchanged(t, had, files(t, m))
	})
}

// Guards that a line for another key in our drop-in is not lost: a plan that changes nothing warns of it and says that
// the value no longer holds, and a plan that changes the value, and destroy, are errors.
func TestAccDropInThatSetsAnotherKeyIsKept(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	const file = "/etc/sysctl.d/90-terraform-net.ipv4.tcp_fin_timeout.conf"
	c, changed := config(m, sysctlResource("net.ipv4.tcp_fin_timeout", "41")), config(m, sysctlResource("net.ipv4.tcp_fin_timeout", "42"))
	const line = "net.ipv4.tcp_syncookies = 1\n"
	kept := func(*terraformState) error {
		if text, _ := m.ReadFile(file); text != line {
			return fmt.Errorf("the drop-in is %q", text)
		}
		return nil
	}
	also := words("also sets net.ipv4.tcp_syncookies, and a host_sysctl keeps one key in a file of its own.")
	run(t,
		resource.TestStep{Config: c},
		resource.TestStep{PreConfig: func() { m.WriteFile(file, line) }, Config: c, ConfigPlanChecks: emptyAfter(),
			Check: resource.ComposeTestCheckFunc(kept, resource.TestCheckNoResourceAttr("host_sysctl.a", "boot_value"),
				resource.TestCheckResourceAttr("host_sysctl.a", "holds_at_boot", "false"))},
		resource.TestStep{Config: changed, ExpectError: also},
		resource.TestStep{Config: c, Destroy: true, ExpectError: also},
		resource.TestStep{PreConfig: func() { m.RemoveFile(file) }, Config: c, ConfigPlanChecks: emptyAfter()},
	)
}

// Guards import of what the provider wrote.
func TestAccOnEachSysctlImport(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		c := config(m, "resource \"host_sysctl\" \"a\" {\n  key = \"net.ipv4.tcp_fin_timeout\"\n  value = \"41\"\n}\n")
		run(t,
			resource.TestStep{Config: c},
			resource.TestStep{Config: c, ResourceName: "host_sysctl.a", ImportState: true, ImportStateId: "web1/net/ipv4/tcp_fin_timeout", ImportStateVerify: true,
				ImportStateVerifyIdentifierAttribute: "host", ImportStateVerifyIgnore: []string{"key"}},
			resource.TestStep{Config: c, ResourceName: "host_sysctl.a", ImportState: true, ImportStateId: "web1", ExpectError: regexp.MustCompile("has not the form")},
		)
	})
}

// Guards import of a key that a file of one's own sets, and what it says of what it cannot take.
func TestAccOnEachSysctlImportOfAFile(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		m.WriteFile("/etc/sysctl.d/50-site.conf", "# by hand\nnet.ipv4.tcp_fin_timeout=44\n")
		setting(t, m, "net/ipv4/tcp_fin_timeout", "44")
		c := config(m, `
resource "host_sysctl" "a" {
  key       = "net.ipv4.tcp_fin_timeout"
  value     = "44"
  file_name = "50-site.conf"
}
import {
  to = host_sysctl.a
  id = "web1/net.ipv4.tcp_fin_timeout"
}
`)
		run(t, resource.TestStep{Config: c, ConfigPlanChecks: resource.ConfigPlanChecks{
			PreApply: []plancheck.PlanCheck{plancheck.ExpectResourceAction("host_sysctl.a", plancheck.ResourceActionNoop)},
		}})
		m.WriteFile("/etc/sysctl.d/90-terraform-net.ipv4.tcp_fin_timeout.conf", "net.ipv4.tcp_fin_timeout = 44\nnet.ipv4.tcp_syncookies = 1\n")
		run(t, resource.TestStep{Config: c, ExpectError: words("also sets net.ipv4.tcp_syncookies, and a host_sysctl keeps one key in a file of its own.")})
		missing := strings.ReplaceAll(c, "tcp_fin_timeout", "no_such_key")
		run(t, resource.TestStep{Config: missing, ExpectError: words("net.ipv4.no_such_key does not exist.")})
		run(t, resource.TestStep{Config: config(m, "import {\n  to = host_kernel_module.a\n  id = \"web1/nosuchmod\"\n}\nresource \"host_kernel_module\" \"a\" {\n  name = \"nosuchmod\"\n}\n"),
			ExpectError: words("the kernel module nosuchmod is not loaded and no file loads it at boot.")})
	})
}

// Guards that files travel by SFTP where the provider block asks for it, each in several exchanges, and by the shell elsewhere.
func TestAccFilesBySFTP(t *testing.T) {
	t.Parallel()
	exchanges := map[bool]int{}
	for _, sftp := range []bool{false, true} {
		m := simulated(t)
		run(t, resource.TestStep{Config: configWith(m, fmt.Sprintf("sftp = %v", sftp), swappiness), ConfigPlanChecks: emptyAfter(), Check: func(*terraform.State) error {
			if text, _ := m.ReadFile("/etc/sysctl.d/90-terraform-vm.swappiness.conf"); !strings.Contains(text, "vm.swappiness = 10\n") {
				return fmt.Errorf("the file holds %q", text)
			}
			return nil
		}})
		exchanges[sftp] = m.Exchanges()
	}
	if exchanges[true] < exchanges[false]+5 {
		t.Errorf("exchanges with and without SFTP: %v", exchanges)
	}
}
