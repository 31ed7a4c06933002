package sshdtest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// available asks once: it starts a host.
var available = sync.OnceValue(Available)

// need skips where there can be no real host, and says what is missing.
func need(t *testing.T) {
	t.Helper()
	if err := available(); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: %v", err)
	}
}

func startHost(t *testing.T, o Options) *Host {
	t.Helper()
	need(t)
	h, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// dial logs in.
func dial(h *Host, user string, auth ssh.AuthMethod) (*ssh.Client, error) {
	return dialAs(h.Addr(), h.HostKey(), user, auth)
}

func dialAs(addr, hostKey, user string, auth ssh.AuthMethod) (*ssh.Client, error) {
	want, _, _, _, err := ssh.ParseAuthorizedKey([]byte(hostKey))
	if err != nil {
		return nil, err
	}
	return ssh.Dial("tcp", addr, &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{auth}, HostKeyCallback: ssh.FixedHostKey(want), HostKeyAlgorithms: []string{want.Type()}, // dropbear dies of others
	})
}

func mustDial(t *testing.T, h *Host, user string, auth ssh.AuthMethod) *ssh.Client {
	t.Helper()
	c, err := dial(h, user, auth)
	if err != nil {
		t.Fatalf("%v\n%s", err, h.Log())
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func key(t *testing.T, pem string) ssh.AuthMethod {
	t.Helper()
	k, err := ssh.ParsePrivateKey([]byte(pem))
	if err != nil {
		t.Fatal(err)
	}
	return ssh.PublicKeys(k)
}

// command runs one command in a session of its own.
func command(t *testing.T, c *ssh.Client, line, stdin string) (string, error) {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Stdin = strings.NewReader(stdin)
	out, err := s.CombinedOutput(line)
	return string(out), err
}

// eventually waits for what other processes are about to do.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not so: %s", what)
		}
	}
}

// A host is reached as any other machine, by its own key, and the login shell gets what sshd gives it.
func TestKeyLogin(t *testing.T) {
	h := startHost(t, Options{})
	c := mustDial(t, h, "root", key(t, h.PrivateKey()))
	out, err := command(t, c, "id -u; cat", "from standard input")
	if err != nil || out != "0\nfrom standard input" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := dial(h, "root", ssh.Password("root")); err == nil {
		t.Error("root logged in by a password that was never set")
	}
}

func TestSFTP(t *testing.T) {
	h := startHost(t, Options{})
	c := mustDial(t, h, "root", key(t, h.PrivateKey()))
	files, err := sftp.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	for _, extension := range []string{"fsync@openssh.com", "posix-rename@openssh.com"} {
		if _, ok := files.HasExtension(extension); !ok {
			t.Errorf("no %s", extension)
		}
	}
	f, err := files.Create("/etc/sysctl.d/x.conf")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("net.ipv4.ip_forward = 1\n")); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if got, ok := h.ReadFile("/etc/sysctl.d/x.conf"); !ok || got != "net.ipv4.ip_forward = 1\n" {
		t.Errorf("%q, %v", got, ok)
	}
}

// Neither the subsystem nor a program that a client could run instead.
func TestNoSFTP(t *testing.T) {
	h := startHost(t, Options{NoSFTP: true})
	c := mustDial(t, h, "root", key(t, h.PrivateKey()))
	if files, err := sftp.NewClient(c); err == nil {
		_ = files.Close()
		t.Error("there is an sftp subsystem")
	}
	if out, _ := h.Sh("find / -xdev -name sftp-server"); out != "" {
		t.Errorf("left: %s", out)
	}
}

func TestPasswordsAndSudo(t *testing.T) {
	h := startHost(t, Options{Users: []User{
		{Name: "root", Password: "of root"},
		{Name: "free", Password: "of free", Sudo: "nopasswd"},
		{Name: "asked", Password: "of:asked", Sudo: "password"},
		{Name: "plain", Password: "of plain"},
		{Name: "none", Password: "of none"},
	}, Sudoers: "plain ALL=(root) NOPASSWD: /usr/bin/uptime"})
	tests := []struct {
		name, user, password, line, stdin string
		want, fails                       string // the output of a success, part of that of a failure
	}{
		{name: "root", user: "root", password: "of root", line: "id -un", want: "root\n"},
		{name: "no password wanted", user: "free", password: "of free", line: "sudo -n id -un", want: "root\n"},
		{name: "password wanted", user: "asked", password: "of:asked", line: "sudo -n id -un", fails: "a password is required"},
		{name: "right password", user: "asked", password: "of:asked", line: "sudo -k -S -p '' id -un 2>/dev/null", stdin: "of:asked\n", want: "root\n"},
		{name: "wrong password", user: "asked", password: "of:asked", line: "sudo -k -S -p '' id -un", stdin: "wrong\n", fails: "Sorry, try again"},
		{name: "not in sudoers", user: "none", password: "of none", line: "sudo -k -S id", stdin: "of none\n", fails: "not in the sudoers file"},
		{name: "another command", user: "plain", password: "of plain", line: "sudo -k -S id", stdin: "of plain\n", fails: "not allowed to execute"},
		{name: "line of sudoers", user: "plain", password: "of plain", line: "sudo -n uptime >/dev/null", want: ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := mustDial(t, h, tt.user, ssh.Password(tt.password))
			out, err := command(t, c, tt.line, tt.stdin)
			if tt.fails == "" && (err != nil || out != tt.want) || tt.fails != "" && (err == nil || !strings.Contains(out, tt.fails)) {
				t.Errorf("%q, %v", out, err)
			}
		})
	}
	if _, err := dial(h, "plain", ssh.Password("of free")); err == nil {
		t.Error("logged in by another's password")
	}
}

