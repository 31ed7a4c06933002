package sshconn

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// oneTimeCode is what a server with a second factor asks for.
const oneTimeCode = "314159"

// secondFactor are lines of sshd_config that want a key and then the code.
func secondFactor(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	check, pam := filepath.Join(dir, "check"), filepath.Join(dir, "pam")
	write(t, check, "#!/bin/sh\ntest \"$(tr -d '\\0')\" = "+oneTimeCode+"\n")
	write(t, pam, "auth required pam_exec.so quiet expose_authtok "+check+
		"\nauth required pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n")
	if err := os.Chmod(check, 0o700); err != nil {
		t.Fatal(err)
	}
	return []string{"UsePAM yes", "PermitRootLogin yes", "KbdInteractiveAuthentication yes",
		"AuthenticationMethods publickey,keyboard-interactive:pam", "#mount --bind " + pam + " /etc/pam.d/sshd"}
}

// socketDir is a directory with a short name: the path of a socket may have 100 bytes, and ssh adds some.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cm") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// sshMaster is a real ssh that shares its connection.
type sshMaster struct {
	t    *testing.T
	path string
	// config is the file of ssh_config that it reads.
	config string
	cmd    *exec.Cmd
	said   *transcript
	ended  chan struct{}
}

// startMaster logs in to the server at addr as an operator does, with userKey and the code, and shares the connection
// at path, which may hold tokens.
func startMaster(t *testing.T, addr, path string) *sshMaster {
	t.Helper()
	dir := t.TempDir()
	m := &sshMaster{t: t, config: filepath.Join(dir, "config"), said: newTranscript(), ended: make(chan struct{})}
	host, port, _ := net.SplitHostPort(addr)
	id, known, ask := filepath.Join(dir, "id"), filepath.Join(dir, "known"), filepath.Join(dir, "ask")
	write(t, id, privatePEM(userKey))
	write(t, known, knownhosts.Line([]string{addr}, public(hostKey))+"\n")
	write(t, ask, "#!/bin/sh\necho "+oneTimeCode+"\n")
	if err := os.Chmod(ask, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, m.config, fmt.Sprintf("ControlPath %s\nIdentityFile %s\nIdentityAgent none\nUserKnownHostsFile %s\n"+
		"User root\nPort %s\nHostname %s\n", path, id, known, port, host))
	m.cmd = exec.Command("ssh", "-F", m.config, "-M", "-N", host)
	m.cmd.Env = append(os.Environ(), "SSH_ASKPASS="+ask, "SSH_ASKPASS_REQUIRE=force")
	m.cmd.Stderr = m.said
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(m.ended)
		_ = m.cmd.Wait()
	}()
	t.Cleanup(m.kill)
	out, err := exec.Command("ssh", "-F", m.config, "-G", host).Output()
	if err != nil {
		t.Fatal(err)
	}
	_, m.path, _ = strings.Cut(string(out), "\ncontrolpath ")
	m.path, _, _ = strings.Cut(m.path, "\n")
	until(t, "the master answers", func() bool {
		if m.over() {
			t.Fatalf("the master ended: %s", m.said)
		}
		return m.ssh("-O", "check", host) == nil
	})
	return m
}

