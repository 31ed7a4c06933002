package provider_test

// What no longer holds at the next boot, although nothing of the configuration changes.

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	tfjson "github.com/hashicorp/terraform-json"
)

// Guards that a loss which other files of the host bring is a warning and no change, that the plan as JSON has it for a
// policy, and that a condition in the configuration refuses it.
func TestAccLossWithoutAChangeIsInThePlan(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	const module = "resource \"host_kernel_module\" \"m\" {\n  name = \"overlay\"\n}\n"
	sysctls := group("", "vm.dirty_ratio = 21", "net.ipv4.tcp_fin_timeout = 41")
	w := newWorkspace(t, required+config(m, sysctlResource("vm.swappiness", "10")+sysctls+module))
	w.run("apply", "-auto-approve")
	m.WriteFile("/etc/sysctl.d/99-site.conf", "vm.swappiness = 77\nvm.dirty_ratio = 5\n")
	m.WriteFile("/etc/modprobe.d/site.conf", "blacklist overlay\n")

	out, status := w.try("plan", "-no-color", "-detailed-exitcode", "-out=a.plan")
	if status != 0 || !strings.Contains(out, "Warning: sysctl would be lost at the next boot of web1") ||
		!strings.Contains(out, "Warning: kernel module would not be loaded at the next boot of web1") {
		t.Errorf("the plan ended with %d:\n%s", status, out)
	}
	var plan tfjson.Plan
	text := w.run("show", "-json", "a.plan")
	if err := json.Unmarshal([]byte(text), &plan); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	want := map[string]string{
		"host_sysctl.a":        "false shadowed",
		"host_sysctls.g":       "map[net.ipv4.tcp_fin_timeout:true vm.dirty_ratio:false] map[vm.dirty_ratio:shadowed]",
		"host_kernel_module.m": "false module_deny_listed",
	}
	for _, c := range plan.ResourceChanges {
		after, _ := c.Change.After.(map[string]any)
		reasons := after["boot_reason"]
		if reasons == nil {
			reasons = after["boot_reasons"]
		}
		if got := fmt.Sprint(after["holds_at_boot"], " ", reasons); got != want[c.Address] {
			t.Errorf("the plan says %q of %s, not %q", got, c.Address, want[c.Address])
		}
		delete(want, c.Address)
	}
	if len(want) > 0 {
		t.Errorf("the plan says nothing of %q", want)
	}

	// Any change would be applied to the host, and refused.
	changed := func(block, onDestroy string) string {
		return strings.TrimSuffix(block, "}\n") + "  on_destroy = \"" + onDestroy + "\"\n}\n"
	}
	w.write("main.tf", required+config(m, changed(sysctlResource("vm.swappiness", "10"), "keep")+changed(sysctls, "keep")+changed(module, "unload")))
	out, status = w.try("plan", "-no-color")
	if status == 0 || strings.Count(out, "Error: sysctl would be lost at the next boot of web1") != 2 ||
		strings.Count(out, "Error: kernel module would not be loaded at the next boot of web1") != 1 {
		t.Errorf("the plan of other changes ended with %d:\n%s", status, out)
	}

	const condition = `
  lifecycle {
    postcondition {
      condition     = self.holds_at_boot
      error_message = "lost: ${coalesce(self.boot_reason, "unknown")}."
    }
  }
}
`
	conditioned := strings.TrimSuffix(sysctlResource("vm.swappiness", "10"), "}\n") + condition
	w.write("main.tf", required+config(m, conditioned+sysctls+module))
	if out, status := w.try("plan", "-no-color"); status == 0 || !strings.Contains(out, "lost: shadowed.") {
		t.Errorf("the plan ended with %d:\n%s", status, out)
	}
}
