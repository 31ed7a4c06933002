package sshconn

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

const dropIn = "/etc/sysctl.d/90-terraform-x.conf"

// wantFile fails the test unless the host has this file as WriteFile leaves it, and nothing temporary beside it.
func wantFile(t *testing.T, m machine, name, content string) {
	t.Helper()
	if got, ok := m.ReadFile(name); !ok || got != content {
		t.Errorf("%s holds %q (%v), want %q", name, got, ok, content)
	}
	if out, status := m.Sh("stat -c '%a %U' '" + name + "'"); status != 0 || strings.TrimSpace(out) != "644 root" {
		t.Errorf("%s is %q, want 644 root", name, out)
	}
	noLeftover(t, m, filepath.Dir(name))
}

func noLeftover(t *testing.T, m machine, dir string) {
	t.Helper()
	for _, f := range m.List(dir) {
		if strings.Contains(f, "terraform-tmp") {
			t.Errorf("%s is left in %s", f, dir)
		}
	}
}

func TestWriteFile(t *testing.T) {
	for _, way := range []struct {
		name   string
		user   account
		noSFTP bool
	}{
		{name: "by SFTP", user: accounts[0]},
		{name: "by SFTP under sudo", user: accounts[1]},
		{name: "by SFTP under sudo with a password", user: accounts[2]},
		{name: "by the shell", user: accounts[0], noSFTP: true},
		{name: "by the shell under sudo", user: accounts[1], noSFTP: true},
	} {
		t.Run(way.name, func(t *testing.T) {
			onMachines(t, machineOptions{users: accounts, noSFTP: way.noSFTP}, func(t *testing.T, m machine) {
				on := true
				set := reach(m, way.user.name)
				set.Sudo = &on
				if way.user.sudo == "password" {
					set.SudoPassword = way.user.password
				}
				c := conn(t, pool(t, set))
				files(t, m, c)
				if by := c.live.files.client != nil; by == way.noSFTP {
					t.Errorf("SFTP: %v, want %v", by, !way.noSFTP)
				}
			})
		})
	}
}

// files is what WriteFile and Remove promise on any host.
func files(t *testing.T, m machine, c *Conn) {
	ctx := t.Context()
	step := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	step("new", c.WriteFile(ctx, dropIn, "a = 1\n"))
	wantFile(t, m, dropIn, "a = 1\n")
	step("replaced", c.WriteFile(ctx, dropIn, "EOF\n$(reboot) `x` '\\n\" é\na = 2\n"))
	wantFile(t, m, dropIn, "EOF\n$(reboot) `x` '\\n\" é\na = 2\n")
	step("without a last newline", c.WriteFile(ctx, dropIn, "a = 3"))
	wantFile(t, m, dropIn, "a = 3\n")
	step("empty", c.WriteFile(ctx, dropIn, ""))
	wantFile(t, m, dropIn, "")
	big := strings.Repeat("# a long line of a long file\n", 8<<10)
	step("big", c.WriteFile(ctx, dropIn, big))
	wantFile(t, m, dropIn, big)

	step("strange name", c.WriteFile(ctx, "/etc/sysctl.d/it's a $(x) -n.conf", "x\n"))
	if got, _ := m.ReadFile("/etc/sysctl.d/it's a $(x) -n.conf"); got != "x\n" {
		t.Errorf("strange name: %q", got)
	}

	// What a write that was cut left, with a mode and an owner of its own.
	m.Sh("mkdir -p /etc/sysctl.d; cd /etc/sysctl.d; echo old >.90-terraform-x.conf.terraform-tmp; chmod 600 " +
		".90-terraform-x.conf.terraform-tmp")
	step("over what is left of another", c.WriteFile(ctx, dropIn, "a = 4\n"))
	wantFile(t, m, dropIn, "a = 4\n")

	m.Sh("cd /etc/sysctl.d; echo mine >/etc/victim; ln -s /etc/victim .90-terraform-x.conf.terraform-tmp")
	step("over a link left in its way", c.WriteFile(ctx, dropIn, "a = 5\n"))
	wantFile(t, m, dropIn, "a = 5\n")
	if got, _ := m.ReadFile("/etc/victim"); got != "mine\n" {
		t.Errorf("the link's target now holds %q", got)
	}

	m.Sh("rm -r /etc/modules-load.d")
	step("missing directory", c.WriteFile(ctx, "/etc/modules-load.d/x.conf", "x\n"))
	wantFile(t, m, "/etc/modules-load.d/x.conf", "x\n")
	if out, _ := m.Sh("stat -c '%a %U' /etc/modules-load.d"); strings.TrimSpace(out) != "755 root" {
		t.Errorf("the directory is %q, want 755 root", out)
	}

	m.Sh("mkdir -p /etc/sysctl.d/dir.conf")
	var e *fault.FileError
	if err := c.WriteFile(ctx, "/etc/sysctl.d/dir.conf", "x\n"); !errors.As(err, &e) || e.Op != "write" ||
		e.Reason != "Is a directory" {
		t.Errorf("over a directory: %v", err)
	}
	if err := c.Remove(ctx, "/etc/sysctl.d/dir.conf"); !errors.As(err, &e) || e.Op != "remove" ||
		e.Reason != "Is a directory" {
		t.Errorf("removal of a directory: %v", err)
	}
	noLeftover(t, m, "/etc/sysctl.d")

	step("removed", c.Remove(ctx, dropIn))
	if _, ok := m.ReadFile(dropIn); ok {
		t.Error("the file is still there")
	}
	step("removed again", c.Remove(ctx, dropIn))
	step("removed from a missing directory", c.Remove(ctx, "/etc/none.d/x.conf"))
}