// ssh runs an ssh that uses the master.
func (m *sshMaster) ssh(args ...string) error {
	out, err := exec.Command("ssh", append([]string{"-F", m.config}, args...)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return err
}

func (m *sshMaster) over() bool {
	select {
	case <-m.ended:
		return true
	default:
		return false
	}
}

// kill ends the master, and leaves its socket behind.
func (m *sshMaster) kill() {
	_ = m.cmd.Process.Kill()
	<-m.ended
}

// lives fails the test unless the master still serves others.
func (m *sshMaster) lives() {
	m.t.Helper()
	host := "127.0.0.1"
	if err := m.ssh("-O", "check", host); err != nil {
		m.t.Fatalf("the master is gone: %v, and it said: %s", err, m.said)
	}
	if err := m.ssh("-o", "ControlMaster=no", "-o", "BatchMode=yes", host, "true"); err != nil {
		m.t.Errorf("the master serves nobody: %v", err)
	}
}

// sharing are settings that require the master at path, and hold nothing that logs in.
func (s *sshd) sharing(path string) route.Settings {
	set := s.settings()
	set.PrivateKey, set.HostKey, set.ControlPath = "", "", path
	return set
}

// byConfig is a pool that finds masters by ssh_config alone, and else logs in with userKey.
func byConfig(t *testing.T, set route.Settings, path string, change ...func(*Pool)) *Pool {
	t.Helper()
	home(t, map[string]string{"config": "ControlPath " + path + "\nControlMaster no\n",
		"known_hosts": "* " + publicLine(hostKey) + "\n"})
	set.HostKey = "" // with which ssh_config's masters do not count
	p := NewPool(Config{Hosts: map[string]route.Settings{"web1": set}, SFTP: true, SSHConfig: []string{"~/.ssh/config"}})
	p.pace.redial = func(int) time.Duration { return time.Millisecond }
	for _, c := range change {
		c(p)
	}
	t.Cleanup(p.Close)
	return p
}

// Guards that a host that wants a second factor is refused without a master and reached over one: by control_path, and
// by ssh_config with its tokens, by the shell and by SFTP, with much data both ways, and that the master lives on.
func TestControlMasterWithASecondFactor(t *testing.T) {
	s := startSSHD(t, secondFactor(t)...)
	fails(t, conn(t, pool(t, s.settings())), fault.AuthRefused)
	dir, masters := socketDir(t), 0
	logins := func() int { return s.count("Accepted keyboard-interactive") }
	for _, tc := range []struct {
		name, path string
		pool       func(t *testing.T, path string) *Pool
	}{
		{"control_path", filepath.Join(dir, "cm"), func(t *testing.T, path string) *Pool { return pool(t, s.sharing(path)) }},
		{"control_path with tokens", dir + "/a-%C-%r@%h:%p", func(t *testing.T, path string) *Pool {
			return pool(t, s.sharing(path))
		}},
		{"ssh_config", dir + "/%C", func(t *testing.T, path string) *Pool { return byConfig(t, s.settings(), path) }},
	} {
		for _, sftp := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, SFTP %v", tc.name, sftp), func(t *testing.T) {
				m := startMaster(t, s.addr, tc.path)
				masters++
				until(t, "sshd has logged it", func() bool { return logins() == masters })
				p := tc.pool(t, tc.path)
				p.config.SFTP = sftp
				c := conn(t, p)
				mustEcho(t, c)
				big := strings.Repeat("0123456789abcdef", 1<<16)
				res, err := c.Run(t.Context(), echo(big))
				if body, _ := res.Get(""); err != nil || body != big {
					t.Fatalf("%d of %d bytes came back: %v", len(body), len(big), err)
				}
				file := filepath.Join(t.TempDir(), "big.conf")
				if err := c.WriteFile(t.Context(), file, big+"\n"); err != nil {
					t.Fatal(err)
				}
				if got, err := os.ReadFile(file); err != nil || string(got) != big+"\n" {
					t.Errorf("%d bytes were written: %v", len(got), err)
				}
				res, err = c.Run(t.Context(), shell.Script{Name: "fail", Text: "exit 7"})
				if err != nil || res.Status != 7 {
					t.Errorf("%+v, %v", res, err)
				}
				c.mu.Lock()
				hasSFTP := c.live.files.client != nil
				c.mu.Unlock()
				if hasSFTP != sftp {
					t.Errorf("SFTP %v", hasSFTP)
				}
				p.Close()
				m.lives()
				if n := logins(); n != masters {
					t.Errorf("%d further logins", n-masters)
				}
				m.kill()
				_ = os.Remove(m.path)
			})
		}
	}
}

