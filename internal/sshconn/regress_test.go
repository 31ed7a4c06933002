package sshconn

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// regressCheck is something that a script in the directory regress of OpenSSH checks.
type regressCheck struct {
	script, checks string
	// by are the cases of ours that check it: PACKAGE.TEST/ROW, with the name of a row of the test's table or of a
	// subtest if the test checks more.
	by []string
	// not is why a check means nothing here, in place of a case.
	not string
}

// Why a check means nothing here.
const (
	ofTheServer = "it is about sshd alone"
	ofTheAgent  = "it is about ssh-add and ssh-agent alone"
	ofTheLine   = "it is about an option of ssh's command line that has no like here"
	notForward  = "no forwarding of the user's is made here"
	notMasters  = "it is a command to the master, which is the user's to give"
)

// regress is what OpenSSH's own tests check, as of 10.5, and which cases of ours check the same of this client.
var regress = []regressCheck{
	{script: "cfgmatch", checks: "a block counts if its criterion holds and no other does, for each criterion, with a " +
		"blank and with = before the argument", by: []string{"route.TestMatchCriteriaAsOpenSSHTestsThem", "route.TestMatch"}},
	{script: "cfgmatch", checks: "a block that holds comes before, and one that does not changes nothing",
		by: []string{"route.TestSSHConfigAsOpenSSHTestsIt/Match that holds comes first",
			"route.TestSSHConfigAsOpenSSHTestsIt/Match that does not hold"}},
	{script: "cfgmatch", checks: "a comment may stand behind Match and behind a setting",
		by: []string{"route.TestSSHConfigAsOpenSSHTestsIt/comment behind a Match",
			"route.TestSSHConfigAsOpenSSHTestsIt/comment behind a Match that does not hold"}},
	{script: "cfgmatch", checks: "a connection through a server whose PermitOpen does not allow it fails",
		by: []string{"sshconn.TestJumpHostThatIsNotPassed/forwarding goes elsewhere only"}},
	{script: "cfgmatch", checks: "a LocalForward with ExitOnForwardFailure",
		by: []string{"sshconn.TestForwardingsOfTheUserAreNotMade/the port is taken here"}},
	{script: "cfgmatch", checks: "PermitOpen by address, by user and in authorized_keys", not: ofTheServer},
	{script: "cfgmatch", checks: "Subsystem in a block of sshd_config", not: ofTheServer},

	{script: "cfgmatchlisten", checks: "with ExitOnForwardFailure a client ends whose RemoteForward is refused",
		by: []string{"sshconn.TestForwardingsOfTheUserAreNotMade/the host does not let it listen"}},
	{script: "cfgmatchlisten", checks: "a RemoteForward that is permitted is served",
		by: []string{"sshconn.TestForwardingsOfTheUserAreNotMade/all are permitted"}},
	{script: "cfgmatchlisten", checks: "PermitListen by address, by user, by a port alone and in authorized_keys",
		not: ofTheServer},

	{script: "cfginclude", checks: "what comes first in a block of Match counts: its setting or that of an Include",
		by: []string{"route.TestSSHConfigAsOpenSSHTestsIt/Match, its setting and no Include",
			"route.TestSSHConfigAsOpenSSHTestsIt/Match, its setting, an Include",
			"route.TestSSHConfigAsOpenSSHTestsIt/Match, an Include, its setting",
			"route.TestSSHConfigAsOpenSSHTestsIt/Match and an Include alone"}},
	{script: "cfginclude", checks: "the same in a block of Host",
		by: []string{"route.TestSSHConfigAsOpenSSHTestsIt/Host, its setting and no Include",
			"route.TestSSHConfigAsOpenSSHTestsIt/Host, its setting, an Include",
			"route.TestSSHConfigAsOpenSSHTestsIt/Host, an Include, its setting",
			"route.TestSSHConfigAsOpenSSHTestsIt/Host and an Include alone"}},
	{script: "cfginclude", checks: "a host that no block is for gets nothing from an Include in one",
		by: []string{"route.TestSSHConfigAsOpenSSHTestsIt/no block of the host includes anything"}},
	{script: "cfginclude", checks: "an unknown keyword in an included file is an error, for every host",
		by: []string{"route.TestSSHConfigAsOpenSSHTestsIt/mistake in a file that counts",
			"route.TestSSHConfigAsOpenSSHTestsIt/mistake in a file of other blocks"}},
	{script: "cfginclude", checks: "an Include that matches no file is no error",
		by: []string{"route.TestSSHConfigAsOpenSSHTestsIt/Include of no file"}},
	{script: "cfginclude", checks: "Match and Host end with the included file that they stand in",
		by: []string{"route.TestSSHConfigAsOpenSSHTestsIt/Match ends with the included file",
			"route.TestSSHConfigAsOpenSSHTestsIt/Host ends with the included file"}},
	{script: "cfginclude", checks: "a file that includes itself is an error",
		by: []string{"route.TestSSHConfigAsOpenSSHTestsIt/file that includes itself"}},
	{script: "cfginclude", checks: "variables and tokens in an Include are replaced",
		by: []string{"route.TestSSHConfigAsOpenSSHTestsIt/variable in an Include",
			"route.TestSSHConfigAsOpenSSHTestsIt/tokens in an Include"}},

	{script: "cfgparse", checks: "sshd_config as sshd -T prints it means the same again",
		by: []string{"route.TestSSHConfigThatSSHPrints"}},
	{script: "cfgparse", checks: "ListenAddress before and behind Port, the first MaxStartups", not: ofTheServer},
	{script: "sshcfgparse", checks: "ssh_config as ssh -G prints it means the same again",
		by: []string{"route.TestSSHConfigThatSSHPrints"}},
	{script: "sshcfgparse", checks: "the first user counts, and one on the command line before all",
		by: []string{"route.TestSSHConfigAsOpenSSHTestsIt/first User",
			"route.TestSSHConfigAsOpenSSHTestsIt/User before the one of the host",
			"route.TestUserNamesAsOpenSSHTestsThem/before the one of ssh_config", "sshconn.TestPrecedence/name"}},
	{script: "sshcfgparse", checks: "a list of algorithms replaces the usual ones, or takes some away by a pattern",
		by: []string{"route.TestSSHConfigAsOpenSSHTestsIt/PubkeyAcceptedAlgorithms", "sshconn.TestChosenAlgorithms"}},
	{script: "sshcfgparse", checks: "ForwardAgent is yes, no or names an agent",
		by: []string{"route.TestSSHConfigAsOpenSSHTestsIt/ForwardAgent",
			"route.TestSSHConfigAsOpenSSHTestsIt/ForwardAgent with a path",
			"route.TestSSHConfigAsOpenSSHTestsIt/ForwardAgent with a variable"}},
	{script: "sshcfgparse", checks: "IPQoS and TunnelDevice",
		by: []string{"route.TestSSHConfigAsOpenSSHTestsIt/IPQoS and TunnelDevice"}},
	{script: "sshcfgparse", checks: "what -W changes, and -o before a file", not: ofTheLine},

	{script: "percent", checks: "every token, alone and together, in Match exec",
		by: []string{"route.TestTokensAsOpenSSHTestsThem/Match exec"}},
	{script: "percent", checks: "the same in ControlPath, with variables and ~",
		by: []string{"route.TestTokensAsOpenSSHTestsThem/ControlPath", "route.TestControlPath"}},
	{script: "percent", checks: "the same in a command that looks for host keys",
		by: []string{"sshconn.TestHostKeysAreDecidedAsBySSH/command with all tokens"}},
	{script: "percent", checks: "the same in IdentityAgent",
		by: []string{"route.TestTokensAsOpenSSHTestsThem/IdentityAgent", "sshconn.TestIdentityAgent/a variable in braces"}},
	{script: "percent", checks: "the same in RevokedHostKeys",
		by: []string{"route.TestTokensAsOpenSSHTestsThem/RevokedHostKeys"}},
	{script: "percent", checks: "the same in UserKnownHostsFile, and the file is found",
		by: []string{"route.TestTokensAsOpenSSHTestsThem/UserKnownHostsFile", "sshconn.TestHostThatOnlySSHConfigKnows"}},
	{script: "percent", checks: "the same in User, without those that are made of it",
		by: []string{"route.TestTokensAsOpenSSHTestsThem/User"}},
	{script: "percent", checks: "tokens in LocalCommand, RemoteCommand, SetEnv and ForwardAgent",
		not: "none of them has any effect here"},
	{script: "percent", checks: "tokens in LocalForward and RemoteForward", not: notForward},
	{script: "percent", checks: "a user on the command line has no tokens",
		by: []string{"route.TestUserNamesAsOpenSSHTestsThem/token"}},
	{script: "percent", checks: "such a user with a variable or a control character is refused",
		by: []string{"route.TestUserNamesAsOpenSSHTestsThem/variable",
			"route.TestUserNamesAsOpenSSHTestsThem/control character"}},
	{script: "percent", checks: "a control character in ssh_config is taken, and one from a variable is not",
		by: []string{"route.TestUserNamesAsOpenSSHTestsThem/control character in ssh_config",
			"route.TestUserNamesAsOpenSSHTestsThem/variable of ssh_config with a control character"}},

	{script: "proxyjump", checks: "the forms of ProxyJump",
		by: []string{"route.TestSSHConfigAsOpenSSHTestsIt/ProxyJump by name",
			"route.TestSSHConfigAsOpenSSHTestsIt/ProxyJump with a user",
			"route.TestSSHConfigAsOpenSSHTestsIt/ProxyJump with a port",
			"route.TestSSHConfigAsOpenSSHTestsIt/ProxyJump with both",
			"route.TestSSHConfigAsOpenSSHTestsIt/ProxyJump through two",
			"route.TestSSHConfigAsOpenSSHTestsIt/ProxyJump through two with both",
			"route.TestSSHConfigAsOpenSSHTestsIt/ProxyJump by URI"}},
	{script: "proxyjump", checks: "the first of ProxyJump, ProxyJump none and ProxyCommand counts",
		by: []string{"route.TestSSHConfigAsOpenSSHTestsIt/ProxyJump none, ProxyJump",
			"route.TestSSHConfigAsOpenSSHTestsIt/ProxyJump, ProxyCommand",
			"route.TestSSHConfigAsOpenSSHTestsIt/ProxyCommand, ProxyJump"}},
	{script: "proxyjump", checks: "names with what a shell would take are refused on the command line",
		by: []string{"route.TestHostNamesAsOpenSSHTestsThem"}},
	{script: "proxyjump", checks: "ssh_config may have such names",
		by: []string{"route.TestSSHConfigAsOpenSSHTestsIt/ProxyJump with what a shell would take"}},
	{script: "proxyjump", checks: "a host is reached through a jump host, each with its own HostKeyAlias",
		by: []string{"sshconn.TestHostThatOnlySSHConfigKnows"}},

	{script: "cert-hostkey", checks: "a certificate for a key of each type counts, if its authority is known",
		by: []string{"sshconn.TestHostCertificatesOfEveryType/its authority"}},
	{script: "cert-hostkey", checks: "revocations that name nothing change nothing, as lines and as a list",
		by: []string{"sshconn.TestHostCertificatesOfEveryType/no revocations",
			"sshconn.TestHostCertificatesOfEveryType/empty list", "hostkey.TestRevocationsAsSSHKeygenReadsThem/nothing"}},
	{script: "cert-hostkey", checks: "a list revokes the key, the certificate and the authority",
		by: []string{"sshconn.TestHostCertificatesOfEveryType/list of the key",
			"sshconn.TestHostCertificatesOfEveryType/list of the certificate",
			"sshconn.TestHostCertificatesOfEveryType/list of the authority"}},
	{script: "cert-hostkey", checks: "lines revoke the key, the certificate and the authority",
		by: []string{"sshconn.TestHostCertificatesOfEveryType/line of the key",
			"sshconn.TestHostCertificatesOfEveryType/line of the certificate",
			"sshconn.TestHostCertificatesOfEveryType/line of the authority"}},
	{script: "cert-hostkey", checks: "the second of two files of RevokedHostKeys counts",
		by: []string{"sshconn.TestHostCertificatesOfEveryType/second of two files"}},
	{script: "cert-hostkey", checks: "@revoked revokes the key and the authority",
		by: []string{"sshconn.TestHostCertificatesOfEveryType/key revoked in known_hosts",
			"sshconn.TestHostCertificatesOfEveryType/authority revoked in known_hosts"}},
	{script: "cert-hostkey", checks: "a certificate for another name, or out of its time, does not count",
		by: []string{"sshconn.TestHostCertificate/signed for another name", "sshconn.TestHostCertificate/expired",
			"sshconn.TestHostKeysAreDecidedAsBySSH/wrong principal",
			"sshconn.TestHostKeysAreDecidedAsBySSH/expired",
			"sshconn.TestHostKeysAreDecidedAsBySSH/not yet valid"}},
	{script: "cert-hostkey", checks: "a certificate for a user, or with critical options, does not count",
		by: []string{"sshconn.TestHostKeysAreDecidedAsBySSH/certificate of a user",
			"sshconn.TestHostKeysAreDecidedAsBySSH/critical option"}},
	{script: "cert-hostkey", checks: "since 10.3 a certificate for no name does not count, and one for a pattern does: " +
		"here it is as before, until ssh of the gate is newer",
		by: []string{"sshconn.TestHostKeysAreDecidedAsBySSH/no principals",
			"sshconn.TestHostKeysAreDecidedAsBySSH/principal with a pattern"}},
	{script: "cert-hostkey", checks: "a certificate counts within its time",
		by: []string{"sshconn.TestHostCertificatesOfEveryType/for two weeks"}},
	{script: "cert-hostkey", checks: "without a known authority the plain key counts, also in the second file",
		by: []string{"sshconn.TestHostCertificatesOfEveryType/the plain key alone",
			"sshconn.TestHostCertificatesOfEveryType/the plain key alone, in the second file"}},
	{script: "cert-hostkey", checks: "a certificate by another authority does not count",
		by: []string{"sshconn.TestHostCertificatesOfEveryType/signed by itself",
			"sshconn.TestHostKeysAreDecidedAsBySSH/another authority"}},

	{script: "proxy-connect", checks: "a host without an address is reached over the pipes of a ProxyCommand, and " +
		"compression may be allowed", by: []string{"sshconn.TestHostBehindAPipe/without compression",
		"sshconn.TestHostBehindAPipe/with compression"}},
	{script: "proxy-connect", checks: "the user may have a style behind the name",
		by: []string{"sshconn.TestHostBehindAPipe/user with a style"}},

	{script: "agent", checks: "a key that the agent has logs in", by: []string{"sshconn.TestLogin/agent",
		"sshconn.TestLogin/agent with other keys first"}},
	{script: "agent", checks: "a key of each type is found by its public half, with IdentitiesOnly",
		by: []string{"sshconn.TestAgentKeysOfEveryType/plain", "sshconn.TestKeysThatOnlyTheAgentHas/a .pub itself"}},
	{script: "agent", checks: "the same with a certificate in CertificateFile",
		by: []string{"sshconn.TestAgentKeysOfEveryType/certificate"}},
	{script: "agent", checks: "a key that was removed does not log in",
		by: []string{"sshconn.TestAgentKeysOfEveryType/removed"}},
	{script: "agent", checks: "the agent is forwarded, or another one that ForwardAgent names",
		by: []string{"sshconn.TestNoAgentIsForwarded", "sshconn.TestAgentIsNeverForwarded"}},
	{script: "agent", checks: "keys and certificates are added, listed and deleted", not: ofTheAgent},

	{script: "multiplex", checks: "much data goes both ways over a master, by the shell and by SFTP",
		by: []string{"sshconn.TestControlMasterWithASecondFactor"}},
	{script: "multiplex", checks: "exit statuses arrive over a master, also after the output was closed",
		by: []string{"sshconn.TestControlMasterThatStops"}},
	{script: "multiplex", checks: "a master that is told to stop ends after those whom it serves",
		by: []string{"sshconn.TestControlMasterThatStops"}},
	{script: "multiplex", checks: "a master that is told to exit ends at once",
		by: []string{"sshconn.TestControlMasterThatEnds"}},
	{script: "multiplex", checks: "-O check and conninfo", not: notMasters},
	{script: "multiplex", checks: "-O forward and cancel, of ports and of sockets", not: notForward},
	{script: "multiplex", checks: "scp over a master", not: "files go by SFTP or through the shell"},
	{script: "multiplex", checks: "SendEnv and SetEnv over a master", not: "no variable of the user's is sent"},
}

