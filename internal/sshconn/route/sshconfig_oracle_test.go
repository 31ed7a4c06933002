package route

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// sshConfigTrees sets how many random trees of files rapid tries: SSH_CONFIG_TREES of them, or 3,000, which are the
// same every time.
func sshConfigTrees(t *testing.T, parts int) {
	t.Helper()
	n := 3000
	if text := os.Getenv("SSH_CONFIG_TREES"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 {
			t.Fatalf("SSH_CONFIG_TREES=%q: want a number of trees, such as 50000", text)
		}
	} else if err := flag.Set("rapid.seed", "1"); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"checks": strconv.Itoa((n + parts - 1) / parts), "nofailfile": "true"} {
		if err := flag.Set("rapid."+name, value); err != nil {
			t.Fatal(err)
		}
	}
}

// Guards that a random tree of files means here what it means to the OpenSSH client that is installed: keyword by
// keyword, and whether the files are refused. What OpenSSH has changed between 9.2 and 10.5 is drawn for the latter
// alone.
func TestSSHConfigAgainstSSH(t *testing.T) {
	newOracle := sshOracleOf(t)
	t.Setenv("KEYS", "/keys")
	t.Setenv("SHELL", "/bin/sh")
	const parts = 2
	sshConfigTrees(t, parts)
	for i := range parts {
		o := newOracle()
		t.Run(fmt.Sprintf("part %d", i+1), func(t *testing.T) {
			t.Parallel()
			asked, refused := 0, 0
			rapid.Check(t, func(rt *rapid.T) {
				for range i { // or the parts would try the same trees
					rapid.Uint64().Draw(rt, "part")
				}
				o.check(rt, &asked, &refused)
			})
			t.Logf("asked %s %d times; it refused the files %d times", o.version, asked, refused)
		})
	}
}

// sshOracleOf returns what makes an oracle with a home directory of its own, which asks the OpenSSH client that is
// installed.
func sshOracleOf(t *testing.T) func() *sshOracle {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ssh", "-V").CombinedOutput()
	if err != nil {
		t.Skip("NOT TESTED: there is no OpenSSH client here: ", err)
	}
	version, _, _ := strings.Cut(string(out), ",")
	version, _, _ = strings.Cut(version, " ")
	major, minor := 0, 0
	if _, err := fmt.Sscanf(version, "OpenSSH_%d.%d", &major, &minor); err != nil {
		t.Fatalf("%q: %v", version, err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return func() *sshOracle {
		return &sshOracle{t: t, dir: t.TempDir(), version: version, modern: major > 10 || major == 10 && minor >= 5,
			olderHash: major < 9 || major == 9 && minor < 6, me: me}
	}
}

type sshOracle struct {
	t       *testing.T
	dir     string
	version string
	modern  bool
	// olderHash says that %C has no jump host.
	olderHash bool
	me        *user.User
}

var oracleHosts = []string{"web1", "web2", "WEB3", "db1", "10.0.0.9", "jump"}

// oracleFiles are the files that an Include of the first one may name.
var oracleFiles = []string{"inc0", "inc1", "conf.d/a.conf", "conf.d/b.conf", "conf.d/.c.conf"}

func (o *sshOracle) check(rt *rapid.T, asked, refused *int) {
	files := o.draw(rt)
	ssh := filepath.Join(o.dir, ".ssh")
	if err := os.RemoveAll(ssh); err != nil {
		rt.Fatal(err)
	}
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&text, "--- %s\n%s\n", name, files[name])
		path := filepath.Join(ssh, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			rt.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[name]), 0o600); err != nil {
			rt.Fatal(err)
		}
	}
	main := filepath.Join(ssh, "config")
	c := o.read(rt, main)
	for _, host := range rapid.SliceOfNDistinct(rapid.SampledFrom(oracleHosts), 1, 3, rapid.ID).Draw(rt, "hosts") {
		known, refuses := o.compare(rt, c, text.String(), main, host)
		if known {
			*asked++
		}
		if refuses {
			*refused++
		}
	}
}

