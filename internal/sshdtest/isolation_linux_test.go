package sshdtest

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// Each host has net.* keys of its own: neither the machine's nor another host's change with them.
func TestNetworkKeysAreTheHostsOwn(t *testing.T) {
	const path = "/proc/sys/net/ipv4/ip_forward"
	machine := func() string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	h, other := startHost(t, Options{}), startHost(t, Options{})
	c := mustDial(t, h, "root", key(t, h.PrivateKey()))
	before := machine()
	for _, value := range []string{"1\n", "0\n", "1\n"} {
		theirs, _ := other.ReadFile(path)
		if out, err := command(t, c, "cat >"+path, value); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if got, _ := h.ReadFile(path); got != value {
			t.Errorf("the host has %q, want %q", got, value)
		}
		if got, _ := other.ReadFile(path); got != theirs {
			t.Errorf("another host's changed to %q", got)
		}
		if got := machine(); got != before {
			t.Fatalf("the machine's changed to %q", got)
		}
	}
}

// Whatever is not of the host's network namespace is the machine's: no session may change it, nor lift what keeps it from that. Each command would write
// the value that is there.
func TestMachineKernelIsOutOfReach(t *testing.T) {
	h := startHost(t, Options{})
	c := mustDial(t, h, "root", key(t, h.PrivateKey()))
	for _, line := range []string{
		"v=$(cat /proc/sys/vm/swappiness); echo $v >/proc/sys/vm/swappiness",
		"v=$(cat /proc/sys/kernel/panic); echo $v >/proc/sys/kernel/panic",
		"v=$(cat /proc/sys/kernel/hostname); echo $v >/proc/sys/kernel/hostname",
		"v=$(cat /proc/sys/fs/nr_open); echo $v >/proc/sys/fs/nr_open",
		"chmod 644 /proc/sys/vm/swappiness",
		"chmod 755 /sys/module",
	} {
		for by, run := range map[string]func() (string, bool){
			"ssh": func() (string, bool) { out, err := command(t, c, line, ""); return out, err == nil },
			"Sh":  func() (string, bool) { out, status := h.Sh(line); return out, status == 0 },
		} {
			if out, ok := run(); ok || !strings.Contains(out, "Read-only file system") {
				t.Errorf("by %s: %s: ok %v, %q", by, line, ok, out)
			}
		}
	}
	for _, line := range []string{
		"mount -o remount,bind,rw /proc/sys",
		"umount /proc/sys",
		"mount -t proc x /mnt",
		"mknod /dev/x b 7 0",
	} {
		if out, err := command(t, c, line, ""); err == nil {
			t.Errorf("%s: %s", line, out)
		}
	}
	options, _ := h.Sh("findmnt -n -o OPTIONS /proc/sys; findmnt -n -o OPTIONS /sys; findmnt -n -o OPTIONS /lib/modules")
	for line := range strings.Lines(options) {
		if !strings.HasPrefix(line, "ro,") {
			t.Errorf("not read-only: %s", line)
		}
	}
}

// No module of a test ever reaches the machine's kernel: there is none to load, and nobody may load one.
func TestNoModuleCanBeLoaded(t *testing.T) {
	h := startHost(t, Options{})
	c := mustDial(t, h, "root", key(t, h.PrivateKey()))
	out, err := command(t, c, "modprobe dummy", "")
	if err == nil || !strings.Contains(out, "Module dummy not found") {
		t.Errorf("%q, %v", out, err)
	}
	if names := h.List("/lib/modules"); len(names) != 0 {
		t.Errorf("/lib/modules has %q", names)
	}
	const sysModule = 16 // capabilities(7), linux/capability.h
	for by, run := range map[string]func() string{
		"ssh": func() string { out, _ := command(t, c, "cat /proc/self/status", ""); return out },
		"Sh":  func() string { out, _ := h.Sh("cat /proc/self/status"); return out },
	} {
		for _, set := range []string{"CapBnd", "CapPrm", "CapEff"} {
			_, after, _ := strings.Cut(run(), set+":\t")
			var caps uint64
			if _, err := fmt.Sscanf(after, "%x", &caps); err != nil || caps == 0 {
				t.Fatalf("%s by %s: %v", set, by, err)
			}
			if caps&(1<<sysModule) != 0 {
				t.Errorf("%s by %s has CAP_SYS_MODULE: %x", set, by, caps)
			}
		}
	}
}

// What a host writes, it writes for itself, and it sees nothing of the home of whoever runs the test.
func TestFilesAreTheHostsOwn(t *testing.T) {
	h := startHost(t, Options{})
	for _, dir := range []string{"/etc/sysctl.d", "/var/lib/sshdtest", "/root", "/run", "/usr/lib", "/tmp"} {
		path := dir + "/only-on-the-host.conf"
		h.WriteFile(path, "x'y\n")
		if got, ok := h.ReadFile(path); !ok || got != "x'y\n" {
			t.Errorf("%s: %q, %v", path, got, ok)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is on the machine: %v", path, err)
		}
		h.RemoveFile(path)
		if _, ok := h.ReadFile(path); ok {
			t.Errorf("%s is still there", path)
		}
		h.RemoveFile(path)
	}
	if got := h.List("/root"); len(got) != 1 || got[0] != ".ssh" {
		t.Errorf("/root has %q", got)
	}
	if got := h.List("/etc/sysctl.d"); len(got) != 0 {
		t.Errorf("/etc/sysctl.d has %q", got)
	}
	if got := h.List("/nosuch"); got != nil {
		t.Errorf("%q", got)
	}
	shadow, _ := h.ReadFile("/etc/shadow")
	for line := range strings.Lines(shadow) {
		if _, rest, _ := strings.Cut(line, ":"); !strings.HasPrefix(rest, "*:") {
			t.Errorf("a password came along: %s", line)
		}
	}
}

// A test that could not make the host it wants must not go on.
func TestWriteFileFailsLoudly(t *testing.T) {
	h := startHost(t, Options{})
	defer func() {
		if err, ok := recover().(*Error); !ok || !strings.Contains(err.Error(), "Read-only file system") {
			t.Errorf("%v", err)
		}
	}()
	h.WriteFile("/proc/sys/vm/swappiness", "60\n")
}