func TestPathsAndContentThatAreNoFile(t *testing.T) {
	c := conn(t, pool(t, route.Settings{}))
	var e *fault.FileError
	for _, name := range []string{"", "/", "x.conf", "/etc/../x", "/etc//x", "/etc/x\ny", "/etc/x\x00"} {
		if err := c.WriteFile(t.Context(), name, "x\n"); !errors.As(err, &e) || e.Op != "write" {
			t.Errorf("write %q: %v", name, err)
		}
		if err := c.Remove(t.Context(), name); !errors.As(err, &e) || e.Op != "remove" {
			t.Errorf("remove %q: %v", name, err)
		}
	}
	if err := c.WriteFile(t.Context(), dropIn, "a\x00b"); !errors.As(err, &e) || !strings.Contains(e.Reason, "NUL") {
		t.Errorf("NUL: %v", err)
	}
}

func TestConcurrentWritesOfOneFileLeaveOneOfThemWhole(t *testing.T) {
	h := simulated(t, machineOptions{})
	c := conn(t, pool(t, reach(h, "root")))
	var all sync.WaitGroup
	texts := []string{}
	for i := range 8 {
		text := strings.Repeat(fmt.Sprintf("%d\n", i), 1000+i)
		texts = append(texts, text)
		all.Go(func() {
			if err := c.WriteFile(t.Context(), dropIn, text); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got, _ := h.ReadFile(dropIn); !slices.Contains(texts, got) {
		t.Errorf("a mixture of %d bytes", len(got))
	}
	noLeftover(t, h, "/etc/sysctl.d")
}

func TestFailedWriteSaysTheKernelsWords(t *testing.T) {
	for _, tc := range []struct {
		errno  syscall.Errno
		reason string
		next   string
	}{
		{syscall.ENOSPC, "No space left on device", "Free some space"},
		{syscall.EROFS, "Read-only file system", "persist = false"},
		{syscall.EACCES, "Permission denied", "sudo = true"},
	} {
		for _, noSFTP := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, SFTP %v", tc.reason, !noSFTP), func(t *testing.T) {
				h := simulated(t, machineOptions{noSFTP: noSFTP})
				h.WriteFile(dropIn, "old\n")
				c := conn(t, pool(t, reach(h, "root")))
				undo := h.Inject(hosttest.Fault{Errno: tc.errno, Path: "/etc/sysctl.d"})
				var e *fault.FileError
				err := c.WriteFile(t.Context(), dropIn, "new\n")
				if !errors.As(err, &e) || e.Reason != tc.reason || e.Op != "write" || e.Path != dropIn ||
					!strings.Contains(err.Error(), tc.next) {
					t.Errorf("write: %v", err)
				}
				if tc.errno != syscall.ENOSPC {
					if err := c.Remove(t.Context(), dropIn); !errors.As(err, &e) || e.Reason != tc.reason || e.Op != "remove" {
						t.Errorf("remove: %v", err)
					}
				}
				if got, _ := h.ReadFile(dropIn); got != "old\n" {
					t.Errorf("the old file is now %q", got)
				}
				noLeftover(t, h, "/etc/sysctl.d")
				undo()
				if err := c.WriteFile(t.Context(), dropIn, "new\n"); err != nil {
					t.Error(err)
				}
				wantFile(t, h, dropIn, "new\n")
			})
		}
	}
}

