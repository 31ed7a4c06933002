package provider_test

// How hosts are reached: jump hosts, ssh_config, the environment, fleets of which a part is not there.

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"golang.org/x/crypto/ssh"

	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/sshdtest"
)

// Guards that a resource's host is reached through the provider's jump host, whose own key and login are as its block says, and through that one alone.
func TestAccBastion(t *testing.T) {
	t.Parallel()
	bastion, m := simulated(t), simulated(t)
	config := func(bastionKey string) string {
		return configWith(m, fmt.Sprintf("bastion = { host = %q, private_key = %q, host_key = %q }", bastion.Addr(), bastion.PrivateKey(), bastionKey), swappiness)
	}
	run(t,
		resource.TestStep{Config: config(m.HostKey()), ExpectError: words("its jump host " + bastion.Addr())},
		resource.TestStep{Config: config(bastion.HostKey()), ConfigPlanChecks: emptyAfter(), Check: func(*terraformState) error {
			if got := reading(t, m, "vm/swappiness"); got != "10" {
				return fmt.Errorf("vm.swappiness is %s", got)
			}
			if _, jumps := bastion.Connections(); jumps == 0 {
				return fmt.Errorf("nothing went through the jump host")
			}
			return nil
		}},
	)
}

// Guards that a host is reached by the provider's proxy_command, and its jump host by the bastion's, with tokens
// replaced; ssh_config_commands is for the files alone.
func TestAccProxyCommand(t *testing.T) {
	t.Parallel()
	bastion, m := simulated(t), simulated(t)
	notes := filepath.Join(t.TempDir(), "notes")
	command := fmt.Sprintf("sh -c 'echo reached %%h as %%r >>%s; exec busybox nc %%h %%p'", notes)
	noted := func(want string) resource.TestCheckFunc {
		return func(*terraformState) error {
			text, err := os.ReadFile(notes)
			if err != nil || !strings.Contains(string(text), want) {
				return fmt.Errorf("the command noted %q (%w)", text, err)
			}
			return os.Remove(notes)
		}
	}
	run(t,
		resource.TestStep{Config: configWith(m, "proxy_command = \"false\"\ntimeout = \"1s\"", swappiness),
			ExpectError: words("its ProxyCommand has ended")},
		resource.TestStep{Config: configWith(m, `proxy_command = "false"`+"\nbastion = { host = \"jump\" }", swappiness),
			ExpectError: words("Invalid Attribute Combination")},
		resource.TestStep{Config: configWith(m, fmt.Sprintf("proxy_command = %q\nssh_config_commands = false", command), swappiness),
			ConfigPlanChecks: emptyAfter(), Check: noted("reached 127.0.0.1 as root")},
		resource.TestStep{Config: configWith(m, fmt.Sprintf("bastion = { host = %q, private_key = %q, host_key = %q, proxy_command = %q }",
			bastion.Addr(), bastion.PrivateKey(), bastion.HostKey(), command), swappiness), ConfigPlanChecks: emptyAfter(),
			Check: noted("reached 127.0.0.1 as root")},
	)
}

// Guards that a host which only ssh_config and the environment describe is reached, and that the provider block goes before both.
func TestAccSSHConfigAndEnvironment(t *testing.T) {
	m := simulated(t)
	address, port, _ := net.SplitHostPort(m.Addr())
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	t.Setenv("HOST_SSH_CONFIG_FILES", file("config", fmt.Sprintf("Host web9\n HostName %s\n Port %s\n HostKeyAlias the-web\n User nobody-here\n", address, port)))
	t.Setenv("HOST_KNOWN_HOSTS_FILES", file("known_hosts", "the-web "+m.HostKey()+"\n"))
	t.Setenv("HOST_PRIVATE_KEY", m.PrivateKey())
	t.Setenv("HOST_AGENT", "false")
	t.Setenv("HOST_HOST", "web9")
	t.Setenv("HOST_USER", "nobody-else")
	run(t,
		resource.TestStep{Config: "provider \"host\" {}\n" + swappiness, ExpectError: words("the host does not let user nobody-here in")},
		resource.TestStep{Config: "provider \"host\" {\n  user = \"root\"\n}\n" + swappiness, ConfigPlanChecks: emptyAfter(),
			Check: resource.TestCheckResourceAttr("host_sysctl.a", "host", "web9")},
	)
	t.Setenv("HOST_PORT", "secret-22")
	w := newWorkspace(t, required+"provider \"host\" {}\n"+swappiness)
	out, status := w.try("plan")
	if status == 0 || !words("The variable HOST_PORT, which counts where nothing else sets port, is not a number from 1 to 65535.").MatchString(out) || strings.Contains(out, "secret-22") {
		t.Errorf("plan ended with %d:\n%s", status, out)
	}
}

