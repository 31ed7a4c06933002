package route

import (
	"crypto/sha1"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// Guards that each criterion of Match is decided as ssh decides it, that a command which nobody runs is an error of the
// hosts alone for which it would decide on a setting, and that no Match in a block for another host has any effect.
func TestMatch(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	const holds, fails, doubt, wrong = "holds", "fails", "doubt", "wrong"
	for _, tc := range []struct{ match, is string }{
		{"all", holds},
		{"all # whatever", holds},
		{"!all", fails},
		{"final all", holds},
		{"final", holds},
		{"!final", holds}, // in the first pass
		{"canonical", fails},
		{"canonical all", fails},
		{"final canonical", holds},
		{"!canonical", holds},
		{"host web1", holds},
		{"host WEB1,db1", holds},
		{"host=web*", holds},
		{"host='web1'", holds},
		{`host "web1"`, holds},
		{"!host web1", fails},
		{"!host db1", holds},
		{"host !web1,*", fails},
		{"originalhost web1", holds},
		{"host web1 user root", holds},
		{"host web1 user ops", fails},
		{"host web1 !user ops", holds},
		{"localuser " + me.Username, holds},
		{"!localuser " + me.Username, fails},
		{"localuser nobody1", fails},
		{"exec true", doubt},
		{`exec "onsubnet 10.0.0.0/8"`, doubt},
		{"host web1 exec true", doubt},
		{"host db1 exec true", fails},
		{"exec true host db1", fails},
		{"!exec true", doubt},
		{"exec=true", doubt},
		{`tagged ""`, holds},
		{"tagged blue", fails},
		{"localnetwork 10.0.0.0/8", holds},
		{"localnetwork 192.0.2.0/24,10.1.2.3", holds},
		{"localnetwork 192.0.2.0/24", fails},
		{"localnetwork 10.0.0.1/8", wrong},
		{"version OpenSSH_*", holds},
		{"version OpenSSH_9.*", fails},
		{`command ""`, holds},
		{"command ls", fails},
		{"sessiontype shell", holds},
		{"sessiontype exec", fails},
		{"all host web1", wrong},
		{"host", wrong},
		{"weather fine", wrong},
		{"# nothing", wrong},
	} {
		for where, config := range map[string]string{
			"of every host": "Include more\n", "of the host": "Host web1\n Include more\n",
			"of another host": "Host db1\n Include more\n",
		} {
			t.Run(tc.match+", in a block "+where, func(t *testing.T) {
				home(t, map[string]string{"config": config, "more": fmt.Sprintf("Match %s\n User matched\n", tc.match)})
				c := sshResolver(t, Sources{NoCommands: true})
				c.ssh.networks = func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("10.1.2.3")}, nil }
				r, err := c.Resolve("web1")
				is := tc.is
				if where == "of another host" && is != wrong {
					is = fails
				}
				switch is {
				case doubt:
					wantError(t, Settings{}, err, "has 'Match "+tc.match+"', which is decided by a command")
				case wrong:
					wantError(t, Settings{}, err, "has 'Match "+tc.match+"', which has")
				default:
					if err != nil {
						t.Fatal(err)
					}
					if want := map[string]string{holds: "matched", fails: "root"}[is]; r.User != want {
						t.Errorf("the user is %s, want %s", r.User, want)
					}
				}
			})
		}
	}
}

// Guards that a command is asked for with its tokens replaced, once everything before it holds, and not otherwise.
func TestMatchExec(t *testing.T) {
	home(t, map[string]string{"config": "HostName %h.example\nPort 7\n" +
		"Match exec \"is %h %n %p %r 100%%\"\n User first\nMatch host db1 exec never\n" +
		" User second\nMatch !exec no\n HostKeyAlias third\n"})
	c := sshResolver(t, Sources{})
	var asked []string
	c.ssh.exec = func(command string) (bool, error) {
		asked = append(asked, command)
		return command != "no", nil
	}
	r, err := c.Resolve("ops@web1")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"is web1.example web1 7 ops 100%", "no"}; !slices.Equal(asked, want) || r.HostKeyAlias != "third" {
		t.Errorf("%q were run, want %q; %+v", asked, want, r)
	}
	for command, want := range map[string]bool{"exit 0": true, "exit 3": false, "kill $$": false} {
		got, err := new(Sources).runMatchExec(t.Context(), command)
		if got != want || (err != nil) != strings.HasPrefix(command, "kill") {
			t.Errorf("%s: %t, %v", command, got, err)
		}
	}
}

