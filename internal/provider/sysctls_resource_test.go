package provider_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	tfjson "github.com/hashicorp/terraform-json"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"

	"github.com/host-provider/terraform-provider-host/internal/hosttest"
)

const groupFile = "/etc/sysctl.d/90-terraform-group.conf"

// group is a host_sysctls with these settings, each "KEY = VALUE", and further lines.
func group(more string, settings ...string) string {
	var b strings.Builder
	for _, s := range settings {
		key, value, _ := strings.Cut(s, " = ")
		fmt.Fprintf(&b, "    %q = %q\n", key, value)
	}
	return "resource \"host_sysctls\" \"g\" {\n  name     = \"group\"\n  settings = {\n" + b.String() + "  }\n" + more + "}\n"
}

func groupOfTen(values map[string]string) string {
	var settings []string
	for _, k := range tenKeys {
		v := k.value
		if other, ok := values[k.key]; ok {
			v = other
		}
		settings = append(settings, k.key+" = "+v)
	}
	return group("", settings...)
}

// expectOnlyElements wants these elements of map attributes of the group to change, each "attribute[key]: from -> to", and nothing else anywhere.
func expectOnlyElements(want ...string) planCheck {
	return func(changes []*tfjson.ResourceChange) error {
		var got []string
		for _, c := range changes {
			before, _ := c.Change.Before.(map[string]any)
			after, _ := c.Change.After.(map[string]any)
			unknown, _ := c.Change.AfterUnknown.(map[string]any)
			for name := range changed(c) {
				from, isMap := before[name].(map[string]any)
				to, _ := after[name].(map[string]any)
				if !isMap {
					got = append(got, name)
					continue
				}
				open, _ := unknown[name].(map[string]any)
				all := map[string]bool{}
				for k := range from {
					all[k] = true
				}
				for k := range to {
					all[k] = true
				}
				for k := range open {
					all[k] = true
				}
				for k := range all {
					was, is := printed(from[k]), printed(to[k])
					if open[k] == true {
						is = "?"
					}
					if was != is {
						got = append(got, fmt.Sprintf("%s[%s]: %s -> %s", name, k, was, is))
					}
				}
			}
		}
		for _, w := range want {
			if !strings.Contains("\n"+strings.Join(got, "\n")+"\n", "\n"+w+"\n") {
				return fmt.Errorf("the plan changes %q, not %q", got, want)
			}
		}
		if len(got) != len(want) {
			return fmt.Errorf("the plan changes %q, not %q", got, want)
		}
		return nil
	}
}

// Guards the main promise for many keys: they are applied, one changed behind our back is the only thing the plan shows, apply mends it, another spelling is no
// change, and destroy restores every value from before.
func TestAccOnEachSysctlsApplyDriftDestroy(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		before, had := readings(t, m, tenPaths()...), files(t, m)
		run(t,
			resource.TestStep{Config: config(m, groupOfTen(nil)), ConfigPlanChecks: emptyAfter()},
			resource.TestStep{
				PreConfig: func() { setting(t, m, "net/ipv4/ip_local_port_range", "20001 50000") },
				Config:    config(m, groupOfTen(nil)),
				ConfigPlanChecks: resource.ConfigPlanChecks{
					PreApply:             []plancheck.PlanCheck{expectOnlyElements("settings[net.ipv4.ip_local_port_range]: 20001\t50000 -> 20000 50000")},
					PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()},
				},
			},
			resource.TestStep{
				Config:           config(m, groupOfTen(map[string]string{"net.core.somaxconn": "1024"})), // as 0x400
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}},
			},
		)
		unchanged(t, before, readings(t, m, tenPaths()...))
		unchanged(t, had, files(t, m))
	})
}