// read reads the first file of a tree, as the owner of the home directory that it is in.
func (o *sshOracle) read(t rapid.TB, main string) *sshConfig {
	c, err := readSSHConfig([]string{main})
	if err != nil {
		t.Fatal(err)
	}
	c.version, c.local.home = o.version, o.dir
	c.exec = func(command string) (bool, error) {
		return Sources{}.runMatchExec(context.Background(), command)
	}
	homeOf := c.local.homeOf
	c.local.homeOf = func(name string) (string, error) {
		if name == o.me.Username {
			return o.dir, nil
		}
		return homeOf(name)
	}
	return c
}

// compare fails unless the files, whose text is for the message, mean to ssh what they mean here for one host. known is
// false if they do not decide what ssh does, and refused says that it refuses them.
func (o *sshOracle) compare(t rapid.TB, c *sshConfig, text, main, host string) (known, refused bool) {
	home := regexp.MustCompile(`(^|[^\w])` + regexp.QuoteMeta(o.me.HomeDir))
	cmd := exec.CommandContext(o.t.Context(), "ssh", "-G", "-F", main, host)
	cmd.Env = append(os.Environ(), "HOME="+o.dir) // where Include looks; all else is in the home that passwd names
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, sshErr := cmd.Output()
	if strings.Contains(stderr.String(), "jumphost loop") {
		return false, false // which is no matter of the files
	}
	h, err := c.host(host, sshGiven{otherwise: o.me.Username})
	raw := h
	if err == nil {
		tokens := c.tokens(&h, host, h.address, max(h.port, 22), cmp.Or(h.user, o.me.Username))
		tokens.olderHash = o.olderHash
		h, err = h.expanded(tokens)
	}
	if (err != nil) != (sshErr != nil) {
		t.Fatalf("%s of\n%s\nhere: %v\n%s: %v\n%s", host, text, err, o.version, sshErr, stderr.String())
	}
	if err != nil {
		return true, true
	}
	said := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		keyword, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		said[keyword] = append(said[keyword], home.ReplaceAllString(value, "${1}"+o.dir))
	}
	for keyword, got := range o.dump(raw, h) {
		want := said[keyword]
		list, adds := strings.CutPrefix(strings.Join(got, ""), "+")
		if adds && strings.HasSuffix(strings.Join(want, ""), ","+list) {
			continue // ssh prints the usual ones before those that are added
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s of\n%s\n%s is %q, and to %s %q", host, text, keyword, got, o.version, want)
		}
	}
	return true, false
}

