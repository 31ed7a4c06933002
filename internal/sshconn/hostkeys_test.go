package sshconn

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/hostkey"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

func TestHostKey(t *testing.T) {
	dir := t.TempDir()
	s := startSSHD(t, "HostKey "+hostKeyFile(t, dir, hostKey), "HostKey "+hostKeyFile(t, dir, rsaKey))
	line := func(key any) string { return knownhosts.Line([]string{s.addr}, public(key)) + "\n" }
	bare := func(key any) string { return strings.TrimSpace(strings.SplitN(line(key), " ", 2)[1]) }
	hashed := knownhosts.Line([]string{knownhosts.HashHostname(knownhosts.Normalize(s.addr))}, public(hostKey)) + "\n"
	for _, tc := range []struct {
		name   string
		pinned string
		known  string     // FILE in the words stands for this file
		kind   fault.Kind // 0: it works
		words  []string
	}{
		{name: "known", known: line(hostKey)},
		{name: "known among others", known: "# mine\n\nother.example " + bare(otherKey) + "\n" + line(hostKey)},
		{name: "known by a hashed name", known: hashed},
		{name: "known by a pattern for all ports", known: "127.0.0.* " + bare(hostKey) + "\n"},
		{name: "only the RSA key known", known: line(rsaKey)},
		{name: "known beside bad lines", known: "nonsense\nx ssh-ed25519 !!!\n" + line(hostKey) + "|1|x|y ssh-rsa AAAA\n" +
			strings.Repeat("z", 70<<10) + "\n"},
		{name: "unknown", known: "other.example " + bare(hostKey) + "\n",
			kind: fault.HostKeyUnknown, words: []string{ssh.FingerprintSHA256(public(hostKey)), strings.TrimSpace(line(hostKey)),
				"host_key = \"ssh-ed25519 ", "FILE"}},
		{name: "known beside an old key of a type that ssh prefers less",
			known: "[127.0.0.1]:1," + strings.SplitN(line(rsaKey), " ",
				2)[0] + " " + strings.TrimSpace(publicLine(otherRSAKey)) + "\n" + line(hostKey)},
		{name: "unknown, no file", kind: fault.HostKeyUnknown},
		{name: "known without the port", known: "127.0.0.1 " + bare(hostKey) + "\n"},
		{name: "known without the port, only the RSA key", known: "127.0.0.1 " + bare(rsaKey) + "\n"},
		{name: "known without the port, another for the port", known: line(otherKey) + "127.0.0.1 " + bare(hostKey) + "\n",
			kind: fault.HostKeyChanged, words: []string{"FILE:1"}},
		{name: "unknown, another without the port", known: "127.0.0.1 " + bare(otherKey) + "\n", kind: fault.HostKeyUnknown},
		{name: "unknown for this port", known: "[127.0.0.1]:1 " + bare(hostKey) + "\n", kind: fault.HostKeyUnknown},
		{name: "unknown, with bad lines that might have been it", known: "127.0.0.1 ssh-ed25519 AAAAC3Nz\n",
			kind: fault.HostKeyUnknown, words: []string{"left out: FILE:1"}},
		{name: "unknown, only an authority that signed nothing", known: "@cert-authority * " + bare(otherKey) + "\n",
			kind: fault.HostKeyUnknown},
		{name: "changed", known: "# mine\n" + line(otherKey),
			kind: fault.HostKeyChanged, words: []string{"FILE:2", ssh.FingerprintSHA256(public(otherKey)),
				ssh.FingerprintSHA256(public(hostKey))}},
		{name: "changed, below a bad line", known: "nonsense\n" + line(otherKey), kind: fault.HostKeyChanged,
			words: []string{"FILE:2"}},
		{name: "another type known than the host has", known: line(ecdsaKey), kind: fault.HostKeyChanged,
			words: []string{"FILE:1", "ecdsa-sha2-nistp256"}},
		{name: "revoked", known: line(hostKey) + "@revoked * " + bare(hostKey) + "\n", kind: fault.HostKeyRevoked,
			words: []string{"FILE:2"}},
		{name: "pinned", pinned: publicLine(hostKey), known: line(otherKey)},
		{name: "pinned RSA", pinned: publicLine(rsaKey)},
		{name: "pinned another", pinned: publicLine(otherKey), known: line(hostKey),
			kind: fault.HostKeyChanged, words: []string{"host_key is ssh-ed25519 " + ssh.FingerprintSHA256(public(otherKey)),
				ssh.FingerprintSHA256(public(hostKey))}},
		{name: "pinned fingerprint", pinned: ssh.FingerprintSHA256(public(hostKey)), known: line(otherKey)},
		{name: "pinned fingerprint of its other key", pinned: ssh.FingerprintSHA256(public(rsaKey))},
		{name: "pinned fingerprint of neither key", pinned: ssh.FingerprintSHA256(public(otherKey)), known: line(hostKey),
			kind: fault.HostKeyChanged, words: []string{"host_key is " + ssh.FingerprintSHA256(public(otherKey))}},
		{name: "pinned authority, and it has no certificate", pinned: "@cert-authority " + publicLine(otherKey),
			kind: fault.HostKeyChanged, words: []string{"the authority ssh-ed25519 " + ssh.FingerprintSHA256(public(otherKey)),
				"no certificate"}},
		{name: "pinned a type that the host lacks", pinned: publicLine(ecdsaKey), kind: fault.HostKeyChanged,
			words: []string{"no key of that type", "ssh-ed25519"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "known_hosts")
			if tc.known != "" {
				write(t, file, tc.known)
			}
			set := s.settings()
			set.HostKey, set.KnownHosts = tc.pinned, []string{filepath.Join(t.TempDir(), "missing"), file}
			if strings.Contains(strings.Join(tc.words, ""), "FILE") && tc.kind == fault.HostKeyUnknown {
				set.KnownHosts = []string{file}
			}
			c := conn(t, pool(t, set))
			if tc.kind == 0 {
				mustEcho(t, c)
				return
			}
			for i := range tc.words {
				tc.words[i] = strings.ReplaceAll(tc.words[i], "FILE", file)
			}
			fails(t, c, tc.kind, tc.words...)
		})
	}
}

