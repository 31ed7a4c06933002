//go:build vm

package vmtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func start(t *testing.T, o Options) *VM {
	t.Helper()
	v, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

func sh(t *testing.T, v *VM, script string) string {
	t.Helper()
	out, status := v.Sh(script)
	if status != 0 {
		t.Fatalf("%s: %d, %s", script, status, out)
	}
	return strings.TrimSpace(out)
}

const bootID = "cat /proc/sys/kernel/random/boot_id"

// Guards that a VM is what the tests take it for: the release asked for, a well systemd, a real kernel on which no module of interest is loaded yet, users who
// log in, sudo as said.
func TestVMIsWell(t *testing.T) {
	for name, suite := range map[string]Suite{"bookworm": Bookworm, "trixie": Trixie} {
		t.Run(name, func(t *testing.T) {
			v := start(t, Options{Suite: suite})
			if out := sh(t, v, ". /etc/os-release; echo $VERSION_CODENAME"); out != name {
				t.Errorf("the machine is of %s", out)
			}
			if out := sh(t, v, "systemctl is-system-running --wait"); out != "running" {
				t.Errorf("systemd is %s: %s", out, sh(t, v, "systemctl --failed"))
			}
			if out, status := v.Sh("grep -E '^(nf_conntrack|overlay|br_netfilter|tcp_bbr) ' /proc/modules"); status == 0 {
				t.Errorf("loaded already: %s", out)
			}
			sh(t, v, "modprobe nf_conntrack && grep '^nf_conntrack ' /proc/modules")
			for user, want := range map[string]string{Root: "0", Sudoer: "0", NoSudo: "1"} {
				if out := login(t, v, user, "sudo -n true 2>/dev/null; echo $?"); out != want {
					t.Errorf("sudo of %s ends with %q", user, out)
				}
			}
		})
	}
}

func login(t *testing.T, v *VM, user, command string) string {
	t.Helper()
	signer, err := ssh.ParsePrivateKey([]byte(v.PrivateKey()))
	if err != nil {
		t.Fatal(err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(v.HostKey()))
	if err != nil {
		t.Fatal(err)
	}
	c, err := ssh.Dial("tcp", v.Addr(), &ssh.ClientConfig{User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(key)})
	if err != nil {
		t.Fatalf("%s: %v", user, err)
	}
	defer c.Close()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Output(command)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// Guards that nothing of one VM is seen in the next, which goes on from the same memory: no file, no module, no value.
func TestVMIsFresh(t *testing.T) {
	const marks = "ls /etc/mark /proc/sys/net/netfilter/nf_conntrack_max 2>/dev/null; cat /proc/sys/vm/swappiness; " + bootID
	first := start(t, Options{})
	before := sh(t, first, marks)
	sh(t, first, "touch /etc/mark; sync; modprobe nf_conntrack; echo 7 >/proc/sys/vm/swappiness")
	if got := sh(t, first, marks); got == before || !strings.Contains(got, "/etc/mark") {
		t.Fatalf("the marks do not show: this test would see nothing: %s", got)
	}
	if got := sh(t, start(t, Options{}), marks); got != before {
		t.Errorf("another VM has\n%s\nthe first had\n%s", got, before)
	}
}

// Guards that a reboot is a real one, with a kernel that starts anew, and that the disk outlives it; and that a reset loses what was not written to the disk.
func TestVMRebootsForReal(t *testing.T) {
	v := start(t, Options{})
	was := sh(t, v, bootID)
	sh(t, v, "touch /etc/mark; modprobe nf_conntrack; echo 7 >/proc/sys/vm/swappiness")
	if err := v.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, v, "ls /etc/mark; cat /proc/sys/vm/swappiness; grep -c '^nf_conntrack ' /proc/modules || true"); got != "/etc/mark\n60\n0" {
		t.Errorf("after the reboot: %q", got)
	}
	now := sh(t, v, bootID)
	if now == was {
		t.Error("the kernel did not start anew")
	}
	sh(t, v, "touch /etc/synced; sync; touch /etc/lost")
	if err := v.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, v, "ls /etc/synced /etc/lost 2>/dev/null || true"); got != "/etc/synced" {
		t.Errorf("after the reset there are %q", got)
	}
	if again := sh(t, v, bootID); again == now {
		t.Error("the kernel did not start anew")
	}
}

// Guards that a machine whose kernel comes to nothing any more while somebody waits for its boot is reset, and is up then.
func TestVMBootThatHangsIsBegunAgain(t *testing.T) {
	v := start(t, Options{})
	was := sh(t, v, bootID+"; echo 1 >/proc/sys/kernel/unknown_nmi_panic")
	if _, err := v.qemu.call(t.Context(), "inject-nmi", nil); err != nil {
		t.Fatal(err)
	}
	if err := v.WaitBoot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now := sh(t, v, bootID); now == was {
		t.Error("the kernel did not start anew")
	}
	if !strings.Contains(v.Console(), "Kernel panic") {
		t.Errorf("the kernel did not hang: this test saw nothing:\n%s", v.Console())
	}
}

// Guards that words of the kernel command line reach the kernel.
func TestVMTakesACommandLine(t *testing.T) {
	v := start(t, Options{Cmdline: "sysctl.vm.swappiness=33"})
	if got := sh(t, v, "cat /proc/sys/vm/swappiness"); got != "33" {
		t.Errorf("vm.swappiness is %s", got)
	}
}

// Guards that Close leaves no process of QEMU and no file, and a failed start neither.
func TestVMLeavesNothing(t *testing.T) {
	v := start(t, Options{})
	ours := v.image.dir
	before := filesIn(t, ours)
	if got := processesOf(t, ours); len(got) == 0 {
		t.Fatal("a running VM is not seen: this test would see nothing")
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if got := processesOf(t, ours); len(got) > 0 {
		t.Errorf("processes left: %q", got)
	}
	if _, status := v.Sh("true"); status == 0 {
		t.Error("a closed VM answers")
	}
	i, err := open(t.Context(), Bookworm)
	if err != nil {
		t.Fatal(err)
	}
	broken := *i
	broken.dir = t.TempDir()
	if v, err := boot(t.Context(), &broken, Options{Cmdline: "x"}, true); err == nil {
		t.Error("a VM without a disk started")
		_ = v.Close()
	} else if !strings.Contains(err.Error(), "No such file") {
		t.Errorf("it does not say why: %v", err)
	}
	if got := processesOf(t, broken.dir); len(got) > 0 {
		t.Errorf("processes left: %q", got)
	}
	if got := filesIn(t, ours); got != before {
		t.Errorf("files in the cache: %s, before: %s", got, before)
	}
}

// processesOf are the command lines that name the directory.
func processesOf(t *testing.T, dir string) (found []string) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if text, _ := os.ReadFile(path); strings.Contains(string(text), dir) {
			found = append(found, strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return found
}

func filesIn(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}