// Guards unreachable = "warn": hosts that are not there keep their state with a warning, the others are read, planned and changed, and a change of a host that is
// not there is an error of apply with the reason. Nothing is dropped from the state. A host that answers with another key is an error all the same.
func TestAccUnreachableHostsAreWarnedOf(t *testing.T) {
	t.Parallel()
	alive, dead, changed := simulated(t), simulated(t), simulated(t)
	_, other := newKey(t, "")
	known := func(key string) string { return fmt.Sprintf("%q", strings.TrimSpace(key)) }
	config := func(mode, deadPort, changedKey, value string) string {
		if mode != "" {
			mode = fmt.Sprintf("unreachable = %q\n", mode)
		}
		text := "provider \"host\" {\n  agent = false\n  " + mode + "  timeout = \"1s\"\n  hosts = {\n"
		for name, m := range map[string]machine{"alive": alive, "dead": dead, "changed": changed} {
			port, key := portOf(m), known(m.HostKey())
			if name == "dead" && deadPort != "" {
				port = deadPort
			}
			if name == "changed" && changedKey != "" {
				key = known(changedKey)
			}
			text += fmt.Sprintf("    %s = { address = \"127.0.0.1\", port = %s, private_key = %q, host_key = %s }\n", name, port, m.PrivateKey(), key)
		}
		text += "  }\n}\n"
		for _, name := range []string{"alive", "dead", "changed"} {
			text += fmt.Sprintf("resource \"host_sysctl\" %[1]q {\n  host = %[1]q\n  key = \"vm.swappiness\"\n  value = %[2]q\n}\n", name, value)
			text += fmt.Sprintf("resource \"host_sysctls\" %[1]q {\n  host = %[1]q\n  name = \"few\"\n  settings = { \"vm.dirty_ratio\" = \"21\" }\n}\n", name)
		}
		return required + text
	}
	w := newWorkspace(t, config("warn", "", "", "10"))
	w.run("apply", "-auto-approve")
	otherKey := string(ssh.MarshalAuthorizedKey(other))
	w.write("main.tf", config("warn", "1", otherKey, "10"))
	if out, status := w.try("plan"); status == 0 || !words("Error: SSH host key has changed").MatchString(out) {
		t.Errorf("with another host key, plan ended with %d:\n%s", status, out)
	}
	w.write("main.tf", config("warn", "1", "", "10"))
	setting(t, alive, "vm/swappiness", "33")
	out := w.run("plan")
	for _, want := range []string{"host dead not reached, its state is kept", "connection refused", "host_sysctl.alive will be updated", "1 to change"} {
		if !words(want).MatchString(out) {
			t.Errorf("the plan does not say %q:\n%s", want, out)
		}
	}
	w.run("apply", "-auto-approve")
	if got := reading(t, alive, "vm/swappiness"); got != "10" {
		t.Errorf("vm.swappiness of the host that is there is %s", got)
	}
	w.write("main.tf", config("warn", "1", "", "20"))
	out, status := w.try("apply", "-auto-approve")
	if status == 0 || !words("Error: host cannot be reached over SSH").MatchString(out) {
		t.Errorf("apply ended with %d:\n%s", status, out)
	}
	for m, want := range map[machine]string{alive: "20", dead: "10", changed: "20"} {
		if got := reading(t, m, "vm/swappiness"); got != want {
			t.Errorf("vm.swappiness is %s, not %s", got, want)
		}
	}
	w.write("main.tf", config("error", "1", "", "20"))
	if out, status := w.try("plan"); status == 0 {
		t.Errorf("plan succeeded without a host:\n%s", out)
	}
	w.write("main.tf", config("", "1", "", "20"))
	cli := w.cli
	w.cli = cli.With("HOST_UNREACHABLE=warn")
	if out := w.run("plan"); !words("host dead not reached, its state is kept").MatchString(out) {
		t.Errorf("the plan says nothing of the host:\n%s", out)
	}
	w.cli = cli
	if out := w.run("state", "list"); strings.Count(out, "host_sysctl") != 6 {
		t.Errorf("the state has %s", out)
	}
	w.write("main.tf", config("error", "", "", "20"))
	w.run("apply", "-auto-approve")
	for _, m := range []machine{alive, dead, changed} {
		if got := reading(t, m, "vm/swappiness"); got != "20" {
			t.Errorf("vm.swappiness is %s at the end", got)
		}
	}
}