// Guards that a command that nobody runs keeps no host back for which its block says nothing new, or only on a way that
// the provider names.
func TestMatchExecThatDoesNotMatter(t *testing.T) {
	home(t, map[string]string{"config": "User first\nMatch exec true\n User second\n" +
		" ForwardAgent yes\nMatch exec false\n ProxyJump jump\n"})
	c := sshResolver(t, Sources{NoCommands: true})
	_, err := c.Resolve("web1")
	wantError(t, Settings{}, err, "config:5 has 'Match exec false', which is decided by a command")
	c.Defaults.Bastion = &Bastion{Host: NoBastion}
	if r, err := c.Resolve("web1"); err != nil || r.User != "first" || r.Via != nil {
		t.Errorf("%+v, %v", r, err)
	}
}

// Guards single lines that ssh reads otherwise than they look.
func TestSSHConfigRows(t *testing.T) {
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	hash := func(text string) string { return fmt.Sprintf("%x", sha1.Sum([]byte(name+text))) }
	for _, tc := range []struct {
		name, config string
		want         string // the user, the target, and by which hosts it is reached
		timeout      time.Duration
		keys         []string
	}{
		{name: "ProxyCommand none comes first", config: "Host web1\n ProxyCommand none\nHost *\n ProxyJump b",
			want: "root@web1:22"},
		{name: "ProxyJump none comes first", config: "Host web1\n ProxyJump none\nHost *\n ProxyJump b",
			want: "root@web1:22"},
		{name: "ProxyJump before ProxyCommand", config: "Host web1\n ProxyJump b\nHost web1\n ProxyCommand nc",
			want: "root@web1:22 by root@b:22"},
		{name: "ProxyJump with the user of the host", config: "Host web1\n User ops\n ProxyJump %r@b",
			want: "ops@web1:22 by ops@b:22"},
		{name: "ProxyJump by URI", config: "Host web1\n ProxyJump ssh://me@b:23,[::1]:24 # two",
			want: "root@web1:22 by root@[::1]:24 by me@b:23"},
		{name: "single quotes", config: "Host 'web1'\n User 'o p s'", want: "o p s@web1:22"},
		{name: "double quotes within", config: "Host w\"eb\"1\n User o\\\"ps", want: `o"ps@web1:22`},
		{name: "# within a value", config: "Host web1\n User o#ps # a comment", want: "o#ps@web1:22"},
		{name: "no blank", config: "Host=web1\n User=ops\n Port = 23", want: "ops@web1:23"},
		{name: "carriage returns", config: "Host web1\r\n User ops\r\n", want: "ops@web1:22"},
		{name: "name of a service", config: "Port ssh", want: "root@web1:22"},
		{name: "HostName once",
			config: "HostName A%h.Example\nMatch host aweb1.example\n Port 5\n" +
				"Match final host aweb1.example\n HostName c\n User final", want: "final@aweb1.example:5"},
		{name: "Host in the final pass", config: "HostName 10.0.0.5\nHost 10.*\n User by-address\nMatch final\n Port 6",
			want: "by-address@10.0.0.5:6"},
		{name: "a day", config: "ConnectTimeout 1d", want: "root@web1:22", timeout: 24 * time.Hour},
		{name: "units", config: "ConnectTimeout none\nConnectTimeout 1h30M5", want: "root@web1:22",
			timeout: 90*time.Minute + 5*time.Second},
		{name: "%C", config: "ProxyJump me@b:3\nIdentityFile /k/%C", want: "root@web1:22 by me@b:3",
			keys: []string{"/k/" + hash("web122rootb")}},
		{name: "%j and %k", config: "ProxyJump me@b:3\nHostKeyAlias x\nIdentityFile /k/%j%k%%",
			want: "root@web1:22 by me@b:3", keys: []string{"/k/bx%"}},
		{name: "tokens of User", config: "User %n-%%", want: "web1-%@web1:22"},
		{name: "six keys, and one of them twice",
			config: "IdentityFile /1\nIdentityFile /2\nIdentityFile /3\nMatch all\n" +
				"IdentityFile /4\nIdentityFile /1\nIdentityFile /5\nIdentityFile /6",
			want: "root@web1:22", keys: []string{"/1", "/2", "/3", "/4", "/5", "/6"}},
		{name: "keyword of another program", config: "IgnoreUnknown Use*\nUseKitchen yes\nUser ops", want: "ops@web1:22"},
		{name: "keyword of Apple", config: "UseKeychain yes", want: "root@web1:22"},
		{name: "hidden file", config: "Include d/*", want: "seen@web1:22"},
		{name: "canonical names that nothing asks for", config: "CanonicalizeHostname yes\nMatch canonical\n User again",
			want: "again@web1:22"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			home(t, map[string]string{"config": tc.config, "d/.hidden": "User hidden", "d/seen": "User seen"})
			r, err := sshResolver(t, Sources{}).Resolve("web1")
			if err != nil {
				t.Fatal(err)
			}
			got := r.User + "@" + r.Addr()
			for hop := r.Via; hop != nil; hop = hop.Via {
				got += " by " + hop.User + "@" + hop.Addr()
			}
			if got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
			if r.ConnectTimeout != tc.timeout || len(tc.keys)+len(r.Identities) > 0 && !reflect.DeepEqual(r.Identities,
				tc.keys) {
				t.Errorf("%s, %q, want %s, %q", r.ConnectTimeout, r.Identities, tc.timeout, tc.keys)
			}
		})
	}
	for name, tc := range map[string]struct{ config, words string }{
		"canonical names":         {"CanonicalizeHostname yes\nCanonicalDomains example.com\n", "no name is looked up here"},
		"ProxyCommand after none": {"ProxyJump none\nProxyCommand nc\n", "config:2 sets a ProxyCommand"},
		"unknown keyword":         {"Weather fine\n", "config:1 has weather fine, which is no keyword"},
		"two arguments":           {"Host db1\n Port 1 2\n", "which has too many arguments"},
		"no argument":             {"Host db1\n Port\n", "which has no argument"},
		"quotes":                  {"Host db1\n User \"ops\n", "which has quotes that are not closed"},
		"no token of a name":      {"HostName %n\n", "the token %n is not understood"},
	} {
		t.Run(name, func(t *testing.T) {
			home(t, map[string]string{"config": tc.config})
			_, err := sshResolver(t, Sources{NoCommands: true}).Resolve("web1")
			wantError(t, Settings{}, err, tc.words)
		})
	}
}

