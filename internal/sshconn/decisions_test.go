package sshconn

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/hostkey"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// decision is one case of TestHostKeysAreDecidedAsBySSH. In its texts {ed25519}, {rsa}, {other} and so on stand for
// keys, {dir} for the directory that holds its files.
type decision struct {
	name string
	// server is one of decisionKeys or decisionCertificates, "plain" if empty.
	server string
	// at is what is dialled, web1.dom:2222 if empty.
	at string
	// known is the file UserKnownHostsFile, config ssh_config for the host, files are further files: cmd, a program, krl,
	// what ssh-keygen makes a revocation list of, and any other.
	known, config string
	files         map[string]string
	// checking is StrictHostKeyChecking, yes if empty.
	checking string

	// connects says what ssh does, and kind and words what is said here: kind is 0 if it connects.
	connects bool
	kind     fault.Kind
	words    string
	// reason is why it is decided otherwise than by ssh, and unrecorded why known_hosts is another one afterwards.
	reason, unrecorded string
	// log is a file that both write the same to, not empty.
	log bool
	// logged is why it is not the same.
	logged string
}

// decisionKeys are the host keys of the servers without a certificate.
var decisionKeys = map[string][]any{"plain": {hostKey, rsaKey}, "ed25519": {hostKey}, "rsa": {rsaKey}}

// decisionCertificates are the other servers, and how their certificates differ from a good one.
var decisionCertificates = map[string]func(c *ssh.Certificate){
	"cert":            func(*ssh.Certificate) {},
	"other name":      func(c *ssh.Certificate) { c.ValidPrincipals = []string{"web2.dom"} },
	"no name":         func(c *ssh.Certificate) { c.ValidPrincipals = nil },
	"pattern":         func(c *ssh.Certificate) { c.ValidPrincipals = []string{"*.dom"} },
	"capitals":        func(c *ssh.Certificate) { c.ValidPrincipals = []string{"WEB1.dom"} },
	"with port":       func(c *ssh.Certificate) { c.ValidPrincipals = []string{"[web1.dom]:2222"} },
	"expired":         func(c *ssh.Certificate) { c.ValidBefore = 1000 },
	"not yet valid":   func(c *ssh.Certificate) { c.ValidAfter = 1 << 40 },
	"for a user":      func(c *ssh.Certificate) { c.CertType = ssh.UserCert },
	"critical":        func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"x": ""} },
	"extension":       func(c *ssh.Certificate) { c.Extensions = map[string]string{"x": ""} },
	"by RSA":          func(c *ssh.Certificate) { c.Signature = &ssh.Signature{Format: ssh.KeyAlgoRSASHA512} },
	"by RSA and SHA1": func(c *ssh.Certificate) { c.Signature = &ssh.Signature{Format: ssh.KeyAlgoRSA} },
}

// Keys of authorities.
var (
	_, authorityKey, _ = ed25519.GenerateKey(rand.Reader)
	rsaAuthorityKey, _ = rsa.GenerateKey(rand.Reader, 2048)
)

// decisionServer starts a server.
func decisionServer(t *testing.T, name string) *sshd {
	t.Helper()
	dir := t.TempDir()
	// Bash reads no ~/.bashrc below the first level.
	lines := []string{"MaxStartups 100", "HostKeyAlgorithms +ssh-rsa", "SetEnv SHLVL=2"}
	keys := decisionKeys[name]
	if change := decisionCertificates[name]; change != nil {
		keys = []any{hostKey}
		cert := &ssh.Certificate{Key: public(hostKey), CertType: ssh.HostCert, Serial: 7, KeyId: "web1-id",
			ValidPrincipals: []string{"db1", "web1.dom", "alias"}, ValidBefore: ssh.CertTimeInfinity}
		change(cert)
		sign(t, cert)
		write(t, filepath.Join(dir, "cert.pub"), string(ssh.MarshalAuthorizedKey(cert)))
		lines = append(lines, "HostCertificate "+filepath.Join(dir, "cert.pub"))
	}
	for _, key := range keys {
		lines = append(lines, "HostKey "+hostKeyFile(t, dir, key))
	}
	return startSSHD(t, lines...)
}

