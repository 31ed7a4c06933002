package sshconn

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
	"github.com/host-provider/terraform-provider-host/internal/sshdtest"
)

// byCommand is the connection to a real host through this ProxyCommand. The file that it is to write to is $NOTES.
func byCommand(t *testing.T, proxy string, change ...func(*Pool)) (c *Conn, h *sshdtest.Host, notes string) {
	t.Helper()
	h = realHost(t, machineOptions{})
	at := reach(h, "root")
	notes = filepath.Join(t.TempDir(), "notes")
	proxy = strings.ReplaceAll(proxy, "$NOTES", notes)
	home(t, map[string]string{"config": "Host web1\n ProxyCommand " + proxy + "\n"})
	no := false
	p := NewPool(Config{SSHConfig: []string{"~/.ssh/config"}, Hosts: map[string]route.Settings{"web1": {
		Address: at.Address, Login: route.Login{Port: at.Port, PrivateKey: at.PrivateKey, HostKey: at.HostKey, Agent: &no,
			Password: "a-secret-password"},
	}}})
	// ssh_config is asked for the address.
	write(t, filepath.Join(os.Getenv("HOME"), ".ssh", "config"), "Host "+at.Address+"\n ProxyCommand "+proxy+"\n")
	for _, f := range change {
		f(p)
	}
	t.Cleanup(p.Close)
	return conn(t, p), h, notes
}

// gone wants the process whose id is in a file to have ended.
func gone(t *testing.T, file string) {
	t.Helper()
	id, err := os.ReadFile(file)
	if err != nil || len(id) == 0 {
		t.Fatalf("no process was noted: %v", err)
	}
	for range 300 {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(id)) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("the process %s lives on", strings.TrimSpace(string(id)))
}

// Guards that a host is reached by its ProxyCommand, which ends with the connection, also what it started.
func TestProxyCommand(t *testing.T) {
	c, _, notes := byCommand(t, "sh -c 'sleep 1000 & echo $! >$NOTES; env >$NOTES.env; busybox nc %h %p'")
	t.Setenv("HOST_PASSWORD_OF_A_TEST", "a-secret-password")
	mustEcho(t, c)
	big := strings.Repeat("x", 1<<20)
	if res, err := c.Run(t.Context(), echo(big)); err != nil || len(res.Records) == 0 {
		t.Fatalf("a megabyte: %v", err)
	}
	c.pool.Close()
	gone(t, notes)
	env, err := os.ReadFile(notes + ".env")
	if err != nil || len(env) == 0 || strings.Contains(string(env), "a-secret-password") {
		t.Errorf("the command's environment has a secret, or is unknown: %v", err)
	}
}

// Guards what is said of a command that fails, that hangs, and that ends in the middle.
func TestProxyCommandThatFails(t *testing.T) {
	t.Run("at once", func(t *testing.T) {
		c, _, notes := byCommand(t, "sh -c 'sleep 1000 2>&- & echo $! >$NOTES; echo not logged in to the cloud >&2; exit 3'")
		fails(t, c, fault.Unreachable, "its ProxyCommand has ended: exit status 3, and it said: not logged in to the cloud")
		gone(t, notes)
	})
	t.Run("that is not there", func(t *testing.T) {
		c, _, _ := byCommand(t, "no-such-program %h")
		fails(t, c, fault.Unreachable, "its ProxyCommand has ended: exit status 127", "no-such-program")
	})
	t.Run("that hangs", func(t *testing.T) {
		c, _, notes := byCommand(t, "sh -c 'trap \"\" HUP TERM; echo $$ >$NOTES; sleep 1000'",
			func(p *Pool) { p.config.ConnectTimeout = time.Second })
		fails(t, c, fault.Unreachable, "no answer within 1s")
		c.pool.Close()
		gone(t, notes)
	})
	t.Run("in the middle of a script", func(t *testing.T) {
		s := echo("x")
		s.Text = "touch /run/under-way; sleep 1000"
		c, h, notes := byCommand(t, "sh -c 'exec 3<&0; busybox nc %h %p <&3 & echo $! >$NOTES; wait'")
		done := make(chan error, 1)
		go func() {
			_, err := c.Run(t.Context(), s)
			done <- err
		}()
		for range 500 {
			if _, underWay := h.ReadFile("/run/under-way"); underWay {
				id, err := os.ReadFile(notes)
				if err != nil {
					t.Fatal(err)
				}
				if err := exec.Command("kill", "-9", strings.TrimSpace(string(id))).Run(); err != nil {
					t.Error(err)
				}
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		wantError(t, c.settings, <-done, fault.Lost)
	})
}

// Guards that a command of Match exec holds up no other host, and ends with the pool.
func TestMatchExecHoldsUpNoOtherHost(t *testing.T) {
	notes := filepath.Join(t.TempDir(), "notes")
	home(t, map[string]string{"config": "Match originalhost slow exec \"sleep 1000 & echo $! >" + notes +
		"; wait\"\n User x\n"})
	p := NewPool(Config{SSHConfig: []string{"~/.ssh/config"}})
	t.Cleanup(p.Close)
	slow := make(chan error, 1)
	go func() {
		_, err := p.Conn("slow")
		slow <- err
	}()
	for range 500 {
		if text, err := os.ReadFile(notes); err == nil && strings.HasSuffix(string(text), "\n") {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if _, err := p.Conn("fast"); err != nil {
		t.Error(err)
	}
	p.Close()
	if err := <-slow; !errors.Is(err, ErrClosed) {
		t.Errorf("the slow one ends with %v", err)
	}
	gone(t, notes)
}