func TestUserKey(t *testing.T) {
	public, private, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	h := startHost(t, Options{Users: []User{{Name: "ops", AuthorizedKeys: []string{public}, Sudo: "nopasswd"}}})
	out, err := command(t, mustDial(t, h, "ops", key(t, private)), "id -un; pwd; sudo -n id -un", "")
	if err != nil || out != "ops\n/home/ops\nroot\n" {
		t.Errorf("%q, %v", out, err)
	}
	if h.PrivateKey() != "" {
		t.Error("a key was made for root")
	}
}

func TestBusyBox(t *testing.T) {
	h := startHost(t, Options{Shell: "busybox"})
	c := mustDial(t, h, "root", key(t, h.PrivateKey()))
	for line, want := range map[string]string{"readlink -f /bin/sh": "/busybox\n", "readlink -f /proc/$$/exe": "/busybox\n", "grep --help 2>&1": "BusyBox v"} {
		if out, err := command(t, c, line, ""); err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %q, %v", line, out, err)
		}
	}
	if out, status := h.Sh("readlink -f /proc/$$/exe"); status != 0 || !strings.HasSuffix(out, "/busybox\n") {
		t.Errorf("Sh: %q, %d", out, status)
	}
	if got, ok := h.ReadFile("/etc/hostname"); !ok || got != h.link.hostName()+"\n" {
		t.Errorf("%q, %v", got, ok)
	}
}

// sshd's own limits are in force, and a line of Options wins over ours.
func TestSSHDConfig(t *testing.T) {
	h := startHost(t, Options{SSHDConfig: "PermitRootLogin no\nPermitRootLogin yes"})
	if _, err := dial(h, "root", key(t, h.PrivateKey())); err == nil {
		t.Error("the first of two lines does not win")
	}
	h = startHost(t, Options{SSHDConfig: "MaxSessions 2"})
	c := mustDial(t, h, "root", key(t, h.PrivateKey()))
	for range 2 {
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
	}
	var full *ssh.OpenChannelError
	if _, err := c.NewSession(); !errors.As(err, &full) {
		t.Errorf("a third session: %v", err)
	}
}

func TestShReturnsOutputAndStatus(t *testing.T) {
	h := startHost(t, Options{})
	tests := []struct {
		script, out string
		status      int
	}{
		{"echo a; echo b >&2; exit 3", "a\nb\n", 3},
		{"printf 'no newline'", "no newline", 0},
		{"cat", "", 0},
		{"nosuch", "sh: 2: nosuch: not found\n", 127},
		{"hostname", h.link.hostName() + "\n", 0},
	}
	for _, tt := range tests {
		out, status := h.Sh(tt.script)
		if status != tt.status || out != tt.out && !strings.Contains(out, "not found") {
			t.Errorf("%s: %q, %d", tt.script, out, status)
		}
	}
}

// What a session leaves on the host is seen; what ended is not, although it was orphaned, nor is what belongs to sshd.
func TestProcessesAndConnections(t *testing.T) {
	h := startHost(t, Options{})
	if got := h.Processes(); len(got) != 0 {
		t.Errorf("a new host runs %q", got)
	}
	c := mustDial(t, h, "root", key(t, h.PrivateKey()))
	if got := h.Connections(); got != 1 {
		t.Errorf("%d connections, want 1", got)
	}
	if out, err := command(t, c, "sleep 1001 >/dev/null 2>&1 & (sleep 0 &) ; exit", ""); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	if _, status := h.Sh("sleep 1002 &"); status != 0 {
		t.Fatal("Sh waits for what it leaves in the background")
	}
	want := []string{"sleep 1001", "sleep 1002"}
	eventually(t, fmt.Sprintf("the host runs %q", want), func() bool {
		got := h.Processes()
		return len(got) == 2 && strings.Join(got, "|") == strings.Join(want, "|")
	})
	_ = c.Close()
	eventually(t, "no connection is open", func() bool { return h.Connections() == 0 })
	h.Sh("kill $(pgrep sleep)")
	eventually(t, "orphans are taken in", func() bool {
		out, _ := h.Sh("ps -e -o stat=,comm=")
		return !strings.Contains(out, "Z") && len(h.Processes()) == 0
	})
}
