package provider_test

// Keys that move between resource instances, on several hosts at once, with a real CLI: nothing is lost, whatever the
// order in which it creates, updates and destroys.

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/hosttest"
)

// rounds is how often a test of orders is repeated on its hosts: once, or HANDOVER_ROUNDS times.
func rounds(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv("HANDOVER_ROUNDS"))
	if err != nil {
		return 1
	}
	return n
}

// several starts n simulated hosts, named h0, h1 and so on.
func several(t *testing.T, n int) map[string]machine {
	t.Helper()
	all := map[string]machine{}
	for i := range n {
		all[fmt.Sprintf("h%d", i)] = simulatedWith(t, hosttest.Options{})
	}
	return all
}

// fleetConfig is a provider block for all hosts, and a local value "fleet" with their names. Names given in more are
// further names of the hosts.
func fleetConfig(all map[string]machine, more map[string]string) string {
	var b strings.Builder
	b.WriteString(required + "provider \"host\" {\n  connect_timeout = \"2m\"\n  hosts = {\n")
	entry := func(name string, m machine) {
		addr := m.Addr()
		i := strings.LastIndexByte(addr, ':')
		fmt.Fprintf(&b, "    %s = { address = %q, port = %s, host_key = %q, private_key = %q", name, addr[:i], addr[i+1:], m.HostKey(), m.PrivateKey())
		if u, ok := m.(interface{ User() string }); ok {
			fmt.Fprintf(&b, ", user = %q, sudo = true", u.User())
		}
		b.WriteString(" }\n")
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		entry(name, all[name])
	}
	for _, name := range slices.Sorted(maps.Keys(more)) {
		entry(name, all[more[name]])
	}
	fmt.Fprintf(&b, "  }\n}\nlocals {\n  fleet = toset([%s])\n}\n", `"`+strings.Join(slices.Sorted(maps.Keys(all)), `", "`)+`"`)
	return b.String()
}

// holding wants each host to have these values, and is how a step ends.
func holding(t *testing.T, all map[string]machine, want map[string]string) {
	t.Helper()
	for name, m := range all {
		for path, value := range want {
			if got := reading(t, m, path); got != value {
				t.Errorf("%s on %s reads %q, not %q", path, name, got, value)
			}
		}
	}
}

// settled wants the next plan to change nothing.
func (w *workspace) settled() {
	w.t.Helper()
	if out, status := w.try("plan", "-detailed-exitcode", "-no-color"); status != 0 {
		w.t.Errorf("the next plan ended with %d:\n%s", status, out)
	}
}

// state is what a machine holds that a change may touch: files, and the values at these paths.
func state(t *testing.T, m machine, paths ...string) map[string]string {
	t.Helper()
	all := files(t, m)
	maps.Copy(all, readings(t, m, paths...))
	return all
}

const each = "  for_each = local.fleet\n  host     = each.key\n"

// Guards that the destroy of an object which was replaced takes nothing from its successor: replaced in both orders,
// and with another name for the same machine.
func TestAccReplacedObjectTakesNothingBack(t *testing.T) {
	t.Parallel()
	const path, before = "net/ipv4/tcp_fin_timeout", "60"
	resources := func(host string, createFirst bool) string {
		lifecycle := ""
		if createFirst {
			lifecycle = "  lifecycle {\n    create_before_destroy = true\n  }\n"
		}
		return "resource \"host_sysctl\" \"s\" {\n  for_each = local.fleet\n  host = " + host +
			"\n  key = \"net.ipv4.tcp_fin_timeout\"\n  value = \"41\"\n" + lifecycle + "}\n" +
			"resource \"host_kernel_module\" \"m\" {\n  for_each = local.fleet\n  host = " + host +
			"\n  name = \"nf_conntrack\"\n  on_destroy = \"unload\"\n" + lifecycle + "}\n"
	}
	hosts := several(t, 4)
	aliases := map[string]string{}
	for name := range hosts {
		aliases["also_"+name] = name
	}
	w := newWorkspace(t, "")
	for range rounds(t) {
		for _, createFirst := range []bool{false, true} {
			start := map[string]map[string]string{}
			for name, m := range hosts {
				start[name] = state(t, m, path)
			}
			w.write("main.tf", fleetConfig(hosts, aliases)+resources("each.key", createFirst))
			w.run("init")
			w.run("apply", "-auto-approve")
			check := func() {
				t.Helper()
				holding(t, hosts, map[string]string{path: "41"})
				for name, m := range hosts {
					for _, file := range []string{"/etc/sysctl.d/90-terraform-net.ipv4.tcp_fin_timeout.conf", "/etc/modules-load.d/terraform-nf_conntrack.conf"} {
						if _, there := m.ReadFile(file); !there {
							t.Errorf("%s is gone from %s", file, name)
						}
					}
					if out, _ := m.Sh("grep -c '^nf_conntrack ' /proc/modules"); strings.TrimSpace(out) != "1" {
						t.Errorf("nf_conntrack is gone from %s", name)
					}
				}
				w.settled()
			}
			args := []string{"apply", "-auto-approve"}
			for name := range hosts {
				args = append(args, `-replace=host_sysctl.s["`+name+`"]`, `-replace=host_kernel_module.m["`+name+`"]`)
			}
			w.run(args...)
			check()
			w.write("main.tf", fleetConfig(hosts, aliases)+resources(`"also_${each.key}"`, createFirst))
			w.run("apply", "-auto-approve")
			check()
			w.run("destroy", "-auto-approve")
			holding(t, hosts, map[string]string{path: before})
			for name, m := range hosts {
				unchanged(t, start[name], state(t, m, path))
			}
		}
	}
}

