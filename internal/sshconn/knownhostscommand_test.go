package sshconn

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/hostkey"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// byKnownHostsCommand is the pool with a host whose keys a program prints, which is a shell script. $NOTES is a file
// that it may write to.
func byKnownHostsCommand(t *testing.T, script string, change ...func(*Config)) (p *Pool, notes string) {
	t.Helper()
	s := startSSHD(t, "RekeyLimit 16K")
	dir := t.TempDir()
	notes = filepath.Join(dir, "notes")
	program := filepath.Join(dir, "program")
	script = strings.NewReplacer("$NOTES", notes, "$LINE", fmt.Sprintf("[127.0.0.1]:%d %s", port(s),
		publicLine(hostKey))).Replace(script)
	write(t, program, "#!/bin/sh\n"+script)
	if err := os.Chmod(program, 0o700); err != nil {
		t.Fatal(err)
	}
	home(t, map[string]string{"config": "KnownHostsCommand " + program + " %I\n"})
	set := s.settings()
	set.HostKey, set.KnownHosts, set.Password = "", []string{filepath.Join(dir, "none")}, "a-secret-password"
	c := Config{SSHConfig: []string{"~/.ssh/config"}, Hosts: map[string]route.Settings{"web1": set}}
	for _, f := range change {
		f(&c)
	}
	p = NewPool(c)
	t.Cleanup(p.Close)
	return p, notes
}

// Guards that KnownHostsCommand runs without secrets and input, that what it leaves behind ends, and that a failure,
// too much output or none in time accept no key.
func TestKnownHostsCommand(t *testing.T) {
	t.Run("its environment, input and children", func(t *testing.T) {
		t.Setenv("HOST_PASSWORD_OF_A_TEST", "a-secret-password")
		p, notes := byKnownHostsCommand(t, "sleep 1000 >&- 2>&- & echo $! >$NOTES; env >$NOTES.env\n"+
			"cat\necho $1 >>$NOTES.calls; echo '$LINE'")
		// Much data, since the key is shown again when the connection changes its keys.
		if _, err := conn(t, p).Run(t.Context(), echo(strings.Repeat("x", 1<<20))); err != nil {
			t.Fatal(err)
		}
		gone(t, notes)
		if calls, _ := os.ReadFile(notes + ".calls"); string(calls) != "ORDER\nHOSTNAME\n" {
			t.Errorf("it was called for %q", calls)
		}
		env, err := os.ReadFile(notes + ".env")
		if err != nil || len(env) == 0 || strings.Contains(string(env), "a-secret-password") {
			t.Errorf("the command's environment has a secret, or is unknown: %v", err)
		}
	})
	t.Run("its words have no secret", func(t *testing.T) {
		p, _ := byKnownHostsCommand(t, "echo no a-secret-password here >&2; exit 1")
		fails(t, conn(t, p), fault.HostKeyUnknown, "failed (exit status 1, and it said: no *** here)")
	})
	t.Run("that holds its output", func(t *testing.T) {
		p, notes := byKnownHostsCommand(t, "echo '$LINE'\nsleep 1000 & echo $! >$NOTES")
		fails(t, conn(t, p), fault.HostKeyUnknown, "what it left behind holds its output")
		gone(t, notes)
	})
	t.Run("that prints without end", func(t *testing.T) {
		p, _ := byKnownHostsCommand(t, "echo '$LINE'\nyes")
		fails(t, conn(t, p), fault.HostKeyUnknown, "it printed more than 16 MB")
	})
	t.Run("that hangs", func(t *testing.T) {
		p, notes := byKnownHostsCommand(t, "trap '' HUP TERM\necho $$ >$NOTES\nsleep 1000",
			func(c *Config) { c.ConnectTimeout = time.Second })
		fails(t, conn(t, p), fault.HostKeyUnknown, "it did not end within 1s")
		gone(t, notes)
	})
	t.Run("that hangs at the second call", func(t *testing.T) {
		p, notes := byKnownHostsCommand(t, "test $1 = ORDER && exit\necho $$ >$NOTES\nsleep 1000",
			func(c *Config) { c.ConnectTimeout = time.Second })
		fails(t, conn(t, p), fault.HostKeyUnknown, "it did not end within 1s")
		gone(t, notes)
	})
	t.Run("that hangs when the pool is closed", func(t *testing.T) {
		p, notes := byKnownHostsCommand(t, "echo $$ >$NOTES\nsleep 1000")
		c := conn(t, p)
		failed := make(chan error, 1)
		go func() {
			_, err := c.Run(t.Context(), echo("x"))
			failed <- err
		}()
		until(t, "the command runs", func() bool {
			id, _ := os.ReadFile(notes)
			return len(id) > 0
		})
		p.Close()
		if err := <-failed; err == nil {
			t.Error("it connects")
		}
		gone(t, notes)
	})
	t.Run("for a pinned key, and for none", func(t *testing.T) {
		for _, change := range []func(*route.Settings){
			func(s *route.Settings) { s.HostKey = publicLine(hostKey) },
			func(s *route.Settings) { s.HostKeyChecking = hostkey.Insecure },
		} {
			p, notes := byKnownHostsCommand(t, "touch $NOTES; exit 1", func(c *Config) {
				set := c.Hosts["web1"]
				change(&set)
				c.Hosts["web1"], c.NoSSHConfigCommands = set, true
			})
			mustEcho(t, conn(t, p))
			if _, err := os.Stat(notes); err == nil {
				t.Error("the command has run")
			}
		}
	})
	t.Run("of an untrusted file", func(t *testing.T) {
		p, notes := byKnownHostsCommand(t, "touch $NOTES; echo '$LINE'",
			func(c *Config) { c.NoSSHConfigCommands = true })
		_, err := p.Conn("web1")
		wantError(t, route.Settings{}, err, fault.Misconfigured, "config:1 sets a KnownHostsCommand for it",
			"ssh_config_commands is false", "Set host_key")
		if _, err := os.Stat(notes); err == nil {
			t.Error("the command has run")
		}
	})
}

// Guards that the command of a jump host is asked about the jump host, and that of the host behind it about that.
func TestKnownHostsCommandThroughAJumpHost(t *testing.T) {
	bastion := startSSHD(t)
	var target int
	p, notes := byKnownHostsCommand(t, "echo \"$@\" >>$NOTES; echo '* "+strings.TrimSpace(publicLine(hostKey))+"'",
		func(c *Config) {
			set := c.Hosts["web1"]
			target = set.Port
			set.Bastion = &route.Bastion{Host: "root@localhost:" + strconv.Itoa(port(bastion)),
				Login: route.Login{PrivateKey: privatePEM(userKey)}}
			c.Hosts["web1"] = set
			config := filepath.Join(os.Getenv("HOME"), ".ssh", "config")
			text, err := os.ReadFile(config)
			if err != nil {
				t.Fatal(err)
			}
			write(t, config, strings.Replace(string(text), "%I", "%I %n %H", 1))
		})
	mustEcho(t, conn(t, p))
	var want string
	for _, host := range []struct {
		name string
		port int
	}{{"localhost", port(bastion)}, {"127.0.0.1", target}} {
		for _, why := range []string{"ORDER", "HOSTNAME"} {
			want += fmt.Sprintf("%s %s [%s]:%d\n", why, host.name, host.name, host.port)
		}
	}
	if got, _ := os.ReadFile(notes); string(got) != want {
		t.Errorf("called\n%s, want\n%s", got, want)
	}
}