// dump is the host as ssh -G prints it. raw has the tokens that it does not replace.
func (o *sshOracle) dump(raw, h sshHost) map[string][]string {
	d := map[string][]string{}
	// text is a value that is printed only where it is set, or which has a default.
	text := func(keyword, value string, otherwise ...string) {
		if value = cmp.Or(append([]string{value}, otherwise...)...); value != "" {
			d[keyword] = []string{value}
		} else {
			d[keyword] = nil
		}
	}
	flag := func(keyword, value, otherwise string) {
		text(keyword, value, otherwise)
	}
	state := func(keyword, value, otherwise string) { // of more than two, whose yes and no ssh calls so
		text(keyword, map[string]string{yes: "true", no: "false"}[cmp.Or(value, otherwise)], value, otherwise)
	}
	number := func(keyword string, value, otherwise int) {
		if !h.said[keyword] {
			value = otherwise
		}
		d[keyword] = []string{strconv.Itoa(value)}
	}
	text("hostname", h.address)
	text("user", h.user, o.me.Username)
	number("port", h.port, 22)
	text("hostkeyalias", h.hostKeyAlias)
	if o.modern {
		text("tag", h.tag)
		text("revokedhostkeys", strings.Join(h.revoked, " "), none)
	} else {
		text("revokedhostkeys", strings.TrimPrefix(strings.Join(raw.revoked, " "), none))
	}
	if h.said["identityfile"] {
		d["identityfile"] = raw.identities
	}
	d["certificatefile"] = raw.certificates
	flag("identitiesonly", h.identitiesOnly, no)
	text("identityagent", h.identityAgent)
	if h.said["userknownhostsfile"] {
		text("userknownhostsfile", strings.Join(h.known, " "), none)
	}
	if h.said["globalknownhostsfile"] {
		text("globalknownhostsfile", strings.Join(raw.knownGlobal, " "))
	}
	text("knownhostscommand", h.knownHostsCommand)
	state("stricthostkeychecking", h.strictHostKeyChecking, ask)
	state("verifyhostkeydns", h.verifyHostKeyDNS, no)
	flag("hashknownhosts", h.hashKnownHosts, no)
	flag("checkhostip", h.checkHostIP, no)
	flag("nohostauthenticationforlocalhost", h.noHostAuthentication, no)
	d["connecttimeout"] = []string{none}
	if h.said["connecttimeout"] {
		d["connecttimeout"] = []string{strconv.Itoa(int(h.connectTimeout / time.Second))}
	}
	number("connectionattempts", h.connectionAttempts, 1)
	text("addressfamily", h.addressFamily, "any")
	text("bindaddress", h.bindAddress)
	text("bindinterface", h.bindInterface)
	if d["proxyjump"] = nil; raw.jumpHost != "" {
		at := strings.LastIndex(raw.proxyJump, raw.jumpHost)
		if numeric := strings.Trim(raw.jumpHost,
			"0123456789.") == ""; numeric { // which ssh prints in brackets, if it is the last
			raw.proxyJump = raw.proxyJump[:at] + "[" + raw.jumpHost + "]" + raw.proxyJump[at+len(raw.jumpHost):]
		}
		text("proxyjump", raw.proxyJump)
	}
	if d["proxycommand"] = nil; h.runsProxy() {
		text("proxycommand", h.proxyCommand)
	}
	text("controlpath", h.controlPath)
	state("controlmaster", h.controlMaster, no)
	state("pubkeyauthentication", h.pubkey, yes)
	flag("passwordauthentication", h.password, yes)
	flag("kbdinteractiveauthentication", h.keyboardInteractive, yes)
	text("preferredauthentications", h.preferredAuthentications)
	number("numberofpasswordprompts", h.passwordPrompts, 3)
	flag("batchmode", h.batchMode, no)
	text("sessiontype", h.sessionType, "default")
	for keyword, value := range map[string]string{"ciphers": h.ciphers, "macs": h.macs, "kexalgorithms": h.kexAlgorithms,
		"hostkeyalgorithms": h.hostKeyAlgorithms, "pubkeyacceptedalgorithms": h.pubkeyAlgorithms,
		"casignaturealgorithms": h.caSignatureAlgorithms} {
		if h.said[keyword] {
			text(keyword, value)
		}
	}
	number("requiredrsasize", h.requiredRSASize, 1024)
	text("ignoreunknown", h.ignoreUnknown)
	state("canonicalizehostname", h.canonicalize, no)
	flag("canonicalizefallbacklocal", h.canonicalizeFallback, yes)
	number("canonicalizemaxdots", h.canonicalizeMaxDots, 1)
	text("canonicaldomains", strings.Join(h.canonicalDomains, " "), none)
	return d
}

