package sshdtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func startContainerHost(t *testing.T) *Container {
	t.Helper()
	c, err := StartContainer(t.Context())
	if Lacking(err) {
		t.Skipf("NOT PROVED IN A CONTAINER: %v", err)
	} else if err != nil {
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
		why, _ := c.Sh("systemctl status --no-pager --full systemd-sysctl; ls -l /etc/sysctl.d")
		t.Errorf("after the reboot: %q\n%s", out, why)
	}
	client, err := dialAs(addr, c.HostKey(), Root, key(t, c.PrivateKey()))
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
}

// Guards that containers that run beside each other share no cgroup, in which each one's systemd would end the other's services, and that none stays behind.
func TestContainersHaveCgroupsOfTheirOwn(t *testing.T) {
	one, other := startContainerHost(t), startContainerHost(t)
	if len(one.cgroups) == 0 {
		t.Fatal("a container has no cgroup of its own")
	}
	for i, dir := range one.cgroups {
		if dir == other.cgroups[i] {
			t.Errorf("two containers are in %s", dir)
		}
		if procs, err := os.ReadFile(filepath.Join(dir, "payload", "init.scope", "cgroup.procs")); err != nil || len(procs) == 0 {
			t.Errorf("the container's systemd is not in %s: %v", dir, err)
		}
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range one.cgroups {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s stays behind: %v", dir, err)
		}
	}
}

// Guards that cgroups which a killed test left, with what its container made in them, are no hindrance to the next that gets their name.
func TestCgroupsOfAKilledTestAreTakenOver(t *testing.T) {
	startContainerHost(t) // where there are none, cgroups cannot be made either
	dirs, err := systemdCgroups(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const name = "sshdtest-left"
	for _, dir := range dirs {
		if err := os.MkdirAll(filepath.Join(dir, name, "payload", "system.slice"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	process := exec.CommandContext(t.Context(), "sleep", "60")
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	made, err := newCgroups(name, process.Process.Pid)
	if err != nil || len(made) != len(dirs) {
		t.Errorf("made %q: %v", made, err)
	}
	if err := process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = process.Wait()
	if err := made.remove(); err != nil {
		t.Error(err)
	}
}