// Guards the same on real hosts, one of which refuses, since its sshd was killed, and one of which drops what comes, for each resource: what they hold stays in the state,
// their changes fail with the reason, and when they are back the next apply makes them.
func TestAccUnreachableRealHostsAreWarnedOf(t *testing.T) {
	t.Parallel()
	alive, killed, dark := realHost(t, sshdtest.Options{}), realHost(t, sshdtest.Options{}), realHost(t, sshdtest.Options{})
	hosts := map[string]machine{"alive": alive, "killed": killed, "dark": dark}
	sh := func(m machine, script string) {
		t.Helper()
		if out, status := m.Sh(script); status != 0 {
			t.Fatalf("%s: %s", script, out)
		}
	}
	config := func(value string) string {
		text := required + "provider \"host\" {\n  agent = false\n  unreachable = \"warn\"\n  connect_timeout = \"10s\"\n  hosts = {\n"
		var resources string
		for name, m := range hosts {
			address, _, _ := net.SplitHostPort(m.Addr())
			text += fmt.Sprintf("    %s = { address = %q, private_key = %q, host_key = %q }\n", name, address, m.PrivateKey(), m.HostKey())
			resources += fmt.Sprintf(`
resource "host_sysctl" %[1]q {
  host  = %[1]q
  key   = "net.core.somaxconn"
  value = %[2]q
}
resource "host_sysctls" %[1]q {
  host     = %[1]q
  name     = "few"
  settings = { "net.ipv4.tcp_fin_timeout" = %[2]q }
}
resource "host_kernel_module" %[1]q {
  host = %[1]q
  name = "ipv6"
  persist = %[3]t
}
`, name, value, value == "40")
		}
		return text + "  }\n}\n" + resources
	}
	has := func(m machine, value string) {
		t.Helper()
		for _, key := range []string{"net/core/somaxconn", "net/ipv4/tcp_fin_timeout"} {
			if got := reading(t, m, key); got != value {
				t.Errorf("%s is %s, not %s", key, got, value)
			}
		}
		if _, there := m.ReadFile("/etc/modules-load.d/terraform-ipv6.conf"); there != (value == "40") {
			t.Errorf("with %s the module's file is there: %v", value, there)
		}
	}
	says := func(out string, all ...string) {
		t.Helper()
		for _, want := range all {
			if !words(want).MatchString(out) {
				t.Errorf("it does not say %q:\n%s", want, out)
			}
		}
	}
	w := newWorkspace(t, config("30"))
	w.run("apply", "-auto-approve")
	sh(killed, "for p in /proc/[0-9]*; do case $(readlink $p/exe) in */sshd) kill -9 ${p#/proc/} ;; esac; done")
	address, _, _ := net.SplitHostPort(dark.Addr())
	us := net.ParseIP(address).To4()
	us[3]-- // the other end of the host's link
	sh(dark, fmt.Sprintf("ip route add blackhole %s/32", us))
	setting(t, alive, "net/core/somaxconn", "33")

	out := w.run("plan")
	says(out, "host killed not reached, its state is kept", "host dark not reached, its state is kept", "host_sysctl.alive will be updated", "1 to change")
	if n := len(words("and 2 more similar warnings").FindAllString(out, -1)); n != 2 {
		t.Errorf("the plan groups the warnings of %d hosts, not of 2:\n%s", n, out)
	}
	w.run("apply", "-auto-approve")
	has(alive, "30")
	w.write("main.tf", config("40"))
	applied, status := w.try("apply", "-auto-approve")
	if status == 0 || strings.Count(applied, "Error: host cannot be reached over SSH") != 6 || strings.Contains(applied, "produced inconsistent") {
		t.Errorf("apply ended with %d:\n%s", status, applied)
	}
	says(applied, "connection refused", "there was no answer within 10s")
	has(alive, "40")
	has(killed, "30")
	has(dark, "30")
	out, status = w.try("destroy", "-auto-approve", "-target=host_sysctls.killed", "-target=host_sysctls.alive")
	if status == 0 || strings.Count(out, "Error: host cannot be reached over SSH") != 1 {
		t.Errorf("destroy ended with %d:\n%s", status, out)
	}
	has(killed, "30")
	if out := w.run("state", "list"); strings.Contains(out, "host_sysctls.alive") || !strings.Contains(out, "host_sysctls.killed") {
		t.Errorf("after the destroy the state has %s", out)
	}
	w.run("apply", "-auto-approve", "-target=host_sysctls.alive")
	if out := w.run("state", "list"); strings.Count(out, "host_") != 9 {
		t.Errorf("the state has %s", out)
	}

	sh(killed, "/usr/sbin/sshd")
	sh(dark, "ip route flush type blackhole")
	w.run("apply", "-auto-approve")
	for _, m := range hosts {
		has(m, "40")
	}
	w.run("plan", "-detailed-exitcode")
}