// Guards that an ordinary host is reached, or not, with the files that a distribution puts in /etc/ssh.
func TestStockSSHConfigs(t *testing.T) {
	files, err := filepath.Glob("testdata/sshconfig/*.txtar")
	if err != nil || len(files) != 11 {
		t.Fatalf("%q, %v", files, err)
	}
	refused := map[string]string{"freeipa": "which is decided by a command", "freeipa-all": "sets a ProxyCommand for it",
		"freeipa-new": "sets a KnownHostsCommand for it"}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir := home(t, map[string]string{"config": "Host mine\n Ciphers aes256-ctr\n"})
			for _, f := range archive.Files {
				path := filepath.Join(dir, f.Name)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				text := string(f.Data)
				for _, root := range []string{"/etc/", "/usr/etc/"} {
					text = strings.ReplaceAll(text, "Include "+root, "Include "+dir+root)
				}
				write(t, path, text)
			}
			system := filepath.Join(dir, archive.Files[0].Name)
			c := Sources{SSHConfig: []string{"~/.ssh/config", system}, NoCommands: true}
			ssh, err := readSSHConfig(c.SSHConfig)
			if err != nil || len(ssh.files) != 2 {
				t.Fatal(err)
			}
			ssh.files[1].system = true
			r := &Resolver{c, ssh}
			route, err := r.Resolve("web1")
			if words := refused[name]; words != "" {
				wantError(t, Settings{}, err, words)
				r.Defaults.Bastion, r.Defaults.HostKey = &Bastion{Host: NoBastion}, "SHA256:"+strings.Repeat("A", 43)
				route, err = r.Resolve("web1")
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := route.User + "@" + route.Addr(); got != "root@web1:22" || route.Via != nil || len(route.Usual) == 0 {
				t.Errorf("%s, %+v", got, route)
			}
			mine, err := ssh.host("mine", sshGiven{otherwise: "root"})
			if err != nil || mine.ciphers != "aes256-ctr" {
				t.Errorf("the user's own setting gave way: %q, %v", mine.ciphers, err)
			}
			web, err := ssh.host("web1", sshGiven{otherwise: "root"})
			policy := slices.Contains([]string{"fedora", "rhel8", "rhel9", "rhel10", "opensuse"}, name)
			if err != nil || strings.HasPrefix(web.ciphers, "aes256-gcm@openssh.com,") != policy {
				t.Errorf("ciphers %q, %v", web.ciphers, err)
			}
			if name == "freeipa-new" && web.knownHostsCommand != "/usr/bin/sss_ssh_knownhosts %H" {
				t.Errorf("KnownHostsCommand %q", web.knownHostsCommand)
			}
			if strings.HasPrefix(name, "freeipa") && name != "freeipa-new" && !slices.Equal(web.knownGlobal,
				[]string{"/var/lib/sss/pubconf/known_hosts"}) {
				t.Errorf("GlobalKnownHostsFile %q", web.knownGlobal)
			}
			if ssh, err := exec.LookPath("ssh"); err == nil && name != "rhel8" &&
				name != "rhel9" { // whose keywords Debian's ssh may lack
				if out, err := exec.CommandContext(t.Context(), ssh, "-G", "-F", system, "web1").CombinedOutput(); err != nil &&
					!strings.Contains(string(out), "Bad ") {
					t.Errorf("ssh refuses the file: %v\n%s", err, out)
				}
			}
		})
	}
}

