package provider_test

// Keys that cannot be kept side by side, and that one apply moves from one resource to another, with a real CLI.

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
)

// Guards that a key may take the place of one that it excludes in one apply, in whatever order the CLI creates and
// destroys, and that the last destroy restores both.
func TestAccExcludedKeyMovesInOneApply(t *testing.T) {
	t.Parallel()
	one := func(name, key, value string) string {
		return fmt.Sprintf("resource \"host_sysctl\" %q {\n%s  key = %q\n  value = %q\n}\n", name, each, key, value)
	}
	group := func(settings string) string {
		return "resource \"host_sysctls\" \"g\" {\n" + each + "  name = \"zz\"\n  settings = {\n" + settings + "  }\n}\n"
	}
	const swappiness = "    \"vm.swappiness\" = 10\n"
	for _, tt := range []struct {
		name          string
		first, second string
		want          map[string]string
	}{
		{
			"from the bytes to the ratio",
			one("a", "vm.dirty_bytes", "8388608"), one("b", "vm.dirty_ratio", "30"),
			map[string]string{"vm/dirty_bytes": "0", "vm/dirty_ratio": "30"},
		},
		{
			"from the ratio to the bytes",
			one("a", "vm.dirty_ratio", "30"), one("b", "vm.dirty_bytes", "8388608"),
			map[string]string{"vm/dirty_bytes": "8388608", "vm/dirty_ratio": "0"},
		},
		{
			"from one name of a switch to the other",
			one("a", "net.ipv4.ip_forward", "1"), one("b", "net.ipv4.conf.all.forwarding", "0"),
			map[string]string{"net/ipv4/ip_forward": "0", "net/ipv4/conf/all/forwarding": "0"},
		},
		{
			"out of a group that is updated",
			group(swappiness + "    \"vm.dirty_ratio\" = 30\n"), group(swappiness) + one("b", "vm.dirty_bytes", "8388608"),
			map[string]string{"vm/dirty_bytes": "8388608", "vm/dirty_ratio": "0", "vm/swappiness": "10"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			hosts := several(t, 2)
			paths := []string{
				"vm/dirty_bytes", "vm/dirty_ratio", "net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding",
				"net/ipv4/conf/lo/forwarding", "vm/swappiness",
			}
			start := map[string]map[string]string{}
			for name, m := range hosts {
				start[name] = state(t, m, paths...)
			}
			w := newWorkspace(t, fleetConfig(hosts, nil)+tt.first)
			for range rounds(t) {
				w.write("main.tf", fleetConfig(hosts, nil)+tt.first)
				w.run("apply", "-auto-approve")
				w.write("main.tf", fleetConfig(hosts, nil)+tt.second)
				w.run("apply", "-auto-approve")
				holding(t, hosts, tt.want)
				w.settled()
				w.run("destroy", "-auto-approve")
				for name, m := range hosts {
					unchanged(t, start[name], state(t, m, paths...))
				}
			}
		})
	}
}

// Guards that a key which excludes another that stays declared is an error of the plan that names both.
func TestAccExcludedKeyThatStaysIsAnErrorOfThePlan(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	stays := "resource \"host_sysctl\" \"a\" {\n  key = \"vm.dirty_ratio\"\n  value = \"30\"\n}\n"
	w := newWorkspace(t, required+config(m, stays))
	w.run("apply", "-auto-approve")
	comes := "resource \"host_sysctl\" \"b\" {\n  key = \"vm.dirty_bytes\"\n  value = \"8388608\"\n}\n"
	w.write("main.tf", required+config(m, stays+comes))
	out, status := w.try("plan", "-no-color")
	both := regexp.MustCompile(`vm\.dirty_(ratio and vm\.dirty_bytes|bytes and vm\.dirty_ratio)`).MatchString(out)
	if status == 0 || !words("two sysctls set each other").MatchString(out) || !both {
		t.Errorf("the plan ended with %d:\n%s", status, out)
	}
	if got := reading(t, m, "vm/dirty_ratio"); got != "30" {
		t.Errorf("vm.dirty_ratio is %s", got)
	}
}

// Guards that values without a file keep their values from before when their resource is replaced, in both orders, or
// renamed, or gets a file and loses it again.
func TestAccValueWithoutAFileMoves(t *testing.T) {
	t.Parallel()
	const path, before = "net/ipv4/tcp_fin_timeout", "60"
	one := func(name, value, more string) string {
		return fmt.Sprintf("resource \"host_sysctl\" %q {\n%s  key = \"net.ipv4.tcp_fin_timeout\"\n  value = %q\n%s}\n",
			name, each, value, more)
	}
	group := "resource \"host_sysctls\" \"g\" {\n" + each + "  name = \"g\"\n  persist = false\n" +
		"  settings = { \"net.ipv4.tcp_fin_timeout\" = 44 }\n}\n"
	const none = "  persist = false\n"
	const createFirst = none + "  lifecycle {\n    create_before_destroy = true\n  }\n"
	hosts := several(t, 2)
	start := map[string]map[string]string{}
	for name, m := range hosts {
		start[name] = state(t, m, path)
	}
	w := newWorkspace(t, fleetConfig(hosts, nil)+one("a", "41", none))
	for i, step := range []struct {
		resources, value string
		replaced         string
	}{
		{one("a", "41", none), "41", ""},
		{one("a", "41", createFirst), "41", "a"},
		{one("b", "42", createFirst), "42", ""},
		{one("c", "43", ""), "43", ""},
		{group, "44", ""},
		{one("b", "45", none), "45", ""},
		{one("b", "45", none), "45", "b"},
	} {
		w.write("main.tf", fleetConfig(hosts, nil)+step.resources)
		args := []string{"apply", "-auto-approve"}
		for name := range hosts {
			if step.replaced != "" {
				args = append(args, fmt.Sprintf("-replace=host_sysctl.%s[%q]", step.replaced, name))
			}
		}
		w.run(args...)
		holding(t, hosts, map[string]string{path: step.value})
		w.settled()
		if out := w.run("show"); strings.Count(out, `"`+before+`"`) != len(hosts) {
			t.Errorf("step %d: the state does not have %s as the value from before:\n%s", i, before, out)
		}
	}
	w.run("destroy", "-auto-approve")
	for name, m := range hosts {
		unchanged(t, start[name], state(t, m, path))
		if out, status := m.Sh("ls /run/sysctl.d/*.conf"); status == 0 {
			t.Errorf("%s has %s left", name, out)
		}
	}
}

