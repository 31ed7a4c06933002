package sshconn

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
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

func sshResolver(t *testing.T, c Config) resolver {
	t.Helper()
	c.SSHConfig = []string{"~/.ssh/config"}
	config, err := readSSHConfig(c.SSHConfig)
	if err != nil {
		t.Fatal(err)
	}
	return resolver{c, config}
}

// Each source gives way to those that are nearer to the host: its name, its entry in hosts, the provider block, ssh_config, the environment.
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
	all := func(user string, port int, known string) Settings {
		return Settings{Login: Login{User: user, Port: port, KnownHosts: []string{known}}, Bastion: &Bastion{Host: fmt.Sprint("jump", port)}}
	}
	const provider, environment = 3 * time.Second, 5 * time.Second
	for _, tc := range []struct {
		name            string
		host            string
		entry, defaults Settings
		timeout         time.Duration // of the provider block
		silent          bool          // the environment says nothing
		user            string
		port            int
		known, jump     string
		limit           time.Duration
	}{
		{"name", "name@web1:1", Settings{}, all("provider", 3, "/provider"), provider, false, "name", 1, "/provider", "jump3", provider},
		{"entry", "web1", all("entry", 2, "/entry"), all("provider", 3, "/provider"), provider, false, "entry", 2, "/entry", "jump2", provider},
		{"provider", "web1", Settings{}, all("provider", 3, "/provider"), provider, false, "provider", 3, "/provider", "jump3", provider},
		{"ssh_config", "web1", Settings{}, Settings{}, 0, false, "config", 4, "/config", "jump4", 4 * time.Second},
		{"ssh_config of a name that is no entry", "db1", Settings{}, Settings{}, 0, false, "config", 4, "/config", "jump4", 4 * time.Second},
		{"ssh_config that wants no jump host", "direct", Settings{}, Settings{}, 0, false, "environment", 5, "/environment", "", environment},
		{"environment", "other", Settings{}, Settings{}, 0, false, "environment", 5, "/environment", "jump5", environment},
		{"nothing", "other", Settings{}, Settings{}, 0, true, "root", 22, "", "", defaultConnectTimeout},
	} {
		t.Run(tc.name, func(t *testing.T) {
			config := Config{Hosts: map[string]Settings{"web1": tc.entry}, Defaults: tc.defaults, ConnectTimeout: tc.timeout, SSHConfig: []string{"~/.ssh/config"}}
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
			if r := c.route; r.User != tc.user || r.Port != tc.port || known != tc.known || jump != tc.jump || c.connectTimeout() != tc.limit {
				t.Errorf("got %s, port %d, %s, by %q in %s; want %s, port %d, %s, by %q in %s", r.User, r.Port, known, jump, c.connectTimeout(),
					tc.user, tc.port, tc.known, tc.jump, tc.limit)
			}
		})
	}
	t.Run("ssh_config's ProxyCommand", func(t *testing.T) {
		home(t, map[string]string{"config": "Host web1\n ProxyCommand nc %h %p\n"})
		_, err := sshResolver(t, Config{Environment: all("environment", 5, "/environment")}).resolve("web1")
		wantError(t, Settings{}, err, fault.Misconfigured, "sets a ProxyCommand")
	})
}

// Of a jump host, what is said where it is named comes first, then its entry in hosts, ssh_config, and only then the provider block, which is for the hosts behind it.
func TestPrecedenceOfAJumpHost(t *testing.T) {
	home(t, map[string]string{"config": "Host jump\n User config\n Port 4\n"})
	c := Config{Defaults: Settings{Login: Login{User: "provider", Port: 3}}, Environment: Settings{Login: Login{User: "environment", Port: 5}}}
	entry := map[string]Settings{"jump": {Login: Login{User: "entry", Port: 2}}}
	for _, tc := range []struct {
		name    string
		bastion Bastion
		hosts   map[string]Settings
		user    string
		port    int
	}{
		{"where it is named", Bastion{Host: "jump", Login: Login{User: "own", Port: 1}}, entry, "own", 1},
		{"entry", Bastion{Host: "jump"}, entry, "entry", 2},
		{"ssh_config", Bastion{Host: "jump"}, nil, "config", 4},
		{"provider", Bastion{Host: "other"}, nil, "provider", 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := c
			c.Hosts, c.Defaults.Bastion = tc.hosts, &tc.bastion
			r, err := sshResolver(t, c).resolve("web1")
			if err != nil || r.via == nil || r.via.User != tc.user || r.via.Port != tc.port || r.User != "provider" {
				t.Errorf("got %+v by %+v, %v", r, r.via, err)
			}
		})
	}
}