// Guards that many resources become one, and one many, in one apply: every key has its value, and the values from before
// Terraform are what the last destroy leaves.
func TestAccManyToOneAndBack(t *testing.T) {
	t.Parallel()
	var keys, many, settings []string
	want := map[string]string{}
	for i, k := range tenKeys {
		keys = append(keys, strings.ReplaceAll(k.key, ".", "/"))
		many = append(many, fmt.Sprintf("resource \"host_sysctl\" \"s%d\" {\n%s  key = %q\n  value = %q\n}\n", i, each, k.key, k.value))
		settings = append(settings, fmt.Sprintf("    %q = %q\n", k.key, k.value))
	}
	one := "resource \"host_sysctls\" \"g\" {\n" + each + "  name = \"group\"\n  settings = {\n" + strings.Join(settings, "") + "  }\n}\n"
	hosts := several(t, 3)
	start := map[string]map[string]string{}
	for name, m := range hosts {
		start[name] = state(t, m, keys...)
	}
	w := newWorkspace(t, fleetConfig(hosts, nil)+strings.Join(many, ""))
	w.run("apply", "-auto-approve")
	for _, path := range keys {
		want[path] = reading(t, hosts["h0"], path)
	}
	for range rounds(t) {
		for _, resources := range []string{one, strings.Join(many, "")} {
			w.write("main.tf", fleetConfig(hosts, nil)+resources)
			w.run("apply", "-auto-approve")
			holding(t, hosts, want)
			w.settled()
		}
	}
	w.run("destroy", "-auto-approve")
	for name, m := range hosts {
		unchanged(t, start[name], state(t, m, keys...))
	}
}

// Guards that groups exchange keys in one apply, with other values than before.
func TestAccGroupsExchangeKeys(t *testing.T) {
	t.Parallel()
	groups := func(a, b string) string {
		return "resource \"host_sysctls\" \"a\" {\n" + each + "  name = \"a\"\n  settings = {\n" + a + "  }\n}\n" +
			"resource \"host_sysctls\" \"b\" {\n" + each + "  name = \"b\"\n  settings = {\n" + b + "  }\n}\n"
	}
	const fin, most = "net.ipv4.tcp_fin_timeout", "net.core.somaxconn"
	hosts := several(t, 3)
	start := map[string]map[string]string{}
	for name, m := range hosts {
		start[name] = state(t, m, "net/ipv4/tcp_fin_timeout", "net/core/somaxconn")
	}
	w := newWorkspace(t, fleetConfig(hosts, nil)+groups(fmt.Sprintf("%q = 41\n", fin), fmt.Sprintf("%q = 2048\n", most)))
	w.run("apply", "-auto-approve")
	for i := range 2 * rounds(t) {
		a, b := fmt.Sprintf("%q = %d\n", fin, 50+i), fmt.Sprintf("%q = %d\n", most, 3000+i)
		if i%2 == 0 {
			a, b = b, a
		}
		w.write("main.tf", fleetConfig(hosts, nil)+groups(a, b))
		w.run("apply", "-auto-approve")
		holding(t, hosts, map[string]string{"net/ipv4/tcp_fin_timeout": strconv.Itoa(50 + i), "net/core/somaxconn": strconv.Itoa(3000 + i)})
		w.settled()
	}
	w.run("destroy", "-auto-approve")
	for name, m := range hosts {
		unchanged(t, start[name], state(t, m, "net/ipv4/tcp_fin_timeout", "net/core/somaxconn"))
	}
}

// Guards that keys which change each other keep their values in one apply of several resources, in whatever order the
// CLI makes them: on a host that forwards, and with one interface otherwise than all.
func TestAccOnEachCoupledKeysHold(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		want := map[string]string{
			"net/ipv4/ip_forward": "0", "net/ipv4/conf/all/accept_redirects": "0", "net/ipv4/conf/all/send_redirects": "0",
			"net/ipv6/conf/all/disable_ipv6": "1", "net/ipv6/conf/lo/disable_ipv6": "0",
		}
		paths := slices.Sorted(maps.Keys(want))
		for _, path := range paths {
			if _, status := m.Sh("[ -e /proc/sys/" + path + " ]"); status != 0 {
				delete(want, path)
			}
		}
		paths = slices.Sorted(maps.Keys(want))
		had := readings(t, m, paths...)
		t.Cleanup(func() {
			for _, path := range paths {
				setting(t, m, path, had[path])
			}
		})
		setting(t, m, "net/ipv4/ip_forward", "1")
		setting(t, m, "net/ipv4/conf/all/accept_redirects", "1")
		start := state(t, m, paths...)
		var resources strings.Builder
		for i, path := range paths {
			fmt.Fprintf(&resources, "resource \"host_sysctl\" \"s%d\" {\n%s  key = %q\n  value = %q\n}\n", i, each, strings.ReplaceAll(path, "/", "."), want[path])
		}
		hosts := map[string]machine{"web1": m}
		w := newWorkspace(t, fleetConfig(hosts, nil)+resources.String())
		for range rounds(t) {
			w.run("apply", "-auto-approve")
			holding(t, hosts, want)
			w.settled()
			w.run("destroy", "-auto-approve")
			unchanged(t, start, state(t, m, paths...))
		}
	})
}