// testNames are the tests in the files of a package, and for each the names of its subtests and of the rows of its
// tables, as far as they are written out.
func testNames(t *testing.T, dir string) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %q, %v", dir, files, err)
	}
	var tests []*ast.FuncDecl
	tables := map[string]ast.Node{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if strings.HasPrefix(d.Name.Name, "Test") {
					tests = append(tests, d)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if v, ok := spec.(*ast.ValueSpec); ok && d.Tok == token.VAR && len(v.Values) == 1 {
						tables[v.Names[0].Name] = v.Values[0]
					}
				}
			}
		}
	}
	names := map[string][]string{}
	for _, test := range tests {
		rows := rowNames(test.Body)
		ast.Inspect(test.Body, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && tables[id.Name] != nil {
				rows = append(rows, rowNames(tables[id.Name])...)
			}
			return true
		})
		names[test.Name.Name] = rows
	}
	return names
}

// rowNames are the names that subtests and rows have: what t.Run is given, the field name or the first one of a row,
// and the keys of a map.
func rowNames(in ast.Node) (names []string) {
	add := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil {
				names = append(names, text)
			}
		}
	}
	ast.Inspect(in, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if run, ok := n.Fun.(*ast.SelectorExpr); ok && run.Sel.Name == "Run" && len(n.Args) == 2 {
				add(n.Args[0])
			}
		case *ast.CompositeLit:
			if len(n.Elts) > 0 {
				add(n.Elts[0])
			}
		case *ast.KeyValueExpr:
			if field, ok := n.Key.(*ast.Ident); ok && field.Name == "name" {
				add(n.Value)
			}
			add(n.Key)
		}
		return true
	})
	return names
}

// Guards that every check on the list has a case, which exists, or a reason why it needs none.
func TestEveryCheckOfOpenSSHsTestsHasACase(t *testing.T) {
	tests := map[string]map[string][]string{}
	for name, dir := range map[string]string{"sshconn": ".", "route": "route", "hostkey": "hostkey", "login": "login"} {
		tests[name] = testNames(t, dir)
	}
	for _, c := range regress {
		if c.script == "" || c.checks == "" || (len(c.by) == 0) == (c.not == "") {
			t.Errorf("%+v: want a script, what it checks, and either a case or why there is none", c)
		}
		for _, by := range c.by {
			pack, test, _ := strings.Cut(by, ".")
			test, row, ofRow := strings.Cut(test, "/")
			rows, ok := tests[pack][test]
			if !ok || ofRow && !slices.Contains(rows, row) {
				t.Errorf("%s, %q: there is no %s", c.script, c.checks, by)
			}
		}
	}
	for _, script := range strings.Fields("cfgmatch cfgmatchlisten cfginclude cfgparse percent cert-hostkey " +
		"proxy-connect multiplex agent") {
		if !slices.ContainsFunc(regress, func(c regressCheck) bool { return c.script == script }) {
			t.Errorf("%s is not on the list", script)
		}
	}
}