// As ssh does, a host's name is looked for in small letters, and recorded so.
func TestKnownHostsHaveNamesInSmallLetters(t *testing.T) {
	s := startSSHD(t)
	file := filepath.Join(t.TempDir(), "known_hosts")
	for _, checking := range []hostkey.Checking{hostkey.AcceptNew, hostkey.Strict} {
		set := s.settings()
		set.Address, set.HostKey, set.KnownHosts, set.HostKeyChecking = "LocalHost", "", []string{file}, checking
		mustEcho(t, conn(t, pool(t, set)))
	}
	if text, _ := os.ReadFile(file); string(text) != fmt.Sprintf("[localhost]:%d %s", port(s), publicLine(hostKey)) {
		t.Errorf("recorded %q", text)
	}
	key := filepath.Join(t.TempDir(), "key")
	write(t, key, privatePEM(userKey))
	out, err := exec.CommandContext(t.Context(), "ssh", "-F", "none", "-p", fmt.Sprint(port(s)), "-i", key, "-o",
		"BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
		"-o", "UserKnownHostsFile="+file, "root@LocalHost", "true").CombinedOutput()
	if err != nil {
		t.Errorf("ssh: %v\n%s", err, out)
	}
}

// Capitals in known_hosts, in the name that is dialled and in HostKeyAlias mean what they mean to ssh, which is asked
// too, and so does a line without the port.
func TestKnownHostsMeanWhatTheyMeanToSSH(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "cert.pub"), certificate(t, hostKey, otherKey, "localhost", time.Unix(1<<40, 0)))
	s := startSSHD(t, "HostKey "+hostKeyFile(t, dir, hostKey), "HostCertificate "+filepath.Join(dir, "cert.pub"))
	key := filepath.Join(dir, "key")
	write(t, key, privatePEM(userKey))
	at := func(name string) string { return fmt.Sprintf("[%s]:%d", name, port(s)) }
	for _, tc := range []struct {
		name, alias, known string // lines without the key, which is the host's or its authority's
		accepted           bool
	}{
		{"name in capitals", "", at("LocalHost"), true},
		{"one name of several", "", "other.example,\t" + at("LOCALHOST"), false},
		{"one name of several in capitals", "", "other.example," + at("LOCALHOST"), true},
		{"pattern in capitals", "", at("LOCAL*"), true},
		{"excluded by a pattern in capitals", "", "*,!LOCAL*,![LOCAL*", false},
		{"hashed, as ssh-keygen -H does", "", knownhosts.HashHostname(at("localhost")), true},
		{"hashed with its capitals", "", knownhosts.HashHostname(at("LocalHost")), false},
		{"revoked by a name in capitals", "", at("localhost") + "\n@revoked " + at("LOCALHOST"), false},
		{"authority for a pattern in capitals", "", "@cert-authority " + at("LOCAL*"), true},
		{"authority for another", "", "@cert-authority " + at("LOCALS*"), false},
		{"without the port", "", "localhost", true},
		{"authority without the port", "", "@cert-authority localhost", true},
		{"for another port", "", "[localhost]:1", false},
		{"alias without the port, and a name", "The-Web", "localhost", false},
		{"indented", "", " \t" + at("LocalHost"), true},
		{"alias in capitals", "The-Web", "the-web", true},
		{"alias in capitals, known so", "The-Web", "The-Web", true},
		{"alias in capitals, known by a hash", "The-Web", knownhosts.HashHostname("the-web"), true},
		{"other alias", "The-Web", "the-wep", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file, config := filepath.Join(dir, "known_hosts"), filepath.Join(dir, "config")
			for line := range strings.SplitSeq(tc.known, "\n") {
				known := hostKey
				if strings.HasPrefix(line, "@cert-authority") {
					known = otherKey
				}
				text, _ := os.ReadFile(file)
				write(t, file, string(text)+line+" "+publicLine(known))
			}
			text := fmt.Sprintf("Host LocalHost\n Port %d\n User root\n IdentityFile %s\n UserKnownHostsFile %s\n", port(s), key,
				file)
			if tc.alias != "" {
				text += " HostKeyAlias " + tc.alias + "\n"
			}
			write(t, config, text)
			out, err := exec.CommandContext(t.Context(), "ssh", "-F", config, "-o", "BatchMode=yes", "-o",
				"StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=none",
				"LocalHost", "true").CombinedOutput()
			if (err == nil) != tc.accepted {
				t.Fatalf("ssh: %v\n%s", err, out)
			}
			no := false
			p := NewPool(Config{Defaults: route.Settings{Login: route.Login{Agent: &no}}, SSHConfig: []string{config}})
			defer p.Close()
			c, err := p.Conn("LocalHost")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Run(t.Context(), echo("x")); (err == nil) != tc.accepted {
				t.Errorf("ssh accepts it: %v, and here: %v", tc.accepted, err)
			}
		})
	}
}