// oracleValues are values of each keyword, with the quotes that they need.
var oracleValues = map[string][]string{
	"HostName": {"%h.example.com", "10.0.0.5", "H.Example", "web2", "%h", "a%%b", "fe80::1",
		"FE80::2", "fe80:0:0::3", "db1"},
	"User":            {"root", "ops", `"a b"`, `dom\user`, "o#ps"},
	"Port":            {"22", "2222", "ssh", "http", "65535", "022", "+23", `" 24"`},
	"RequiredRSASize": {"1024", "2048", "3072", "0"},
	"HostKeyAlias":    {"one", "the-web", "'a  b'"},
	"IdentityFile": {"~/.ssh/%r_%h", `"${KEYS}/a b"`, "none", "/k/%C", "id#1", `a\ b`, "/k/1",
		"/k/2", "/k/3", "/k/4"},
	"IdentityFile2":   {"/k/old"},
	"CertificateFile": {"%d/cert-%n", "/c/1", "/c/1", "none"},
	"IdentitiesOnly":  {"yes", "no", "TRUE", "False"},
	"IdentityAgent":   {"none", "SSH_AUTH_SOCK", "$KEYS", "${KEYS}/agent", "~/agent-%u", "/a/%%%L"},
	"UserKnownHostsFile": {"~/.ssh/known_%k", `/a "/b c"`, "none", "/a /b",
		"/h/%n-%h-%p-%r-%u-%i-%l-%L-%d", "~root/known", "${KEYS}"},
	"GlobalKnownHostsFile":             {"/g/%h", "none", "/g/1 /g/2", "NONE"},
	"KnownHostsCommand":                {"/usr/bin/sss_ssh_knownhosts %H", "/bin/x \"a\"  # b", "none", "= y"},
	"RevokedHostKeys":                  {"/revoked", "none", "/etc/ssh/revoked"},
	"StrictHostKeyChecking":            {"yes", "no", "ask", "off", "accept-new", "Accept-New", "true"},
	"VerifyHostKeyDNS":                 {"yes", "no", "ask"},
	"HashKnownHosts":                   {"yes", "no"},
	"CheckHostIP":                      {"yes", "no", "true"},
	"NoHostAuthenticationForLocalhost": {"yes", "no"},
	"ConnectTimeout":                   {"1d", "1h30m", "90", "0", "none", "2W", "5m30", "1h1h", "7s"},
	"ConnectionAttempts":               {"1", "5", "0"},
	"ProxyJump": {"a", "a@b:3,c", "none", "None", "ssh://u@h:22", "ssh://h/", "u@[::1]:23", "b # c", "%r@b", "x@y@z",
		"10.0.0.1",
		"web1", "a:ssh", "ssh://a%40b@c", "ssh://a;x=y@c"},
	"ProxyCommand": {"nc %h %p", "none", "/bin/sh -c 'nc \"%h\" # x'", "= nc", "None"},
	"ControlPath": {"~/.ssh/%C", "none", "/run/%r@%h:%p", "~/x-%n-%k-%i-%l-%L-%u-%d", "${KEYS}/%%",
		"/c/%C"},
	"ControlMaster":                   {"yes", "no", "auto", "ask", "autoask"},
	"SessionType":                     {"none", "default", "subsystem"},
	"PubkeyAuthentication":            {"yes", "no", "unbound", "host-bound"},
	"DSAAuthentication":               {"no"},
	"PasswordAuthentication":          {"yes", "no"},
	"KbdInteractiveAuthentication":    {"yes", "no"},
	"ChallengeResponseAuthentication": {"no"},
	"SKeyAuthentication":              {"no", "yes"},
	"TISAuthentication":               {"no"},
	"PreferredAuthentications":        {"publickey", "publickey,password", "keyboard-interactive,none", "PublicKey"},
	"NumberOfPasswordPrompts":         {"0", "1", "7"},
	"BatchMode":                       {"yes", "no"},
	"BindAddress":                     {"127.0.0.1", "::1"},
	"BindInterface":                   {"lo", "eth0"},
	"AddressFamily":                   {"any", "inet", "inet6", "INET"},
	"HostKeyAlgorithms":               {"ssh-ed25519", "ssh-ed25519,rsa-sha2-512"},
	"PubkeyAcceptedAlgorithms":        {"ssh-ed25519", "rsa-sha2-256"},
	"PubkeyAcceptedKeyTypes":          {"rsa-sha2-512"},
	"CASignatureAlgorithms":           {"ssh-ed25519"},
	"Ciphers":                         {"aes128-ctr", "aes256-ctr,aes128-ctr"},
	"MACs":                            {"hmac-sha2-256", "hmac-sha2-512,hmac-sha2-256"},
	"KexAlgorithms":                   {"curve25519-sha256", "ecdh-sha2-nistp256,curve25519-sha256"},
	"IgnoreUnknown":                   {"Wea*,use*", "*", "!a*,*e*"},
	"CanonicalizeFallbackLocal":       {"yes"},
	"CanonicalizeMaxDots":             {"0", "1", "2"},
	"ForwardAgent":                    {"yes"},
	"SendEnv":                         {"LANG LC_*"},
	"Protocol":                        {"2,1"},
	"RSAAuthentication":               {"yes"},
	"Compression":                     {"no"},
	"LocalForward":                    {"8080 localhost:80"},
	"UpdateHostKeys":                  {"ask"},
	"ServerAliveInterval":             {"5"},
	"RemoteCommand":                   {"echo 'a b' # c"},
}