// Guards that the plan says of which key which layer drifted, and that apply mends it.
func TestAccOnEachSysctlsDriftByLayer(t *testing.T) {
	const fin, somax = "net.ipv4.tcp_fin_timeout", "net.core.somaxconn"
	cases := []struct {
		name  string
		drift func(t *testing.T, m machine)
		want  []string
		// was is why the keys of these names do not hold after the drift.
		was  string
		keys []string
	}{
		{"running value changed", func(t *testing.T, m machine) { setting(t, m, "net/ipv4/tcp_fin_timeout", "30") }, []string{"settings[" + fin + "]: 30 -> 41"}, "", nil},
		{"line edited", func(_ *testing.T, m machine) {
			text, _ := m.ReadFile(groupFile)
			m.WriteFile(groupFile, strings.Replace(text, fin+" = 41", fin+" = 30", 1))
		}, []string{"boot_values[" + fin + "]: 30 -> 41"}, "shadowed", []string{fin}},
		{"line deleted", func(_ *testing.T, m machine) {
			text, _ := m.ReadFile(groupFile)
			m.WriteFile(groupFile, strings.Replace(text, fin+" = 41", "", 1))
		}, []string{"boot_values[" + fin + "]:  -> 41", "boot_sources[" + fin + "]:  -> " + groupFile}, "unset", []string{fin}},
		{"drop-in deleted", func(_ *testing.T, m machine) { m.RemoveFile(groupFile) }, []string{
			"boot_values[" + fin + "]:  -> 41", "boot_sources[" + fin + "]:  -> " + groupFile, "boot_values[" + somax + "]:  -> 2048", "boot_sources[" + somax + "]:  -> " + groupFile,
		}, "unset", []string{fin, somax}},
	}
	onEach(t, func(t *testing.T, m machine) {
		_, otherInit := m.Sh("[ -d /run/systemd/system ]") // nothing is promised of another init
		for _, test := range cases {
			t.Run(test.name, func(t *testing.T) {
				want := slices.Clone(test.want)
				for _, key := range test.keys {
					switch {
					case otherInit == 0:
						want = append(want, "holds_at_boot["+key+"]: false -> true", "boot_reasons["+key+"]: "+test.was+" -> ")
					case test.was == "unset":
						want = append(want, "boot_reasons["+key+"]: unset -> init_unknown")
					}
				}
				c := config(m, group("", fin+" = 41", somax+" = 2048"))
				var text string
				run(t,
					resource.TestStep{Config: c, Check: func(*terraformState) error { text, _ = m.ReadFile(groupFile); return nil }},
					resource.TestStep{
						PreConfig: func() { test.drift(t, m) },
						Config:    c,
						ConfigPlanChecks: resource.ConfigPlanChecks{
							PreApply:             []plancheck.PlanCheck{expectOnlyElements(want...)},
							PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()},
						},
						Check: func(*terraformState) error {
							if got, _ := m.ReadFile(groupFile); got != text {
								return fmt.Errorf("the drop-in is\n%s\nnot\n%s", got, text)
							}
							return nil
						},
					},
				)
			})
		}
	})
}

// Guards what happens when keys come and go, the file moves, and nothing is persisted: the file holds just the keys, and a key that is taken out gets its value back.
func TestAccOnEachSysctlsKeysAndFile(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		const fin, somax = "net.ipv4.tcp_fin_timeout", "net.core.somaxconn"
		finBefore, somaxBefore := reading(t, m, procPath(fin)), reading(t, m, procPath(somax))
		had := files(t, m)
		holds := func(name string, keys ...string) resource.TestCheckFunc {
			return func(*terraformState) error {
				for path, text := range files(t, m) {
					if _, old := had[path]; old {
						continue
					}
					if path != "/etc/sysctl.d/"+name || strings.Count(text, " = ") != len(keys) {
						return fmt.Errorf("%s holds\n%s", path, text)
					}
					for _, k := range keys {
						if !strings.Contains(text, "\n# Value before Terraform: ") || !strings.Contains(text, "\n"+k+"\n") {
							return fmt.Errorf("%s holds\n%s", path, text)
						}
					}
				}
				return nil
			}
		}
		reads := func(key, want string) resource.TestCheckFunc {
			return func(*terraformState) error {
				if got := reading(t, m, procPath(key)); got != want {
					return fmt.Errorf("%s is %s, not %s", key, got, want)
				}
				return nil
			}
		}
		both := []string{fin + " = 41", somax + " = 2048"}
		run(t,
			resource.TestStep{Config: config(m, group("", fin+" = 41")), Check: holds("90-terraform-group.conf", fin+" = 41")},
			resource.TestStep{Config: config(m, group("", both...)), Check: resource.ComposeTestCheckFunc(holds("90-terraform-group.conf", both...),
				resource.TestCheckResourceAttr("host_sysctls.g", "original_values."+fin, finBefore),
				resource.TestCheckResourceAttr("host_sysctls.g", "original_values."+somax, somaxBefore))},
			resource.TestStep{Config: config(m, group("file_name = \"50-net.conf\"\n", both...)), Check: holds("50-net.conf", both...)},
			resource.TestStep{Config: config(m, group("", both[1])), Check: resource.ComposeTestCheckFunc(holds("90-terraform-group.conf", both[1]), reads(fin, finBefore))},
			resource.TestStep{Config: config(m, group("", both...)), Check: resource.ComposeTestCheckFunc(holds("90-terraform-group.conf", both...), reads(fin, "41"))},
			resource.TestStep{Config: config(m, group("on_destroy = \"keep\"\n", both[1])), Check: resource.ComposeTestCheckFunc(reads(fin, "41"),
				holds("90-terraform-group.conf", both[1]))},
			resource.TestStep{Config: config(m, group("persist = false\n", both[1])), Check: resource.ComposeTestCheckFunc(holds(""), reads(somax, "2048"),
				resource.TestCheckNoResourceAttr("host_sysctls.g", "boot_values"))},
		)
		if err := reads(somax, somaxBefore)(nil); err != nil {
			t.Error(err)
		}
		unchanged(t, had, files(t, m))
	})
}

