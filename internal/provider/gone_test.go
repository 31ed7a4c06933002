package provider_test

// Hosts that come and go between plan and apply.

import (
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/hosttest"
)

// isTofu reports whether this run of the suite is for OpenTofu, which does not let a provider know that it plans within an apply.
func (w *workspace) isTofu() bool {
	w.t.Helper()
	out, err := exec.CommandContext(w.t.Context(), w.cli.Path, "version").Output()
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.HasPrefix(string(out), "OpenTofu")
}

// Guards that where a host answered at plan and is gone in the apply, the error is why it cannot be reached, for what is created and what is changed. OpenTofu adds an error
// of its own in place of ours, so there a warning says why.
func TestAccHostGoneInTheApply(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, first, then string }{
		{"create a sysctl", "", swappiness},
		{"create sysctls", "", "resource \"host_sysctls\" \"a\" {\n  name = \"a\"\n  settings = { \"vm.swappiness\" = \"10\" }\n}\n"},
		{"create a module", "", "resource \"host_kernel_module\" \"a\" {\n  name = \"nf_conntrack\"\n}\n"},
		{"change a sysctl", strings.Replace(swappiness, "10", "20", 1), swappiness},
		{"change sysctls", "resource \"host_sysctls\" \"a\" {\n  name = \"a\"\n  settings = { \"vm.swappiness\" = \"10\" }\n}\n",
			"resource \"host_sysctls\" \"a\" {\n  name = \"a\"\n  settings = { \"vm.swappiness\" = \"10\", \"vm.dirty_ratio\" = \"21\" }\n}\n"},
		{"change a module", "resource \"host_kernel_module\" \"a\" {\n  name = \"nf_conntrack\"\n  persist = false\n}\n",
			"resource \"host_kernel_module\" \"a\" {\n  name = \"nf_conntrack\"\n}\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, err := hosttest.Start(hosttest.Options{})
			if err != nil {
				t.Fatal(err)
			}
			goes := sync.OnceFunc(func() { closeAll(t, m) })
			t.Cleanup(goes)
			w := newWorkspace(t, required+configWith(m, `timeout = "1s"`, tt.first))
			if tt.first != "" {
				w.run("apply", "-auto-approve")
			}
			had := w.run("state", "pull")
			w.write("main.tf", required+configWith(m, `timeout = "1s"`, tt.then))
			if out := w.run("plan", "-out=a.plan"); strings.Contains(out, "boot_source     = (known") {
				t.Errorf("boot_source is not planned:\n%s", out)
			}
			goes()
			out, status := w.try("apply", "a.plan")
			if status == 0 || !words("connection refused").MatchString(out) {
				t.Errorf("apply ended with %d:\n%s", status, out)
			}
			if ours := words("Error: host cannot be reached over SSH").MatchString(out) && !strings.Contains(out, "inconsistent"); !ours && !w.isTofu() {
				t.Errorf("apply does not say that the host is gone, and nothing else:\n%s", out)
			}
			if has := w.run("state", "pull"); tt.first != "" && has != had {
				t.Errorf("the state was\n%s\nand is\n%s", had, has)
			}
		})
	}
}

// Guards that a host which is not there at plan, nor when the apply plans again, is created on when it comes up, as one that boots; also where a file that it comes with
// decides, which cannot be known before.
func TestAccHostThatComesUpInTheApply(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ resource, block, path, file, decides string }{
		{"host_sysctl.a", swappiness, "/etc/sysctl.d/99-site.conf", "vm.swappiness = 10\n", "/etc/sysctl.d/99-site.conf:1"},
		{"host_sysctls.a", "resource \"host_sysctls\" \"a\" {\n  name = \"a\"\n  settings = { \"vm.swappiness\" = \"10\" }\n}\n",
			"/etc/sysctl.d/99-site.conf", "vm.swappiness = 10\n", "/etc/sysctl.d/99-site.conf:1"},
		{"host_kernel_module.a", "resource \"host_kernel_module\" \"a\" {\n  name = \"nf_conntrack\"\n}\n", "/etc/modules-load.d/a.conf", "nf_conntrack\n",
			"/etc/modules-load.d/a.conf:1"},
	} {
		t.Run(tt.resource, func(t *testing.T) {
			t.Parallel()
			m := simulated(t)
			m.WriteFile(tt.path, tt.file)
			relay, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			_, port, _ := net.SplitHostPort(relay.Addr().String())
			relay.Close()
			c := strings.Replace(required+config(m, tt.block), "port = "+portOf(m), "port = "+port, 1)
			w := newWorkspace(t, strings.Replace(c, `"2m"`, `"1s"`, 1)) // connect_timeout: three dials that are cut are one in vain
			if out := w.run("plan", "-out=a.plan"); !words("Warning: next boot of web1 not foreseen").MatchString(out) {
				t.Errorf("no warning:\n%s", out)
			}
			if relay, err = net.Listen("tcp", relay.Addr().String()); err != nil {
				t.Fatal(err)
			}
			defer relay.Close()
			go bootAfter(relay, m.Addr(), 3, make(chan int, 1))
			out := w.run("apply", "a.plan")
			if !w.isTofu() && !words(tt.decides+" decides what the next boot leaves").MatchString(out) {
				t.Errorf("apply does not say what decides:\n%s", out)
			}
			w.write("main.tf", c)
			w.run("plan", "-detailed-exitcode")
			w.run("apply", "-refresh-only", "-auto-approve")
			if out := w.run("state", "show", tt.resource); !strings.Contains(out, tt.decides) {
				t.Errorf("the state does not know what decides:\n%s", out)
			}
		})
	}
}
