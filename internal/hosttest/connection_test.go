package hosttest

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/shell"
	"golang.org/x/crypto/ssh"
)

// tryLogin logs in and says how it went.
func tryLogin(h *Host, user string, auth ...ssh.AuthMethod) (*ssh.Client, error) {
	return ssh.Dial("tcp", h.Addr(), &ssh.ClientConfig{User: user, Auth: auth, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
		BannerCallback: func(string) error { return nil }})
}

// Guards logins: who gets in with what, how failures look, and that attempts are counted.
func TestLogins(t *testing.T) {
	h := start(t, Options{Users: []User{{Name: "ops", Password: "right"}, {Name: "nopw"}}, MaxAuthTries: 3, BannerText: "Keep out\n"})
	other := start(t, Options{})
	wrong, err := ssh.ParsePrivateKey([]byte(other.PrivateKey()))
	if err != nil {
		t.Fatal(err)
	}
	if h.PrivateKey() != "" {
		t.Error("a key was made although users were given")
	}
	const refused = "unable to authenticate"
	for _, c := range []struct {
		name, user string
		auth       []ssh.AuthMethod
		want       string
		attempts   int
	}{
		{"right password", "ops", []ssh.AuthMethod{password("right")}, "", 1},
		{"wrong password", "ops", []ssh.AuthMethod{password("wrong")}, refused, 1},
		{"no password", "nopw", []ssh.AuthMethod{password("")}, refused, 1},
		{"unknown user", "who", []ssh.AuthMethod{password("")}, refused, 1},
		{"root without an account", "root", []ssh.AuthMethod{password("")}, refused, 1},
		{"wrong key, then the password", "ops", []ssh.AuthMethod{ssh.PublicKeys(wrong), password("right")}, "", 2},
		{"too many keys", "ops", []ssh.AuthMethod{ssh.PublicKeys(slices.Repeat([]ssh.Signer{wrong}, 7)...)},
			"too many authentication failures", 6},
	} {
		before := h.AuthAttempts()
		client, err := tryLogin(h, c.user, c.auth...)
		if client != nil {
			client.Close()
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v; want %q", c.name, err, c.want)
		}
		if n := h.AuthAttempts() - before; n != c.attempts {
			t.Errorf("%s: %d attempts; want %d", c.name, n, c.attempts)
		}
	}
	if _, total := h.Connections(); total != 2 {
		t.Errorf("%d logins; want 2", total)
	}
	if k := strings.Fields(h.HostKey()); len(k) != 2 || k[0] != "ssh-ed25519" {
		t.Errorf("host key %q", h.HostKey())
	}
}

// Guards the limit of sessions: one more fails alone, and a session that ended makes room.
func TestMaxSessions(t *testing.T) {
	h := start(t, Options{MaxSessions: 2})
	c := dial(t, h)
	var open []*ssh.Session
	for range 2 {
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
	}
	var refused *ssh.OpenChannelError
	if _, err := c.NewSession(); !errors.As(err, &refused) || refused.Reason != ssh.ConnectionFailed || refused.Message != "open failed" {
		t.Errorf("the third session: %v", err)
	}
	out, err := open[0].Output("echo hello; exit 3")
	var status *ssh.ExitError
	if string(out) != "hello\n" || !errors.As(err, &status) || status.ExitStatus() != 3 {
		t.Errorf("%q, %v", out, err)
	}
	for { // the server learns of the end a moment later
		s, err := c.NewSession()
		if err == nil {
			s.Close()
			break
		}
		if !errors.As(err, &refused) {
			t.Fatal(err)
		}
	}
	if _, _, err := c.SendRequest("keepalive@openssh.com", true, nil); err != nil {
		t.Errorf("keepalive: %v", err)
	}
}

// Guards sudo: how the three grants answer -n, a right and a wrong password, and that a command which is there without a password does not eat the next line.
func TestSudo(t *testing.T) {
	h := start(t, Options{Users: []User{{Name: "free", Password: "pw", Sudo: SudoNoPassword}, {Name: "asked", Password: "pw", Sudo: SudoPassword}, {Name: "none", Password: "pw"}}})
	for _, c := range []struct{ user, command, in, out, err string }{
		{"free", "sudo -n -- id -un", "", "root\n", ""},
		{"asked", "sudo -n -- id -un", "", "", "sudo: a password is required\n"},
		{"none", "sudo -n -- id -un", "", "", "sudo: a password is required\n"},
		{"free", "sudo -k -S -p PROMPT -- cat", "line\n", "line\n", ""},
		{"asked", "sudo -k -S -p PROMPT -- cat", "pw\nline\n", "line\n", "PROMPT"},
		{"asked", "sudo -k -S -p PROMPT -- id -u", "no\npw\n", "0\n", "PROMPTSorry, try again.\nPROMPT"},
		{"asked", "sudo -S -p P -- id", "a\nb\nc\n", "", "PSorry, try again.\nPSorry, try again.\nPsudo: 3 incorrect password attempts\n"},
		{"asked", "sudo -S -p P -- id", "", "", "P\nsudo: no password was provided\nsudo: a password is required\n"},
		{"none", "sudo -S -p P -- id", "pw\n", "", "Pnone is not in the sudoers file.\n"},
		{"free", "sudo -n /usr/libexec/openssh/sftp-server", "", "", "sudo: /usr/libexec/openssh/sftp-server: command not found\n"},
		{"free", "sudo -n sh -c 'echo $HOME $SUDO_USER; modprobe tun; umask'", "", "/root free\n0022\n", ""},
	} {
		s, err := dialAs(t, h, c.user, password("pw")).NewSession()
		if err != nil {
			t.Fatal(err)
		}
		var out, words bytes.Buffer
		s.Stdin, s.Stdout, s.Stderr = strings.NewReader(c.in), &out, &words
		err = s.Run(c.command)
		failed := err != nil && !errors.Is(err, io.EOF)
		if out.String() != c.out || words.String() != c.err || failed != (c.out == "") {
			t.Errorf("%s: %s <<< %q: %q, %q, %v; want %q, %q", c.user, c.command, c.in, out.String(), words.String(), err, c.out, c.err)
		}
		s.Close()
	}
	s := openSession(t, dialAs(t, h, "free", password("pw")), "sudo -k -S -p PROMPT -- /bin/sh -s")
	if r := s.one(t, shell.Script{Text: "id -un"}); r.Records[0].Body != "root\n" {
		t.Errorf("a session under sudo runs as %q", r.Records[0].Body)
	}
}