// certificate is a host's certificate, by an authority's key, as in a file.
func certificate(t *testing.T, key, authorityKey any, principal string, until time.Time) string {
	t.Helper()
	authority, err := ssh.NewSignerFromKey(authorityKey)
	if err != nil {
		t.Fatal(err)
	}
	cert := &ssh.Certificate{Key: public(key), CertType: ssh.HostCert, ValidPrincipals: []string{principal},
		ValidBefore: uint64(until.Unix())}
	if err := cert.SignCert(rand.Reader, authority); err != nil {
		t.Fatal(err)
	}
	return string(ssh.MarshalAuthorizedKey(cert))
}

func TestHostCertificate(t *testing.T) {
	dir := t.TempDir()
	certify := func(principal string, until time.Time) string {
		return certificate(t, hostKey, otherKey, principal, until)
	}
	key := hostKeyFile(t, dir, hostKey)
	always := time.Unix(1<<40, 0)
	for _, tc := range []struct {
		name, cert, authority string
		kind                  fault.Kind
		words                 []string
	}{
		{name: "signed by the authority", cert: certify("127.0.0.1", always), authority: publicLine(otherKey)},
		{name: "signed by an authority of another type", cert: certificate(t, hostKey, rsaKey, "127.0.0.1", always),
			authority: publicLine(rsaKey)},
		{name: "signed for another name", cert: certify("other.example", always), authority: publicLine(otherKey),
			kind: fault.HostKeyUnknown, words: []string{"principal"}},
		{name: "expired", cert: certify("127.0.0.1", time.Unix(1000, 0)), authority: publicLine(otherKey),
			kind: fault.HostKeyUnknown, words: []string{"expired"}},
		{name: "signed by an authority that is revoked", cert: certify("127.0.0.1", always),
			authority: publicLine(otherKey) + "@revoked * " + publicLine(otherKey),
			kind:      fault.HostKeyRevoked, words: []string{"revokes the certificate"}},
		{name: "revoked itself", cert: certify("127.0.0.1", always),
			authority: publicLine(otherKey) + "@revoked * " + publicLine(hostKey),
			kind:      fault.HostKeyRevoked, words: []string{"revokes the certificate"}},
		{name: "signed by another authority", cert: certify("127.0.0.1", always), authority: publicLine(ecdsaKey),
			kind: fault.HostKeyUnknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cert, file := filepath.Join(t.TempDir(), "cert.pub"), filepath.Join(t.TempDir(), "known_hosts")
			write(t, cert, tc.cert)
			s := startSSHD(t, "HostKey "+key, "HostCertificate "+cert)
			write(t, file, fmt.Sprintf("@cert-authority %s %s", knownhosts.Normalize(s.addr), tc.authority))
			set := s.settings()
			set.HostKey, set.KnownHosts = "", []string{file}
			c := conn(t, pool(t, set))
			pinned := set
			authority, _, revoked := strings.Cut(tc.authority, "@revoked")
			pinned.HostKey = "@cert-authority " + authority
			if tc.kind == 0 {
				mustEcho(t, c)
				mustEcho(t, conn(t, pool(t, pinned)))
				return
			}
			fails(t, c, tc.kind, tc.words...)
			if revoked {
				mustEcho(t, conn(t, pool(t, pinned))) // what is pinned leaves known_hosts aside
				return
			}
			fails(t, conn(t, pool(t, pinned)), tc.kind, append(tc.words, "host_key is the authority")...)
		})
	}
}