// sign signs a certificate, by the algorithm that it names already, also one without principals, which the library
// refuses to sign.
func sign(t *testing.T, cert *ssh.Certificate) {
	t.Helper()
	var key any = authorityKey
	algorithm := ssh.KeyAlgoED25519
	if cert.Signature != nil {
		key, algorithm = rsaAuthorityKey, cert.Signature.Format
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	with, ok := signer.(ssh.AlgorithmSigner)
	if !ok {
		t.Fatalf("%T signs by one algorithm", signer)
	}
	cert.Nonce, cert.SignatureKey, cert.Signature = make([]byte, 32), signer.PublicKey(), nil
	unsigned := cert.Marshal()
	if cert.Signature, err = with.SignWithAlgorithm(rand.Reader, unsigned[:len(unsigned)-4], algorithm); err != nil {
		t.Fatal(err)
	}
}

// lookup is a program that notes how it is called, and prints what is in the file lines.
const lookup = "#!/bin/sh\necho \"$@\" >>{dir}/log\ncat {dir}/lines\n"

// byProgram asks the program of a case.
const byProgram = "KnownHostsCommand {dir}/cmd %I\n"

var decisions = []decision{
	// Lines of known_hosts.
	{name: "known", known: "[web1.dom]:2222 {ed25519}\n", connects: true},
	{name: "known at port 22", at: "web1.dom:22", known: "web1.dom {ed25519}\n", connects: true},
	{name: "unknown", known: "other.dom {ed25519}\n", kind: fault.HostKeyUnknown},
	{name: "no file", kind: fault.HostKeyUnknown},
	{name: "empty file", known: "\n", kind: fault.HostKeyUnknown},
	{name: "changed", known: "[web1.dom]:2222 {other}\n", kind: fault.HostKeyChanged},
	{name: "changed beside the right one", known: "[web1.dom]:2222 {other}\n[web1.dom]:2222 {ed25519}\n",
		connects: true},
	{name: "hashed", known: "{hashed} {ed25519}\n", connects: true},
	{name: "hashed, changed", known: "{hashed} {other}\n", kind: fault.HostKeyChanged},
	{name: "hashed without the port", known: "{hashed bare} {ed25519}\n", connects: true},
	{name: "hashed, another host", known: "{hashed other} {ed25519}\n", kind: fault.HostKeyUnknown},
	{name: "malformed hash", known: "|1|AAAA|AAAA {ed25519}\n", kind: fault.HostKeyUnknown, words: "known:1"},
	{name: "malformed hash before the line", known: "|1|AAAA|AAAA {ed25519}\n[web1.dom]:2222 {ed25519}\n",
		connects: true},
	{name: "several names", known: "db1,[web1.dom]:2222,10.0.0.1 {ed25519}\n", connects: true},
	{name: "several names with white space", known: "db1, [web1.dom]:2222 {ed25519}\n", kind: fault.HostKeyUnknown},
	{name: "without the port", known: "web1.dom {ed25519}\n", connects: true},
	{name: "without the port, changed", known: "web1.dom {other}\n", kind: fault.HostKeyUnknown},
	{name: "port 22 in brackets", at: "web1.dom:22", known: "[web1.dom]:22 {ed25519}\n", kind: fault.HostKeyUnknown},
	{name: "in brackets without a port", known: "[web1.dom] {ed25519}\n", kind: fault.HostKeyUnknown},
	{name: "for another port", known: "[web1.dom]:2223 {ed25519}\n", kind: fault.HostKeyUnknown},
	{name: "changed for another port", known: "[web1.dom]:2223 {other}\nweb1.dom {ed25519}\n", connects: true},
	{name: "changed for the port, right without it", known: "[web1.dom]:2222 {other}\nweb1.dom {ed25519}\n",
		kind: fault.HostKeyChanged},
	{name: "right for the port, changed without it", known: "[web1.dom]:2222 {ed25519}\nweb1.dom {other}\n",
		connects: true},
	{name: "a name in capitals", known: "[WEB1.dom]:2222 {ed25519}\n", connects: true},
	{name: "dialled in capitals", at: "Web1.DOM:2222", known: "[web1.dom]:2222 {ed25519}\n", connects: true},

	// Patterns.
	{name: "pattern without a port", known: "*.dom {ed25519}\n", connects: true},
	{name: "pattern without a port, changed", known: "*.dom {other}\n", kind: fault.HostKeyUnknown},
	{name: "pattern with any port", known: "[*.dom]:* {ed25519}\n", connects: true},
	{name: "pattern with any port, changed", known: "[*.dom]:* {other}\n", kind: fault.HostKeyChanged},
	{name: "pattern with some ports", known: "[web?.dom]:22?? {ed25519}\n", connects: true},
	{name: "pattern with other ports", known: "[web1.dom]:22? {ed25519}\n", kind: fault.HostKeyUnknown},
	{name: "pattern of addresses", at: "10.0.3.4:222", known: "[10.0.*]:22? {ed25519}\n", connects: true},
	{name: "pattern of IPv6 addresses", at: "fd00::1:2222", known: "[fd00:*]:* {ed25519}\n", connects: true},
	{name: "pattern for everything", known: "* {ed25519}\n", connects: true},
	{name: "pattern for everything, changed", known: "* {other}\n", kind: fault.HostKeyChanged},
	{name: "pattern with any port at port 22", at: "web1.dom:22", known: "[*.dom]:* {ed25519}\n",
		kind: fault.HostKeyUnknown},
	{name: "pattern of the port alone", known: "*:2222 {ed25519}\n", connects: true},
	{name: "pattern in capitals", known: "[*.DOM]:* {ed25519}\n", connects: true},
	{name: "negated", known: "*,![web1.dom]:2222 {ed25519}\n", connects: true},
	{name: "negated with and without the port", known: "*,![web1.dom]:2222,!web1.dom {ed25519}\n",
		kind: fault.HostKeyUnknown},
	{name: "negated by a pattern", known: "[*]:*,!*web1* {ed25519}\n", kind: fault.HostKeyUnknown},
	{name: "negated, another host", known: "[*]:*,!*web2* {ed25519}\n", connects: true},
	{name: "negated alone", known: "!db1 {ed25519}\n", kind: fault.HostKeyUnknown},
	{name: "negated line of a changed key", known: "[*.dom]:*,![web1.*]:* {other}\n[web1.dom]:2222 {ed25519}\n",
		connects: true},

	// Lines that are odd or broken.
	{name: "comments", known: "# a\n\n  # b\n[web1.dom]:2222 {ed25519} a # comment\n", connects: true},
	{name: "commented out", known: "#[web1.dom]:2222 {ed25519}\n", kind: fault.HostKeyUnknown},
	{name: "tabs and blanks", known: " \t[web1.dom]:2222\t \t{ed25519}\n", connects: true},
	{name: "CRLF", known: "# a\r\n[web1.dom]:2222 {ed25519}\r\n", connects: true},
	{name: "no newline at the end", known: "[web1.dom]:2222 {ed25519}", connects: true},
	{name: "broken lines",
		known: "nonsense\nx ssh-ed25519 !!!\n" +
			"@x [web1.dom]:2222 {other}\n[web1.dom]:2222 ssh-ed25519 AAAA\n[web1.dom]:2222 {ed25519}\n",
		connects: true},
	{name: "two markers", known: "@revoked @revoked [web1.dom]:2222 {ed25519}\n[web1.dom]:2222 {ed25519}\n",
		connects: true},
	{name: "a marker before a tab", server: "cert", known: "@cert-authority\t[*.dom]:* {ca}\n",
		kind: fault.HostKeyUnknown, words: "known:1"},
	{name: "a marker before a tab, and no blank", server: "cert", known: "@cert-authority\t[*.dom]:*\t{tab ca}\n",
		connects: true},
	{name: "a revoking marker before a tab", known: "[web1.dom]:2222 {ed25519}\n@revoked\t* {ed25519}\n",
		connects: true, kind: fault.HostKeyRevoked,
		reason: "ssh passes over the line, and somebody wanted the key revoked"},
	{name: "unknown marker", known: "@trusted [web1.dom]:2222 {ed25519}\n", kind: fault.HostKeyUnknown,
		words: "known:1"},
	{name: "a type that is not the key's", known: "[web1.dom]:2222 ssh-rsa {ed25519 blob}\n",
		kind: fault.HostKeyUnknown, words: "another type than it says"},
	{name: "a short name of the type", known: "[web1.dom]:2222 ED25519 {ed25519 blob}\n", kind: fault.HostKeyUnknown},
	{name: "an algorithm in place of the type", known: "[web1.dom]:2222 rsa-sha2-512 {rsa blob}\n", connects: true},
	{name: "a line of 90 KB", known: "[web1.dom]:2222" + strings.Repeat(",elsewhere.dom", 6500) + " {ed25519}\n",
		connects: true},
	{name: "a broken key alone", known: "[web1.dom]:2222 ssh-ed25519 AAAAC3Nz\n", kind: fault.HostKeyUnknown,
		words: "known:1"},

	// Files.
	{name: "in the second file", known: "db1 {other}\n",
		files:  map[string]string{"two": "[web1.dom]:2222 {ed25519}\n"},
		config: "UserKnownHostsFile {dir}/known {dir}/two\n", connects: true},
	{name: "changed in the first file, right in the second", known: "[web1.dom]:2222 {other}\n",
		files:  map[string]string{"two": "[web1.dom]:2222 {ed25519}\n"},
		config: "UserKnownHostsFile {dir}/known {dir}/two\n", connects: true},
	{name: "first file missing", known: "[web1.dom]:2222 {ed25519}\n",
		config: "UserKnownHostsFile {dir}/none {dir}/known\n", connects: true},
	{name: "first file unreadable", known: "[web1.dom]:2222 {ed25519}\n",
		config: "UserKnownHostsFile {dir}/loop {dir}/known\n", connects: true},
	{name: "all files unreadable", config: "UserKnownHostsFile {dir}/loop {dir}\n", kind: fault.HostKeyUnknown,
		words: "loop"},
	{name: "file for all users", files: map[string]string{"all": "[web1.dom]:2222 {ed25519}\n"},
		config: "UserKnownHostsFile none\nGlobalKnownHostsFile {dir}/all\n", connects: true},
	{name: "file for all users has another key", known: "[web1.dom]:2222 {ed25519}\n",
		files: map[string]string{"all": "[web1.dom]:2222 {other}\n"}, config: "GlobalKnownHostsFile {dir}/all\n",
		connects: true},
	{name: "no file for anybody", config: "UserKnownHostsFile none\nGlobalKnownHostsFile none\n",
		kind: fault.HostKeyUnknown},

	// StrictHostKeyChecking.
	{name: "ask", checking: "ask", kind: fault.HostKeyUnknown},
	{name: "accept-new", checking: "accept-new", connects: true},
	{name: "accept-new at port 22", checking: "accept-new", at: "web1.dom:22", known: "# a\n", connects: true},
	{name: "accept-new, hashed", checking: "accept-new", config: "HashKnownHosts yes\n", connects: true},
	{name: "accept-new by an alias", checking: "accept-new", config: "HostKeyAlias Web-One\n", connects: true},
	{name: "accept-new in capitals", checking: "accept-new", at: "WEB1.dom:2222", connects: true},
	{name: "accept-new, known", checking: "accept-new", known: "[web1.dom]:2222 {ed25519}\n", connects: true},
	{name: "accept-new, known without the port", checking: "accept-new", known: "web1.dom {ed25519}\n",
		connects: true},
	{name: "accept-new, known without the port by another", checking: "accept-new", known: "web1.dom {other}\n",
		connects: true},
	{name: "accept-new, changed", checking: "accept-new", known: "[web1.dom]:2222 {other}\n",
		kind: fault.HostKeyChanged},
	{name: "accept-new, changed in the second file", checking: "accept-new", known: "db1 {other}\n",
		files:  map[string]string{"two": "[web1.dom]:2222 {other}\n"},
		config: "UserKnownHostsFile {dir}/known {dir}/two\n", kind: fault.HostKeyChanged},
	{name: "accept-new, revoked", checking: "accept-new", known: "@revoked * {ed25519}\n",
		kind: fault.HostKeyRevoked},
	{name: "accept-new, revoked without the port", checking: "accept-new", known: "@revoked web1.dom {ed25519}\n",
		connects: true, kind: fault.HostKeyRevoked,
		reason:     "ssh takes the key for a new one, though it is revoked at another port",
		unrecorded: "ssh records the key, since it accepts it"},
	{name: "accept-new, an authority alone", server: "cert", checking: "accept-new",
		known: "@cert-authority db1 {ca}\n", connects: true},
	{name: "accept-new, certificate expired", server: "expired", checking: "accept-new",
		known: "@cert-authority [*.dom]:* {ca}\n", connects: true},
	{name: "accept-new, a key of another type", server: "ed25519", checking: "accept-new",
		known: "[web1.dom]:2222 {ecdsa}\n", kind: fault.HostKeyChanged},
	{name: "accept-new, no file", checking: "accept-new", config: "UserKnownHostsFile none\n",
		kind: fault.Misconfigured},
	{name: "no", checking: "no", connects: true,
		unrecorded: "insecure records nothing, since nothing vouches for the key"},
	{name: "off, changed", checking: "off", known: "[web1.dom]:2222 {other}\n", connects: true},
	{name: "no, revoked", checking: "no", known: "@revoked * {ed25519}\n", connects: true},
	{name: "no, revoked by a file", checking: "no", files: map[string]string{"revoked": "{ed25519}\n"},
		config: "RevokedHostKeys {dir}/revoked\n", kind: fault.HostKeyRevoked},

	// Types of keys.
	{name: "stale RSA key beside the right ed25519 one",
		known: "[web1.dom]:2222 {other rsa}\n[web1.dom]:2222 {ed25519}\n", connects: true},
	{name: "stale ed25519 key beside the right RSA one", known: "[web1.dom]:2222 {other}\n[web1.dom]:2222 {rsa}\n",
		kind: fault.HostKeyChanged},
	{name: "RSA key alone", known: "[web1.dom]:2222 {rsa}\n", connects: true},
	{name: "RSA key alone, without the port", known: "web1.dom {rsa}\n", connects: false,
		reason: "the key that is known for every port is asked for, as ssh does for the port itself"},
	{name: "a type that the host lacks", server: "ed25519", known: "[web1.dom]:2222 {rsa}\n",
		kind: fault.HostKeyChanged},
	{name: "RSA key by HostKeyAlgorithms", known: "[web1.dom]:2222 {rsa}\n",
		config: "HostKeyAlgorithms rsa-sha2-512\n", connects: true},
	{name: "HostKeyAlgorithms without the known type", known: "[web1.dom]:2222 {ed25519}\n",
		config: "HostKeyAlgorithms rsa-sha2-512\n", kind: fault.HostKeyChanged},
	{name: "HostKeyAlgorithms that the host lacks", server: "ed25519", known: "[web1.dom]:2222 {ed25519}\n",
		config: "HostKeyAlgorithms rsa-sha2-512\n", kind: fault.Unreachable},
	{name: "HostKeyAlgorithms without ed25519", known: "[web1.dom]:2222 {rsa}\n",
		config: "HostKeyAlgorithms -ssh-ed25519*\n", connects: true},
	{name: "HostKeyAlgorithms with ssh-rsa", server: "rsa", known: "[web1.dom]:2222 {rsa}\n",
		config: "HostKeyAlgorithms +ssh-rsa\n", connects: true},
	{name: "HostKeyAlgorithms + keeps what is known first", known: "[web1.dom]:2222 {rsa}\n",
		config: "HostKeyAlgorithms +ssh-rsa\n", connects: true},
	{name: "HostKeyAlgorithms ^ puts another type first", known: "[web1.dom]:2222 {ed25519}\n",
		config: "HostKeyAlgorithms ^rsa-sha2-256\n", kind: fault.HostKeyChanged},
	{name: "HostKeyAlgorithms in an order of their own", known: "[web1.dom]:2222 {rsa}\n",
		config: "HostKeyAlgorithms ssh-ed25519,rsa-sha2-256\n", kind: fault.HostKeyChanged},
	{name: "accept-new, the first type of HostKeyAlgorithms", checking: "accept-new",
		config: "HostKeyAlgorithms ^rsa-sha2-256\n", connects: true},
	{name: "RequiredRSASize", server: "rsa", known: "[web1.dom]:2222 {rsa}\n", config: "RequiredRSASize 4096\n",
		kind: fault.HostKeyUnknown, words: "and not 4096"},
	{name: "RequiredRSASize, insecure", server: "rsa", checking: "no", config: "RequiredRSASize 4096\n",
		kind: fault.HostKeyUnknown, words: "and not 4096"},
	{name: "RequiredRSASize that the key has", server: "rsa", known: "[web1.dom]:2222 {rsa}\n",
		config: "RequiredRSASize 1024\n", connects: true},
	{name: "RequiredRSASize and a key of another type", known: "[web1.dom]:2222 {ed25519}\n",
		config: "RequiredRSASize 4096\n", connects: true},
	{name: "stale key that is revoked", known: "@revoked * {other}\n[web1.dom]:2222 {other}\n[web1.dom]:2222 {rsa}\n",
		connects: true},

	// Revocation.
	{name: "RevokedHostKeys of another key", known: "[web1.dom]:2222 {ed25519}\n",
		files:  map[string]string{"revoked": "{other}\n"},
		config: "RevokedHostKeys {dir}/revoked\n", connects: true},
	{name: "RevokedHostKeys", known: "[web1.dom]:2222 {ed25519}\n",
		files:  map[string]string{"revoked": "# old\n\n{other}\n{ed25519}\n"},
		config: "RevokedHostKeys {dir}/revoked\n", kind: fault.HostKeyRevoked, words: "revoked revokes the key"},
	{name: "RevokedHostKeys is missing", known: "[web1.dom]:2222 {ed25519}\n", config: "RevokedHostKeys {dir}/none\n",
		kind: fault.Misconfigured, words: "no such file"},
	{name: "RevokedHostKeys is unreadable", known: "[web1.dom]:2222 {ed25519}\n",
		config: "RevokedHostKeys {dir}/loop\n", kind: fault.Misconfigured},
	{name: "RevokedHostKeys is a directory", known: "[web1.dom]:2222 {ed25519}\n", config: "RevokedHostKeys {dir}\n",
		kind: fault.Misconfigured},
	{name: "RevokedHostKeys is empty", known: "[web1.dom]:2222 {ed25519}\n", files: map[string]string{"revoked": ""},
		config: "RevokedHostKeys {dir}/revoked\n", connects: true},
	{name: "RevokedHostKeys has no keys", known: "[web1.dom]:2222 {ed25519}\n",
		files:  map[string]string{"revoked": "web1\n"},
		config: "RevokedHostKeys {dir}/revoked\n", kind: fault.Misconfigured, words: "revoked:1 has no public key"},
	{name: "RevokedHostKeys none", known: "[web1.dom]:2222 {ed25519}\n", config: "RevokedHostKeys none\n",
		connects: true},
	{name: "list of keys", known: "[web1.dom]:2222 {ed25519}\n", files: map[string]string{"krl": "key: {ed25519}\n"},
		config: "RevokedHostKeys {dir}/list\n", kind: fault.HostKeyRevoked},
	{name: "list of other keys", known: "[web1.dom]:2222 {ed25519}\n",
		files:  map[string]string{"krl": "key: {other}\n"},
		config: "RevokedHostKeys {dir}/list\n", connects: true},
	{name: "list by hash", known: "[web1.dom]:2222 {ed25519}\n",
		files:  map[string]string{"krl": "sha256: {ed25519}\n"},
		config: "RevokedHostKeys {dir}/list\n", kind: fault.HostKeyRevoked},
	{name: "list by serial", server: "cert", known: "@cert-authority [*.dom]:* {ca}\n",
		files: map[string]string{"krl": "serial: 5-9\n"}, config: "RevokedHostKeys {dir}/list\n",
		kind: fault.HostKeyRevoked},
	{name: "list by another serial", server: "cert", known: "@cert-authority [*.dom]:* {ca}\n",
		files: map[string]string{"krl": "serial: 8\n"}, config: "RevokedHostKeys {dir}/list\n", connects: true},
	{name: "list by ID", server: "cert", known: "@cert-authority [*.dom]:* {ca}\n",
		files: map[string]string{"krl": "id: web1-id\n"}, config: "RevokedHostKeys {dir}/list\n",
		kind: fault.HostKeyRevoked},
	{name: "list by serial, and the plain key is known", server: "cert", known: "[web1.dom]:2222 {ed25519}\n",
		files: map[string]string{"krl": "serial: 7\n"}, config: "RevokedHostKeys {dir}/list\n",
		kind: fault.HostKeyRevoked},
	{name: "list with the authority", server: "cert", known: "@cert-authority [*.dom]:* {ca}\n",
		files: map[string]string{"krl": "key: {ca}\n"}, config: "RevokedHostKeys {dir}/list\n",
		kind: fault.HostKeyRevoked},
	{name: "the authority is among RevokedHostKeys", server: "cert", known: "@cert-authority [*.dom]:* {ca}\n",
		files: map[string]string{"revoked": "{ca}\n"}, config: "RevokedHostKeys {dir}/revoked\n",
		kind: fault.HostKeyRevoked},
	{name: "revoked", known: "[web1.dom]:2222 {ed25519}\n@revoked [web1.dom]:2222 {ed25519}\n",
		kind: fault.HostKeyRevoked, words: "known:2 revokes"},
	{name: "revoked by a pattern", known: "@revoked [*.dom]:* {ed25519}\n[web1.dom]:2222 {ed25519}\n",
		kind: fault.HostKeyRevoked, words: "known:1 revokes"},
	{name: "revoked for everything", known: "[web1.dom]:2222 {ed25519}\n@revoked * {ed25519}\n",
		kind: fault.HostKeyRevoked},
	{name: "revoked by a hashed name", known: "[web1.dom]:2222 {ed25519}\n@revoked {hashed} {ed25519}\n",
		kind: fault.HostKeyRevoked},
	{name: "revoked at another port", known: "[web1.dom]:2222 {ed25519}\n@revoked [web1.dom]:2223 {ed25519}\n",
		connects: true},
	{name: "revoked without the port", known: "[web1.dom]:2222 {ed25519}\n@revoked web1.dom {ed25519}\n",
		connects: true},
	{name: "revoked and known without the port", known: "web1.dom {ed25519}\n@revoked web1.dom {ed25519}\n",
		kind: fault.HostKeyRevoked},
	{name: "revoked for other hosts", known: "[web1.dom]:2222 {ed25519}\n@revoked [*]:*,!*.dom]:* {ed25519}\n",
		connects: true},
	{name: "another key is revoked", known: "[web1.dom]:2222 {ed25519}\n@revoked * {other}\n", connects: true},
	{name: "revoked by a line of 90 KB",
		known: "[web1.dom]:2222 {ed25519}\n@revoked " + strings.Repeat("elsewhere.dom,", 6500) +
			"[web1.dom]:2222 {ed25519}\n",
		kind: fault.HostKeyRevoked, words: "known:2"},
	{name: "revoked in the file for all users", known: "[web1.dom]:2222 {ed25519}\n",
		files: map[string]string{"all": "@revoked * {ed25519}\n"}, config: "GlobalKnownHostsFile {dir}/all\n",
		kind: fault.HostKeyRevoked, words: "all:1"},
	{name: "revoked under a wrong type", known: "[web1.dom]:2222 {ed25519}\n@revoked * ssh-rsa {ed25519 blob}\n",
		connects: true, kind: fault.HostKeyRevoked,
		reason: "ssh passes over the line, and somebody wanted the key revoked"},

	// Certificates.
	{name: "certificate", server: "cert", known: "@cert-authority [web1.dom]:2222 {ca}\n", connects: true},
	{name: "certificate at port 22", server: "cert", at: "web1.dom:22", known: "@cert-authority *.dom {ca}\n",
		connects: true},
	{name: "authority without a port", server: "cert", known: "@cert-authority *.dom {ca}\n", connects: true},
	{name: "authority for any port", server: "cert", known: "@cert-authority [*.dom]:* {ca}\n", connects: true},
	{name: "authority for everything", server: "cert", known: "@cert-authority * {ca}\n", connects: true},
	{name: "authority by a hashed name", server: "cert", known: "@cert-authority {hashed} {ca}\n", connects: true},
	{name: "authority for another host", server: "cert", known: "@cert-authority [db*]:* {ca}\n",
		kind: fault.HostKeyUnknown},
	{name: "authority for others than this host", server: "cert", known: "@cert-authority [*]:*,!*web1* {ca}\n",
		kind: fault.HostKeyUnknown},
	{name: "another authority", server: "cert", known: "@cert-authority * {other}\n", kind: fault.HostKeyUnknown},
	{name: "the second authority", server: "cert",
		known: "@cert-authority * {other}\n@cert-authority [*.dom]:* {ca}\n", connects: true},
	{name: "a plain line of the authority", server: "cert", known: "[web1.dom]:2222 {ca}\n",
		kind: fault.HostKeyChanged},
	{name: "another authority, and the plain key", server: "cert",
		known: "@cert-authority * {other}\n[web1.dom]:2222 {ed25519}\n", connects: true},
	{name: "certificate, and the plain key alone is known", server: "cert", known: "[web1.dom]:2222 {ed25519}\n",
		connects: true},
	{name: "certificate, and a stale plain key", server: "cert",
		known: "[web1.dom]:2222 {other}\n@cert-authority [*.dom]:* {ca}\n", connects: true},
	{name: "authority without a port, and a stale plain key", server: "cert",
		known: "[web1.dom]:2222 {other}\n@cert-authority *.dom {ca}\n", connects: true},
	{name: "another authority, and a stale plain key", server: "cert",
		known: "[web1.dom]:2222 {other}\n@cert-authority * {other}\n", kind: fault.HostKeyChanged},
	{name: "host without a certificate", known: "@cert-authority * {ca}\n", kind: fault.HostKeyUnknown},
	{name: "host without a certificate, and its key is known",
		known: "@cert-authority * {ca}\n[web1.dom]:2222 {ed25519}\n", connects: true},
	{name: "wrong principal", server: "other name", known: "@cert-authority * {ca}\n", kind: fault.HostKeyUnknown,
		words: "principal"},
	{name: "wrong principal, and the plain key", server: "other name",
		known: "@cert-authority * {ca}\n[web1.dom]:2222 {ed25519}\n", connects: true},
	{name: "wrong principal, and the plain key without the port", server: "other name",
		known: "@cert-authority [*.dom]:* {ca}\nweb1.dom {ed25519}\n", connects: true},
	{name: "no principals", server: "no name", known: "@cert-authority * {ca}\n", connects: true},
	{name: "principal with a pattern", server: "pattern", known: "@cert-authority * {ca}\n",
		kind: fault.HostKeyUnknown, words: "principal"},
	{name: "principal in capitals", server: "capitals", known: "@cert-authority * {ca}\n",
		kind: fault.HostKeyUnknown},
	{name: "principal with the port", server: "with port", known: "@cert-authority * {ca}\n",
		kind: fault.HostKeyUnknown},
	{name: "expired", server: "expired", known: "@cert-authority * {ca}\n", kind: fault.HostKeyUnknown,
		words: "expired"},
	{name: "expired, and the plain key", server: "expired",
		known: "@cert-authority * {ca}\n[web1.dom]:2222 {ed25519}\n", connects: true},
	{name: "not yet valid", server: "not yet valid", known: "@cert-authority * {ca}\n", kind: fault.HostKeyUnknown,
		words: "not yet valid"},
	{name: "certificate of a user", server: "for a user", known: "@cert-authority * {ca}\n",
		kind: fault.HostKeyUnknown, words: "not for a host"},
	{name: "critical option", server: "critical", known: "@cert-authority * {ca}\n", kind: fault.HostKeyUnknown,
		words: "critical options"},
	{name: "extension", server: "extension", known: "@cert-authority * {ca}\n", connects: true},
	{name: "authority revoked", server: "cert", known: "@cert-authority * {ca}\n@revoked * {ca}\n",
		kind: fault.HostKeyRevoked},
	{name: "authority revoked for any port", server: "cert",
		known: "@cert-authority * {ca}\n@revoked [*.dom]:* {ca}\n", kind: fault.HostKeyRevoked},
	{name: "authority revoked for other hosts", server: "cert",
		known: "@cert-authority * {ca}\n@revoked [db*]:* {ca}\n", connects: true},
	{name: "authority revoked, and the plain key", server: "cert",
		known: "[web1.dom]:2222 {ed25519}\n@revoked * {ca}\n", kind: fault.HostKeyRevoked},
	{name: "certified key revoked", server: "cert", known: "@cert-authority * {ca}\n@revoked * {ed25519}\n",
		kind: fault.HostKeyRevoked},
	{name: "revoked by a certificate", known: "[web1.dom]:2222 {ed25519}\n@revoked * {certificate}\n",
		kind: fault.HostKeyRevoked},
	{name: "authority revoked by a certificate of it", server: "cert",
		known: "@cert-authority * {ca}\n@revoked * {ca certificate}\n", kind: fault.HostKeyRevoked},
	{name: "revoked by another certificate", known: "[web1.dom]:2222 {ed25519}\n@revoked * {ca certificate}\n",
		connects: true},
	{name: "RSA authority", server: "by RSA", known: "@cert-authority * {rsa ca}\n", connects: true},
	{name: "RSA authority that signs by SHA1", server: "by RSA and SHA1", known: "@cert-authority * {rsa ca}\n",
		kind: fault.HostKeyUnknown, words: "CASignatureAlgorithms"},
	{name: "CASignatureAlgorithms + allows it", server: "by RSA and SHA1", known: "@cert-authority * {rsa ca}\n",
		config: "CASignatureAlgorithms +ssh-rsa\n", connects: true},
	{name: "CASignatureAlgorithms without the authority's", server: "cert", known: "@cert-authority * {ca}\n",
		config: "CASignatureAlgorithms rsa-sha2-512,rsa-sha2-256\n", kind: fault.HostKeyUnknown},
	{name: "CASignatureAlgorithms - takes it away", server: "cert", known: "@cert-authority * {ca}\n",
		config: "CASignatureAlgorithms -ssh-ed25519\n", kind: fault.HostKeyUnknown},
	{name: "HostKeyAlgorithms without certificates", server: "cert",
		known: "@cert-authority * {ca}\n[web1.dom]:2222 {ed25519}\n", config: "HostKeyAlgorithms -*-cert-*\n",
		connects: true},
	{name: "HostKeyAlgorithms without certificates, an authority alone", server: "cert",
		known: "@cert-authority * {ca}\n", config: "HostKeyAlgorithms -*-cert-*\n", kind: fault.HostKeyUnknown},
	{name: "HostKeyAlgorithms of certificates", server: "cert", known: "@cert-authority * {ca}\n",
		config: "HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com\n", connects: true},
	{name: "HostKeyAlgorithms of certificates, and the plain key", server: "cert",
		known: "[web1.dom]:2222 {ed25519}\n", config: "HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com\n",
		connects: true, kind: fault.HostKeyUnknown, words: "HostKeyAlgorithms allows no plain key",
		reason: "newer versions of ssh refuse it too"},

	// HostKeyAlias.
	{name: "alias", known: "alias {ed25519}\n", config: "HostKeyAlias alias\n", connects: true},
	{name: "alias, known by the name", known: "[web1.dom]:2222 {ed25519}\n", config: "HostKeyAlias alias\n",
		kind: fault.HostKeyUnknown},
	{name: "alias with the port", known: "[alias]:2222 {ed25519}\n", config: "HostKeyAlias alias\n",
		kind: fault.HostKeyUnknown},
	{name: "alias that has a port", known: "[alias]:2222 {ed25519}\n", config: "HostKeyAlias [alias]:2222\n",
		connects: true},
	{name: "alias, changed", known: "alias {other}\n", config: "HostKeyAlias alias\n", kind: fault.HostKeyChanged},
	{name: "alias in capitals", known: "alias {ed25519}\n", config: "HostKeyAlias ALIAS\n", connects: true},
	{name: "alias of a certificate", server: "cert", known: "@cert-authority alias {ca}\n",
		config: "HostKeyAlias alias\n", connects: true},
	{name: "alias that is no principal", server: "cert", known: "@cert-authority web {ca}\n",
		config: "HostKeyAlias web\n", kind: fault.HostKeyUnknown},

	// KnownHostsCommand.
	{name: "command", files: map[string]string{"cmd": lookup, "lines": "[web1.dom]:2222 {ed25519}\n"},
		config: byProgram, connects: true, log: true},
	{name: "command with all tokens", at: "web1.dom:22",
		files:    map[string]string{"cmd": lookup, "lines": "* {ed25519}\n"},
		config:   "KnownHostsCommand {dir}/cmd %I %H %t %f %K %h %n %p %r %u %i %C %k %L %l %d %% '%%H' \"a  b\" ${PATH} #\n",
		connects: true, log: true},
	{name: "command with a certificate", server: "cert", at: "web1.dom:22",
		files:  map[string]string{"cmd": lookup, "lines": "@cert-authority *.dom {ca}\n"},
		config: "KnownHostsCommand {dir}/cmd %I %H %t %f %K\n", connects: true, log: true},
	{name: "command with an alias", files: map[string]string{"cmd": lookup, "lines": "al%h {ed25519}\n"},
		config: "HostKeyAlias al%H\nKnownHostsCommand {dir}/cmd %k %t\n", connects: true, log: true},
	{name: "command that is told the port",
		files:  map[string]string{"cmd": lookup, "lines": "[web1.dom]:2222 {ed25519}\n"},
		config: "KnownHostsCommand {dir}/cmd %I %H\n", connects: true, log: true,
		logged: "ssh before 9.6 leaves the port out while it asks for the order"},
	{name: "command at port 22", at: "web1.dom:22",
		files:  map[string]string{"cmd": lookup, "lines": "web1.dom {ed25519}\n"},
		config: "KnownHostsCommand {dir}/cmd %I %H\n", connects: true, log: true},
	{name: "command, known without the port",
		files:  map[string]string{"cmd": lookup, "lines": "web1.dom {ed25519}\n"},
		config: byProgram, kind: fault.HostKeyUnknown, log: true},
	{name: "command that knows nothing", known: "[web1.dom]:2222 {ed25519}\n",
		files:  map[string]string{"cmd": lookup, "lines": ""},
		config: byProgram, connects: true, log: true},
	{name: "command that knows another key",
		files:  map[string]string{"cmd": lookup, "lines": "[web1.dom]:2222 {other}\n"},
		config: byProgram, kind: fault.HostKeyChanged, words: "KnownHostsCommand-HOSTNAME:1", log: true},
	{name: "command that revokes", known: "[web1.dom]:2222 {ed25519}\n",
		files:  map[string]string{"cmd": lookup, "lines": "@revoked * {ed25519}\n"},
		config: byProgram, kind: fault.HostKeyRevoked, words: "KnownHostsCommand-HOSTNAME:1", log: true},
	{name: "command that decides on the type", at: "web1.dom:22",
		files:  map[string]string{"cmd": lookup, "lines": "web1.dom {rsa}\n"},
		config: "KnownHostsCommand {dir}/cmd %I %t\n", connects: true, log: true},
	{name: "command, and HostKeyAlgorithms in order",
		files:  map[string]string{"cmd": lookup, "lines": "[web1.dom]:2222 {rsa}\n"},
		config: "HostKeyAlgorithms ^rsa-sha2-256\n" + byProgram, connects: true, log: true},
	{name: "command, accept-new and known", checking: "accept-new", known: "db1 {other}\n",
		files:  map[string]string{"cmd": lookup, "lines": "[web1.dom]:2222 {ed25519}\n"},
		config: byProgram, connects: true, log: true},
	{name: "command, accept-new and unknown", checking: "accept-new",
		files:  map[string]string{"cmd": lookup, "lines": ""},
		config: byProgram, connects: true, log: true},
	{name: "command, accept-new and changed", checking: "accept-new",
		files: map[string]string{"cmd": lookup, "lines": "* {other}\n"}, config: byProgram, kind: fault.HostKeyChanged,
		log: true},
	{name: "command, accept-new and an expired certificate", server: "expired", checking: "accept-new",
		files: map[string]string{"cmd": lookup, "lines": "@cert-authority * {ca}\n"}, config: byProgram,
		kind: fault.HostKeyUnknown, words: "expired", log: true},
	{name: "command that fails", known: "[web1.dom]:2222 {ed25519}\n",
		files:  map[string]string{"cmd": "#!/bin/sh\necho no directory server >&2\nexit 3\n"},
		config: byProgram, kind: fault.HostKeyUnknown, words: "exit status 3, and it said: no directory server"},
	{name: "command that fails at the second call", known: "[web1.dom]:2222 {ed25519}\n",
		files:  map[string]string{"cmd": "#!/bin/sh\necho \"$@\" >>{dir}/log\ntest $1 = ORDER\n"},
		config: byProgram, kind: fault.HostKeyUnknown, words: "exit status 1", log: true},
	{name: "command that prints the key and fails",
		files:  map[string]string{"cmd": "#!/bin/sh\necho '[web1.dom]:2222 {ed25519}'\nexit 1\n"},
		config: byProgram, kind: fault.HostKeyUnknown},
	{name: "command that a signal ends", known: "[web1.dom]:2222 {ed25519}\n",
		files: map[string]string{"cmd": "#!/bin/sh\nkill -9 $$\n"}, config: byProgram, kind: fault.HostKeyUnknown,
		words: "killed"},
	{name: "command that accept-new asks and that fails", checking: "accept-new",
		files: map[string]string{"cmd": "#!/bin/sh\nexit 1\n"}, config: byProgram, kind: fault.HostKeyUnknown},
	{name: "command that does not exist, and the key is unknown", config: byProgram, kind: fault.HostKeyUnknown},
	{name: "command that does not exist", known: "[web1.dom]:2222 {ed25519}\n", config: byProgram, connects: true,
		kind: fault.HostKeyUnknown, words: "no such file", reason: "ssh does without it, but it may revoke the key"},
	{name: "command without an absolute path", known: "[web1.dom]:2222 {ed25519}\n",
		config: "KnownHostsCommand cmd\n", connects: true, kind: fault.Misconfigured, words: "no absolute path",
		reason: "as above"},
	{name: "command with open quotes", known: "[web1.dom]:2222 {ed25519}\n",
		config: "KnownHostsCommand /bin/echo \"a\n", kind: fault.Misconfigured, words: "quotes"},
	{name: "command with an unknown token", known: "[web1.dom]:2222 {ed25519}\n",
		config: "KnownHostsCommand /bin/echo %Z\n", kind: fault.Misconfigured, words: "%Z is not understood"},
	{name: "command none", known: "[web1.dom]:2222 {ed25519}\n", config: "KnownHostsCommand none\n", connects: true},
	{name: "no, and a command that fails", checking: "no", files: map[string]string{"cmd": "#!/bin/sh\nexit 1\n"},
		config: byProgram, reason: "insecure asks nothing and nobody"},

	// Settings of ssh_config that mean nothing here.
	{name: "StrictHostKeyChecking of ssh_config", checking: "config no", config: "StrictHostKeyChecking no\n",
		connects: true, kind: fault.HostKeyUnknown, reason: "host_key_checking alone says so",
		unrecorded: "ssh accepts the key"},
}

// Guards that a host's key is accepted or refused as by ssh, which is asked too, and that ssh and we record the same.
func TestHostKeysAreDecidedAsBySSH(t *testing.T) {
	if len(decisions) < 60 {
		t.Errorf("%d cases", len(decisions))
	}
	line := func(key any) string { return strings.TrimSpace(publicLine(key)) }
	const name = "[web1.dom]:2222"
	certificate := func(key any) string {
		cert := &ssh.Certificate{Key: public(key), CertType: ssh.HostCert, ValidBefore: ssh.CertTimeInfinity}
		sign(t, cert)
		return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(cert)))
	}
	replacer := func(dir string) *strings.Replacer {
		return strings.NewReplacer("{dir}", dir, "{certificate}", certificate(hostKey),
			"{ca certificate}", certificate(authorityKey),
			"{ed25519}", line(hostKey), "{rsa}", line(rsaKey), "{other}", line(otherKey),
			"{ed25519 blob}", strings.Fields(line(hostKey))[1], "{rsa blob}", strings.Fields(line(rsaKey))[1],
			"{other rsa}", line(otherRSAKey), "{ecdsa}", line(ecdsaKey), "{ca}", line(authorityKey),
			"{tab ca}", strings.Replace(line(authorityKey), " ", "\t", 1),
			"{rsa ca}", line(rsaAuthorityKey), "{hashed}", knownhosts.HashHostname(name),
			"{hashed bare}", knownhosts.HashHostname("web1.dom"), "{hashed other}", knownhosts.HashHostname("[web2.dom]:2222"))
	}
	hashes := regexp.MustCompile(`\|1\|\S+`) // with a salt
	servers := map[string]*sshd{}
	for _, tc := range decisions {
		if tc.server == "" {
			tc.server = "plain"
		}
		if servers[tc.server] == nil {
			servers[tc.server] = decisionServer(t, tc.server)
		}
	}
	identity := filepath.Join(t.TempDir(), "id")
	write(t, identity, privatePEM(userKey))
	for _, tc := range decisions {
		if tc.server == "" {
			tc.server = "plain"
		}
		if tc.at == "" {
			tc.at = "web1.dom:2222"
		}
		if tc.checking == "" {
			tc.checking = "yes"
		}
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			// prepare makes the files for ssh, and again for us, and returns the directory they are in.
			prepare := func() string {
				dir := t.TempDir()
				fill := func(name, text string) { write(t, filepath.Join(dir, name), replacer(dir).Replace(text)) }
				if tc.known != "" {
					fill("known", tc.known)
				}
				for name, text := range tc.files {
					fill(name, text)
					switch name {
					case "cmd":
						if err := os.Chmod(filepath.Join(dir, name), 0o700); err != nil {
							t.Fatal(err)
						}
					case "krl":
						fill("ca.pub", "{ca}\n")
						keygen := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-k", "-f", filepath.Join(dir, "list"), "-s",
							filepath.Join(dir, "ca.pub"), filepath.Join(dir, name))
						if out, err := keygen.CombinedOutput(); err != nil {
							t.Fatalf("%v\n%s", err, out)
						}
					}
				}
				if err := os.Symlink("loop", filepath.Join(dir, "loop")); err != nil {
					t.Fatal(err)
				}
				colon := strings.LastIndex(tc.at, ":")
				host, port := tc.at[:colon], tc.at[colon+1:]
				_, real, _ := strings.Cut(servers[tc.server].addr, ":")
				fill("config", "Host web1\nHostName "+host+"\nPort "+port+"\nUser root\nProxyCommand busybox nc 127.0.0.1 "+real+
					"\nIdentityFile "+identity+"\nIdentitiesOnly yes\nKexAlgorithms curve25519-sha256\n"+tc.config+
					"UserKnownHostsFile {dir}/known\nGlobalKnownHostsFile none\n")
				return dir
			}
			dir := prepare()
			args := []string{"-F", filepath.Join(dir, "config"), "-o", "BatchMode=yes"}
			if _, ofConfig := strings.CutPrefix(tc.checking, "config "); !ofConfig {
				args = append(args, "-o", "StrictHostKeyChecking="+tc.checking)
			}
			cmd := exec.CommandContext(t.Context(), "ssh", append(args, "web1", "true")...)
			cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK=")
			var said bytes.Buffer
			cmd.Stderr = &said
			if err := cmd.Run(); (err == nil) != tc.connects {
				t.Errorf("ssh: %v, %s", err, said.String())
			}

			ours := prepare()
			no := false
			checking := map[string]hostkey.Checking{"yes": hostkey.Strict, "ask": hostkey.Strict,
				"accept-new": hostkey.AcceptNew, "no": hostkey.Insecure, "off": hostkey.Insecure}[tc.checking]
			p := NewPool(Config{SSHConfig: []string{filepath.Join(ours, "config")}, ConnectTimeout: time.Minute,
				Defaults: route.Settings{Login: route.Login{Agent: &no, HostKeyChecking: checking}}})
			defer p.Close()
			c, err := p.Conn("web1")
			if err == nil {
				_, err = c.Run(t.Context(), echo("x"))
			}
			switch {
			case tc.kind == 0 && err != nil:
				t.Error(err)
			case tc.kind != 0:
				wantError(t, route.Settings{}, err, tc.kind, tc.words)
			}
			if (tc.kind == 0) == tc.connects != (tc.reason == "") {
				t.Errorf("ssh connects: %v, and here: %v, because %q", tc.connects, tc.kind == 0, tc.reason)
			}
			read := func(name string) []string {
				var texts []string
				for _, dir := range []string{dir, ours} {
					text, _ := os.ReadFile(filepath.Join(dir, name))
					texts = append(texts, hashes.ReplaceAllString(strings.ReplaceAll(string(text), dir, "{dir}"), "|1|"))
				}
				return texts
			}
			if recorded := read("known"); (recorded[0] == recorded[1]) != (tc.unrecorded == "") {
				t.Errorf("ssh recorded %q, and we %q, because %q", recorded[0], recorded[1], tc.unrecorded)
			}
			if logs := read("log"); (logs[0] == logs[1]) != (tc.logged == "") || tc.log != (logs[0] != "") {
				t.Errorf("ssh called\n%s, and we\n%s", logs[0], logs[1])
			}
		})
	}
}