func TestSSHConfigOfAHost(t *testing.T) {
	dir := home(t, map[string]string{
		"config": `
Include conf.d/*.conf
Host web*
  HostName %h.example.com
  User ops
  IdentityFile ~/.ssh/%r_%h
  IdentityFile "${KEYS}/a b"
  CertificateFile %d/cert-%n
  IdentitiesOnly yes
  ConnectTimeout 7
  HostKeyAlias  the-web
  UserKnownHostsFile ~/.ssh/known_%k "/tmp/with space"
  ProxyJump jump1,me@jump2:2200,ssh://jump3
Host direct
  ProxyJump none
  ProxyCommand nc %h %p
Host jump1
  User = first
Match host by-match,other-match
  User matched
Match all
  Port 2022
Host last
  User at-the-end`,
		"conf.d/b.conf": "Host included\n User from-b\n",
		"conf.d/a.conf": "Host included\n User from-a\n Host *.nested\n Include more\n",
		"more":          "User nested\n",
	})
	t.Setenv("KEYS", "/keys")
	c := sshResolver(t, Config{})
	r, err := c.resolve("web1")
	if err != nil {
		t.Fatal(err)
	}
	want := sshAdds{Identities: []string{dir + "/.ssh/ops_web1.example.com", "/keys/a b"}, Certificates: []string{dir + "/cert-web1"}, IdentitiesOnly: true,
		HostKeyAlias: "the-web", ConnectTimeout: 7 * time.Second}
	if r.Address != "web1.example.com" || r.User != "ops" || r.Port != 2022 || !reflect.DeepEqual(r.sshAdds, want) {
		t.Errorf("got %s@%s, %+v, want %+v", r.User, r.target(), r.sshAdds, want)
	}
	if known := []string{dir + "/.ssh/known_the-web", "/tmp/with space", systemKnownHosts}; !reflect.DeepEqual(r.KnownHosts, known) {
		t.Errorf("known_hosts files %q, want %q", r.KnownHosts, known)
	}
	var way []string
	for hop := r.via; hop != nil; hop = hop.via {
		way = append(way, hop.User+"@"+hop.target())
	}
	if got, want := strings.Join(way, " < "), "root@jump3:2022 < me@jump2:2200 < first@jump1:2022"; got != want {
		t.Errorf("the way is %s, want %s", got, want)
	}
	for host, user := range map[string]string{"by-match": "matched", "other-match": "matched", "included": "from-a", "x.nested": "nested", "y": "root", "last": "at-the-end", "direct": "root"} {
		r, err := c.resolve(host)
		if err != nil || r.User != user || r.via != nil || !r.Usual {
			t.Errorf("%s: %+v, %v", host, r, err)
		}
	}
	// What the provider says of a jump host ends what ssh_config says of the way.
	c.Defaults.Bastion = &Bastion{Host: "other"}
	if r, err := c.resolve("web1"); err != nil || r.via.target() != "other:2022" || r.via.via != nil {
		t.Errorf("got %+v, %v", r, err)
	}
	c.Defaults.Bastion = &Bastion{Host: NoBastion}
	if r, err := c.resolve("web1"); err != nil || r.via != nil {
		t.Errorf("got %+v, %v", r, err)
	}
}

