package route

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
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

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func sshResolver(t *testing.T, s Sources) *Resolver {
	t.Helper()
	s.SSHConfig = []string{"~/.ssh/config"}
	r, err := NewResolver(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Of a jump host, what is said where it is named comes first, then its entry in hosts, ssh_config, and only then the
// provider block, which is for the hosts behind it.
func TestPrecedenceOfAJumpHost(t *testing.T) {
	home(t, map[string]string{"config": "Host jump\n User config\n Port 4\n"})
	c := Sources{Defaults: Settings{Login: Login{User: "provider", Port: 3}},
		Environment: Settings{Login: Login{User: "environment", Port: 5}}}
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
			r, err := sshResolver(t, c).Resolve("web1")
			if err != nil || r.Via == nil || r.Via.User != tc.user || r.Via.Port != tc.port || r.User != "provider" {
				t.Errorf("got %+v by %+v, %v", r, r.Via, err)
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
  ProxyCommand none
  ProxyJump jump1
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
	c := sshResolver(t, Sources{})
	r, err := c.Resolve("web1")
	if err != nil {
		t.Fatal(err)
	}
	want := Added{Identities: []string{dir + "/.ssh/ops_web1.example.com", "/keys/a b"},
		Certificates: []string{dir + "/cert-web1"}, IdentitiesOnly: true,
		Methods: []string{PublicKey, KeyboardInteractive, Password}, Forbidden: map[string]string{},
		HostKeyAlias: "the-web", RevokedHostKeys: []string{}, ConnectTimeout: 7 * time.Second}
	if r.Address != "web1.example.com" || r.User != "ops" || r.Port != 2022 || !reflect.DeepEqual(r.Added, want) {
		t.Errorf("got %s@%s, %+v, want %+v", r.User, r.Addr(), r.Added, want)
	}
	if known := []string{dir + "/.ssh/known_the-web", "/tmp/with space",
		systemKnownHosts}; !reflect.DeepEqual(r.KnownHosts, known) {
		t.Errorf("known_hosts files %q, want %q", r.KnownHosts, known)
	}
	var way []string
	for hop := r.Via; hop != nil; hop = hop.Via {
		way = append(way, hop.User+"@"+hop.Addr())
	}
	if got, want := strings.Join(way, " < "), "root@jump3:2022 < me@jump2:2200 < first@jump1:2022"; got != want {
		t.Errorf("the way is %s, want %s", got, want)
	}
	for host, user := range map[string]string{"by-match": "matched", "other-match": "matched", "included": "from-a",
		"x.nested": "nested", "y": "root", "last": "at-the-end", "direct": "root"} {
		r, err := c.Resolve(host)
		if err != nil || r.User != user || r.Via != nil || len(r.Usual) == 0 {
			t.Errorf("%s: %+v, %v", host, r, err)
		}
	}
	// What the provider says of a jump host ends what ssh_config says of the way.
	c.Defaults.Bastion = &Bastion{Host: "other"}
	if r, err := c.Resolve("web1"); err != nil || r.Via.Addr() != "other:2022" || r.Via.Via != nil {
		t.Errorf("got %+v, %v", r, err)
	}
	c.Defaults.Bastion = &Bastion{Host: NoBastion}
	if r, err := c.Resolve("web1"); err != nil || r.Via != nil {
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
	// ssh asks passwd for the home
	write(t, filepath.Join(dir, ".ssh", "config"), strings.ReplaceAll(text, "MORE", filepath.Join(dir, ".ssh", "more")))
	c := sshResolver(t, Sources{})
	for _, host := range []string{"web1", "web2", "quoted", "beside", "comment", "comment9", "equals", "twice", "neg",
		"nx", "jumps", "included", "other", "10.0.0.9"} {
		out, err := exec.CommandContext(t.Context(), "ssh", "-F", filepath.Join(dir, ".ssh", "config"), "-G", host).Output()
		if err != nil {
			t.Fatal(err)
		}
		ssh := map[string]string{}
		for line := range strings.Lines(string(out)) {
			keyword, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			ssh[keyword] = value
		}
		r, err := c.Resolve(host)
		if err != nil {
			t.Fatal(err)
		}
		config, err := c.ssh.host(host, sshGiven{otherwise: "root"})
		if err != nil {
			t.Fatal(err)
		}
		want := []string{ssh["user"], ssh["hostname"], ssh["port"], ssh["hostkeyalias"], ssh["proxyjump"]}
		if got := []string{r.User, r.Address, strconv.Itoa(r.Port), r.HostKeyAlias, config.proxyJump}; !reflect.DeepEqual(got,
			want) {
			t.Errorf("%s: %q, and to ssh %q", host, got, want)
		}
	}
}

// Guards that a ProxyCommand gets its tokens, and no name that a shell could take for something else.
func TestProxyCommandOfSSHConfig(t *testing.T) {
	home(t, map[string]string{"config": "Host web1\n HostName 10.0.0.7\n Port 7\nHost direct\n ProxyCommand none\n" +
		"Host *\n ProxyCommand via '%h' %n:%p %r %% # x\n"})
	c := sshResolver(t, Sources{})
	for host, want := range map[string]string{
		"ops@web1": "via '10.0.0.7' web1:7 ops % # x", "db1": "via 'db1' db1:22 root % # x", "direct": "",
	} {
		if r, err := c.Resolve(host); err != nil || r.ProxyCommand != want || r.Via != nil {
			t.Errorf("%s: %q, %v, want %q", host, r.ProxyCommand, err, want)
		}
	}
	for _, host := range []string{"-x", "a;b", "a$b", "$(id)", "`id`@web1", "a'b@web1", "-l@web1", "a{b"} {
		_, err := c.Resolve(host)
		wantError(t, Settings{}, err, "")
	}
	r, err := sshResolver(t, Sources{Defaults: Settings{Bastion: &Bastion{Host: "jump"}}}).Resolve("web1")
	if err != nil || r.ProxyCommand != "" || r.Via == nil || r.Via.ProxyCommand == "" {
		t.Errorf("a bastion of the provider: %+v, %v", r, err)
	}
}

// What cannot be honoured is an error that names the line, where ssh would do something else than we.
func TestSSHConfigThatCannotBeHonoured(t *testing.T) {
	for name, tc := range map[string]struct{ config, more, problem string }{
		"Match exec":                {"Host a\n User b\nMatch exec \"true\"\n User c\n", "", "config:3 has 'Match exec"},
		"Match that ssh lacks":      {"Match weather fine\n User c\n", "", "config:1 has 'Match weather fine'"},
		"Match exec, included":      {"Include more\n", "\nMatch exec true\n User c\n", "more:2 has 'Match exec true'"},
		"file that includes itself": {"Include config\n", "", "too deep"},
		"ProxyCommand":              {"\nHost web1\n ProxyCommand nc %h %p\n", "", "config:3 sets a ProxyCommand"},
		"port":                      {"Host web1\n Port abc\n", "", "config:2 has port abc, which is no TCP port"},
		"yes or no":                 {"IdentitiesOnly perhaps\n", "", "config:1 has identitiesonly perhaps"},
		"time":                      {"ConnectTimeout soon\n", "", "config:1 has connecttimeout soon"},
		"token":                     {"IdentityFile ~/%Z\n", "", "the token %Z is not understood"},
		"environment variable":      {"IdentityFile ${NO_SUCH_VARIABLE}/x\n", "", "NO_SUCH_VARIABLE"},
		"host name":                 {"HostName a/b\n", "", "no host name has"},
		"RefuseConnection": {"Host web1\n RefuseConnection \"use the VPN\"\n", "",
			"config:2 has refuseconnection \"use the VPN\", which refuses"},
		"way in a circle": {"Host jump1\n ProxyJump jump2\nHost *\n ProxyJump jump1\n", "", "on the way to itself"},
	} {
		t.Run(name, func(t *testing.T) {
			home(t, map[string]string{"config": tc.config, "more": tc.more})
			r, err := NewResolver(t.Context(), Sources{SSHConfig: []string{"~/.ssh/config"}, NoCommands: true})
			if err == nil {
				_, err = r.Resolve("web1")
				wantError(t, Settings{}, err, tc.problem)
			} else if !strings.Contains(err.Error(), tc.problem) {
				t.Errorf("got %v, want %q", err, tc.problem)
			}
		})
	}
	t.Run("ProxyCommand that passes a socket", func(t *testing.T) {
		home(t, map[string]string{"config": "Host web1\n ProxyCommand nc -F %h %p\nProxyUseFdpass yes\n"})
		_, err := sshResolver(t, Sources{}).Resolve("web1")
		wantError(t, Settings{}, err, "and ProxyUseFdpass has it pass a socket")
	})
	t.Run("ProxyCommand where the environment names the way", func(t *testing.T) {
		home(t, map[string]string{"config": "Host web1\n ProxyCommand nc %h %p\n"})
		environment := Settings{Bastion: &Bastion{Host: "jump"}}
		_, err := sshResolver(t, Sources{Environment: environment, NoCommands: true}).Resolve("web1")
		wantError(t, Settings{}, err, "sets a ProxyCommand")
	})
	t.Run("ProxyCommand where the provider names the way", func(t *testing.T) {
		home(t, map[string]string{"config": "ProxyCommand nc %h %p\n"})
		if r, err := sshResolver(t,
			Sources{Defaults: Settings{Bastion: &Bastion{Host: "jump"}}, NoCommands: true}).Resolve("web1"); err == nil {
			t.Errorf("the jump host has a ProxyCommand, and was resolved: %+v", r)
		}
		if _, err := sshResolver(t,
			Sources{Defaults: Settings{Bastion: &Bastion{Host: NoBastion}}}).Resolve("web1"); err != nil {
			t.Error(err)
		}
	})
}

// Guards that ~/.ssh/config, and what it includes, does not count if others can write it, as for ssh, and any other
// file does.
func TestSSHConfigThatOthersCanWrite(t *testing.T) {
	if runtime.GOOS == "windows" || os.Getuid() != 0 {
		t.Skip("NOT TESTED: root alone gives files away")
	}
	for name, tc := range map[string]struct {
		file    string
		mode    os.FileMode
		owner   int
		problem string
	}{
		"own":               {"config", 0o644, 0, ""},
		"written by all":    {"config", 0o666, 0, "config can be written by other users"},
		"of another":        {"config", 0o600, 12345, "config belongs to the user with the id 12345"},
		"included, by all":  {"more", 0o646, 0, "more can be written by other users"},
		"included, another": {"more", 0o600, 12345, "more belongs to the user with the id 12345"},
		"named by the user": {"other", 0o666, 12345, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := home(t, map[string]string{"config": "Include more\n", "more": "Port 4\n", "other": "Port 4\n"})
			file := filepath.Join(dir, ".ssh", tc.file)
			if err := errors.Join(os.Chmod(file, tc.mode), os.Chown(file, tc.owner, 0)); err != nil {
				t.Fatal(err)
			}
			from := []string{"~/.ssh/config"}
			if tc.file == "other" {
				from = []string{file}
			}
			r, err := NewResolver(t.Context(), Sources{SSHConfig: from})
			if err == nil {
				_, err = r.Resolve("web1")
			}
			if tc.problem == "" && err != nil || tc.problem != "" && !strings.Contains(fmt.Sprint(err), tc.problem) {
				t.Errorf("got %v, want %q", err, tc.problem)
			}
		})
	}
}
