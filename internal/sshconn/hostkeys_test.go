package sshconn

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
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
		known  string // FILE in the words stands for this file
		kind   Kind   // 0: it works
		words  []string
	}{
		{name: "known", known: line(hostKey)},
		{name: "known among others", known: "# mine\n\nother.example " + bare(otherKey) + "\n" + line(hostKey)},
		{name: "known by a hashed name", known: hashed},
		{name: "known by a pattern for all ports", known: "127.0.0.* " + bare(hostKey) + "\n"},
		{name: "only the RSA key known", known: line(rsaKey)},
		{name: "known beside bad lines", known: "nonsense\nx ssh-ed25519 !!!\n" + line(hostKey) + "|1|x|y ssh-rsa AAAA\n" + strings.Repeat("z", 70<<10) + "\n"},
		{name: "unknown", known: "other.example " + bare(hostKey) + "\n",
			kind: HostKeyUnknown, words: []string{ssh.FingerprintSHA256(public(rsaKey)), strings.TrimSpace(line(rsaKey)), "host_key = \"ssh-rsa ", "FILE"}},
		{name: "unknown, no file", kind: HostKeyUnknown},
		{name: "unknown for this port", known: "127.0.0.1 " + bare(hostKey) + "\n", kind: HostKeyUnknown},
		{name: "unknown, with bad lines that might have been it", known: "127.0.0.1 ssh-ed25519 AAAAC3Nz\n", kind: HostKeyUnknown, words: []string{"left out: FILE:1"}},
		{name: "unknown, only an authority that signed nothing", known: "@cert-authority * " + bare(otherKey) + "\n", kind: HostKeyUnknown},
		{name: "changed", known: "# mine\n" + line(otherKey),
			kind: HostKeyChanged, words: []string{"FILE:2", ssh.FingerprintSHA256(public(otherKey)), ssh.FingerprintSHA256(public(hostKey))}},
		{name: "changed, below a bad line", known: "nonsense\n" + line(otherKey), kind: HostKeyChanged, words: []string{"FILE:2"}},
		{name: "another type known than the host has", known: line(ecdsaKey), kind: HostKeyChanged, words: []string{"FILE:1", "ecdsa-sha2-nistp256"}},
		{name: "revoked", known: line(hostKey) + "@revoked * " + bare(hostKey) + "\n", kind: HostKeyRevoked, words: []string{"FILE:2"}},
		{name: "pinned", pinned: publicLine(hostKey), known: line(otherKey)},
		{name: "pinned RSA", pinned: publicLine(rsaKey)},
		{name: "pinned another", pinned: publicLine(otherKey), known: line(hostKey),
			kind: HostKeyChanged, words: []string{"host_key is ssh-ed25519 " + ssh.FingerprintSHA256(public(otherKey)), ssh.FingerprintSHA256(public(hostKey))}},
		{name: "pinned a type that the host lacks", pinned: publicLine(ecdsaKey), kind: HostKeyChanged, words: []string{"no key of that type", "ssh-ed25519"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "known_hosts")
			if tc.known != "" {
				write(t, file, tc.known)
			}
			set := s.settings()
			set.HostKey, set.KnownHosts = tc.pinned, []string{filepath.Join(t.TempDir(), "missing"), file}
			if strings.Contains(strings.Join(tc.words, ""), "FILE") && tc.kind == HostKeyUnknown {
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

func TestHostCertificate(t *testing.T) {
	dir := t.TempDir()
	authority, err := ssh.NewSignerFromKey(otherKey)
	if err != nil {
		t.Fatal(err)
	}
	certify := func(principal string, until time.Time) string {
		cert := &ssh.Certificate{Key: public(hostKey), CertType: ssh.HostCert, ValidPrincipals: []string{principal}, ValidBefore: uint64(until.Unix())}
		if err := cert.SignCert(rand.Reader, authority); err != nil {
			t.Fatal(err)
		}
		return string(ssh.MarshalAuthorizedKey(cert))
	}
	key := hostKeyFile(t, dir, hostKey)
	always := time.Unix(1<<40, 0)
	for _, tc := range []struct {
		name, cert, authority string
		kind                  Kind
		words                 []string
	}{
		{name: "signed by the authority", cert: certify("127.0.0.1", always), authority: publicLine(otherKey)},
		{name: "signed for another name", cert: certify("other.example", always), authority: publicLine(otherKey), kind: HostKeyUnknown, words: []string{"principal"}},
		{name: "expired", cert: certify("127.0.0.1", time.Unix(1000, 0)), authority: publicLine(otherKey), kind: HostKeyUnknown, words: []string{"expired"}},
		{name: "signed by another authority", cert: certify("127.0.0.1", always), authority: publicLine(ecdsaKey), kind: HostKeyUnknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cert, file := filepath.Join(t.TempDir(), "cert.pub"), filepath.Join(t.TempDir(), "known_hosts")
			write(t, cert, tc.cert)
			s := startSSHD(t, "HostKey "+key, "HostCertificate "+cert)
			write(t, file, fmt.Sprintf("@cert-authority %s %s", knownhosts.Normalize(s.addr), tc.authority))
			set := s.settings()
			set.HostKey, set.KnownHosts = "", []string{file}
			c := conn(t, pool(t, set))
			if tc.kind == 0 {
				mustEcho(t, c)
				return
			}
			fails(t, c, tc.kind, tc.words...)
		})
	}
}

// The copies without bad lines are of use only while they are read.
func TestNoCopyOfKnownHostsIsLeft(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	file := filepath.Join(t.TempDir(), "known_hosts")
	write(t, file, "nonsense\n")
	k, err := readKnownHosts([]string{file})
	if err != nil || len(k.bad) != 1 {
		t.Fatalf("got %+v, %v", k, err)
	}
	if left, _ := os.ReadDir(tmp); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