// What ssh itself makes of a file (ssh -G) is what is made of it here.
func TestSSHConfigMeansWhatItMeansToSSH(t *testing.T) {
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip("NOT TESTED: there is no OpenSSH client here: ", err)
	}
	dir := home(t, map[string]string{"more": "Match host included\n HostName 10.0.0.6\nMatch host 10.0.0.6\n Port 66\n"})
	text := `
Host web1
  HostName 10.0.0.5
Match host 10.0.*
  User by-host-name
Match host web1
  User not-by-what-it-is-called
Match originalhost web1,web2
  User by-what-it-is-called
  HostKeyAlias one
Host "quoted" beside
  User "ops"
  Port "2200"
Host com*ment !comment9 # those
  User ops # trailing
  HostName h.example
Host equals
  User=eq1
  HostName = eqhost
Host twice
  HostName %h.example.com
  HostName second
Match host *.example.com
  Port 77
Match host !neg,n*
  User not-neg
Host jumps
  ProxyJump a@b:3,c
Include MORE
Match all
  User everybody
`
	write(t, filepath.Join(dir, ".ssh", "config"), strings.ReplaceAll(text, "MORE", filepath.Join(dir, ".ssh", "more"))) // ssh asks passwd for the home
	c := sshResolver(t, Config{})
	for _, host := range []string{"web1", "web2", "quoted", "beside", "comment", "comment9", "equals", "twice", "neg", "nx", "jumps", "included", "other", "10.0.0.9"} {
		out, err := exec.CommandContext(t.Context(), "ssh", "-F", filepath.Join(dir, ".ssh", "config"), "-G", host).Output()
		if err != nil {
			t.Fatal(err)
		}
		ssh := map[string]string{}
		for line := range strings.Lines(string(out)) {
			keyword, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			ssh[keyword] = value
		}
		r, err := c.resolve(host)
		if err != nil {
			t.Fatal(err)
		}
		config, err := c.ssh.host(host)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{ssh["user"], ssh["hostname"], ssh["port"], ssh["hostkeyalias"], ssh["proxyjump"]}
		if got := []string{r.User, r.Address, strconv.Itoa(r.Port), r.HostKeyAlias, config.proxyJump}; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, and to ssh %q", host, got, want)
		}
	}
}

// What cannot be honoured is an error that names the line, where ssh would do something else than we.
func TestSSHConfigThatCannotBeHonoured(t *testing.T) {
	for name, tc := range map[string]struct{ config, more, problem string }{
		"Match exec":                {"Host a\n User b\nMatch exec \"true\"\n User c\n", "", "config:3 has 'Match exec"},
		"Match of two criteria":     {"Match host web1 user ops\n User c\n", "", "config:1 has 'Match host web1 user ops'"},
		"Match exec, included":      {"Include more\n", "\nMatch exec true\n", "more:2 has 'Match exec true'"},
		"file that includes itself": {"Include config\n", "", "too deep"},
		"ProxyCommand":              {"\nHost web1\n ProxyCommand nc %h %p\n", "", "config:3 sets a ProxyCommand"},
		"port":                      {"Host web1\n Port abc\n", "", "config:2 has port abc, which is no TCP port"},
		"yes or no":                 {"IdentitiesOnly perhaps\n", "", "config:1 has identitiesonly perhaps"},
		"time":                      {"ConnectTimeout soon\n", "", "config:1 has connecttimeout soon"},
		"token":                     {"IdentityFile ~/%C\n", "", "the token %C is not understood"},
		"environment variable":      {"IdentityFile ${NO_SUCH_VARIABLE}/x\n", "", "NO_SUCH_VARIABLE"},
		"host name":                 {"HostName a/b\n", "", "no host name has"},
		"way in a circle":           {"Host jump1\n ProxyJump jump2\nHost *\n ProxyJump jump1\n", "", "on the way to itself"},
	} {
		t.Run(name, func(t *testing.T) {
			home(t, map[string]string{"config": tc.config, "more": tc.more})
			p := NewPool(Config{SSHConfig: []string{"~/.ssh/config"}})
			defer p.Close()
			_, err := p.Conn("web1")
			wantError(t, Settings{}, err, fault.Misconfigured, tc.problem)
		})
	}
	t.Run("ProxyCommand where the provider names the way", func(t *testing.T) {
		home(t, map[string]string{"config": "ProxyCommand nc %h %p\n"})
		if r, err := sshResolver(t, Config{Defaults: Settings{Bastion: &Bastion{Host: "jump"}}}).resolve("web1"); err == nil {
			t.Errorf("the jump host has a ProxyCommand, and was resolved: %+v", r)
		}
		if _, err := sshResolver(t, Config{Defaults: Settings{Bastion: &Bastion{Host: NoBastion}}}).resolve("web1"); err != nil {
			t.Error(err)
		}
	})
}

