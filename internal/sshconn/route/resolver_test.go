package route

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
)

var hostKey, userKey, otherKey = keyLine(), keyLine(), keyLine()

// keyLine is a public key as in the file of one.
func keyLine() string {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		panic(err)
	}
	return string(ssh.MarshalAuthorizedKey(key))
}

// wantError expects an error about the settings that has these words, and no secret of s.
func wantError(t *testing.T, s Settings, err error, words string) {
	t.Helper()
	var e *fault.Error
	if !errors.As(err, &e) || e.Kind != fault.Misconfigured || !strings.Contains(err.Error(), words) {
		t.Errorf("got %v, want %q", err, words)
	} else if secret := strings.TrimSpace(s.SudoPassword); secret != "" && strings.Contains(err.Error(), secret) {
		t.Errorf("the error has a secret: %v", err)
	}
}

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
		"twokeys":     {Login: Login{HostKey: userKey + otherKey}},
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
		{host: "ssh://ops@web1", problem: "it is a URL"},
		{host: "web1/24", problem: "no host name"},
		{host: "$(reboot)`x`", problem: "no host name"},
		{host: "userinside", problem: "no host name"},
		{host: "badport", problem: "no TCP port"},
		{host: "badkey", problem: "not a public key"},
		{host: "twokeys", problem: "more than one line"},
		{host: "sudoline", problem: "line break"},
		{host: "bothroots", problem: "both sudo and doas"},
	} {
		defaults := Settings{Login: Login{User: "ops", Port: 2200}, Address: "192.0.2.1"}
		r, err := (&Resolver{Sources: Sources{Defaults: defaults, Hosts: hosts}}).Resolve(tc.host)
		switch {
		case tc.problem != "":
			wantError(t, hosts[tc.host], err, tc.problem)
		case err != nil:
			t.Errorf("%q: %v", tc.host, err)
		case r.Addr() != tc.addr || r.User != tc.user:
			t.Errorf("%q is %s at %s, want %s at %s", tc.host, r.User, r.Addr(), tc.user, tc.addr)
		}
	}
}

func TestWaysThroughJumpHosts(t *testing.T) {
	yes := true
	c := Sources{
		Defaults: Settings{Login: Login{User: "ops", Port: 2200, PrivateKey: "k", HostKey: hostKey},
			Root: Root{Sudo: &yes, SudoPassword: "s"}, Bastion: &Bastion{Host: "jump"}},
		Hosts: map[string]Settings{
			"jump":   {Address: "192.0.2.1", Login: Login{User: "j"}},
			"direct": {Bastion: &Bastion{Host: NoBastion}},
			"inner":  {Address: "10.0.0.1", Bastion: &Bastion{Host: "outer", Login: Login{User: "o", Port: 22}}},
			"outer": {Address: "192.0.2.2", Login: Login{User: "not-o"},
				Bastion: &Bastion{Host: "me@192.0.2.3:2222", Login: Login{User: "not-me", HostKey: otherKey}}},
			"ring":   {Bastion: &Bastion{Host: "round"}},
			"round":  {Bastion: &Bastion{Host: "ring"}},
			"broken": {Bastion: &Bastion{Host: "us er@x"}},
		},
	}
	way := func(r *Route) string {
		var hops []string
		for ; r != nil; r = r.Via {
			hops = append(hops, r.User+"@"+r.Addr())
		}
		return strings.Join(hops, " < ")
	}
	for host, want := range map[string]string{
		"web1":   "ops@web1:2200 < j@192.0.2.1:2200",
		"direct": "ops@direct:2200",
		"jump":   "j@192.0.2.1:2200",
		"inner":  "ops@10.0.0.1:2200 < o@192.0.2.2:22 < me@192.0.2.3:2222",
	} {
		r, err := (&Resolver{Sources: c}).Resolve(host)
		if err != nil {
			t.Fatal(err)
		}
		if got := way(r); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
		for hop := r.Via; hop != nil; hop = hop.Via {
			if hop.Sudo != nil || hop.SudoPassword != "" || hop.HostKey == hostKey || hop.PrivateKey != "k" {
				t.Errorf("%s: the jump host %s takes %+v", host, hop.Host, hop.Settings)
			}
		}
	}
	_, err := (&Resolver{Sources: c}).Resolve("ring")
	wantError(t, Settings{}, err, "ring through round through ring")
	_, err = (&Resolver{Sources: c}).Resolve("broken")
	wantError(t, Settings{}, err, "white space")
}

