package route

import (
	"cmp"
	"crypto/sha1"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// regressCase is one reading of ssh_config that OpenSSH's own tests make. The list of those tests is in the package
// sshconn.
type regressCase struct {
	name string
	// files are by their names in ~/.ssh, config or, if that is empty, the file config.
	files  map[string]string
	config string
	host   string
	// want is a line of what ssh -G prints. Empty: ssh refuses the files.
	want string
	// modern says that older clients read it otherwise: only a new one is asked too.
	modern bool
}

// includeTree are files in which lines stand before an Include, behind it, and in what it names.
var includeTree = map[string]string{
	"config": `
Match host early
 HostName config
Match host=early-include # a comment
 HostName config
 Include part*
Match host late
 Include part*
 HostName config
Match host=all !user nobody-here
 Include part* # a comment
Host h-early
 HostName config # a comment
Host h-early-include
 HostName config
 Include part*
Host h-late
 Include part*
 HostName config
Host h-all
 Include part*
`,
	"part0": "Match host nobody-here\n",
	"part1": includePart("part1"),
	"part2": includePart("part2") + "Match all # a comment\n HostName all-hosts\n",
}

// includePart is the text of an included file that has a block for most of the hosts.
func includePart(value string) string {
	return "Match host=early\n HostName " + value + "\nMatch host early-include !user nobody-here\n HostName " + value +
		"\nMatch host late # a comment\n HostName " + value + "\nHost h-early # a comment\n HostName " + value +
		"\nHost h-early-include\n HostName " + value + "\nHost h-late\n HostName " + value + " # a comment\n"
}

// with returns the files and one more.
func with(files map[string]string, name, text string) map[string]string {
	all := map[string]string{name: text}
	for name, text := range files {
		all[name] = text
	}
	return all
}

var regressCases = []regressCase{
	{name: "Match, its setting and no Include", files: includeTree, host: "early", want: "hostname config"},
	{name: "Match, its setting, an Include", files: includeTree, host: "early-include", want: "hostname config"},
	{name: "Match, an Include, its setting", files: includeTree, host: "late", want: "hostname part1"},
	{name: "Match and an Include alone", files: includeTree, host: "all", want: "hostname all-hosts"},
	{name: "Host, its setting and no Include", files: includeTree, host: "h-early", want: "hostname config"},
	{name: "Host, its setting, an Include", files: includeTree, host: "h-early-include", want: "hostname config"},
	{name: "Host, an Include, its setting", files: includeTree, host: "h-late", want: "hostname part1"},
	{name: "Host and an Include alone", files: includeTree, host: "h-all", want: "hostname all-hosts"},
	{name: "no block of the host includes anything", files: includeTree, host: "other", want: "hostname other"},
	{name: "mistake in a file that counts", files: with(includeTree, "part3", "HostName x\n\tNonsense\n"), host: "late"},
	{name: "mistake in a file of other blocks", files: with(includeTree, "part3", "HostName x\n\tNonsense\n"),
		host: "other"},
	{name: "Include of no file", config: "Include nosuch*\nHostName h\n", want: "hostname h"},
	{name: "Match ends with the included file", want: "hostname h",
		files: map[string]string{"config": "Include part\nHostName h\n", "part": "Match host other\n"}},
	{name: "Host ends with the included file", want: "hostname h",
		files: map[string]string{"config": "Include part\nHostName h\n", "part": "Host other\n"}},
	{name: "file that includes itself", config: "Include config\n"},
	{name: "variable in an Include", modern: true, want: "hostname h",
		files: map[string]string{"config": "Include ${REGRESS}/p\n", "some/p": "HostName h\n"}},
	{name: "tokens in an Include", modern: true, want: "hostname h",
		files: map[string]string{"config": "Include %h-%n-%%\n", "web1-web1-%": "HostName h\n"}},

	{name: "Match that holds comes first", config: "Match host web1 user *\n Port 1\nMatch all\n Port 2\n",
		want: "port 1"},
	{name: "Match that does not hold", config: "Match host web1 user nobody-here\n Port 1\nMatch all\n Port 2\n",
		want: "port 2"},
	{name: "comment behind a Match", config: "Match host web1 # host db1\n Port 1 # 2\n", want: "port 1"},
	{name: "comment behind a Match that does not hold", config: "Match host db1 # host web1\n Port 1\n", want: "port 22"},

	{name: "first User", config: "User one\nUser two\n", want: "user one"},
	{name: "User before the one of the host", config: "Host web1\n User one\nHost *\n User two\n", want: "user one"},
	{name: "PubkeyAcceptedAlgorithms", config: "PubkeyAcceptedAlgorithms ssh-ed25519\n",
		want: "pubkeyacceptedalgorithms ssh-ed25519"},
	{name: "ForwardAgent", config: "ForwardAgent no\nPort 1\n", want: "port 1"},
	{name: "ForwardAgent with a path", config: "ForwardAgent /run/agent\nPort 1\n", want: "port 1"},
	{name: "ForwardAgent with a variable", config: "ForwardAgent $REGRESS\nPort 1\n", want: "port 1"},
	{name: "IPQoS and TunnelDevice", config: "IPQoS af21 cs1\nTunnelDevice 1:2\nPort 1\n", want: "port 1"},
	{name: "keywords of forwarding", want: "port 1",
		config: "ExitOnForwardFailure yes\nClearAllForwardings no\nLocalForward 1 h:2\nRemoteForward 3 h:4\nPort 1\n"},

	{name: "ProxyJump by name", config: "ProxyJump j1\n", want: "proxyjump j1"},
	{name: "ProxyJump with a user", config: "ProxyJump u@j1\n", want: "proxyjump u@j1"},
	{name: "ProxyJump with a port", config: "ProxyJump j1:23\n", want: "proxyjump j1:23"},
	{name: "ProxyJump with both", config: "ProxyJump u@j1:23\n", want: "proxyjump u@j1:23"},
	{name: "ProxyJump through two", config: "ProxyJump j1,j2\n", want: "proxyjump j1,j2"},
	{name: "ProxyJump through two with both", config: "ProxyJump u@j1:23,v@j2:24\n", want: "proxyjump u@j1:23,v@j2:24"},
	{name: "ProxyJump by URI", config: "ProxyJump ssh://u@j1:23\n", want: "proxyjump u@j1:23"},
	{name: "ProxyJump none, ProxyJump", config: "ProxyJump none\nProxyJump j1\n", want: "proxyjump"},
	{name: "ProxyJump, ProxyCommand", config: "ProxyJump j1\nProxyCommand c\n", want: "proxyjump j1"},
	{name: "ProxyCommand, ProxyJump", config: "ProxyCommand c\nProxyJump j1\n", want: "proxycommand c"},
	{name: "ProxyJump with what a shell would take", config: "ProxyJump u;v@j;k\n", want: "proxyjump u;v@j;k"},
}

// regressOracle is an oracle with these files in .ssh.
func regressOracle(t *testing.T, newOracle func() *sshOracle, files map[string]string) (o *sshOracle, main string) {
	t.Helper()
	o = newOracle()
	for name, text := range files {
		path := filepath.Join(o.dir, ".ssh", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, path, text)
	}
	return o, filepath.Join(o.dir, ".ssh", "config")
}

// wantLine wants a host to be as a line of ssh -G says, and ssh, unless it is too old, to say so too.
func (o *sshOracle) wantLine(t *testing.T, main, host, want string, modern bool) {
	t.Helper()
	c := o.read(t, main)
	if o.modern || !modern {
		if known, refused := o.compare(t, c, main, main, host); !known || refused != (want == "") {
			t.Fatalf("it means the same to %s, but that it refuses the files is %v", o.version, refused)
		}
	}
	h, err := c.host(host, sshGiven{otherwise: o.me.Username})
	raw := h
	if err == nil {
		h, err = h.expanded(c.tokens(&h, host, h.address, max(h.port, 22), cmp.Or(h.user, o.me.Username)))
	}
	if (err != nil) != (want == "") {
		t.Fatalf("got %v, want %q", err, want)
	}
	if keyword, value, _ := strings.Cut(want, " "); want != "" {
		if got := strings.Join(o.dump(raw, h)[keyword], " "); got != value {
			t.Errorf("%s is %q, want %q", keyword, got, value)
		}
	}
}

// Guards that ssh_config is read as OpenSSH's own tests want the client to read it.
func TestSSHConfigAsOpenSSHTestsIt(t *testing.T) {
	newOracle := sshOracleOf(t)
	t.Setenv("REGRESS", "some")
	for _, tc := range regressCases {
		t.Run(tc.name, func(t *testing.T) {
			files := tc.files
			if files == nil {
				files = map[string]string{"config": tc.config}
			}
			o, main := regressOracle(t, newOracle, files)
			o.wantLine(t, main, cmp.Or(tc.host, "web1"), tc.want, tc.modern)
		})
	}
}

// Guards that of a block for each criterion of Match the one counts whose criterion holds, with a blank and with =
// before the argument.
func TestMatchCriteriaAsOpenSSHTestsThem(t *testing.T) {
	newOracle := sshOracleOf(t)
	criteria := []struct {
		name, holds, fails string
		modern             bool
	}{
		{"host", "web1", "db1", false},
		{"originalhost", "web1", "db1", false},
		{"user", "ops", "nobody-here", false},
		{"localuser", newOracle().me.Username, "nobody-here", false},
		{"exec", "true", "false", false},
		{"tagged", "blue", "green", true},
		{"localnetwork", "127.0.0.0/8", "240.0.0.0/4", true},
		{"version", "OpenSSH_*", "Dropbear_*", true},
	}
	for _, modern := range []bool{false, true} {
		for _, separator := range []string{" ", "="} {
			for _, one := range criteria {
				if one.modern && !modern {
					continue
				}
				t.Run(fmt.Sprintf("%s%q, of all: %v", one.name, separator, modern), func(t *testing.T) {
					text := "User ops\n"
					if modern {
						text += "Tag blue\n"
					}
					for _, c := range criteria {
						if c.modern && !modern {
							continue
						}
						value := c.fails
						if c.name == one.name {
							value = c.holds
						}
						text += "Match " + c.name + separator + value + "\n HostKeyAlias by-" + c.name + "\n"
					}
					o, main := regressOracle(t, newOracle, map[string]string{"config": text})
					o.wantLine(t, main, "web1", "hostkeyalias by-"+one.name, modern)
				})
			}
		}
	}
}

// Guards that what ssh -G prints of a host is itself a file of ssh_config that means the same, to ssh and here.
func TestSSHConfigThatSSHPrints(t *testing.T) {
	newOracle := sshOracleOf(t)
	for name, text := range map[string]string{
		"no settings": "",
		"settings": "HostName 10.0.0.5\nUser ops\nPort 2222\nHostKeyAlias one\nIdentitiesOnly yes\nConnectTimeout 7\n" +
			"UserKnownHostsFile /a /b\nIdentityFile /k/1\nIdentityFile /k/2\nCertificateFile /c/1\nCiphers aes256-ctr\n" +
			"StrictHostKeyChecking accept-new\nSetEnv A=b\nLocalForward 1 h:2\n",
		"a jump host":  "ProxyJump u@j1:23,j2\n",
		"a command":    "ProxyCommand nc '%h' %p\nControlPath /c/%r@%h:%p\nKnownHostsCommand /k %H\n",
		"no way":       "ProxyJump none\nProxyCommand none\nIdentityAgent none\nUserKnownHostsFile none\n",
		"every method": "PreferredAuthentications publickey,password\nPubkeyAuthentication no\nBatchMode yes\n",
	} {
		t.Run(name, func(t *testing.T) {
			o, main := regressOracle(t, newOracle, map[string]string{"config": text})
			printed := func(file string) string {
				out, err := exec.CommandContext(t.Context(), "ssh", "-G", "-F", file, "web1").Output()
				if err != nil {
					t.Fatal(err)
				}
				return strings.ReplaceAll(string(out), o.me.HomeDir+"/", "~/")
			}
			again := main + "-again"
			write(t, again, printed(main))
			if first, second := printed(main), printed(again); first != second {
				t.Fatalf("ssh itself prints\n%s\nand of that\n%s", first, second)
			}
			if known, refused := o.compare(t, o.read(t, again), printed(main), again, "web1"); !known || refused {
				t.Errorf("refused: %v", refused)
			}
		})
	}
}

// Guards that each token, ~ and a variable stand for what OpenSSH's own tests want, in every keyword of ours that has
// them.
func TestTokensAsOpenSSHTestsThem(t *testing.T) {
	newOracle := sshOracleOf(t)
	t.Setenv("REGRESS", "some")
	local := thisMachine()
	short, _, _ := strings.Cut(local.hostname, ".")
	const account, rest = "/x/%%/%i/%h/%d/%L/%l/%n/%k/%p/%u", "/%r/%C"
	expected := func(home string) (string, string) {
		return "/x/%/" + local.uid + "/127.0.0.1/" + home + "/" + short + "/" + local.hostname + "/web1/alias/2222/" +
			local.user, fmt.Sprintf("/ops/%x", sha1.Sum([]byte(local.hostname+"127.0.0.1"+"2222"+"ops")))
	}
	for _, tc := range []struct {
		keyword string
		modern  bool
		tilde   bool
	}{
		{"ControlPath", false, true}, {"IdentityAgent", false, true}, {"UserKnownHostsFile", false, true},
		{"RevokedHostKeys", true, true}, {"IdentityFile", false, true}, {"CertificateFile", false, true},
		{"User", true, false},
	} {
		t.Run(tc.keyword, func(t *testing.T) {
			for _, form := range []string{account, account + rest, "${REGRESS}/y", "~", "~/y"} {
				if tc.keyword == "User" && form != account && form[0] != '$' {
					continue
				}
				user := "User ops\n"
				if tc.keyword == "User" {
					user, form = "", strings.ReplaceAll(strings.TrimPrefix(form, "/"), "/", "-")
				}
				o, main := regressOracle(t, newOracle, map[string]string{
					"config": "HostName 127.0.0.1\nPort 2222\nHostKeyAlias alias\n" + user + tc.keyword + " " + form + "\n"})
				first, second := expected(o.dir)
				want := map[string]string{account: first, account + rest: first + second, "${REGRESS}/y": "some/y",
					"~": o.dir + "/", "~/y": o.dir + "/y"}[form]
				if tc.keyword == "User" { // which has no path, but what ssh puts there may be one
					first = strings.ReplaceAll(strings.ReplaceAll(first[1:], o.dir, "\x00"), "/", "-")
					if want = strings.ReplaceAll(first, "\x00", o.dir); form == "${REGRESS}-y" {
						want = "some-y"
					}
				}
				c := o.read(t, main)
				if o.modern || !tc.modern {
					if known, refused := o.compare(t, c, form, main, "web1"); !known || refused {
						t.Errorf("%s: refused: %v", form, refused)
					}
				}
				h, err := c.host("web1", sshGiven{otherwise: "root"})
				if err == nil {
					h, err = h.expanded(c.tokens(&h, "web1", h.address, h.port, h.user))
				}
				got := map[string]string{"ControlPath": h.controlPath, "IdentityAgent": h.identityAgent, "User": h.user,
					"UserKnownHostsFile": strings.Join(h.known, " "), "RevokedHostKeys": strings.Join(h.revoked, " "),
					"IdentityFile": strings.Join(h.identities, " "), "CertificateFile": strings.Join(h.certificates, " ")}[tc.keyword]
				if err != nil || got != want {
					t.Errorf("%s is %q, %v; want %q", form, got, err, want)
				}
			}
		})
	}
	t.Run("Match exec", func(t *testing.T) {
		o, main := regressOracle(t, newOracle, nil)
		noted := filepath.Join(o.dir, "noted")
		if err := os.Mkdir(filepath.Dir(main), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, main, "HostName 127.0.0.1\nPort 2222\nHostKeyAlias alias\nUser ops\nMatch exec \"echo '"+account+rest+"' >"+
			noted+"\"\n")
		note := func() string {
			text, err := os.ReadFile(noted)
			if err != nil {
				t.Fatal(err)
			}
			return strings.TrimSuffix(string(text), "\n")
		}
		if _, err := o.read(t, main).host("web1", sshGiven{}); err != nil {
			t.Fatal(err)
		}
		first, second := expected(o.dir)
		if got := note(); got != first+second {
			t.Errorf("the command has %q, want %q", got, first+second)
		}
		if out, err := exec.CommandContext(t.Context(), "ssh", "-G", "-F", main, "web1").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		first, second = expected(o.me.HomeDir)
		if got := note(); got != first+second {
			t.Errorf("ssh's command has %q, want %q", got, first+second)
		}
	})
}

// Guards that a user who is named outside of ssh_config is taken as it stands or refused as by ssh, which is asked too,
// and that one in ssh_config is checked once its tokens are replaced.
func TestUserNamesAsOpenSSHTestsThem(t *testing.T) {
	newOracle := sshOracleOf(t)
	t.Setenv("REGRESS", "x\ay")
	for _, tc := range []struct {
		name, user, config string
		want               string // empty: refused
		modern             bool
	}{
		{name: "before the one of ssh_config", user: "ops", config: "User root\n", want: "ops"},
		{name: "token", user: "%u", want: "%u"},
		{name: "variable", user: "${REGRESS}"},
		{name: "variable of ssh_config with a control character", config: "User ${REGRESS}\n", modern: true},
		{name: "control character", user: "x\ay", modern: true},
		{name: "control character in ssh_config", config: "User x\ay\n", want: "x\ay"},
		{name: "command", user: "a;b"},
		{name: "command in ssh_config", config: "User a;b\n", want: "a;b"},
		{name: "command in ssh_config, with a token", config: "User a;%n\n", modern: true},
		{name: "option", user: "-oops"},
		{name: "backslash", user: `dom\ops`, want: `dom\ops`},
		{name: "backslash at the end", user: `ops\`, modern: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, main := regressOracle(t, newOracle, map[string]string{"config": tc.config})
			t.Setenv("HOME", o.dir)
			if o.modern || !tc.modern {
				host := "web1"
				if tc.user != "" {
					host = tc.user + "@web1"
				}
				out, err := exec.CommandContext(t.Context(), "ssh", "-G", "-F", main, "--", host).Output()
				if (err == nil) != (tc.want != "") || err == nil && !strings.Contains("\n"+string(out), "\nuser "+tc.want+"\n") {
					t.Errorf("%s: %v, %q", o.version, err, out)
				}
			}
			sources := map[string]Sources{"provider": {Defaults: Settings{Login: Login{User: tc.user}}},
				"entry": {Hosts: map[string]Settings{"web1": {Address: "web1", Login: Login{User: tc.user}}}}}
			if tc.user != "" {
				sources["name"] = Sources{}
			}
			for where, s := range sources {
				host := "web1"
				if where == "name" {
					host = tc.user + "@web1"
				}
				r, err := sshResolver(t, s).Resolve(host)
				switch {
				case tc.want == "":
					wantError(t, Settings{}, err, "user")
				case err != nil:
					t.Errorf("%s: %v", where, err)
				case r.User != tc.want:
					t.Errorf("%s: the user is %q, want %q", where, r.User, tc.want)
				}
			}
		})
	}
}

// Guards that a host that is named outside of ssh_config, as a jump host is by bastion, is refused if ssh takes no such
// name: ssh is asked too.
func TestHostNamesAsOpenSSHTestsThem(t *testing.T) {
	newOracle := sshOracleOf(t)
	o, main := regressOracle(t, newOracle, map[string]string{"config": "Host *[!1]\n HostName 10.0.0.5\n"})
	t.Setenv("HOME", o.dir)
	for _, name := range []string{"web1", "host;x", "host'x'", "host`x`", "host$x", "host(x)", "host{x", "host<x",
		"host|x", "host&x", "host,x", "-host", "host x", "user;x@host", "user'x'@host", "user`x`@host", "user(x)@host"} {
		t.Run(name, func(t *testing.T) {
			err := exec.CommandContext(t.Context(), "ssh", "-G", "-F", main, "--", name).Run()
			refused := err != nil
			if refused != (name != "web1") {
				t.Errorf("%s: %v", o.version, err)
			}
			bastion := Sources{Defaults: Settings{Bastion: &Bastion{Host: name}}}
			for where, s := range map[string]Sources{"host": {}, "bastion": bastion} {
				host := name
				if where == "bastion" {
					host = "web1"
				}
				if _, err := sshResolver(t, s).Resolve(host); (err != nil) != refused {
					t.Errorf("%s: got %v, and to ssh: refused %v", where, err, refused)
				}
			}
		})
	}
}