// Guards that a socket where no master lives is passed over if ssh_config names it, and an error that has the command
// to type if control_path does.
func TestControlPathWithoutAMaster(t *testing.T) {
	s := startSSHD(t)
	dir := socketDir(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	write(t, at("file"), "")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: at("stale"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	foreign := startMaster(t, s.addr, at("foreign"))
	if err := os.Chown(foreign.path, 4711, 4711); err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]string{"mute": "", "other": "SSH-2.0-OpenSSH_9.2\r\n",
		"version": "\x00\x00\x00\x08\x00\x00\x00\x01\x00\x00\x00\x05",
		"failure": "\x00\x00\x00\x08\x00\x00\x00\x01\x00\x00\x00\x04\x00\x00\x00\x04\x80\x00\x00\x03"} {
		l, err := net.Listen("unix", at(name))
		if err != nil {
			t.Fatal(err)
		}
		over := make(chan struct{})
		go func() {
			defer close(over)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprint(c, answer)
				defer c.Close()
			}
		}()
		t.Cleanup(func() { l.Close(); <-over })
	}
	for name, words := range map[string]string{
		"nothing": "there is no such file",
		"file":    "it is no socket",
		"stale":   "connection refused",
		"foreign": "it belongs to another user, with the id 4711",
		"mute":    "it does not answer",
		"other":   "it does not speak the protocol of ssh",
		"version": "it speaks another version",
		"failure": "it does not say that it lives",
	} {
		t.Run(name, func(t *testing.T) {
			quick := func(p *Pool) {
				if name == "mute" {
					p.pace.master = 100 * time.Millisecond
				}
			}
			c := conn(t, pool(t, s.sharing(at(name)), quick))
			_, port, _ := net.SplitHostPort(s.addr)
			fails(t, c, fault.Unreachable, "no ssh shares its connection at its control_path "+at(name)+" (", words,
				"Log in with 'ssh -fNM -o ControlPersist=1h -S "+at(name)+" -p "+port+" root@127.0.0.1'")
			err := c.Wait(t.Context())
			if fault.NotReached(err) {
				t.Errorf("that would be tolerated: %v", err)
			}
			mustEcho(t, conn(t, byConfig(t, s.settings(), at(name), quick)))
		})
	}
	t.Run("none", func(t *testing.T) {
		set := s.settings()
		set.ControlPath = "none"
		m := startMaster(t, s.addr, at("cm"))
		c := conn(t, byConfig(t, set, m.path))
		mustEcho(t, c)
		if c.control != nil {
			t.Error("a master would be used")
		}
	})
}

// Guards that no session and no stream is asked of a socket that became another user's since the master answered.
func TestControlSocketThatBecomesAnotherUsers(t *testing.T) {
	m := startMaster(t, startSSHD(t).addr, filepath.Join(socketDir(t), "cm"))
	shared, err := dialMaster(t.Context(), m.path)
	if err != nil {
		t.Fatal(err)
	}
	defer shared.Close()
	if err := os.Chown(m.path, 4711, 4711); err != nil {
		t.Fatal(err)
	}
	s, err := shared.newSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, dialled := shared.Dial("tcp", "127.0.0.1:22")
	for _, err := range []error{s.Start("true"), dialled} {
		if err == nil || !strings.Contains(err.Error(), "it belongs to another user, with the id 4711") {
			t.Errorf("it was asked: %v", err)
		}
	}
}