// Guards which proxy_command counts for a host and for a jump host, what its tokens stand for, and that it and a
// bastion are one choice.
func TestProxyCommandOfTheProvider(t *testing.T) {
	home(t, map[string]string{"config": "Host filed\n ProxyCommand by-file %h\nHost alias\n HostName 10.0.0.9\n"})
	c := Sources{
		Defaults:    Settings{ProxyCommand: "by-default '%h':%p %r %n %%"},
		Environment: Settings{ProxyCommand: "by-environment"},
		NoCommands:  true, // it is about ssh_config alone
		Hosts: map[string]Settings{
			"own":     {Address: "10.0.0.1", ProxyCommand: "own-way %h"},
			"direct":  {ProxyCommand: NoCommand},
			"dialled": {Bastion: &Bastion{Host: NoBastion}},
			"behind":  {Bastion: &Bastion{Host: "jump"}},
			"jump":    {Address: "192.0.2.1"},
			"beyond":  {Bastion: &Bastion{Host: "jump", ProxyCommand: "to-jump %h"}},
			"hop":     {Address: "192.0.2.2", ProxyCommand: "hop-way"},
			"far":     {Bastion: &Bastion{Host: "hop"}},
			"both":    {Bastion: &Bastion{Host: "jump"}, ProxyCommand: "x"},
			"lines":   {ProxyCommand: "x\ny"},
			"token":   {ProxyCommand: "x %Z"},
		},
	}
	for host, want := range map[string]string{
		"ops@alias:7": "by-default '10.0.0.9':7 ops alias %", "filed": "by-default 'filed':22 root filed %",
		"own": "own-way 10.0.0.1", "direct": "", "dialled": "", "behind": " < ", "beyond": " < to-jump 192.0.2.1",
		"far": " < hop-way", "jump": "by-default '192.0.2.1':22 root 192.0.2.1 %",
	} {
		r, err := sshResolver(t, c).Resolve(host)
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		got := r.ProxyCommand
		if r.Via != nil {
			got += " < " + r.Via.ProxyCommand
		}
		if got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
	for host, problem := range map[string]string{
		"both": "both bastion and proxy_command", "lines": "more than one line", "token": "the token %Z",
		"a'b@web1": "the user's name holds a character",
	} {
		_, err := sshResolver(t, c).Resolve(host)
		wantError(t, Settings{}, err, problem)
	}
	c.Defaults.ProxyCommand = ""
	if r, err := sshResolver(t, c).Resolve("web1"); err != nil || r.ProxyCommand != "by-environment" {
		t.Errorf("by the environment: %+v, %v", r, err)
	}
	c.NoCommands = false
	if r, err := sshResolver(t, c).Resolve("filed"); err != nil || r.ProxyCommand != "by-file filed" {
		t.Errorf("by ssh_config: %+v, %v", r, err)
	}
}

// Guards that a host behind a command is not refused for a canonical name that ssh would not look up.
func TestProxyCommandNeedsNoCanonicalName(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	for canonicalize, refused := range map[string]bool{"yes": false, "always": true} {
		write(t, filepath.Join(home, ".ssh", "config"),
			"CanonicalizeHostname "+canonicalize+"\nCanonicalDomains dom\nProxyCommand nc %h %p\n")
		r, err := sshResolver(t, Sources{}).Resolve("web1")
		if (err != nil) != refused || err == nil && r.ProxyCommand != "nc web1 22" {
			t.Errorf("%s: %+v, %v", canonicalize, r, err)
		}
	}
}
