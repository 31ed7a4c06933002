package provider_test

// What else than systemd-sysctl writes keys at boot.

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	tfjson "github.com/hashicorp/terraform-json"
)

// Guards that a key which a line of cron sets to another value at boot is applied with a warning, holds nothing at boot
// from the first plan on, and is no difference afterwards; that such a line which appears later changes the state at
// refresh and plans no change; and that the promise is back when the line is gone.
func TestAccOtherWriterLeavesNoPromise(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	m.WriteFile("/etc/cron.d/tune", "@reboot root sysctl -w vm.swappiness=1 vm.dirty_ratio=5\n")
	w := newWorkspace(t, required+config(m, sysctlResource("vm.swappiness", "10")+
		group("", "vm.dirty_ratio = 21", "net.ipv4.tcp_fin_timeout = 41")))
	mustPlan := func(step string, want map[string]string, warnings ...string) {
		t.Helper()
		out, status := w.try("plan", "-no-color", "-detailed-exitcode", "-out=a.plan")
		for _, warning := range warnings {
			if !strings.Contains(out, warning) {
				t.Errorf("%s: the plan does not say %q:\n%s", step, warning, out)
			}
		}
		if len(warnings) == 0 && strings.Contains(out, "Warning") {
			t.Errorf("%s: the plan warns:\n%s", step, out)
		}
		if first := step == "create"; (status == 2) != first || status == 1 {
			t.Errorf("%s: the plan ended with %d:\n%s", step, status, out)
		}
		var plan tfjson.Plan
		if err := json.Unmarshal([]byte(w.run("show", "-json", "a.plan")), &plan); err != nil {
			t.Fatal(err)
		}
		for _, c := range plan.ResourceChanges {
			after, _ := c.Change.After.(map[string]any)
			value, source, reason := after["boot_value"], after["boot_source"], after["boot_reason"]
			if c.Address == "host_sysctls.g" {
				value, source, reason = after["boot_values"], after["boot_sources"], after["boot_reasons"]
			}
			if got := fmt.Sprint(after["holds_at_boot"], " ", value, " ", source, " ", reason); got != want[c.Address] {
				t.Errorf("%s: the plan has of %s\n%s\nwant\n%s", step, c.Address, got, want[c.Address])
			}
		}
	}
	const file = "/etc/sysctl.d/90-terraform-vm.swappiness.conf"
	const ours = "/etc/sysctl.d/90-terraform-group.conf"
	contested := map[string]string{
		"host_sysctl.a": "false <nil> /etc/cron.d/tune:1 other_writer",
		"host_sysctls.g": "map[net.ipv4.tcp_fin_timeout:true vm.dirty_ratio:false] map[net.ipv4.tcp_fin_timeout:41] " +
			"map[net.ipv4.tcp_fin_timeout:" + ours + " vm.dirty_ratio:/etc/cron.d/tune:1] map[vm.dirty_ratio:other_writer]",
	}
	const warning = "Warning: something else writes the sysctl at boot"
	mustPlan("create", contested, warning, "/etc/cron.d/tune:1")
	w.run("apply", "-auto-approve", "a.plan")
	mustPlan("again", contested, warning)

	m.RemoveFile("/etc/cron.d/tune")
	w.run("apply", "-auto-approve")
	promised := map[string]string{
		"host_sysctl.a": "true 10 " + file + ":3 <nil>",
		"host_sysctls.g": "map[net.ipv4.tcp_fin_timeout:true vm.dirty_ratio:true] map[net.ipv4.tcp_fin_timeout:41 vm.dirty_ratio:21] " +
			"map[net.ipv4.tcp_fin_timeout:" + ours + " vm.dirty_ratio:" + ours + "] map[]",
	}
	mustPlan("promised", promised)

	m.WriteFile("/etc/cron.d/tune", "@reboot root sysctl -w vm.swappiness=1 vm.dirty_ratio=5\n")
	mustPlan("later", contested, warning)
}

// Guards that a value which a boot does not leave is told from one that somebody changed by hand, that an apply mends
// both, and that what a boot has refuted is not promised again before a boot has left it.
func TestAccLossAtBootIsRemembered(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	w := newWorkspace(t, required+config(m, sysctlResource("vm.swappiness", "10")+group("", "vm.dirty_ratio = 21")))
	w.run("apply", "-auto-approve")
	mustPlan := func(step string, changes bool, holds, warning string) {
		t.Helper()
		out, status := w.try("plan", "-no-color", "-detailed-exitcode", "-out=a.plan")
		if (status == 2) != changes || status == 1 {
			t.Errorf("%s: the plan ended with %d:\n%s", step, status, out)
		}
		for _, heading := range []string{"the last boot did not leave the sysctl", "sysctl was changed since the boot"} {
			if found := strings.Contains(out, "Warning: "+heading); found != (heading == warning) {
				t.Errorf("%s: %q is in the plan: %v\n%s", step, heading, found, out)
			}
		}
		var plan tfjson.Plan
		if err := json.Unmarshal([]byte(w.run("show", "-json", "a.plan")), &plan); err != nil {
			t.Fatal(err)
		}
		for _, c := range plan.ResourceChanges {
			after, _ := c.Change.After.(map[string]any)
			got := fmt.Sprint(after["holds_at_boot"], " ", after["boot_value"], " ", after["boot_reason"])
			want := map[string]string{"true": "true 10 <nil>", "false": "false <nil> overwritten_at_boot"}[holds]
			if c.Address == "host_sysctls.g" {
				got = fmt.Sprint(after["holds_at_boot"], " ", after["boot_values"], " ", after["boot_reasons"])
				want = map[string]string{"true": "map[vm.dirty_ratio:true] map[vm.dirty_ratio:21] map[]",
					"false": "map[vm.dirty_ratio:false] map[] map[vm.dirty_ratio:overwritten_at_boot]"}[holds]
			}
			if got != want {
				t.Errorf("%s: the plan has %q of %s, want %q", step, got, c.Address, want)
			}
		}
	}
	change := func() { m.Sh("sysctl -w vm.swappiness=1 vm.dirty_ratio=5") }
	mustPlan("applied", false, "true", "")
	change()
	mustPlan("by hand", true, "true", "sysctl was changed since the boot")
	w.run("apply", "-auto-approve", "a.plan")
	m.Reboot()
	change()
	mustPlan("lost", true, "false", "the last boot did not leave the sysctl")
	w.run("apply", "-auto-approve", "a.plan")
	mustPlan("mended", false, "false", "")
	m.Reboot()
	mustPlan("proven", false, "true", "")
}