// What `ssh web1` does by ssh_config alone works here: address, user, key, known_hosts by an alias, and the way through a jump host.
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
	p := NewPool(Config{SSHConfig: []string{"~/.ssh/config"}, Defaults: Settings{Login: Login{Agent: &no}}})
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
		change func(*Settings)
		kind   fault.Kind
		words  []string
	}{
		{name: "in its usual place", files: map[string]string{"id_ed25519": privatePEM(userKey)}},
		{name: "among several", files: map[string]string{"id_rsa": privatePEM(rsaKey), "id_ed25519": privatePEM(userKey)}},
		{name: "named", files: map[string]string{"web": privatePEM(userKey)}, config: "IdentityFile ~/.ssh/web"},
		{name: "named second, beside a private_key", files: map[string]string{"web": privatePEM(userKey)}, config: "IdentityFile ~/.ssh/web",
			change: func(s *Settings) { s.PrivateKey = privatePEM(otherKey) }},
		{name: "named and missing", files: other("x"), config: "IdentityFile ~/.ssh/web", kind: fault.AuthRefused, words: []string{"the key file open", "no such file"}},
		{name: "named, and no other is tried", files: map[string]string{"web": privatePEM(otherKey), "id_ed25519": privatePEM(userKey)}, config: "IdentityFile ~/.ssh/web",
			kind: fault.AuthRefused, words: []string{ssh.FingerprintSHA256(public(otherKey))}},
		{name: "encrypted, in the agent", files: map[string]string{"web": encrypted}, config: "IdentityFile ~/.ssh/web",
			agent: []any{newKey(), newKey(), newKey(), userKey}},
		{name: "encrypted, with its passphrase", files: map[string]string{"web": encrypted}, config: "IdentityFile ~/.ssh/web",
			change: func(s *Settings) { s.PrivateKeyPassphrase = "correct horse" }},
		{name: "encrypted, and the agent does not have it", files: map[string]string{"web": encrypted}, config: "IdentityFile ~/.ssh/web",
			kind: fault.AuthRefused, words: []string{"is encrypted or not there, and the agent does not have it"}},
		{name: "public half of one in the agent", files: map[string]string{"web.pub": publicLine(userKey)}, config: "IdentityFile ~/.ssh/web.pub",
			agent: []any{newKey(), newKey(), newKey(), userKey}},
		{name: "IdentitiesOnly keeps back the agent's others", files: other("web"), config: "IdentityFile ~/.ssh/web\nIdentitiesOnly yes", agent: []any{userKey},
			kind: fault.AuthRefused, words: []string{ssh.FingerprintSHA256(public(otherKey))}},
		{name: "not a key", files: map[string]string{"web": "hello"}, config: "IdentityFile ~/.ssh/web", kind: fault.AuthRefused, words: []string{"cannot be read"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := home(t, tc.files)
			write(t, filepath.Join(dir, ".ssh", "config"), fmt.Sprintf("Host web1\nHostName %s\nPort %s\n%s\n", host, port, tc.config))
			t.Setenv("SSH_AUTH_SOCK", "")
			if tc.agent != nil {
				startAgent(t, tc.agent...)
			}
			set := Settings{Login: Login{HostKey: publicLine(hostKey)}}
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