// Guards that sessions which MaxSessions refuses do not end the master, whoever has them: SFTP gives way to the shell,
// a host that ssh_config shares is reached in the usual way, and one that must be shared is an error.
func TestControlMasterWithMaxSessions(t *testing.T) {
	t.Run("room for the shell alone", func(t *testing.T) {
		s := startSSHD(t, "MaxSessions 1")
		m := startMaster(t, s.addr, filepath.Join(socketDir(t), "cm"))
		p := pool(t, s.sharing(m.path))
		c := conn(t, p)
		file := filepath.Join(t.TempDir(), "x.conf")
		for range 3 {
			if err := c.WriteFile(t.Context(), file, "x\n"); err != nil {
				t.Fatal(err)
			}
		}
		p.Close()
		m.lives()
	})
	t.Run("no room", func(t *testing.T) {
		s := startSSHD(t, "MaxSessions 1")
		m := startMaster(t, s.addr, filepath.Join(socketDir(t), "cm"))
		other := pool(t, s.sharing(m.path))
		mustEcho(t, conn(t, other))
		c := conn(t, pool(t, s.sharing(m.path)))
		fails(t, c, fault.NoShell, "the host runs no command", "Session open refused by peer", "MaxSessions")
		c.pool.Close()
		p := byConfig(t, s.settings(), m.path)
		mustEcho(t, conn(t, p))
		p.Close()
		mustEcho(t, conn(t, other))
		other.Close()
		m.lives()
	})
	for _, limit := range []int{5, 10} {
		t.Run(fmt.Sprintf("of %d, for 12 runs at once", limit), func(t *testing.T) {
			s := startSSHD(t, fmt.Sprintf("MaxSessions %d", limit), "MaxStartups 100")
			m := startMaster(t, s.addr, filepath.Join(socketDir(t), "cm"))
			const runs = 12
			dir := t.TempDir()
			errs := make(chan error, runs)
			var conns []*Conn
			for range runs {
				conns = append(conns, conn(t, byConfig(t, s.settings(), m.path)))
			}
			for i, c := range conns {
				go func() { errs <- c.WriteFile(t.Context(), fmt.Sprintf("%s/%d.conf", dir, i), "x\n") }()
			}
			for range runs {
				if err := <-errs; err != nil {
					t.Error(err)
				}
			}
			for _, c := range conns {
				c.pool.Close()
			}
			m.lives()
		})
	}
}

// Guards that the master lives on after runs that end in the middle: by an error, when they are cancelled, and while a
// session is being opened.
func TestControlMasterOutlivesACancelledRun(t *testing.T) {
	s := startSSHD(t)
	m := startMaster(t, s.addr, filepath.Join(socketDir(t), "cm"))
	mark := filepath.Join(t.TempDir(), "under-way")
	long := shell.Script{Name: "long", Text: `touch "$1"; sleep 1000`, Args: []string{mark}}
	for _, how := range []string{"context", "pool"} {
		_ = os.Remove(mark)
		p := pool(t, s.sharing(m.path))
		c := conn(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { _, err := c.Run(ctx, long); done <- err }()
		until(t, "the script runs", func() bool { _, err := os.Stat(mark); return err == nil })
		if how == "pool" {
			p.Close()
		}
		cancel()
		wantError(t, c.settings, <-done, fault.Lost)
		p.Close()
		m.lives()
	}
	for i := range 20 {
		p := pool(t, s.sharing(m.path))
		c := conn(t, p)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = c.Run(t.Context(), echo("x"))
		}()
		time.Sleep(time.Duration(i) * 500 * time.Microsecond)
		p.Close()
		<-done
	}
	m.lives()
}