// accept_new records the first key of a host, once, however many meet it at the same time, and holds to it from then
// on.
func TestAcceptNew(t *testing.T) {
	s := startSSHD(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "new", "known_hosts")
	set := s.settings()
	set.HostKey, set.HostKeyChecking, set.KnownHosts = "", hostkey.AcceptNew, []string{file, filepath.Join(dir, "other")}
	var all sync.WaitGroup
	for range 8 {
		p := pool(t, set) // each as a process of its own
		all.Go(func() { mustEcho(t, conn(t, p)) })
	}
	all.Wait()
	want := knownhosts.Line([]string{s.addr}, public(hostKey)) + "\n"
	if got, err := os.ReadFile(file); string(got) != want {
		t.Errorf("recorded %q, %v, want %q", got, err, want)
	}
	strict := set
	strict.HostKeyChecking = hostkey.Strict
	mustEcho(t, conn(t, pool(t, strict)))

	write(t, file, "# no newline at the end")
	mustEcho(t, conn(t, pool(t, set)))
	if got, _ := os.ReadFile(file); string(got) != "# no newline at the end\n"+want {
		t.Errorf("recorded %q", got)
	}
	for name, tc := range map[string]struct {
		text string
		kind fault.Kind
	}{
		"changed": {knownhosts.Line([]string{s.addr}, public(otherKey)) + "\n", fault.HostKeyChanged},
		"changed, by a hashed name": {knownhosts.Line([]string{knownhosts.HashHostname(knownhosts.Normalize(s.addr))},
			public(otherKey)) + "\n", fault.HostKeyChanged},
		"changed to another type":     {knownhosts.Line([]string{s.addr}, public(rsaKey)) + "\n", fault.HostKeyChanged},
		"revoked":                     {"@revoked * " + publicLine(hostKey), fault.HostKeyRevoked},
		"changed, in the second file": {"", fault.HostKeyChanged},
	} {
		t.Run(name, func(t *testing.T) {
			write(t, file, tc.text)
			if tc.text == "" {
				write(t, filepath.Join(dir, "other"), knownhosts.Line([]string{s.addr}, public(otherKey))+"\n")
			}
			fails(t, conn(t, pool(t, set)), tc.kind)
			if got, _ := os.ReadFile(file); string(got) != tc.text {
				t.Errorf("the file holds %q", got)
			}
		})
	}
	t.Run("nowhere to record it", func(t *testing.T) {
		set := set
		set.KnownHosts = []string{}
		fails(t, conn(t, pool(t, set)), fault.Misconfigured, "known_hosts_files")
		set.KnownHosts = []string{"/dev/full/known_hosts"}
		fails(t, conn(t, pool(t, set)), fault.HostKeyUnknown, "could not be recorded")
	})
}

func TestInsecureAcceptsEveryKey(t *testing.T) {
	s := startSSHD(t)
	set := s.settings()
	set.HostKey, set.HostKeyChecking, set.KnownHosts = "", hostkey.Insecure, []string{}
	mustEcho(t, conn(t, pool(t, set)))
	set.HostKey = publicLine(otherKey) // what is pinned is checked all the same
	fails(t, conn(t, pool(t, set)), fault.HostKeyChanged)
}
