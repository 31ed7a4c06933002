package sshconn

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// home makes a home directory with these files in ~/.ssh, and moves there.
func home(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		name = filepath.Join(dir, ".ssh", name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, name, text)
	}
	t.Setenv("HOME", dir)
	return dir
}

// Each source gives way to those that are nearer to the host: its name, its entry in hosts, the provider block,
// ssh_config, the environment.
func TestPrecedence(t *testing.T) {
	home(t, map[string]string{"config": `
Host web1 db1
 User config
 Port 4
 UserKnownHostsFile /config
 ProxyJump jump4
 ConnectTimeout 4
Host direct
 ProxyJump none
`})
	all := func(user string, port int, known string) route.Settings {
		return route.Settings{Login: route.Login{User: user, Port: port, KnownHosts: []string{known}},
			Bastion: &route.Bastion{Host: fmt.Sprint("jump", port)}}
	}
	const provider, environment = 3 * time.Second, 5 * time.Second
	for _, tc := range []struct {
		name            string
		host            string
		entry, defaults route.Settings
		timeout         time.Duration // of the provider block
		silent          bool          // the environment says nothing
		user            string
		port            int
		known, jump     string
		limit           time.Duration
	}{
		{"name", "name@web1:1", route.Settings{}, all("provider", 3, "/provider"), provider, false, "name", 1, "/provider",
			"jump3", provider},
		{"entry", "web1", all("entry", 2, "/entry"), all("provider", 3, "/provider"), provider, false, "entry", 2, "/entry",
			"jump2", provider},
		{"provider", "web1", route.Settings{}, all("provider", 3, "/provider"), provider, false, "provider", 3, "/provider",
			"jump3", provider},
		{"ssh_config", "web1", route.Settings{}, route.Settings{}, 0, false, "config", 4, "/config", "jump4",
			4 * time.Second},
		{"ssh_config of a name that is no entry", "db1", route.Settings{}, route.Settings{}, 0, false, "config", 4, "/config",
			"jump4", 4 * time.Second},
		{"ssh_config that wants no jump host", "direct", route.Settings{}, route.Settings{}, 0, false, "environment", 5,
			"/environment", "", environment},
		{"environment", "other", route.Settings{}, route.Settings{}, 0, false, "environment", 5, "/environment", "jump5",
			environment},
		{"nothing", "other", route.Settings{}, route.Settings{}, 0, true, "root", 22, "", "", defaultConnectTimeout},
	} {
		t.Run(tc.name, func(t *testing.T) {
			config := Config{Hosts: map[string]route.Settings{"web1": tc.entry}, Defaults: tc.defaults,
				ConnectTimeout: tc.timeout, SSHConfig: []string{"~/.ssh/config"}}
			if !tc.silent {
				config.Environment, config.FallbackConnectTimeout = all("environment", 5, "/environment"), environment
			}
			p := NewPool(config)
			defer p.Close()
			c, err := p.Conn(tc.host)
			if err != nil {
				t.Fatal(err)
			}
			known, jump := "", ""
			if len(c.route.KnownHosts) > 0 {
				known = c.route.KnownHosts[0]
			}
			if c.via != nil {
				jump = c.via.host
			}
			if r := c.route; r.User != tc.user || r.Port != tc.port || known != tc.known || jump != tc.jump ||
				c.connectTimeout() != tc.limit {
				t.Errorf("got %s, port %d, %s, by %q in %s; want %s, port %d, %s, by %q in %s", r.User, r.Port, known, jump,
					c.connectTimeout(),
					tc.user, tc.port, tc.known, tc.jump, tc.limit)
			}
		})
	}
}

// Guards that a name is one connection, and that a name or an ssh_config which cannot be used is an error of the kind
// that nothing is dialled for.
func TestConnOfAName(t *testing.T) {
	home(t, map[string]string{"config": "Match weather fine\n"})
	p := NewPool(Config{})
	defer p.Close()
	c, err := p.Conn("ops@web1")
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := p.Conn("ops@web1"); again != c {
		t.Error("another connection the second time")
	}
	_, err = p.Conn("web 1")
	wantError(t, route.Settings{}, err, fault.Misconfigured, "no host name")
	bad := NewPool(Config{SSHConfig: []string{"~/.ssh/config"}})
	defer bad.Close()
	_, err = bad.Conn("web1")
	wantError(t, route.Settings{}, err, fault.Misconfigured, "config:1")
}