// oracleNewValues are those that older clients read otherwise.
var oracleNewValues = map[string][]string{
	"User":            {"%u-%n", "${KEYS}x"},
	"Tag":             {"blue", "green"},
	"ConnectTimeout":  {"1.5", "1m2.5s"},
	"RevokedHostKeys": {"/r/%h ~/r", "/r/1 /r/2"},
	"ControlPath":     {"/j/%j"},
	"VersionAddendum": {"x"},
}

// oracleMistakes are lines that ssh refuses in any block, or that a host for which they count refuses.
var oracleMistakes = []string{"Port 0", "Port abc", "Port 65536", "Port", "Port 1 2", "Port ''", "User",
	"IdentitiesOnly perhaps", "ConnectTimeout soon",
	"ConnectTimeout 1x", "ConnectTimeout 99999999999", "IdentityAgent ${NOSUCH}", "IdentityAgent $a-b",
	"ControlPath /%Z", "ControlPath ${NOSUCH}", "UserKnownHostsFile ${NOSUCH",
	"HostName %n", "ProxyJump a@", "ProxyJump :3", "ProxyJump a,,b", "ProxyJump ssh://a/b", "ProxyJump a:0",
	"ProxyJump [::1", "Weather fine", "UseKitchen yes", "User \"a",
	"User 'a", "ProxyCommand sh -c 'a", "Match", "Match # x", "Match host", "Match all host a",
	"Match host a user b all", "Match weather fine", "Match host \"\"", "Host \"\"",
	"Host \"a", "UserKnownHostsFile none /a", "UserKnownHostsFile /a \"\"", "RevokedHostKeys # x", "IdentityFile \"\"",
	"NumberOfPasswordPrompts -1", "CanonicalDomains a..b",
	"CanonicalDomains -a", "CanonicalizePermittedCNAMEs a", "Include \"\"", "UserKnownHostsFile # x", "Host # x",
	"\"Port 22", "\"\" Port 22", "=Port 22", " = Port 23", "\"Port\"=22",
	"Po\"rt\" 24", "\f", "\"User\"ops", "IgnoreUnknown a b", "ConnectionAttempts 1.5", "StrictHostKeyChecking maybe",
	"AddressFamily inet5", "PubkeyAuthentication maybe", "PubkeyAuthentication hostbound", "PasswordAuthentication ask",
	"KbdInteractiveAuthentication", "PreferredAuthentications", "PreferredAuthentications publickey password"}

// draw draws the files of a tree, by their names in .ssh.
func (o *sshOracle) draw(rt *rapid.T) map[string]string {
	files := map[string]string{}
	canonical := rapid.Bool().Draw(rt, "canonical")
	for _, name := range append([]string{"config"}, oracleFiles...) {
		atMost := 14
		if name != "config" {
			atMost = 5
		}
		lines := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) string { return o.line(rt, name, canonical) }), 0,
			atMost).Draw(rt, name)
		if len(lines) > 0 {
			files[name] = strings.Join(lines, "\n") + rapid.SampledFrom([]string{"\n", ""}).Draw(rt, "end")
		}
	}
	if files["config"] == "" {
		files["config"] = ""
	}
	return files
}

