package sshconn

import (
	"crypto/rand"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/hostkey"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
	"github.com/host-provider/terraform-provider-host/internal/sshdtest"
)

// startAgent serves an agent with these keys at SSH_AUTH_SOCK.
func startAgent(t *testing.T, keys ...any) {
	t.Helper()
	ring := agent.NewKeyring()
	for _, k := range keys {
		added, ok := k.(agent.AddedKey)
		if !ok {
			added.PrivateKey = k
		}
		if err := ring.Add(added); err != nil {
			t.Fatal(err)
		}
	}
	serveAgent(t, ring)
}

// serveAgent serves an agent at SSH_AUTH_SOCK.
func serveAgent(t *testing.T, served agent.Agent) {
	t.Helper()
	sock := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				_ = agent.ServeAgent(served, c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	t.Setenv("SSH_AUTH_SOCK", sock)
}

// encryptedPEM is a key encrypted with the least work, which is still much for a race detector.
func encryptedPEM(t *testing.T, key any, passphrase string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	write(t, file, privatePEM(key))
	if out, err := exec.Command("ssh-keygen", "-p", "-a", "1", "-f", file, "-P", "", "-N",
		passphrase).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// fails runs a request that must fail with an *Error of this kind whose text has all the words, and no secret.
func fails(t *testing.T, c *Conn, kind fault.Kind, words ...string) {
	t.Helper()
	_, err := c.Run(t.Context(), echo("x"))
	wantError(t, c.settings, err, kind, words...)
}

func wantError(t *testing.T, s route.Settings, err error, kind fault.Kind, words ...string) {
	t.Helper()
	var e *fault.Error
	if !errors.As(err, &e) || e.Kind != kind || e.Next == "" {
		t.Fatalf("got %v, want kind %q and what to do about it", err, (&fault.Error{Kind: kind}).Summary())
	}
	noSecret(t, s, e.Error())
	for _, w := range words {
		if !strings.Contains(e.Error(), w) {
			t.Errorf("%q lacks %q", e, w)
		}
	}
}

func TestLogin(t *testing.T) {
	s := startSSHD(t)
	on, off := true, false
	manyKeys := []any{otherKey, ecdsaKey, userKey}
	encrypted := encryptedPEM(t, userKey, "correct horse")
	for _, tc := range []struct {
		name   string
		change func(*testing.T, *route.Settings)
		kind   fault.Kind // 0: it works
		words  []string
	}{
		{"key", func(*testing.T, *route.Settings) {}, 0, nil},
		{"encrypted key", func(_ *testing.T, s *route.Settings) {
			s.PrivateKey, s.PrivateKeyPassphrase = encrypted, "correct horse"
		}, 0, nil},
		{"passphrase for a key that needs none", func(_ *testing.T,
			s *route.Settings) {
			s.PrivateKeyPassphrase = "correct horse"
		}, 0, nil},
		{"encrypted key without passphrase", func(_ *testing.T, s *route.Settings) { s.PrivateKey = encrypted },
			fault.KeyUnusable, []string{"encrypted", "private_key_passphrase"}},
		{"wrong passphrase", func(_ *testing.T, s *route.Settings) {
			s.PrivateKey, s.PrivateKeyPassphrase = encrypted, "battery staple"
		}, fault.KeyUnusable, []string{"does not decrypt"}},
		{"path of a key", func(_ *testing.T, s *route.Settings) { s.PrivateKey = "~/.ssh/id_web1" }, fault.KeyUnusable,
			[]string{"not its path", `file("`}},
		{"public key", func(_ *testing.T, s *route.Settings) { s.PrivateKey = publicLine(userKey) }, fault.KeyUnusable,
			[]string{"public key"}},
		{"PuTTY key", func(_ *testing.T, s *route.Settings) { s.PrivateKey = "PuTTY-User-Key-File-3: ssh-ed25519\n" },
			fault.KeyUnusable, []string{"puttygen"}},
		{"security key", func(t *testing.T, s *route.Settings) { s.PrivateKey = newSecurityKey(t).file() },
			fault.KeyUnusable, []string{"security key", "ssh-add"}},
		{"DSA key", func(_ *testing.T, s *route.Settings) { s.PrivateKey = dsaFile() }, fault.KeyUnusable,
			[]string{"is a DSA key", "ssh-keygen -t ed25519"}},
		{"encrypted PKCS#8", func(_ *testing.T, s *route.Settings) {
			s.PrivateKey = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n"
			s.PrivateKeyPassphrase = "correct horse"
		}, fault.KeyUnusable, []string{"in the form of PKCS#8", "ssh-keygen -p"}},
		{"broken key", func(_ *testing.T, s *route.Settings) { s.PrivateKey = s.PrivateKey[:120] + s.PrivateKey[130:] },
			fault.KeyUnusable, []string{"cannot be read"}},
		{"wrong key", func(_ *testing.T, s *route.Settings) { s.PrivateKey = privatePEM(otherKey) },
			fault.AuthRefused, []string{"user root", "it offers: publickey", ssh.FingerprintSHA256(public(otherKey)),
				"127.0.0.1"}},
		{"unknown user", func(_ *testing.T, s *route.Settings) { s.User = "nobody-here" }, fault.AuthRefused,
			[]string{"user nobody-here"}},
		{"nothing to log in with", func(_ *testing.T, s *route.Settings) { s.PrivateKey = "" }, fault.AuthRefused,
			[]string{"no key, agent or password"}},
		{"password that the host does not ask for",
			func(_ *testing.T, s *route.Settings) { s.PrivateKey, s.Password = "", "hunter22" },
			fault.AuthRefused, []string{"tried: password"}},
		{"agent", func(t *testing.T, s *route.Settings) {
			startAgent(t, userKey)
			s.PrivateKey, s.Agent = "", nil
		}, 0, nil},
		{"agent with other keys first", func(t *testing.T, s *route.Settings) {
			startAgent(t, manyKeys...)
			s.PrivateKey, s.Agent = "", &on
		}, 0, nil},
		{"explicit key before those of the agent", func(t *testing.T, s *route.Settings) {
			startAgent(t, otherKey, ecdsaKey, rsaKey, newKey(), newKey(), newKey(), newKey())
			s.Agent = &on
		}, 0, nil},
		{"agent whose right key comes sixth", func(t *testing.T, s *route.Settings) {
			startAgent(t, otherKey, ecdsaKey, rsaKey, newKey(), newKey(), userKey)
			s.PrivateKey, s.Agent = "", &on
		}, 0, nil},
		{"agent whose right key comes after too many", func(t *testing.T, s *route.Settings) {
			startAgent(t, otherKey, ecdsaKey, rsaKey, newKey(), newKey(), newKey(), userKey)
			s.PrivateKey, s.Agent = "", &on
		}, fault.AuthRefused, []string{"the host allows no more tries", "IdentitiesOnly yes"}},
		{"agent switched off", func(t *testing.T, s *route.Settings) {
			startAgent(t, userKey)
			s.PrivateKey, s.Agent = "", &off
		}, fault.AuthRefused, nil},
		{"agent that is not there", func(t *testing.T, s *route.Settings) {
			t.Setenv("SSH_AUTH_SOCK", filepath.Join(t.TempDir(), "none"))
			s.PrivateKey, s.Agent = "", nil
		}, fault.AuthRefused, []string{"the agent at", "did not answer"}},
		{"agent that is not there does not matter with a key", func(t *testing.T, s *route.Settings) {
			t.Setenv("SSH_AUTH_SOCK", filepath.Join(t.TempDir(), "none"))
			s.Agent = nil
		}, 0, nil},
		{"agent wanted and not set", func(t *testing.T, s *route.Settings) {
			t.Setenv("SSH_AUTH_SOCK", "")
			s.Agent = &on
		}, fault.KeyUnusable, []string{"SSH_AUTH_SOCK is not set"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set := s.settings()
			tc.change(t, &set)
			c := conn(t, pool(t, set))
			if tc.kind == 0 {
				mustEcho(t, c)
				return
			}
			fails(t, c, tc.kind, tc.words...)
		})
	}
}

// A user's certificate counts for its own key, from the settings, from a file or in the agent; what is wrong with it is
// said.
func TestUserCertificate(t *testing.T) {
	authority, err := ssh.NewSignerFromKey(otherKey)
	if err != nil {
		t.Fatal(err)
	}
	certify := func(key any, kind uint32, principal string, until time.Time) *ssh.Certificate {
		cert := &ssh.Certificate{Key: public(key), CertType: kind, KeyId: "ops@example", ValidPrincipals: []string{principal},
			ValidBefore: uint64(until.Unix())}
		if err := cert.SignCert(rand.Reader, authority); err != nil {
			t.Fatal(err)
		}
		return cert
	}
	text := func(c *ssh.Certificate) string { return string(ssh.MarshalAuthorizedKey(c)) }
	always := time.Unix(1<<40, 0)
	good := certify(ecdsaKey, ssh.UserCert, "root", always)
	ca := filepath.Join(t.TempDir(), "ca.pub")
	write(t, ca, publicLine(otherKey))
	s := startSSHD(t, "TrustedUserCAKeys "+ca)
	on := true
	for _, tc := range []struct {
		name   string
		change func(*testing.T, *route.Settings)
		kind   fault.Kind
		words  []string
	}{
		{"in the settings", func(_ *testing.T, s *route.Settings) { s.Certificate = text(good) }, 0, nil},
		{"in the settings, of a key in the agent", func(t *testing.T, s *route.Settings) {
			startAgent(t, newKey(), ecdsaKey)
			s.PrivateKey, s.Certificate, s.Agent = "", text(good), &on
		}, 0, nil},
		{"in the agent", func(t *testing.T, s *route.Settings) {
			startAgent(t, agent.AddedKey{PrivateKey: ecdsaKey, Certificate: good})
			s.PrivateKey, s.Agent = "", &on
		}, 0, nil},
		{"none", func(*testing.T, *route.Settings) {}, fault.AuthRefused,
			[]string{"key " + ssh.FingerprintSHA256(public(ecdsaKey)), "it offers: publickey"}},
		{"for another user", func(_ *testing.T, s *route.Settings) {
			s.Certificate = text(certify(ecdsaKey, ssh.UserCert, "ops", always))
		},
			fault.AuthRefused,
			[]string{`certificate "ops@example" of key ` + ssh.FingerprintSHA256(public(ecdsaKey)) + " for ops"}},
		{"expired", func(_ *testing.T, s *route.Settings) {
			s.Certificate = text(certify(ecdsaKey, ssh.UserCert, "root", time.Unix(1000, 0)))
		},
			fault.AuthRefused, []string{"certificate expired at 1970-01-01T00:16:40Z"}},
		{"of another key", func(_ *testing.T, s *route.Settings) {
			s.Certificate = text(certify(rsaKey, ssh.UserCert, "root", always))
		},
			fault.KeyUnusable, []string{"certificate is for the key " + hostkey.Fingerprint(public(rsaKey)),
				"private_key is " + hostkey.Fingerprint(public(ecdsaKey))}},
		{"of a host", func(_ *testing.T, s *route.Settings) {
			s.Certificate = text(certify(ecdsaKey, ssh.HostCert, "root", always))
		}, fault.KeyUnusable, []string{"a host's certificate"}},
		{"a public key", func(_ *testing.T, s *route.Settings) { s.Certificate = publicLine(ecdsaKey) }, fault.KeyUnusable,
			[]string{"without a signature"}},
		{"a path", func(_ *testing.T, s *route.Settings) { s.Certificate = "~/.ssh/x-cert.pub" }, fault.KeyUnusable,
			[]string{"not the text of a certificate", "file("}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set := s.settings()
			set.PrivateKey = privatePEM(ecdsaKey)
			tc.change(t, &set)
			c := conn(t, pool(t, set))
			if tc.kind == 0 {
				mustEcho(t, c)
				return
			}
			fails(t, c, tc.kind, tc.words...)
		})
	}
	t.Run("in files", func(t *testing.T) {
		for name, files := range map[string]map[string]string{
			"CertificateFile": {"web": privatePEM(ecdsaKey), "my-cert": text(good),
				"config": "IdentityFile ~/.ssh/web\nCertificateFile ~/.ssh/my-cert\n"},
			"beside the key": {"web": privatePEM(ecdsaKey), "web-cert.pub": text(good), "config": "IdentityFile ~/.ssh/web\n"},
		} {
			home(t, files)
			set := s.settings()
			set.PrivateKey = ""
			p := NewPool(Config{Hosts: map[string]route.Settings{"web1": set}, SSHConfig: []string{"~/.ssh/config"}})
			t.Cleanup(p.Close)
			if _, err := conn(t, p).Run(t.Context(), echo("x")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// Guards that IdentityAgent of ssh_config names the agent that is asked, or none, and that the provider's own setting
// is nearer.
func TestIdentityAgent(t *testing.T) {
	s := startSSHD(t, "")
	on := true
	startAgent(t, userKey)
	right := os.Getenv("SSH_AUTH_SOCK")
	for _, tc := range []struct {
		name, config, usual string
		agent               *bool
		kind                fault.Kind
	}{
		{"a path", "IdentityAgent \"" + right + "\"\n", "/nowhere", nil, 0},
		{"a variable", "IdentityAgent $OTHER_AGENT\n", "/nowhere", nil, 0},
		{"a variable in braces", "IdentityAgent ${OTHER_AGENT}\n", "/nowhere", nil, 0},
		{"the usual one", "IdentityAgent SSH_AUTH_SOCK\n", right, nil, 0},
		{"none", "IdentityAgent none\n", right, nil, fault.AuthRefused},
		{"none, and agent = true", "IdentityAgent none\n", right, &on, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			home(t, map[string]string{"config": tc.config})
			t.Setenv("OTHER_AGENT", right)
			t.Setenv("SSH_AUTH_SOCK", tc.usual)
			set := s.settings()
			set.PrivateKey, set.Agent = "", tc.agent
			p := NewPool(Config{Hosts: map[string]route.Settings{"web1": set}, SSHConfig: []string{"~/.ssh/config"}})
			t.Cleanup(p.Close)
			if tc.kind != 0 {
				fails(t, conn(t, p), tc.kind)
				return
			}
			mustEcho(t, conn(t, p))
		})
	}
}

// The agent signs for the login and is not forwarded, whatever ssh_config says: root of the host could use its keys.
func TestAgentIsNeverForwarded(t *testing.T) {
	home(t, map[string]string{"config": "ForwardAgent yes\n"})
	startAgent(t, userKey)
	s := startSSHD(t, "AllowAgentForwarding yes")
	set := s.settings()
	set.PrivateKey, set.Agent = "", nil
	p := NewPool(Config{Hosts: map[string]route.Settings{"web1": set}, SSHConfig: []string{"~/.ssh/config"}})
	t.Cleanup(p.Close)
	res, err := conn(t, p).Run(t.Context(), shell.Script{Name: "agent",
		Text: `printf '%s' "${SSH_AUTH_SOCK:-none} $SSH_CONNECTION"`})
	if got, _ := res.Get(""); err != nil || !strings.HasPrefix(got, "none 127.0.0.1 ") {
		t.Errorf("the session has the agent %q, %v", got, err)
	}
}

// A host that wants two proofs gets both from one login, and one that wants what nobody has is named.
func TestSecondFactor(t *testing.T) {
	if err := realAvailable(); err != nil {
		t.Skipf("NOT TESTED: %v", err)
	}
	h, err := sshdtest.Start(sshdtest.Options{
		Users: []sshdtest.User{{Name: "ops", Password: "ops-secret",
			AuthorizedKeys: []string{strings.TrimSpace(publicLine(userKey))}}},
		SSHDConfig: "AuthenticationMethods publickey,password",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	set := reach(h, "ops")
	fails(t, conn(t, pool(t, set)), fault.AuthRefused, "it accepted publickey and wants more", "it offers: password")
	set.Password = "ops-secret"
	mustEcho(t, conn(t, pool(t, set)))
}

func TestRefusedLoginIsNotTriedAgainAtOnce(t *testing.T) {
	s := startSSHD(t)
	set := s.settings()
	set.PrivateKey = privatePEM(otherKey)
	p := pool(t, set)
	c := conn(t, p)
	fails(t, c, fault.AuthRefused)
	fails(t, c, fault.AuthRefused)
	if n := s.count("Connection from"); n != 1 {
		t.Errorf("%d tries, want 1", n)
	}
	p.pace.answersFor = forNobodyElse
	c.until = time.Time{}
	fails(t, c, fault.AuthRefused)
	s.await("Connection from")
	until(t, "a second try", func() bool { return s.count("Connection from") == 2 })
}

// Guards that an agent that says nothing, or has no keys, is named as the trouble.
func TestAgentIsNamed(t *testing.T) {
	s := startSSHD(t)
	socket := filepath.Join(socketDir(t), "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	t.Setenv("SSH_AUTH_SOCK", socket)
	set := s.settings()
	set.Agent, set.PrivateKey = nil, ""
	p := pool(t, set, func(p *Pool) { p.config.ConnectTimeout = time.Second })
	fails(t, conn(t, p), fault.KeyUnusable, "the agent at "+socket)
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = agent.ServeAgent(agent.NewKeyring(), c)
			c.Close()
		}
	}()
	fails(t, conn(t, pool(t, set)), fault.AuthRefused, "the agent at "+socket+" has no keys, or is locked")
	l.Close()
	<-served
}