// What `ssh web1` does by ssh_config alone works here: address, user, key, known_hosts by an alias, and the way through
// a jump host.
func TestHostThatOnlySSHConfigKnows(t *testing.T) {
	bastion, target := startSSHD(t), startSSHD(t)
	address := func(s *sshd) (string, string) {
		host, port, _ := net.SplitHostPort(s.addr)
		return host, port
	}
	bastionHost, bastionPort := address(bastion)
	host, port := address(target)
	dir := home(t, map[string]string{
		"id_web":      privatePEM(userKey),
		"known":       "web-alias " + publicLine(hostKey),
		"known_hosts": fmt.Sprintf("[%s]:%s %s", bastionHost, bastionPort, publicLine(hostKey)),
		"id_ed25519":  privatePEM(userKey),
	})
	write(t, filepath.Join(dir, ".ssh", "config"), fmt.Sprintf(`
Host web1
  HostName %s
  Port %s
  IdentityFile ~/.ssh/id_web
  HostKeyAlias web-alias
  UserKnownHostsFile ~/.ssh/known
  ProxyJump jump
Host jump
  HostName %s
  Port %s
`, host, port, bastionHost, bastionPort))
	no := false
	p := NewPool(Config{SSHConfig: []string{"~/.ssh/config"}, Defaults: route.Settings{Login: route.Login{Agent: &no}}})
	t.Cleanup(p.Close)
	mustEcho(t, conn(t, p))
	if n := bastion.count("Accepted publickey"); n != 1 {
		t.Errorf("%d logins at the jump host", n)
	}
}

func TestKeysInFiles(t *testing.T) {
	s := startSSHD(t, "MaxAuthTries 3")
	other := func(name string) map[string]string { return map[string]string{name: privatePEM(otherKey)} }
	encrypted := encryptedPEM(t, userKey, "correct horse")
	host, port, _ := net.SplitHostPort(s.addr)
	for _, tc := range []struct {
		name   string
		files  map[string]string
		config string
		agent  []any
		change func(*route.Settings)
		kind   fault.Kind
		words  []string
	}{
		{name: "in its usual place", files: map[string]string{"id_ed25519": privatePEM(userKey)}},
		{name: "among several", files: map[string]string{"id_rsa": privatePEM(rsaKey), "id_ed25519": privatePEM(userKey)}},
		{name: "named", files: map[string]string{"web": privatePEM(userKey)}, config: "IdentityFile ~/.ssh/web"},
		{name: "named second, beside a private_key", files: map[string]string{"web": privatePEM(userKey)},
			config: "IdentityFile ~/.ssh/web",
			change: func(s *route.Settings) { s.PrivateKey = privatePEM(otherKey) }},
		{name: "named and missing", files: other("x"), config: "IdentityFile ~/.ssh/web", kind: fault.AuthRefused,
			words: []string{"the key file open", "no such file"}},
		{name: "named, and no other is tried", files: map[string]string{"web": privatePEM(otherKey),
			"id_ed25519": privatePEM(userKey)}, config: "IdentityFile ~/.ssh/web",
			kind: fault.AuthRefused, words: []string{ssh.FingerprintSHA256(public(otherKey))}},
		{name: "encrypted, in the agent", files: map[string]string{"web": encrypted}, config: "IdentityFile ~/.ssh/web",
			agent: []any{newKey(), newKey(), newKey(), userKey}},
		{name: "encrypted, with its passphrase", files: map[string]string{"web": encrypted},
			config: "IdentityFile ~/.ssh/web",
			change: func(s *route.Settings) { s.PrivateKeyPassphrase = "correct horse" }},
		{name: "encrypted, and the agent does not have it", files: map[string]string{"web": encrypted},
			config: "IdentityFile ~/.ssh/web",
			kind:   fault.AuthRefused, words: []string{"is encrypted, and the agent does not have it"}},
		{name: "public half of one in the agent", files: map[string]string{"web.pub": publicLine(userKey)},
			config: "IdentityFile ~/.ssh/web.pub",
			agent:  []any{newKey(), newKey(), newKey(), userKey}},
		{name: "IdentitiesOnly keeps back the agent's others", files: other("web"),
			config: "IdentityFile ~/.ssh/web\nIdentitiesOnly yes", agent: []any{userKey},
			kind: fault.AuthRefused, words: []string{ssh.FingerprintSHA256(public(otherKey))}},
		{name: "not a key", files: map[string]string{"web": "hello"}, config: "IdentityFile ~/.ssh/web",
			kind: fault.AuthRefused, words: []string{"cannot be read"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := home(t, tc.files)
			write(t, filepath.Join(dir, ".ssh", "config"),
				fmt.Sprintf("Host web1\nHostName %s\nPort %s\n%s\n", host, port, tc.config))
			t.Setenv("SSH_AUTH_SOCK", "")
			if tc.agent != nil {
				startAgent(t, tc.agent...)
			}
			set := route.Settings{Login: route.Login{HostKey: publicLine(hostKey)}}
			if tc.change != nil {
				tc.change(&set)
			}
			p := NewPool(Config{SSHConfig: []string{"~/.ssh/config"}, Defaults: set})
			t.Cleanup(p.Close)
			if tc.kind == 0 {
				mustEcho(t, conn(t, p))
				return
			}
			fails(t, conn(t, p), tc.kind, tc.words...)
		})
	}
}