// Guards that an idle connection over a master asks the host again and again, and that a busy one is not ended for it.
func TestControlMasterIsKeptAlive(t *testing.T) {
	s := startSSHD(t)
	w := startWire(t, s.addr)
	m := startMaster(t, w.addr, filepath.Join(socketDir(t), "cm"))
	ended := make(chan string, 10)
	p := pool(t, s.sharing(m.path), func(p *Pool) {
		p.pace.keepalive = 20 * time.Millisecond
		p.config.ConnectTimeout = 2 * time.Second
		p.config.Log = func(_ context.Context, msg string, fields map[string]any) {
			if msg == "SSH connection closed" {
				ended <- fmt.Sprint(fields["why"])
			}
		}
	})
	c := conn(t, p)
	if _, err := c.Run(t.Context(), shell.Script{Name: "busy", Text: "sleep 0.5"}); err != nil {
		t.Fatal(err)
	}
	batches := c.Batches()
	until(t, "the shell was asked ten times", func() bool { return c.Batches() > batches+10 })
	mustEcho(t, c)
	if len(ended) > 0 {
		t.Fatalf("the connection has ended: %s", <-ended)
	}
	w.dark()
	select {
	case why := <-ended:
		if why != errSilent.Error() {
			t.Errorf("it ended since %s", why)
		}
	case <-time.After(patience):
		t.Fatal("nobody notices that the network is dark")
	}
	// The answer is that of the old connection, or of a new one that is tried.
	fails(t, c, fault.Unreachable, "may be dead: end it with 'ssh -O exit -S "+m.path)
}

// Guards what becomes of a run whose master ends: what was under way is lost, and the next request goes the usual way
// if ssh_config names the path, or is an error that has the command to type.
func TestControlMasterThatEnds(t *testing.T) {
	for _, how := range []string{"exit", "kill", "cut"} {
		for _, required := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, required %v", how, required), func(t *testing.T) {
				s := startSSHD(t)
				w := startWire(t, s.addr)
				m := startMaster(t, w.addr, filepath.Join(socketDir(t), "cm"))
				var p *Pool
				if required {
					p = pool(t, s.sharing(m.path))
				} else {
					p = byConfig(t, s.settings(), m.path)
				}
				c := conn(t, p)
				mustEcho(t, c)
				mark := filepath.Join(t.TempDir(), "under-way")
				done := make(chan error, 1)
				go func() {
					_, err := c.Run(t.Context(), shell.Script{Name: "long", Text: `touch "$1"; sleep 1000`, Args: []string{mark}})
					done <- err
				}()
				until(t, "the script runs", func() bool { _, err := os.Stat(mark); return err == nil })
				switch how {
				case "exit":
					if err := m.ssh("-O", "exit", "127.0.0.1"); err != nil {
						t.Error(err)
					}
				case "kill":
					m.kill()
				case "cut":
					w.stop()
				}
				wantError(t, c.settings, <-done, fault.Lost, "the connection was cut")
				<-m.ended
				if required {
					fails(t, c, fault.Unreachable, "no ssh shares its connection", "ssh -fNM")
				} else {
					mustEcho(t, c)
				}
			})
		}
	}
}