// The same words from a real kernel, in a mount namespace of sshd's own.
func TestFailedWriteOnARealFullOrReadOnlyFileSystem(t *testing.T) {
	for _, subsystem := range []string{"internal-sftp", "/bin/false"} {
		t.Run(subsystem, func(t *testing.T) {
			full, readOnly := t.TempDir(), t.TempDir()
			s := startSSHD(t, "Subsystem sftp "+subsystem,
				fmt.Sprintf("#mount -t tmpfs -o size=16k none %s; mount -t tmpfs -o ro none %s", full, readOnly))
			c := conn(t, pool(t, s.settings()))
			var e *fault.FileError
			if err := c.WriteFile(t.Context(), full+"/x.conf", strings.Repeat("x\n", 32<<10)); !errors.As(err, &e) ||
				e.Reason != "No space left on device" {
				t.Errorf("full: %v", err)
			}
			if res, err := c.Run(t.Context(), shell.Script{Name: "ls", Text: `ls -A "$1"`, Args: []string{full}}); err != nil ||
				len(res.Records) != 1 || res.Records[0].Body != "" {
				t.Errorf("left in the full one: %v, %v", res, err)
			}
			if err := c.WriteFile(t.Context(), readOnly+"/x.conf", "x\n"); !errors.As(err, &e) ||
				e.Reason != "Read-only file system" {
				t.Errorf("read-only: %v", err)
			}
			if err := c.WriteFile(t.Context(), readOnly+"/new.d/x.conf", "x\n"); !errors.As(err, &e) ||
				e.Reason != "Read-only file system" {
				t.Errorf("read-only, missing directory: %v", err)
			}
			if _, err := os.Stat(full + "/x.conf"); err == nil {
				t.Error("the test wrote to the machine's own file system")
			}
		})
	}
}

func TestOrdinaryUserReadsAndCannotWrite(t *testing.T) {
	onMachines(t, machineOptions{users: accounts}, func(t *testing.T, m machine) {
		c := conn(t, pool(t, reach(m, "guest")))
		mustEcho(t, c)
		var e *fault.FileError
		if err := c.WriteFile(t.Context(), dropIn, "x\n"); !errors.As(err, &e) || e.Reason != "Permission denied" {
			t.Errorf("got %v", err)
		}
	})
}

func TestBusyBoxHost(t *testing.T) {
	h := realHost(t, machineOptions{users: accounts, noSFTP: true, busybox: true})
	files(t, h, conn(t, pool(t, reach(h, "root"))))
}

// A server that closes in mid-transfer leaves the old file; where it closes once, the write begins anew and comes to
// its end.
func TestConnectionThatIsClosedInMidTransfer(t *testing.T) {
	bySFTP, byShell := startSSHD(t), startSSHD(t, "Subsystem sftp /bin/false")
	content := strings.Repeat("net.ipv4.ip_forward = 1\n", 100_000)
	for _, sent := range []int{10_000, 300_000, len(content) - 1} {
		for way, s := range map[string]*sshd{"SFTP": bySFTP, "shell": byShell} {
			t.Run(fmt.Sprintf("after %d bytes by %s", sent, way), func(t *testing.T) {
				w := startWire(t, s.addr)
				c := conn(t, pool(t, w.settings(s.settings())))
				file := filepath.Join(t.TempDir(), "x.conf")
				write(t, file, "old\n")
				w.cutAt, w.cuts = sent, 100
				if err := c.WriteFile(t.Context(), file, content); err == nil {
					t.Error("it was written over connections that are always cut")
				}
				if got, err := os.ReadFile(file); string(got) != "old\n" {
					t.Errorf("the file holds %d bytes, %v", len(got), err)
				}
				w.mu.Lock()
				w.cuts = 1
				w.mu.Unlock()
				if err := c.WriteFile(t.Context(), file, content); err != nil {
					t.Error(err)
				}
				if got, err := os.ReadFile(file); string(got) != content {
					t.Errorf("the file holds %d bytes, %v", len(got), err)
				}
				if w.cuts != 0 {
					t.Error("nothing was cut")
				}
				if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); len(left) > 0 {
					t.Errorf("left: %v", left)
				}
			})
		}
	}
}