func (o *sshOracle) line(rt *rapid.T, file string, canonical bool) string {
	var keyword, value string
	switch kind := rapid.IntRange(0, 99).Draw(rt, "kind"); {
	case kind < 55:
		values := oracleValues
		if o.modern && rapid.IntRange(0, 9).Draw(rt, "new") == 0 {
			values = oracleNewValues
		}
		keyword = rapid.SampledFrom(slices.Sorted(maps.Keys(values))).Draw(rt, "keyword")
		value = rapid.SampledFrom(values[keyword]).Draw(rt, "value")
		if !o.modern && strings.Contains(value, "%C") && (keyword != "ControlPath" || !o.olderHash) {
			value = "/x" // its meaning has changed
		}
	case kind < 70:
		keyword, value = "Host", o.patterns(rt, " ")
	case kind < 86:
		keyword, value = "Match", o.criteria(rt)
	case kind < 93:
		keyword = "Include"
		var names []string
		for _, n := range []string{"inc0", "~/.ssh/inc1", "conf.d/*.conf", "conf.d/*", "conf.d/[!b].conf", "nosuch",
			o.dir + "/.ssh/inc1", "conf.d/?.conf", "conf.d/[ab].conf",
			"~/.ssh/conf.d/a.co*", "conf.d", `"conf.d/.c.conf"`} {
			// A file includes only those behind it, or all would soon be too deep.
			if i := slices.IndexFunc(oracleFiles, func(f string) bool { return f == file }); file == "config" || i < 2 &&
				(i < 1 && strings.Contains(n, "inc1") || strings.Contains(n, "conf.d")) {
				names = append(names, n)
			}
		}
		if o.modern {
			names = append(names, "nosuch-%h", "${NOSUCH}/x")
		}
		if len(names) == 0 {
			return ""
		}
		value = strings.Join(rapid.SliceOfN(rapid.SampledFrom(names), 1, 2).Draw(rt, "include"), " ")
	case kind < 94:
		if canonical {
			keyword, value = "CanonicalizeHostname", rapid.SampledFrom([]string{"yes", "no", "always", "false"}).Draw(rt,
				"value")
		} else {
			keyword, value = "CanonicalDomains", rapid.SampledFrom([]string{"Example.com", "a.b c.d.", "none"}).Draw(rt, "value")
		}
	case kind < 98:
		return rapid.SampledFrom([]string{"", "  ", "# comment", "\t# Host x", "\r", "Weather fine"}).Draw(rt, "nothing")
	default:
		return rapid.SampledFrom(oracleMistakes).Draw(rt, "mistake")
	}
	switch rapid.IntRange(0, 9).Draw(rt, "case") {
	case 0:
		keyword = strings.ToUpper(keyword)
	case 1:
		keyword = strings.ToLower(keyword)
	case 2:
		keyword = `"` + keyword + `"`
	}
	between := " "
	if !strings.HasPrefix(keyword, `"`) {
		between = rapid.SampledFrom([]string{" ", " ", " ", "\t", "  ", "=", " = ", " =", "= "}).Draw(rt, "between")
	}
	if bare := regexp.MustCompile(`^[\w./%-]+$`); bare.MatchString(value) && !slices.Contains([]string{"proxycommand",
		"proxyjump", "knownhostscommand", "remotecommand", "match"}, strings.ToLower(strings.Trim(keyword, `"`))) {
		switch rapid.IntRange(0, 7).Draw(rt, "quotes") {
		case 0:
			value = `"` + value + `"`
		case 1:
			value = `'` + value + `'`
		case 2:
			value = value[:1] + `"` + value[1:] + `"`
		}
	}
	return rapid.SampledFrom([]string{"", "", " ", "\t", "   "}).Draw(rt, "indent") + keyword + between + value +
		rapid.SampledFrom([]string{"", "", "", " ", " \t", " # comment", "\r", " #", "\f"}).Draw(rt, "tail")
}