// Guards that an import of a host that is not there is an error, whatever unreachable says.
func TestAccImportOfAnUnreachableHostFails(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	w := newWorkspace(t, required+strings.Replace(configWith(m, `unreachable = "warn"`, swappiness), "port = "+portOf(m), "port = 1", 1))
	if out, status := w.try("import", "host_sysctl.a", "web1/vm.swappiness"); status == 0 {
		t.Errorf("import ended with %d:\n%s", status, out)
	}
}

// Guards that hosts whose keys nobody checks are warned of, and that their key may be recorded instead.
func TestAccHostKeyChecking(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	file := filepath.Join(t.TempDir(), "known_hosts")
	config := func(checking string) string {
		return required + fmt.Sprintf("provider \"host\" {\n  host = %q\n  private_key = %q\n  agent = false\n  known_hosts_files = [%q]\n  host_key_checking = %q\n}\n",
			m.Addr(), m.PrivateKey(), file, checking) + swappiness
	}
	w := newWorkspace(t, config("insecure"))
	if out := w.run("plan"); !words("Warning: SSH host keys are not checked").MatchString(out) {
		t.Errorf("no warning:\n%s", out)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("insecure recorded a key")
	}
	w.write("main.tf", config("accept_new"))
	w.run("apply", "-auto-approve")
	if text, err := os.ReadFile(file); err != nil || strings.Count(string(text), "\n") != 1 || !strings.Contains(string(text), m.HostKey()) {
		t.Errorf("recorded %q, %v", text, err)
	}
	w.write("main.tf", config("strict"))
	w.run("plan", "-detailed-exitcode")
}

// Guards that a plan for one host of many logs in to that host alone, with -target and without a refresh.
func TestAccTargetedHostLogsInToNoOther(t *testing.T) {
	t.Parallel()
	var hosts []*hosttest.Host
	text, resources := required+"provider \"host\" {\n  agent = false\n  hosts = {\n", ""
	for i := range 5 {
		m := simulated(t)
		hosts = append(hosts, m)
		text += fmt.Sprintf("    h%d = { address = \"127.0.0.1\", port = %s, private_key = %q, host_key = %q }\n",
			i, portOf(m), m.PrivateKey(), m.HostKey())
		resources += fmt.Sprintf(`
resource "host_sysctl" "h%[1]d" {
  host  = "h%[1]d"
  key   = "vm.swappiness"
  value = "10"
}
`, i)
	}
	w := newWorkspace(t, text+"  }\n}\n"+resources)
	w.run("apply", "-auto-approve")
	logins := func() (total []int) {
		for _, m := range hosts {
			_, n := m.Connections()
			total = append(total, n)
		}
		return total
	}
	before := logins()
	w.run("plan", "-target=host_sysctl.h2")
	w.run("apply", "-auto-approve", "-refresh=false", "-replace=host_sysctl.h2", "-target=host_sysctl.h2")
	for i, n := range logins() {
		if n != before[i] && i != 2 || n == before[i] && i == 2 {
			t.Errorf("h%d: %d logins, %d before", i, n, before[i])
		}
	}
}