// Guards that one bad value, or several, leave every key and file as it was, and that the error names each.
func TestAccOnEachBadSysctlsChangeNothing(t *testing.T) {
	const fin, somax = "net.ipv4.tcp_fin_timeout", "net.core.somaxconn"
	refuse(t, []bad{
		{"one value that the kernel refuses", group("", "net.ipv4.ip_forward = 1", fin+" = 21abc", somax+" = 2048"), nil,
			`the kernel refused "21abc" for net.ipv4.tcp_fin_timeout: Invalid argument.`},
		{"two that it refuses", group("", fin+" = 21abc", somax+" = 2048", "net.ipv4.tcp_keepalive_time = no"), nil,
			`the kernel refused "no" for net.ipv4.tcp_keepalive_time: Invalid argument.`},
		{"the first of the two is named too", group("", fin+" = 21abc", somax+" = 2048", "net.ipv4.tcp_keepalive_time = no"), nil, `the kernel refused "21abc" for net.ipv4.tcp_fin_timeout`},
		{"one that it changes", group("", fin+" = 41", "net.ipv4.tcp_rmem = 8192"), nil, "kernel kept another value"},
		{"keys that do not exist", group("", fin+" = 41", "net.ipv4.no_such_key = 1", "net.ipv4.nor_this = 1"), nil, "net.ipv4.nor_this does not exist."},
		{"two spellings of one key", group("", fin+" = 41", "net/ipv4/tcp_fin_timeout = 41"), nil, "are two spellings of one key"},
		{"newline in a key", group("", "net.ipv4.ip_forward\nkernel.sysrq = 1"), nil, "malformed sysctl key"},
		{"newline in a value", group("", "net.ipv4.ip_forward = 1\nkernel.sysrq = 1"), nil, "malformed sysctl value"},
		{"secret", group("", fin+" = 41", "net.ipv4.tcp_fastopen_key = 1-2-3-4"), nil, "net.ipv4.tcp_fastopen_key holds a secret"},
		{"no key", group(""), nil, "at least 1"},
		{"name that is a file", strings.Replace(group("", fin+" = 41"), `"group"`, `"group.conf"`, 1), nil, "is a file's name"},
		{"drop-in that is not ours", group("", fin+" = 41"), func(m machine) { m.WriteFile(groupFile, fin+" = 59\n") }, "terraform import host_sysctls.<name> 'web1/90-terraform-group.conf'"},
	}, "net/ipv4/tcp_fin_timeout", "net/core/somaxconn", "net/ipv4/ip_forward", "net/ipv4/tcp_rmem", "net/ipv4/tcp_keepalive_time")
	refuseOn(t, simulated(t), bad{"another file wins", group("", fin+" = 41", somax+" = 2048"),
		func(m machine) { m.WriteFile("/etc/sysctl.d/99-site.conf", somax+" = 77\n") }, "/etc/sysctl.d/99-site.conf:1 overrules it"}, "net/ipv4/tcp_fin_timeout", "net/core/somaxconn")
}

// Guards that a host_sysctl on a file of several keys is told of host_sysctls.
func TestAccSysctlOnAFileOfSeveralKeys(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	m.WriteFile("/etc/sysctl.d/50-site.conf", "vm.swappiness = 10\nvm.dirty_ratio = 5\n")
	run(t, resource.TestStep{
		Config:      config(m, "resource \"host_sysctl\" \"a\" {\n  key = \"vm.swappiness\"\n  value = \"10\"\n  file_name = \"50-site.conf\"\n}\n"),
		ExpectError: words("or import the file as a host_sysctls, which keeps many: terraform import host_sysctls.<name> 'web1/50-site.conf'."),
	})
}