func (o *sshOracle) patterns(rt *rapid.T, between string) string {
	pattern := rapid.SampledFrom([]string{"*", "web*", "web1", "web?", "WEB*", "db1", "!web1", "!web2", "10.0.*",
		"*.example.com", "jump", "h.example", "!*.example.com", "*1", "a", "w*b*2", "fe80*"})
	return strings.Join(rapid.SliceOfN(pattern, 1, 3).Draw(rt, "patterns"), between)
}

func (o *sshOracle) criteria(rt *rapid.T) string {
	kinds := []string{"host", "host", "originalhost", "user", "localuser", "exec", "final", "canonical"}
	if o.modern {
		kinds = append(kinds, "tagged", "localnetwork", "version", "command", "sessiontype")
	}
	var words []string
	for range rapid.IntRange(0, 3).Draw(rt, "criteria") {
		kind := rapid.SampledFrom(kinds).Draw(rt, "criterion")
		value := ""
		switch kind {
		case "host", "originalhost":
			value = o.patterns(rt, ",")
		case "user", "localuser":
			value = rapid.SampledFrom([]string{"root", "ops", "r*", "!root,*", "*,!ops", "nobody", "a?b"}).Draw(rt, "user")
		case "exec":
			value = rapid.SampledFrom([]string{"true", "false", `"test %h = web1"`, `"test %n = web1"`, `"exit 3"`,
				`"test %r = ops -o %p = 2222"`, `"test %k = one"`, `"test -n %u%i%l%L%d%C%%"`}).Draw(rt, "command")
		case "tagged":
			value = rapid.SampledFrom([]string{"blue", "*", `""`, "!blue,*"}).Draw(rt, "tag")
		case "localnetwork":
			value = rapid.SampledFrom([]string{"127.0.0.0/8", "192.0.2.0/24", "::1", "127.0.0.1,::/0", "192.0.2.1/24",
				"web1"}).Draw(rt, "network")
		case "version":
			value = rapid.SampledFrom([]string{"OpenSSH_*", "OpenSSH_9*", "!OpenSSH_1*,*"}).Draw(rt, "version")
		case "command":
			value = rapid.SampledFrom([]string{`""`, "*", "ls"}).Draw(rt, "command")
		case "sessiontype":
			value = rapid.SampledFrom([]string{"shell", "exec", "none", "subsystem,shell", "!none,*"}).Draw(rt, "session")
		}
		if negated := rapid.IntRange(0, 3).Draw(rt, "negated") == 0; negated && (o.modern || kind != "final") {
			kind = "!" + kind
		}
		if rapid.IntRange(0, 5).Draw(rt, "capital") == 0 {
			kind = strings.ToUpper(kind)
		}
		switch {
		case value == "":
			words = append(words, kind)
		case !strings.EqualFold(strings.TrimPrefix(kind, "!"), "sessiontype") && !strings.HasPrefix(value, `"`) &&
			rapid.IntRange(0, 4).Draw(rt, "equals") == 0:
			words = append(words, kind+"="+value)
		case o.modern && !strings.HasPrefix(value, `"`) && rapid.IntRange(0, 4).Draw(rt, "quotes") == 0:
			words = append(words, kind, "'"+value+"'")
		default:
			words = append(words, kind, value)
		}
	}
	if len(words) == 0 || len(words) < 3 && rapid.IntRange(0, 4).Draw(rt, "all") == 0 {
		words = append(words, rapid.SampledFrom([]string{"all", "all", "!all", "ALL"}).Draw(rt, "all"))
	}
	return strings.Join(words, " ")
}