// Guards what a client sees of a host without a usable shell.
func TestForcedCommand(t *testing.T) {
	h := start(t, Options{ForceCommand: "echo This account is not available.; false"})
	s, err := dial(t, h).NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if out, err := s.Output("/bin/sh -s"); string(out) != "This account is not available.\n" || err == nil {
		t.Errorf("%q, %v", out, err)
	}
}

// Guards a reboot: it cuts every connection, the host key and the address stay, and logins work when it returns.
func TestARebootCutsConnections(t *testing.T) {
	h := start(t, Options{})
	key, addr := h.HostKey(), h.Addr()
	var wait sync.WaitGroup
	for range 3 {
		c := dial(t, h)
		s := openSession(t, c, "/bin/sh -s")
		wait.Go(func() {
			if err := s.more(); err == nil {
				t.Error("a session outlived the reboot")
			}
			_ = c.Wait() // returns when the connection is gone, whatever it says
		})
	}
	if open, total := h.Connections(); open != 3 || total != 3 {
		t.Errorf("%d open of %d; want 3 of 3", open, total)
	}
	h.Reboot()
	wait.Wait()
	if open, _ := h.Connections(); open != 0 {
		t.Errorf("%d connections after a reboot", open)
	}
	if h.HostKey() != key || h.Addr() != addr {
		t.Error("the reboot changed the host's key or address")
	}
	if r := openSession(t, dial(t, h), "/bin/sh -s").one(t, shell.Script{Text: "echo up"}); r.Records[0].Body != "up\n" {
		t.Errorf("%q", r.Records[0].Body)
	}
}

// Guards concurrent use: sessions of one connection, SFTP, the console and the test's own access at once see whole files and their own replies.
func TestManyAtOnce(t *testing.T) {
	h := start(t, Options{})
	c := dial(t, h)
	files := openSFTP(t, c)
	var wait sync.WaitGroup
	for i := range 4 {
		name, s := "/etc/sysctl.d/"+itoa(i)+".conf", openSession(t, c, "/bin/sh -s")
		wait.Go(func() {
			for range 20 {
				r, err := s.run(shell.Script{Text: "cat >$1; modprobe nf_conntrack; cat $1; modprobe -r nf_conntrack; :", Args: []string{name}, Stdin: name})
				if err != nil || !strings.HasPrefix(r[0].Records[0].Body, name+"\n") {
					t.Errorf("%v, %v", r, err)
					return
				}
			}
		})
		wait.Go(func() {
			for range 20 {
				if err := replace(files, name+".sftp", strings.Repeat(name, 100)); err != nil {
					t.Error(err)
				}
				h.Sh("sysctl -w vm.swappiness=" + itoa(i))
				h.ReadFile(name)
				h.List("/proc/sys/net")
			}
		})
	}
	wait.Wait()
}

// Guards a jump host: a forwarded connection reaches another host and ends with it.
func TestAJumpHost(t *testing.T) {
	bastion, inner := start(t, Options{}), start(t, Options{})
	via := dial(t, bastion)
	tcp, err := via.Dial("tcp", inner.Addr())
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey([]byte(inner.PrivateKey()))
	if err != nil {
		t.Fatal(err)
	}
	conn, channels, requests, err := ssh.NewClientConn(tcp, inner.Addr(), &ssh.ClientConfig{User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey()})
	if err != nil {
		t.Fatal(err)
	}
	c := ssh.NewClient(conn, channels, requests)
	defer c.Close()
	if r := openSession(t, c, "/bin/sh -s").one(t, shell.Script{Text: "echo inside"}); r.Records[0].Body != "inside\n" {
		t.Errorf("%q", r.Records[0].Body)
	}
	if _, err := via.Dial("tcp", "127.0.0.1:1"); err == nil {
		t.Error("a forward to a closed port succeeded")
	}
}
