package provider_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
)

// Guards the audit of a host that Terraform does not manage: what holds, what is lost and why, and that asking changes nothing.
func TestAccOnEachBootDataSource(t *testing.T) {
	const data = "data \"host_boot\" \"a\" {\n  also_keys = [\"net.ipv4.tcp_fin_timeout\", \"net/core/somaxconn\"]\n}\n"
	onEach(t, func(t *testing.T, m machine) {
		m.WriteFile("/etc/sysctl.d/50-site.conf", "net.ipv4.tcp_fin_timeout = 41\nnet.ipv4.tcp_retries2 = 9\n")
		m.WriteFile("/etc/sysctl.d/60-site.conf", "net.ipv4.tcp_retries2 = 10\n")
		setting(t, m, "net/ipv4/tcp_fin_timeout", "41")
		setting(t, m, "net/ipv4/tcp_retries2", "9")
		had := files(t, m)
		is := func(attribute, want string) resource.TestCheckFunc {
			return resource.TestCheckResourceAttr("data.host_boot.a", attribute, want)
		}
		run(t, resource.TestStep{Config: config(m, data), Check: resource.ComposeAggregateTestCheckFunc(
			is("host", "web1"), is("holds", "false"),
			is("keys.net.ipv4.tcp_retries2.value", "9"), is("keys.net.ipv4.tcp_retries2.holds", "false"),
			is("keys.net.ipv4.tcp_retries2.boot_source", "/etc/sysctl.d/60-site.conf:1"), is("keys.net.ipv4.tcp_retries2.shadows.0", "/etc/sysctl.d/50-site.conf:2"),
			is("keys.net.core.somaxconn.holds", "false"),
		)})
		unchanged(t, had, files(t, m))
	})
}

// Guards, on a host with systemd and modules, that all that is asked for is answered, and that what a host makes of its secrets is not told.
func TestAccBootDataSourceOfAWholeHost(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	m.Sh("modprobe nf_conntrack; sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1 net.ipv4.tcp_fastopen_key=1-2-3-4")
	m.WriteFile("/etc/sysctl.d/50-site.conf", "net.netfilter.nf_conntrack_tcp_be_liberal = 1\nnet.ipv4.tcp_fastopen_key = 1-2-3-4\nvm.swappiness = 60\n")
	m.WriteFile("/etc/sysctl.d/60-site.conf", "vm.swappiness = 10\n")
	is := func(attribute, want string) resource.TestCheckFunc {
		return resource.TestCheckResourceAttr("data.host_boot.a", attribute, want)
	}
	const data, key = "data \"host_boot\" \"a\" {\n}\n", "keys.net.netfilter.nf_conntrack_tcp_be_liberal."
	run(t,
		resource.TestStep{Config: strings.Replace(config(m, data), `host            = "web1"`, "", 1), ExpectError: words("The data source names no host")},
		resource.TestStep{Config: config(m, "data \"host_boot\" \"a\" {\n  also_keys = [\"..\"]\n}\n"), ExpectError: words("malformed sysctl key")},
		resource.TestStep{Config: config(m, data), Check: resource.ComposeAggregateTestCheckFunc(
			is("holds", "false"), is("init", "systemd"), is("modules.nf_conntrack.loaded", "true"), is("modules.nf_conntrack.loaded_at_boot", "false"),
			is("modules.nf_conntrack.holds", "false"), is("modules.nf_conntrack.reason", "module_loaded_by_hand"),
			is(key+"reason", "module_loaded_by_hand"), is(key+"value", "1"), is(key+"holds", "false"),
			is(key+"remedy", "Declare a host_kernel_module for it and set module = host_kernel_module.<name>.name."),
			is("keys.vm.swappiness.boot_value", "10"), is("keys.vm.swappiness.reason", "shadowed"),
			is("keys.vm.swappiness.detail", "/etc/sysctl.d/50-site.conf:3 sets vm.swappiness, and /etc/sysctl.d/60-site.conf:1 overrules it."),
			is("units.#", "2"), is("units.1.name", "systemd-sysctl.service"), is("units.1.active_state", "active"), is("units.1.load_state", "loaded"),
			resource.TestCheckTypeSetElemAttr("data.host_boot.a", "units.1.after.*", "systemd-modules-load.service"),
			resource.TestCheckNoResourceAttr("data.host_boot.a", "keys.net.ipv4.tcp_fastopen_key.value"),
			resource.TestCheckNoResourceAttr("data.host_boot.a", "keys.net.ipv4.tcp_fastopen_key.boot_value"),
			is("keys.net.ipv4.tcp_fastopen_key.holds", "true"),
		)},
		resource.TestStep{
			PreConfig: func() {
				m.WriteFile("/etc/modules-load.d/site.conf", "nf_conntrack\n")
				m.RemoveFile("/etc/sysctl.d/60-site.conf")
			},
			Config: config(m, data),
			Check: resource.ComposeAggregateTestCheckFunc(
				is("holds", "true"), is(key+"boot_value", "1"), is(key+"holds", "true"), is("modules.nf_conntrack.boot_source", "/etc/modules-load.d/site.conf:1"),
			),
		},
	)
}

// Guards that names and values that are no text, links in a circle and files that cannot be read neither fail nor blind the audit.
func TestAccBootDataSourceOfBadFiles(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	m.Sh(`printf '\377x' >/proc/sys/kernel/core_pattern; ln -s loop.conf /etc/sysctl.d/loop.conf; ln -s /proc/sys/net/ipv6/conf/all/stable_secret /etc/sysctl.d/70.conf`)
	m.WriteFile("/etc/sysctl.d/60-\xfe.conf", "kernel.core_pattern = \xffx\nvm.\xfc = \xe4\n\x00\xff\nvm.swappiness = 60\n")
	is := func(attribute, want string) resource.TestCheckFunc {
		return resource.TestCheckResourceAttr("data.host_boot.a", attribute, want)
	}
	run(t, resource.TestStep{Config: config(m, "data \"host_boot\" \"a\" {\n}\n"), Check: resource.ComposeAggregateTestCheckFunc(
		is("holds", "false"), is("keys.vm.swappiness.reason", "unread"), is("keys.vm.swappiness.boot_source", "/etc/sysctl.d/70.conf"),
		is("keys.kernel.core_pattern.value", "\ufffdx"), is("keys.kernel.core_pattern.reason", "unread"),
	)})
}

// Guards the example: a check that tells what a host would lose, and is quiet about one that loses nothing.
func TestAccBootExample(t *testing.T) {
	t.Parallel()
	dir, key := home(t)
	web1, db1 := exampleHost(t, dir, key), exampleHost(t, dir, key)
	provider := strings.NewReplacer(`"192.0.2.10"`, `"127.0.0.1", port = `+portOf(web1), `"192.0.2.20", port = 2222`, `"127.0.0.1", port = `+portOf(db1)).
		Replace(example(t, "provider/provider.tf"))
	w := newWorkspace(t, provider+example(t, "data-sources/host_boot/data-source.tf"))
	w.cli = w.cli.With("HOME=" + dir)
	if out := w.run("apply", "-auto-approve"); !strings.Contains(out, "No file sets net.ipv4.ip_forward.") {
		t.Errorf("apply does not say that ip_forward is lost:\n%s", out)
	}
	web1.WriteFile("/etc/sysctl.d/50-site.conf", fmt.Sprintf("net.ipv4.ip_forward = %s\n", reading(t, web1, "net/ipv4/ip_forward")))
	if out := w.run("plan"); strings.Contains(out, "does not come back") {
		t.Errorf("the plan warns of a host that loses nothing:\n%s", out)
	}
}