// Guards that a drop-in which a forgotten resource left is taken over by import or with adopt = true only, and is named
// at plan.
func TestAccOrphanIsNamedAtPlan(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	const other = `resource "host_sysctl" "other" {
  for_each = toset(["tcp_fin_timeout", "tcp_keepalive_time", "tcp_keepalive_intvl", "tcp_keepalive_probes"])
  key      = "net.ipv4.${each.key}"
  value    = "41"
}
`
	single := "resource \"host_sysctl\" \"s\" {\n  key = \"vm.swappiness\"\n  value = \"10\"\n}\n"
	w := newWorkspace(t, required+config(m, other+single))
	before := reading(t, m, "vm/swappiness")
	w.run("apply", "-auto-approve")
	w.run("state", "rm", "host_sysctl.s")
	group := "resource \"host_sysctls\" \"g\" {\n  name = \"group\"\n  settings = { \"vm.swappiness\" = \"20\" }\n%s}\n"
	for _, resources := range []string{fmt.Sprintf(group, ""), strings.Replace(single, `"10"`, `"20"`, 1)} {
		w.write("main.tf", required+config(m, other+resources))
		out, status := w.try("plan", "-no-color")
		if status == 0 || !strings.Contains(out, "90-terraform-vm.swappiness.conf was written") || !words("adopt = true").MatchString(out) ||
			!words("terraform import host_sysctl.<name> 'web1/vm.swappiness'").MatchString(out) {
			t.Errorf("the plan ended with %d:\n%s", status, out)
		}
	}
	w.write("main.tf", required+config(m, other+fmt.Sprintf(group, "  adopt = true\n")))
	w.run("apply", "-auto-approve")
	if got := reading(t, m, "vm/swappiness"); got != "20" {
		t.Errorf("vm.swappiness is %s", got)
	}
	if _, there := m.ReadFile("/etc/sysctl.d/90-terraform-vm.swappiness.conf"); there {
		t.Error("the orphan is still there, and has the last word")
	}
	w.settled()
	w.run("destroy", "-auto-approve")
	if got := reading(t, m, "vm/swappiness"); got != before {
		t.Errorf("vm.swappiness is %s, and was %s before Terraform", got, before)
	}
}

// Guards that an orphan goes on as what it was when it is imported.
func TestAccOrphanIsImported(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	w := newWorkspace(t, required+config(m, swappiness))
	before := reading(t, m, "vm/swappiness")
	w.run("apply", "-auto-approve")
	address := strings.TrimSpace(strings.Split(w.run("state", "list"), "\n")[0])
	w.run("state", "rm", address)
	w.run("import", address, "web1/vm.swappiness")
	w.settled()
	w.run("destroy", "-auto-approve")
	if got := reading(t, m, "vm/swappiness"); got != before {
		t.Errorf("vm.swappiness is %s, and was %s before Terraform", got, before)
	}
}

// Guards that a saved plan which no longer fits is an error in our words: somebody has added a line that shadows ours.
func TestAccSavedPlanThatNoLongerFits(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	w := newWorkspace(t, required+config(m, swappiness))
	w.run("plan", "-out=a.plan")
	m.WriteFile("/etc/sysctl.d/zz-site.conf", "vm.swappiness = 77\n")
	out, status := w.try("apply", "-no-color", "a.plan")
	if status == 0 || strings.Contains(out, "inconsistent") || !words("sysctl would be lost at the next boot").MatchString(out) ||
		!strings.Contains(out, "zz-site.conf:1") {
		t.Errorf("the apply ended with %d:\n%s", status, out)
	}
}

// Guards that two resources of one run are told so at plan where they set one key: also by two names of one machine.
func TestAccOneKeyTwiceIsAnErrorOfThePlan(t *testing.T) {
	t.Parallel()
	hosts := several(t, 1)
	w := newWorkspace(t, fleetConfig(hosts, map[string]string{"other": "h0"})+
		"resource \"host_sysctl\" \"a\" {\n  host = \"h0\"\n  key = \"vm.swappiness\"\n  value = \"10\"\n}\n"+
		"resource \"host_sysctl\" \"b\" {\n  host = \"other\"\n  key = \"vm.swappiness\"\n  value = \"20\"\n}\n")
	out, status := w.try("plan", "-no-color")
	if status == 0 || !words("which is the same machine").MatchString(out) {
		t.Errorf("the plan ended with %d:\n%s", status, out)
	}
}