// Guards that two resources of one run that set the same key are an error of the plan, which names both.
func TestAccOverlapIsTold(t *testing.T) {
	t.Parallel()
	const fin = "net.ipv4.tcp_fin_timeout"
	for _, test := range []struct{ name, resources, want string }{
		{"a host_sysctl and a host_sysctls", sysctlResource(fin, "41") + group("", fin+" = 42"), "by host_sysctls group, in " + groupFile},
		{"two host_sysctls", group("", fin+" = 41") + strings.NewReplacer(`"g"`, `"h"`, `"group"`, `"other"`).Replace(group("", fin+" = 41")), "by host_sysctls other"},
		{"two host_sysctl of one file", sysctlResource(fin, "41") + strings.Replace(sysctlResource(fin, "42"), `"a"`, `"b"`, 1), "by host_sysctl " + fin},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := simulated(t)
			w := newWorkspace(t, required+config(m, test.resources))
			out, status := w.try("plan")
			if status == 0 || !words("Error: sysctl is set by two resources").MatchString(out) || !words(test.want).MatchString(out) {
				t.Errorf("the plan ended with %d, and not of %q:\n%s", status, test.want, out)
			}
		})
	}
	m := simulated(t)
	w := newWorkspace(t, required+config(m, sysctlResource(fin, "41")+group("", "net.core.somaxconn = 2048")))
	if out := w.run("plan"); strings.Contains(out, "two resources") {
		t.Errorf("it warns of an overlap that is none:\n%s", out)
	}
}

// Guards that a write to a key that others follow does not undo them: forwarding, once on, resets accept_redirects.
func TestAccOnEachSysctlsThatFollowOneAnother(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		c := config(m, group("", "net.ipv4.conf.all.accept_redirects = 1", "net.ipv4.conf.all.forwarding = 1", "net.ipv4.ip_forward = 1"))
		run(t, resource.TestStep{Config: c, ConfigPlanChecks: emptyAfter()})
	})
}

// Guards import, by its name, of what the provider wrote.
func TestAccOnEachSysctlsImport(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		c := config(m, group("", "net.ipv4.tcp_fin_timeout = 41", "net.core.somaxconn = 2048"))
		step := resource.TestStep{Config: c, ResourceName: "host_sysctls.g", ImportState: true, ImportStateId: "web1/group", ImportStateVerify: true,
			ImportStateVerifyIdentifierAttribute: "host"}
		byFile, wrong, none := step, step, step
		byFile.ImportStateId = "web1/90-terraform-group.conf"
		wrong.ImportStateId, wrong.ExpectError = "web1", regexp.MustCompile("has not the form")
		none.ImportStateId, none.ExpectError = "web1/none.conf", words("there is no file /etc/sysctl.d/none.conf")
		run(t, resource.TestStep{Config: c}, step, byFile, wrong, none)
	})
}

// Guards import of a file of one's own by the file's name.
func TestAccOnEachSysctlsImportOfAFile(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		m.WriteFile("/etc/sysctl.d/50-site.conf", "# by hand\nnet.ipv4.tcp_fin_timeout=44\n\nnet/core/somaxconn = 2047\n")
		setting(t, m, "net/ipv4/tcp_fin_timeout", "44")
		setting(t, m, "net/core/somaxconn", "2047")
		c := config(m, strings.Replace(group("file_name = \"50-site.conf\"\n", "net.ipv4.tcp_fin_timeout = 44", "net.core.somaxconn = 2047"), `"group"`, `"50-site"`, 1)+
			"import {\n  to = host_sysctls.g\n  id = \"web1/50-site.conf\"\n}\n")
		run(t, resource.TestStep{Config: c, ConfigPlanChecks: resource.ConfigPlanChecks{
			PreApply: []plancheck.PlanCheck{plancheck.ExpectResourceAction("host_sysctls.g", plancheck.ResourceActionNoop)},
		}})
	})
}

// Guards that a file with a pattern is not imported.
func TestAccSysctlsImportOfAPattern(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	m.WriteFile("/etc/sysctl.d/50-site.conf", "net.ipv4.conf.*.rp_filter = 1\n")
	run(t, resource.TestStep{
		Config:      config(m, group("", "vm.swappiness = 10")+"import {\n  to = host_sysctls.g\n  id = \"web1/50-site.conf\"\n}\n"),
		ExpectError: words("/etc/sysctl.d/50-site.conf:1 is a pattern"),
	})
}

// Guards that a thousand keys of one host work, are read back, and cost a plan one batch.
func TestAccThousandKeys(t *testing.T) {
	t.Parallel()
	m := simulatedWith(t, hosttest.Options{Interfaces: interfaces(100)})
	var settings []string
	for _, name := range interfaces(100) {
		for _, leaf := range []string{"accept_redirects", "send_redirects", "log_martians", "rp_filter", "arp_ignore", "arp_announce", "secure_redirects", "shared_media",
			"proxy_arp", "accept_source_route"} {
			settings = append(settings, "net.ipv4.conf."+name+"."+leaf+" = 1")
		}
	}
	c := config(m, group("", settings...))
	run(t, resource.TestStep{Config: c, ConfigPlanChecks: emptyAfter()})
}

func interfaces(n int) []string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("veth%d", i))
	}
	return names
}
