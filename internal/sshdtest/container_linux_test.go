package sshdtest

import (
	"strings"
	"testing"
)

func startContainerHost(t *testing.T) *Container {
	t.Helper()
	if err := ContainerAvailable(t.Context()); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: %v", err)
	}
	c, err := StartContainer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// Guards that a container is what the tests take it for: a systemd that boots and skips systemd-modules-load, keys of its network that it writes and others that it does
// not, users, and a reboot that keeps files and address and nothing else.
func TestContainer(t *testing.T) {
	c := startContainerHost(t)
	if out, _ := c.Sh("systemctl is-system-running; systemctl --failed --no-legend"); out != "running\n" {
		t.Errorf("systemd is %s", out)
	}
	for user, want := range map[string]string{Root: "0\n", Sudoer: "0\n", NoSudo: "1\n"} {
		client, err := dialAs(c.Addr(), c.HostKey(), user, key(t, c.PrivateKey()))
		if err != nil {
			t.Fatal(err)
		}
		out, err := command(t, client, "sudo -n true 2>/dev/null; echo $?", "")
		if err != nil || out != want {
			t.Errorf("sudo of %s ends with %q, %v", user, out, err)
		}
		client.Close()
	}
	if out, status := c.Sh("echo 1 >/proc/sys/vm/swappiness"); status == 0 || !strings.Contains(out, "Read-only") {
		t.Fatalf("a key of the machine's can be written: %s", out)
	}
	if out, status := c.Sh("echo 41 >/proc/sys/net/ipv4/tcp_fin_timeout; echo 'net.ipv4.tcp_fin_timeout = 42' >/etc/sysctl.d/x.conf"); status != 0 {
		t.Fatal(out)
	}
	addr := c.Addr()
	if err := c.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out, _ := c.Sh("cat /proc/sys/net/ipv4/tcp_fin_timeout; systemctl is-active systemd-sysctl systemd-modules-load"); out != "42\nactive\ninactive\n" {
		t.Errorf("after the reboot: %q", out)
	}
	client, err := dialAs(addr, c.HostKey(), Root, key(t, c.PrivateKey()))
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
}
