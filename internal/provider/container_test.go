package provider_test

// What a container makes different: it loads no modules, and of the kernel's keys it may write its network's alone.

import "testing"

// Guards that the plan tells of a container's limits and where to turn, that apply ends with the same words and leaves nothing, and that what a container can do is
// done in the same apply.
func TestAccContainerIsToldOfAtPlanTime(t *testing.T) {
	t.Parallel()
	m := container(t)
	keys := []string{"vm/swappiness", "net/ipv4/tcp_fin_timeout"}
	had, values := files(t, m), readings(t, m, keys...)
	w := newWorkspace(t, required+config(m, swappiness+`
resource "host_sysctl" "fin" {
  key   = "net.ipv4.tcp_fin_timeout"
  value = "41"
}
resource "host_kernel_module" "dummy" {
  name = "dummy"
}
`))
	plan := w.run("plan", "-no-color", "-out=a.plan")
	applied, status := w.try("apply", "-no-color", "a.plan")
	if status == 0 {
		t.Error("apply went through")
	}
	for _, want := range []string{"/proc/sys cannot be written apart from net", "this host may not load dummy, or any module", "Load the module on the machine that runs the container"} {
		for what, said := range map[string]string{"plan": plan, "apply": applied} {
			if !words(want).MatchString(said) {
				t.Errorf("the %s does not say %q:\n%s", what, want, said)
			}
		}
	}
	if fin := reading(t, m, "net/ipv4/tcp_fin_timeout"); fin != "41" {
		t.Errorf("the key that can be written is %s", fin)
	}
	w.run("destroy", "-auto-approve")
	unchanged(t, had, files(t, m))
	unchanged(t, values, readings(t, m, keys...))
}