// Guards that a master which ssh has left in the background lives as long as it is used, and that ControlPersist ends
// it afterwards.
func TestControlPersist(t *testing.T) {
	s := startSSHD(t)
	m := startMaster(t, s.addr, filepath.Join(socketDir(t), "cm"))
	m.kill()
	if err := os.Remove(m.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.ssh("-O", "exit", "127.0.0.1") })
	if err := m.ssh("-o", "ControlMaster=auto", "-o", "ControlPersist=1", "127.0.0.1", "true"); err != nil {
		t.Fatal(err)
	}
	p := pool(t, s.sharing(m.path))
	c := conn(t, p)
	mustEcho(t, c)
	res, err := c.Run(t.Context(), shell.Script{Name: "wait", Text: "echo $$; sleep 3"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Run(t.Context(), shell.Script{Name: "shell", Text: "echo $$"})
	if err != nil || again.Session != res.Session {
		t.Errorf("another shell, or %v", err)
	}
	p.Close()
	until(t, "the master ends", func() bool { return m.ssh("-O", "check", "127.0.0.1") != nil })
	fails(t, conn(t, pool(t, s.sharing(m.path))), fault.Unreachable, "no ssh shares its connection")
}

// Guards that a file is whole, old or new, and new if nothing was said to have failed, wherever the connection of the
// master is cut.
func TestControlMasterCutAtEveryExchange(t *testing.T) {
	s := startSSHD(t)
	const old, changed = "old = 1\n", "new = 2\n"
	for _, sftp := range []bool{false, true} {
		cuts := 0
		for step := range 12 {
			t.Run(fmt.Sprintf("SFTP %v, %d", sftp, step), func(t *testing.T) {
				w := startWire(t, s.addr)
				m := startMaster(t, w.addr, filepath.Join(socketDir(t), "cm"))
				sent := w.sentSoFar()
				w.mu.Lock()
				w.cuts, w.cutAt = 1, sent+1+step*step*40
				w.mu.Unlock()
				p := byConfig(t, s.settings(), m.path, func(p *Pool) { p.config.SFTP = sftp })
				file := filepath.Join(t.TempDir(), "90-terraform-x.conf")
				write(t, file, old)
				err := conn(t, p).WriteFile(t.Context(), file, changed)
				got, _ := os.ReadFile(file)
				if err != nil || string(got) != changed {
					t.Errorf("the file holds %q, error %v", got, err)
				}
				w.mu.Lock()
				if w.cuts == 0 {
					cuts++
				}
				w.mu.Unlock()
			})
		}
		if cuts < 3 {
			t.Errorf("SFTP %v: only %d of 12 connections were cut", sftp, cuts)
		}
	}
}

// Guards that a jump host is reached over its master, by control_path of the bastion and by ssh_config, and what is
// said of one that does not reach the host.
func TestControlMasterOfAJumpHost(t *testing.T) {
	target := startSSHD(t)
	bastion := startSSHD(t, secondFactor(t)...)
	m := startMaster(t, bastion.addr, filepath.Join(socketDir(t), "cm"))
	through := func(b route.Login) route.Settings {
		set := target.settings()
		set.Bastion = &route.Bastion{Host: "127.0.0.1", Login: b}
		return set
	}
	by := bastion.settings().Login
	fails(t, conn(t, pool(t, through(by))), fault.AuthRefused, "its jump host")
	by.ControlPath = m.path
	p := pool(t, through(by))
	c := conn(t, p)
	mustEcho(t, c)
	if res, err := c.Run(t.Context(), echo(strings.Repeat("x", 1<<20))); err != nil || len(res.Records) == 0 {
		t.Fatalf("a megabyte: %v", err)
	}
	lost := through(by)
	lost.Port = 1
	fails(t, conn(t, pool(t, lost)), fault.Unreachable, "its jump host 127.0.0.1", "does not reach it")
	by.ControlPath = filepath.Join(t.TempDir(), "none-here")
	fails(t, conn(t, pool(t, through(by))), fault.Unreachable, "its jump host", "no ssh shares its connection")
	p.Close()
	m.lives()

	config := "Match host 127.0.0.1 exec \"test %p = " + fmt.Sprint(port(bastion)) + "\"\n ControlPath " + m.path + "\n"
	home(t, map[string]string{"config": config})
	by.ControlPath, by.HostKey = "", ""
	p = NewPool(Config{Hosts: map[string]route.Settings{"web1": through(by)}, SSHConfig: []string{"~/.ssh/config"}})
	t.Cleanup(p.Close)
	mustEcho(t, conn(t, p))
	p.Close()
	m.lives()
}

// Guards that the error of a host behind a jump host names the master, and how to end it, if its network is dark.
func TestControlMasterOfAJumpHostThatIsSilent(t *testing.T) {
	target, bastion := startSSHD(t), startSSHD(t)
	w := startWire(t, bastion.addr)
	m := startMaster(t, w.addr, filepath.Join(socketDir(t), "cm"))
	w.dark()
	set := target.settings()
	by := bastion.settings().Login
	by.ControlPath = m.path
	set.Bastion = &route.Bastion{Host: "127.0.0.1", Login: by}
	p := pool(t, set)
	p.config.ConnectTimeout = 300 * time.Millisecond
	fails(t, conn(t, p), fault.Unreachable, "no answer within 300ms through its jump host 127.0.0.1",
		"The connection that ssh shares at "+m.path+" may be dead: end it with 'ssh -O exit -S "+m.path)
}

// Guards that a host whose algorithms the library lacks is reached over a master, and that the error says so.
func TestControlMasterForAnUnknownAlgorithm(t *testing.T) {
	s := startSSHD(t, "KexAlgorithms sntrup761x25519-sha512@openssh.com")
	fails(t, conn(t, pool(t, s.settings())), fault.Unreachable, "there is no SSH algorithm in common",
		"can use none of these", "set control_path")
	m := startMaster(t, s.addr, filepath.Join(socketDir(t), "cm"))
	mustEcho(t, conn(t, pool(t, s.sharing(m.path))))
}

// Guards that sudo with a password works over a master.
func TestSudoOverAControlMaster(t *testing.T) {
	h := realHost(t, machineOptions{users: []account{{name: "root"},
		{name: "ops", password: "hunter2", sudo: "password"}}})
	set := reach(h, "ops")
	on := true
	set.Sudo, set.SudoPassword = &on, "hunter2"
	dir := socketDir(t)
	id, path := filepath.Join(dir, "id"), filepath.Join(dir, "cm")
	write(t, id, set.PrivateKey)
	cmd := exec.Command("ssh", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-i", id, "-MNS", path, "-p", fmt.Sprint(set.Port), "ops@"+set.Address)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	until(t, "the master answers", func() bool {
		m, err := dialMaster(t.Context(), path)
		if err == nil {
			_ = m.Close()
		}
		return err == nil
	})
	set.ControlPath, set.PrivateKey, set.HostKey = path, "", ""
	c := conn(t, pool(t, set))
	res, err := c.Run(t.Context(), shell.Script{Name: "id", Text: "id -u"})
	if body, _ := res.Get(""); err != nil || strings.TrimSpace(body) != "0" {
		t.Fatalf("%q, %v", body, err)
	}
	if err := c.WriteFile(t.Context(), dropIn, "x = 1\n"); err != nil {
		t.Fatal(err)
	}
	wantFile(t, h, dropIn, "x = 1\n")
	set.SudoPassword = "wrong"
	fails(t, conn(t, pool(t, set)), fault.SudoRefused, "did not accept the password")
}

