package sshconn

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
	"github.com/host-provider/terraform-provider-host/internal/sshdtest"
)

// machine is a host that the tests may do anything to, simulated or real.
type machine interface {
	Addr() string
	HostKey() string
	PrivateKey() string
	Sh(script string) (out string, status int)
	ReadFile(path string) (string, bool)
	WriteFile(path, content string)
	RemoveFile(path string)
	List(dir string) []string
	Close() error
}

// account is a user of a machine, who logs in with userKey or the password. Sudo is as in sshdtest.User.
type account struct{ name, password, sudo string }

// machineOptions say what a machine is like, in terms that both kinds have.
type machineOptions struct {
	users        []account // none: root, with userKey
	noSFTP       bool
	forceCommand string
	sudoers      string // real ones only
	busybox      bool   // real ones only
}

var realAvailable = sync.OnceValue(sshdtest.Available)

// onMachines runs test on a simulated host, and on a real sshd where this machine can run one.
func onMachines(t *testing.T, o machineOptions, test func(*testing.T, machine)) {
	t.Helper()
	t.Run("simulated", func(t *testing.T) { test(t, simulated(t, o)) })
	t.Run("real", func(t *testing.T) { test(t, realHost(t, o)) })
}

func (o machineOptions) accounts() []account {
	if len(o.users) == 0 {
		return []account{{name: "root"}}
	}
	return o.users
}

func simulated(t *testing.T, o machineOptions) *hosttest.Host {
	t.Helper()
	opts := hosttest.Options{NoSFTP: o.noSFTP, ForceCommand: o.forceCommand}
	for _, u := range o.accounts() {
		sudo := map[string]hosttest.Sudo{"": hosttest.SudoNone, "nopasswd": hosttest.SudoNoPassword,
			"password": hosttest.SudoPassword}[u.sudo]
		opts.Users = append(opts.Users, hosttest.User{Name: u.name, Password: u.password,
			Keys: []ssh.PublicKey{public(userKey)}, Sudo: sudo})
	}
	h, err := hosttest.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		for _, u := range h.Unknown() {
			t.Errorf("not simulated: %s", u)
		}
	})
	return h
}

func realHost(t *testing.T, o machineOptions) *sshdtest.Host {
	t.Helper()
	if err := realAvailable(); err != nil {
		t.Skipf("NOT TESTED: %v", err)
	}
	opts := sshdtest.Options{NoSFTP: o.noSFTP, Sudoers: o.sudoers}
	if o.forceCommand != "" {
		opts.SSHDConfig = "ForceCommand " + o.forceCommand
	}
	if o.busybox {
		opts.Shell = "busybox"
	}
	for _, u := range o.accounts() {
		opts.Users = append(opts.Users, sshdtest.User{Name: u.name, Password: u.password,
			AuthorizedKeys: []string{strings.TrimSpace(publicLine(userKey))}, Sudo: u.sudo})
	}
	h, err := sshdtest.Start(opts)
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

// reach are settings that log in as user with userKey.
func reach(m machine, user string) route.Settings {
	s, err := route.ParseTarget(m.Addr())
	if err != nil {
		panic(fmt.Sprint(m.Addr(), ": ", err))
	}
	no := false
	s.User, s.PrivateKey, s.HostKey, s.Agent = user, privatePEM(userKey), m.HostKey(), &no
	return s
}