// Guards that what is not certain when it is planned may be certain when it is applied, and that the CLI takes it.
func TestAccUncertainReasonMayGo(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, resource, reason string }{
		{"a module", conntrack, "boot_reason"},
		{
			"a key", "resource \"host_sysctl\" \"s\" {\n  key = \"net.netfilter.nf_conntrack_max\"\n  value = \"70000\"\n}\n",
			"boot_reason",
		},
		{
			"a group",
			"resource \"host_sysctls\" \"s\" {\n  name = \"g\"\n  settings = { \"net.netfilter.nf_conntrack_max\" = 70000 }\n}\n",
			"boot_reasons",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := simulated(t)
			sh := func(script string) {
				t.Helper()
				if out, status := m.Sh(script); status != 0 {
					t.Fatalf("%s: %s", script, out)
				}
			}
			sh("modprobe nf_conntrack")
			m.WriteFile("/etc/modules-load.d/a-site.conf", "nf_conntrack\n")
			sh("mv /lib/modules/$(uname -r) /lib/gone")
			w := newWorkspace(t, required+config(m, tt.resource))
			w.run("plan", "-out=a.plan")
			open := regexp.MustCompile(tt.reason + ` +=\s\(known after apply\)`)
			if out := w.run("show", "-no-color", "a.plan"); !open.MatchString(out) {
				t.Errorf("the plan is\n%s", out)
			}
			sh("mv /lib/gone /lib/modules/$(uname -r)")
			w.run("apply", "a.plan")
			if out := w.run("show", "-no-color"); strings.Contains(out, "kernel_pending") || !strings.Contains(out, "true") {
				t.Errorf("the state is\n%s", out)
			}
			w.settled()
			w.run("destroy", "-auto-approve")
			sh("modprobe nf_conntrack; mv /lib/modules/$(uname -r) /lib/gone")
			out := w.run("apply", "-auto-approve", "-no-color")
			if !words("not certain").MatchString(out) && !w.isTofu() {
				t.Errorf("the apply says\n%s", out)
			}
			w.settled()
		})
	}
}

// Guards that a module whose boot_source is planned, and that another resource of the same apply then loads before it,
// by way of a file that is read earlier, ends the apply as planned.
func TestAccModuleThatAnotherBeginsToLoad(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	w := newWorkspace(t, required+config(m, `resource "host_kernel_module" "first" {
  name = "br_netfilter"
}
resource "host_kernel_module" "second" {
  name       = "bridge"
  depends_on = [host_kernel_module.first]
}
`))
	w.run("apply", "-auto-approve")
	w.settled()
	if out := w.run("show", "-no-color"); strings.Count(out, "terraform-br_netfilter.conf:2") != 1 {
		t.Errorf("the state is\n%s", out)
	}
	w.run("apply", "-refresh-only", "-auto-approve")
	if out := w.run("show", "-no-color"); strings.Count(out, "terraform-br_netfilter.conf:2") != 2 {
		t.Errorf("after a refresh the state is\n%s", out)
	}
}

// Guards that a drop-in of another configuration, on a host that comes up only in the apply, is refused in the words of
// a plan, and taken over with adopt = true.
func TestAccForeignDropInOnAHostThatComesUpInTheApply(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	w := newWorkspace(t, required+config(m, swappiness))
	w.run("apply", "-auto-approve")
	relay, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(relay.Addr().String())
	group := "resource \"host_sysctls\" \"g\" {\n  name = \"g\"\n  settings = { \"vm.swappiness\" = \"20\" }\n%s}\n"
	for _, adopt := range []string{"", "  adopt = true\n"} {
		relay.Close()
		c := strings.Replace(required+config(m, fmt.Sprintf(group, adopt)), "port = "+portOf(m), "port = "+port, 1)
		other := newWorkspace(t, strings.Replace(c, `"2m"`, `"1s"`, 1)) // three dials that are cut are one in vain
		other.run("plan", "-out=a.plan")
		if relay, err = net.Listen("tcp", relay.Addr().String()); err != nil {
			t.Fatal(err)
		}
		defer relay.Close()
		go bootAfter(relay, m.Addr(), 3, make(chan int, 1))
		out, status := other.try("apply", "-no-color", "a.plan")
		want, value := 0, "20"
		if adopt == "" {
			want, value = 1, "10"
			if !strings.Contains(out, "90-terraform-vm.swappiness.conf was written") || !words("adopt = true").MatchString(out) {
				t.Errorf("the apply says\n%s", out)
			}
		}
		if got := reading(t, m, "vm/swappiness"); status != want || got != value {
			t.Errorf("adopt %q: vm.swappiness is %s, and the apply ended with %d:\n%s", adopt, got, status, out)
		}
	}
}