// Guards that ssh_config's ControlPath counts as for ssh, which uses no master with ControlMaster yes or ask: it is
// asked too, for a host whose key has changed since.
func TestControlMasterThatSSHDoesNotUse(t *testing.T) {
	s := startSSHD(t)
	path := filepath.Join(socketDir(t), "s")
	m := startMaster(t, s.addr, path)
	host, port, _ := net.SplitHostPort(s.addr)
	for value, used := range map[string]bool{"no": true, "auto": true, "autoask": true, "yes": false, "ask": false} {
		t.Run(value, func(t *testing.T) {
			dir := home(t, map[string]string{"known": knownhosts.Line([]string{s.addr}, public(otherKey)) + "\n"})
			config, known := filepath.Join(dir, ".ssh", "config"), filepath.Join(dir, ".ssh", "known")
			write(t, config, "ControlMaster "+value+"\nControlPath "+path+"\nUserKnownHostsFile "+known+"\n")
			args := []string{"-F", config, "-p", port, "-o", "BatchMode=yes", "root@" + host, "true"}
			if out, err := exec.Command("ssh", args...).CombinedOutput(); (err == nil) != used {
				t.Errorf("ssh: %v, %s", err, out)
			}
			p := NewPool(Config{SSHConfig: []string{config}})
			t.Cleanup(p.Close)
			c, err := p.Conn("root@" + s.addr)
			if err != nil {
				t.Fatal(err)
			}
			if used {
				mustEcho(t, c)
				return
			}
			fails(t, c, fault.HostKeyChanged)
		})
	}
	m.lives()
}
