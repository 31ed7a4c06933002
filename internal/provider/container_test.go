package provider_test

// What a container makes different: it loads no modules, and of the kernel's keys it may write its network's alone.

import "testing"

// Guards that the plan refuses what a container cannot do, says where to turn and leaves nothing, and that what a
// container can do is done.
func TestAccContainerIsToldOfAtPlanTime(t *testing.T) {
	t.Parallel()
	m := container(t)
	keys := []string{"vm/swappiness", "net/ipv4/tcp_fin_timeout"}
	had, values := files(t, m), readings(t, m, keys...)
	const fin = `
resource "host_sysctl" "fin" {
  key   = "net.ipv4.tcp_fin_timeout"
  value = "41"
}
`
	w := newWorkspace(t, required+config(m, swappiness+fin+`
resource "host_kernel_module" "dummy" {
  name = "dummy"
}
`))
	plan, planned := w.try("plan", "-no-color")
	applied, status := w.try("apply", "-no-color", "-auto-approve")
	if planned == 0 || status == 0 {
		t.Errorf("plan and apply ended with %d and %d", planned, status)
	}
	for _, want := range []string{"/proc/sys cannot be written apart from net", "this host may not load dummy, or any module", "Load the module on the machine that runs the container"} {
		for what, said := range map[string]string{"plan": plan, "apply": applied} {
			if !words(want).MatchString(said) {
				t.Errorf("the %s does not say %q:\n%s", what, want, said)
			}
		}
	}
	unchanged(t, had, files(t, m))
	unchanged(t, values, readings(t, m, keys...))
	w.write("main.tf", required+config(m, fin))
	w.run("apply", "-auto-approve")
	if got := reading(t, m, "net/ipv4/tcp_fin_timeout"); got != "41" {
		t.Errorf("the key that can be written is %s", got)
	}
	w.run("destroy", "-auto-approve")
	unchanged(t, had, files(t, m))
	unchanged(t, values, readings(t, m, keys...))
}
