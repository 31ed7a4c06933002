package provider_test

import (
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/sshdtest"
)

// Guards that a key of a network interface which does not exist yet can be declared: the drop-in is written, plans have
// nothing more to change, and the running value is set as soon as the interface exists.
func TestAccKeyOfAnInterfaceToCome(t *testing.T) {
	t.Parallel()
	m := realHost(t, sshdtest.Options{})
	start := files(t, m)
	w := newWorkspace(t, required+config(m, "resource \"host_sysctl\" \"a\" {\n  key = \"net.ipv4.conf.later0.arp_ignore\"\n  value = \"2\"\n}\n"+
		"resource \"host_sysctls\" \"g\" {\n  name = \"later\"\n  settings = { \"net.ipv4.conf.later0.arp_announce\" = \"2\", \"net.core.somaxconn\" = \"2048\" }\n}\n"))
	out := w.run("plan", "-no-color")
	if !words("There is no interface later0 now").MatchString(out) {
		t.Errorf("the plan does not say that the interface is to come:\n%s", out)
	}
	w.run("apply", "-auto-approve")
	w.settled()
	if text, _ := m.ReadFile("/etc/sysctl.d/90-terraform-net.ipv4.conf.later0.arp_ignore.conf"); !strings.Contains(text, "later0.arp_ignore = 2\n") {
		t.Errorf("the drop-in is %q", text)
	}
	if out, status := m.Sh("ip link add later0 type veth peer name later1"); status != 0 {
		t.Fatal(out)
	}
	if _, status := w.try("plan", "-detailed-exitcode"); status != 2 {
		t.Errorf("the plan ended with %d, and the interface has another value", status)
	}
	w.run("apply", "-auto-approve")
	w.settled()
	for _, path := range []string{"net/ipv4/conf/later0/arp_ignore", "net/ipv4/conf/later0/arp_announce"} {
		if got := reading(t, m, path); got != "2" {
			t.Errorf("%s is %s", path, got)
		}
	}
	w.run("destroy", "-auto-approve")
	unchanged(t, start, files(t, m))
}

// Guards that a misspelled key of an interface that exists is an error of the plan, and not one that may appear.
func TestAccMisspelledKeyOfAnInterfaceIsRefused(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	w := newWorkspace(t, required+config(m, "resource \"host_sysctl\" \"a\" {\n  key = \"net.ipv4.conf.lo.arp_ignored\"\n  value = \"2\"\n}\n"))
	if out, status := w.try("plan", "-no-color"); status == 0 || !strings.Contains(out, "sysctl does not exist on the host") {
		t.Errorf("the plan ended with %d:\n%s", status, out)
	}
}
