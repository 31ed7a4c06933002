package hosttest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

func openSFTP(t *testing.T, c *ssh.Client) *sftp.Client {
	t.Helper()
	s, err := sftp.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// pipeSFTP runs a command that is an SFTP server.
func pipeSFTP(t *testing.T, c *ssh.Client, command, input string) (*sftp.Client, error) {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	in, _ := s.StdinPipe()
	out, _ := s.StdoutPipe()
	if err := s.Start(command); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(in, input); err != nil {
		return nil, err
	}
	x, err := sftp.NewClientPipe(out, in)
	if err == nil {
		t.Cleanup(func() { x.Close() })
	}
	return x, err
}

// replace writes a file as the provider does: temporary name, mode, fsync, rename.
func replace(s *sftp.Client, path, content string) error {
	tmp := path + ".tmp"
	f, err := s.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer f.Close()
	if err := f.Chmod(0o644); err != nil {
		return fmt.Errorf("chmod: %w", err)
	}
	if _, err := f.Write([]byte(content)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("fsync: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	if err := s.PosixRename(tmp, path); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	return nil
}

// Guards the atomic write over SFTP, as root and through sudo, and that it is six exchanges and one INIT.
func TestSFTPReplacesAFile(t *testing.T) {
	h := start(t, Options{Users: []User{{Name: "root", Password: "pw"}, {Name: "ops", Password: "pw", Sudo: SudoNoPassword}, {Name: "dev", Password: "pw", Sudo: SudoPassword}}})
	const server = "/usr/lib/openssh/sftp-server"
	for _, c := range []struct{ user, command, input string }{
		{"root", "", ""},
		{"root", server, ""},
		{"ops", "sudo -n -- " + server, ""},
		{"dev", "sudo -k -S -p PROMPT -- " + server, "pw\n"},
	} {
		client := dialAs(t, h, c.user, password("pw"))
		var s *sftp.Client
		var err error
		if c.command == "" {
			s = openSFTP(t, client)
		} else if s, err = pipeSFTP(t, client, c.command, c.input); err != nil {
			t.Fatalf("%s: %v", c.command, err)
		}
		before := h.Exchanges()
		for i := range 2 {
			text := fmt.Sprintf("%s %d\n", c.command, i) + strings.Repeat("#\n", 40000)
			if err := replace(s, "/etc/sysctl.d/90-test.conf", text); err != nil {
				t.Errorf("%s: %v", c.command, err)
			}
			if got := h.mustRead(t, "/etc/sysctl.d/90-test.conf"); got != text {
				t.Errorf("%s: wrote %d bytes, %d are there", c.command, len(text), len(got))
			}
		}
		if n := h.Exchanges() - before; n != 2*(5+3) { // 80 KB are three writes of at most 32 KiB
			t.Errorf("%s: two writes were %d exchanges", c.command, n)
		}
		if out, _ := h.Sh("ls -l /etc/sysctl.d/90-test.conf"); !strings.HasPrefix(out, "-rw-r--r-- 1 root root ") {
			t.Errorf("%s: %s", c.command, out)
		}
	}
	if names := strings.Join(h.List("/etc/sysctl.d"), " "); names != "90-test.conf 99-sysctl.conf README.sysctl" {
		t.Errorf("left in the directory: %s", names)
	}
}

// Guards the errors: OpenSSH's server sends statuses, not errnos, and maps what the kernel says to few of them.
func TestSFTPErrorsAreOpenSSHs(t *testing.T) {
	h := start(t, Options{Files: map[string]string{"/etc/a": "a", "/etc/b": "b", "/etc/d/x": ""}})
	s := openSFTP(t, dial(t, h))
	write := func(path, text string) func() error {
		return func() error {
			f, err := s.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.Write([]byte(text))
			return err
		}
	}
	const badMessage, failure = sftp.ErrSSHFxBadMessage, sftp.ErrSSHFxFailure
	for _, c := range []struct {
		name string
		do   func() error
		want error
	}{
		{"missing", write("/nope/x", ""), fs.ErrNotExist},
		{"below a file", write("/etc/a/x", ""), fs.ErrNotExist},
		{"a directory", write("/etc/d", ""), failure},
		{"EINVAL", write("/proc/sys/vm/swappiness", "999\n"), badMessage},
		{"a value the kernel takes", write("/proc/sys/vm/swappiness", "7\n"), nil},
		{"a value it takes the first field of", write("/proc/sys/vm/swappiness", "7 8\n"), failure},
		{"read-only key", write("/proc/sys/kernel/osrelease", "1"), fs.ErrPermission},
		{"EIO", write("/proc/sys/net/ipv6/conf/all/stable_secret", "x"), failure},
		{"rename onto a file", func() error { return s.Rename("/etc/a", "/etc/b") }, failure},
		{"posix-rename onto a file", func() error { return s.PosixRename("/etc/a", "/etc/b") }, nil},
		{"remove a directory", func() error { return s.Remove("/etc/d") }, failure},
		{"read a write-only key", func() error { _, err := s.Open("/proc/sys/vm/drop_caches"); return err }, fs.ErrPermission},
		{"symlink", func() error { return s.Symlink("../b", "/etc/d/l") }, nil},
		{"mkdir", func() error { return s.Mkdir("/etc/d/new") }, nil},
		{"mkdir again", func() error { return s.Mkdir("/etc/d/new") }, failure},
		{"rmdir", func() error { return s.RemoveDirectory("/etc/d/new") }, nil},
		{"truncate", func() error { return s.Truncate("/etc/b", 0) }, nil},
	} {
		err := c.do()
		var status *sftp.StatusError
		if errors.As(err, &status) {
			err = status.FxCode()
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v; want %v", c.name, err, c.want)
		}
	}
	if got, _ := s.ReadLink("/etc/d/l"); got != "../b" {
		t.Errorf("readlink %q", got)
	}
	if got, err := s.RealPath("/lib/modules/../openssh/./x"); got != "/usr/lib/openssh/x" {
		t.Errorf("realpath %q, %v", got, err)
	}
	if got, _ := s.Stat("/etc/d/l"); got == nil || !got.Mode().IsRegular() {
		t.Errorf("stat follows links: %v", got)
	}
	if got, _ := s.Lstat("/etc/d/l"); got == nil || got.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("lstat does not follow links: %v", got)
	}
	all, err := s.ReadDir("/proc/sys/vm")
	if err != nil || len(all) < 20 || all[0].Size() != 0 {
		t.Errorf("readdir: %d entries, %v", len(all), err)
	}
}

// Guards that a file of /proc has size 0 and that a sysctl answers one read: a client with a small buffer sees no more than its first read.
func TestSFTPReadsOfProcFiles(t *testing.T) {
	h := start(t, Options{})
	var ports []string
	for i := 1; i < 2000; i += 2 {
		ports = append(ports, itoa(i))
	}
	want := strings.Join(ports, ",")
	h.WriteFile("/proc/sys/net/ipv4/ip_local_reserved_ports", want)
	s := openSFTP(t, dial(t, h))
	f, err := s.Open("/proc/sys/net/ipv4/ip_local_reserved_ports")
	if err != nil {
		t.Fatal(err)
	}
	if i, err := f.Stat(); err != nil || i.Size() != 0 {
		t.Errorf("stat: %v, %v", i, err)
	}
	small, err := io.ReadAll(f)
	if err != nil || len(small) != 512 {
		t.Errorf("io.ReadAll: %d bytes, %v; want 512, as on Linux", len(small), err)
	}
	big := make([]byte, 32<<10)
	n, err := f.ReadAt(big, 0)
	if string(big[:n]) != want+"\n" || err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("one big read: %d bytes, %v", n, err)
	}
}

// Guards a host without SFTP: no subsystem, no program, and a shell can see that.
func TestWithoutSFTP(t *testing.T) {
	h := start(t, Options{NoSFTP: true})
	c := dial(t, h)
	if _, err := sftp.NewClient(c); err == nil || !strings.Contains(err.Error(), "subsystem request failed") {
		t.Errorf("subsystem: %v", err)
	}
	if _, err := pipeSFTP(t, c, "/usr/libexec/openssh/sftp-server", ""); err == nil {
		t.Error("a program that is not there served SFTP")
	}
	if out, status := h.Sh("[ -x /usr/lib/openssh/sftp-server ] || echo none"); out != "none\n" {
		t.Errorf("%q, %d", out, status)
	}
}

// Guards the errno faults: where each shows, and that undo ends it.
func TestErrnoFaults(t *testing.T) {
	for _, c := range []struct {
		errno syscall.Errno
		sftp  string
		shell string
	}{
		{syscall.ENOSPC, "write: sftp: \"Failure\"", "cat: write error: No space left on device\n"},
		{syscall.EDQUOT, "open: sftp: \"Failure\"", "sh: 1: cannot create /etc/sysctl.d/a.conf: Disk quota exceeded\n"},
		{syscall.EROFS, "open: sftp: \"Failure\"", "sh: 1: cannot create /etc/sysctl.d/a.conf: Read-only file system\n"},
		{syscall.EACCES, "open: permission denied", "sh: 1: cannot create /etc/sysctl.d/a.conf: Permission denied\n"},
	} {
		h := start(t, Options{})
		s := openSFTP(t, dial(t, h))
		undo := h.Inject(Fault{Errno: c.errno, Path: "/etc/sysctl.d"})
		if err := replace(s, "/etc/sysctl.d/a.conf", "x"); err == nil || !strings.HasPrefix(err.Error(), c.sftp) {
			t.Errorf("%v: SFTP says %v; want %s", c.errno, err, c.sftp)
		}
		if out, _ := h.Sh("cat >/etc/sysctl.d/a.conf <<E\nx\nE"); out != c.shell {
			t.Errorf("%v: the shell says %q; want %q", c.errno, out, c.shell)
		}
		if err := replace(s, "/etc/other", "x"); err != nil {
			t.Errorf("%v: elsewhere %v", c.errno, err)
		}
		if got := h.mustRead(t, "/etc/sysctl.d/99-sysctl.conf"); got == "" {
			t.Errorf("%v: reading is refused too", c.errno)
		}
		undo()
		if err := replace(s, "/etc/sysctl.d/a.conf", "x"); err != nil {
			t.Errorf("%v: after undo %v", c.errno, err)
		}
	}
}