// Guards that a line never stops the reader, whatever it holds, and that what it is split into comes from the line.
func FuzzSSHConfigLine(f *testing.F) {
	for _, line := range []string{"", " ", "\f", "Host a b # c", `"Port" 22`, `Po"rt`, "=Port=22", `User "a`,
		`User a\ b\"`, "ProxyCommand sh -c 'x # y'", "Match host=a !exec \"b\"",
		"IdentityFile %C ${X", "ProxyJump ssh://a%4@b:1/", "ConnectTimeout 1h.", "Include [a", "A\x00b c",
		"IdentityAgent $", "Match all # x", "ProxyJump a@[::1]:2,c"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, line := range sshConfigLines(text) {
			if line.keyword == "" || line.keyword != strings.ToLower(line.keyword) || !strings.Contains(text, line.rest) {
				t.Errorf("%q was read as %+v", text, line)
			}
			if line.err == nil && len(strings.Join(line.args, "")) > len(line.rest) {
				t.Errorf("%q was split into %q", line.rest, line.args)
			}
		}
		c := &sshConfig{files: []*sshConfigFile{{name: "config", lines: sshConfigLines(text)}}, networks: localNetworks,
			included: map[string]*sshConfigFile{}, matched: map[string][]string{}}
		for i := range c.files[0].lines {
			if c.files[0].lines[i].keyword == "include" {
				return // other files are not this test's
			}
		}
		c.local.homeOf = func(string) (string, error) { return "", os.ErrNotExist }
		if h, err := c.host("web1", sshGiven{otherwise: "root"}); err == nil {
			_, _ = h.expanded(c.tokens(&h, "web1", h.address, 22, "root"))
			jumps(h.proxyJump)
		}
	})
}
