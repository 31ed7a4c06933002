package sshconn

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
)

func TestHostNames(t *testing.T) {
	yes := true
	hosts := map[string]Settings{
		"db1":         {Address: "10.0.0.7", Login: Login{Port: 2222}},
		"plain":       {},
		"v6":          {Address: "[2001:db8::1]"},
		"10.1.1.1:22": {Address: "10.9.9.9"},
		"userinside":  {Address: "ops@10.0.0.1"},
		"badport":     {Address: "10.0.0.1", Login: Login{Port: 70000}},
		"badkey":      {Login: Login{HostKey: "ssh-ed25519 nonsense"}},
		"twokeys":     {Login: Login{HostKey: publicLine(userKey) + publicLine(otherKey)}},
		"sudoline":    {Root: Root{SudoPassword: "secret\n"}},
		"bothroots":   {Root: Root{Sudo: &yes, Doas: &yes}},
	}
	for _, tc := range []struct{ host, addr, user, problem string }{
		{host: "db1", addr: "10.0.0.7:2222", user: "ops"},
		{host: "plain", addr: "plain:2200", user: "ops"},
		{host: "v6", addr: "[2001:db8::1]:2200", user: "ops"},
		{host: "10.1.1.1:22", addr: "10.9.9.9:2200", user: "ops"}, // a name in hosts comes first
		{host: "web1.example.com", addr: "web1.example.com:2200", user: "ops"},
		{host: "root@web1", addr: "web1:2200", user: "root"},
		{host: "web1:22", addr: "web1:22", user: "ops"},
		{host: "a@b@web1:23", addr: "web1:23", user: "a@b"},
		{host: "10.0.0.1", addr: "10.0.0.1:2200", user: "ops"},
		{host: "2001:db8::1", addr: "[2001:db8::1]:2200", user: "ops"},
		{host: "fe80::1%eth0", addr: "[fe80::1%eth0]:2200", user: "ops"},
		{host: "[2001:db8::1]", addr: "[2001:db8::1]:2200", user: "ops"},
		{host: "me@[2001:db8::1]:22", addr: "[2001:db8::1]:22", user: "me"},

		{host: "", problem: "empty"},
		{host: "@web1", problem: "before the @"},
		{host: "ops@", problem: "empty"},
		{host: ":22", problem: "empty"},
		{host: "web1:", problem: "no TCP port"},
		{host: "web1:ssh", problem: "no TCP port"},
		{host: "web1:0", problem: "no TCP port"},
		{host: "web1:65536", problem: "no TCP port"},
		{host: "[2001:db8::1", problem: "told apart"},
		{host: "[web1]:22", problem: "no IP address"},
		{host: "2001:db8::zz", problem: "told apart"},
		{host: "web 1", problem: "no host name"},
		{host: "web1\n", problem: "no host name"},
		{host: "us er@web1", problem: "white space"},
		{host: "web1/24", problem: "no host name"},
		{host: "$(reboot)`x`", problem: "no host name"},
		{host: "userinside", problem: "no host name"},
		{host: "badport", problem: "no TCP port"},
		{host: "badkey", problem: "not a public key"},
		{host: "twokeys", problem: "more than one line"},
		{host: "sudoline", problem: "line break"},
		{host: "bothroots", problem: "both sudo and doas"},
	} {
		p := NewPool(Config{Defaults: Settings{Login: Login{User: "ops", Port: 2200}, Address: "192.0.2.1"}, Hosts: hosts})
		c, err := p.Conn(tc.host)
		switch {
		case tc.problem != "":
			wantError(t, hosts[tc.host], err, fault.Misconfigured, tc.problem)
		case err != nil:
			t.Errorf("%q: %v", tc.host, err)
		case c.addr != tc.addr || c.settings.User != tc.user:
			t.Errorf("%q is %s at %s, want %s at %s", tc.host, c.settings.User, c.addr, tc.user, tc.addr)
		}
		if again, _ := p.Conn(tc.host); again != c {
			t.Errorf("%q: another connection the second time", tc.host)
		}
		p.Close()
	}
}

func TestHostEntryTakesTheDefaultsForWhatItLeavesOut(t *testing.T) {
	yes, no := true, false
	defaults := Settings{Login: Login{User: "ops", Port: 1, PrivateKey: "k", PrivateKeyPassphrase: "p", Password: "w", Agent: &yes, HostKey: publicLine(hostKey),
		KnownHosts: []string{"f"}}, Root: Root{Sudo: &yes, SudoPassword: "s"}}
	if got := (Settings{Address: "a"}).withDefaults(defaults); got.Address != "a" || !reflect.DeepEqual(got.withDefaults(Settings{}), func() Settings {
		d := defaults
		d.Address = "a"
		return d
	}()) {
		t.Errorf("all of them: %+v", got)
	}
	if got := (Settings{Root: Root{Doas: &yes}}).withDefaults(defaults); got.Sudo != nil || !*got.Doas {
		t.Errorf("doas beside the defaults' sudo: %+v", got)
	}
	own := Settings{Address: "a", Login: Login{User: "x", Port: 2, PrivateKey: "k2", Password: "w2", Agent: &no, HostKey: "h2", KnownHosts: []string{}}, Root: Root{Sudo: &no, SudoPassword: "s2"}}
	if got := own.withDefaults(defaults); !reflect.DeepEqual(got, own) {
		t.Errorf("none of them, not even the passphrase of another key: %+v", got)
	}
}

func TestPlainDefaults(t *testing.T) {
	s, err := resolver{}.resolve("web1")
	if err != nil || s.User != "root" || s.Port != 22 || s.root() != "" {
		t.Errorf("got %+v, %v", s, err)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(home, ".ssh/known_hosts"), "/etc/ssh/ssh_known_hosts"}
	if got := s.knownHostsFiles(); !reflect.DeepEqual(got, want) {
		t.Errorf("known_hosts: %v, want %v", got, want)
	}
}
