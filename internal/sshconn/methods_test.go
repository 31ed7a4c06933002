package sshconn

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
	"github.com/host-provider/terraform-provider-host/internal/sshdtest"
)

const opsPassword = "ops-secret"

// hostWithPassword is a real host that lets ops in with userKey, with the password, and by a question for it.
func hostWithPassword(t *testing.T) route.Settings {
	t.Helper()
	if err := realAvailable(); err != nil {
		t.Skipf("NOT TESTED: %v", err)
	}
	h, err := sshdtest.Start(sshdtest.Options{
		Users: []sshdtest.User{{Name: "ops", Password: opsPassword,
			AuthorizedKeys: []string{strings.TrimSpace(publicLine(userKey))}}},
		SSHDConfig: "UsePAM yes\nPasswordAuthentication yes\nKbdInteractiveAuthentication yes",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	set := reach(h, "ops")
	set.PrivateKey, set.Agent = "", nil
	return set
}

// Guards that as many keys are offered as by ssh, until the host has enough of them, and that a password keeps one of
// the six tries that a host usually allows.
func TestSixKeys(t *testing.T) {
	host := hostWithPassword(t)
	t.Setenv("SSH_AUTH_SOCK", "")
	dir := home(t, nil)
	if err := os.Mkdir(filepath.Join(dir, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	config := ""
	file := func(i int) string { return filepath.Join(dir, ".ssh", fmt.Sprint("key", i)) }
	for i := range 7 {
		write(t, file(i), privatePEM(newKey()))
		config += "IdentityFile " + file(i) + "\n"
	}
	for _, tc := range []struct {
		name     string
		right    int // which of the seven keys is the right one; -1: none
		password string
		works    bool
		tried    int // how many keys ssh and we have tried, if it fails
		words    []string
	}{
		{name: "the sixth is right", right: 5, works: true},
		{name: "the seventh is right", right: 6, tried: 6, words: []string{"the host allows no more tries",
			"IdentitiesOnly yes"}},
		{name: "none is right, the password is", right: -1, password: opsPassword, works: true},
		{name: "nothing is right", right: -1, password: "not-the-secret", tried: 5,
			words: []string{"only the first 5 of 7 keys"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.right >= 0 {
				old, err := os.ReadFile(file(tc.right))
				if err != nil {
					t.Fatal(err)
				}
				write(t, file(tc.right), privatePEM(userKey))
				defer write(t, file(tc.right), string(old))
			}
			if tc.password == "" {
				if ok, said := askSSH(t, host, config, "", "-o", "BatchMode=yes"); ok != tc.works {
					t.Fatalf("ssh: %v, %s", ok, said)
				}
			}
			set := host
			set.Password = tc.password
			c := withConfig(t, dir, set, config)
			if tc.works {
				mustEcho(t, c)
				return
			}
			_, err := c.Run(t.Context(), echo("x"))
			wantError(t, set, err, fault.AuthRefused, tc.words...)
			if n := strings.Count(err.Error(), "key SHA256:"); n != tc.tried {
				t.Errorf("%d keys tried, want %d: %v", n, tc.tried, err)
			}
		})
	}
}

// Guards that the ways to log in which ssh_config allows are tried, in its order, and none that it forbids, which the
// error names: ssh is asked too. The password is from the environment, which ssh_config comes before.
func TestLoginMethodsOfSSHConfig(t *testing.T) {
	host := hostWithPassword(t)
	t.Setenv("SSH_AUTH_SOCK", "")
	dir := home(t, map[string]string{"right": privatePEM(userKey), "wrong": privatePEM(otherKey)})
	for _, tc := range []struct {
		config        string
		key, password bool // which of them is right
		works         bool
		words         []string
	}{
		{config: "", key: true, works: true},
		{config: "", password: true, works: true},
		{config: ""},
		{config: "PubkeyAuthentication no", key: true, words: []string{":1 has PubkeyAuthentication no, so that publickey",
			"private_key"}},
		{config: "PubkeyAuthentication no", password: true, works: true},
		{config: "PubkeyAuthentication yes", key: true, works: true},
		{config: "PubkeyAuthentication unbound", key: true, works: true},
		{config: "PubkeyAuthentication host-bound", key: true, works: true},
		{config: "PasswordAuthentication no", password: true, works: true},
		{config: "KbdInteractiveAuthentication no", password: true, works: true},
		{config: "PasswordAuthentication no"},
		{config: "KbdInteractiveAuthentication no"},
		{config: "KbdInteractiveAuthentication no\nPasswordAuthentication no", password: true,
			words: []string{":2 has PasswordAuthentication no, so that password"}},
		{config: "ChallengeResponseAuthentication no\nPasswordAuthentication no", password: true,
			words: []string{":2 has PasswordAuthentication no"}},
		{config: "PreferredAuthentications publickey", key: true, works: true},
		{config: "PreferredAuthentications publickey", password: true,
			words: []string{":1 has PreferredAuthentications publickey, so that password was not tried"}},
		{config: "PreferredAuthentications password", key: true,
			words: []string{":1 has PreferredAuthentications password, so that publickey was not tried"}},
		{config: "PreferredAuthentications password", password: true, works: true},
		{config: "PreferredAuthentications keyboard-interactive", password: true, works: true},
		{config: "PreferredAuthentications password,publickey,keyboard-interactive"},
		{config: "PreferredAuthentications keyboard-interactive,none,publickey,publickey"},
		{config: "PreferredAuthentications gssapi-with-mic,hostbased", key: true, password: true,
			words: []string{":1 has PreferredAuthentications gssapi-with-mic,hostbased"}},
		{config: "PreferredAuthentications password,publickey\nPasswordAuthentication no", password: true,
			words: []string{":2 has PasswordAuthentication no"}},
	} {
		t.Run(fmt.Sprintf("%s, key %v, password %v", tc.config, tc.key, tc.password), func(t *testing.T) {
			key, password := "wrong", "not-the-secret"
			if tc.key {
				key = "right"
			}
			if tc.password {
				password = opsPassword
			}
			config := tc.config + "\nIdentityFile " + filepath.Join(dir, ".ssh", key) + "\n"
			ok, said := askSSH(t, host, config, password, "-v")
			if ok != tc.works {
				t.Fatalf("ssh: %v, %s", ok, said)
			}
			c := withConfig(t, dir, host, config, func(c *Config) { c.Environment.Password = password })
			if tc.works {
				mustEcho(t, c)
				return
			}
			_, err := c.Run(t.Context(), echo("x"))
			wantError(t, host, err, fault.AuthRefused, tc.words...)
			if want, got := methodsOfSSH(said), methodsTried(err); !slices.Equal(got, want) {
				t.Errorf("tried %q, and ssh %q: %v", got, want, err)
			}
		})
	}
}

// Guards that a key signs by the algorithms only that PubkeyAcceptedAlgorithms of ssh_config allows, as ssh has it.
func TestAlgorithmsOfTheUsersKeys(t *testing.T) {
	host := hostWithPassword(t)
	t.Setenv("SSH_AUTH_SOCK", "")
	dir := home(t, map[string]string{"right": privatePEM(userKey)})
	for list, works := range map[string]bool{
		"ssh-ed25519": true, "ssh-ed*": true, "+ssh-rsa": true, "-rsa-*": true, "^ssh-ed25519": true,
		"rsa-sha2-512,rsa-sha2-256": false, "-ssh-ed25519": false, "ssh-ed25519-cert-v01@openssh.com": false,
	} {
		t.Run(list, func(t *testing.T) {
			config := "PubkeyAcceptedAlgorithms " + list + "\nIdentityFile " + filepath.Join(dir, ".ssh", "right") + "\n"
			if ok, said := askSSH(t, host, config, ""); ok != works {
				t.Fatalf("ssh: %v, %s", ok, said)
			}
			c := withConfig(t, dir, host, config, func(*Config) {})
			if works {
				mustEcho(t, c)
				return
			}
			_, err := c.Run(t.Context(), echo("x"))
			wantError(t, host, err, fault.AuthRefused, "PubkeyAcceptedAlgorithms")
		})
	}
}

// methodsOfSSH are the methods that ssh -v says it has tried.
func methodsOfSSH(said string) (methods []string) {
	for _, m := range regexp.MustCompile(`Next authentication method: (\S+)`).FindAllStringSubmatch(said, -1) {
		if !strings.HasPrefix(m[1], "gssapi") {
			methods = append(methods, m[1])
		}
	}
	return slices.Compact(methods)
}

// methodsTried are the methods that the error of a refused login says were tried.
func methodsTried(err error) (methods []string) {
	_, list, _ := strings.Cut(err.Error(), "tried: ")
	list, _, _ = strings.Cut(list, ";")
	for part := range strings.SplitSeq(list, ", ") {
		switch {
		case strings.HasPrefix(part, "key "):
			methods = append(methods, route.PublicKey)
		case part == route.Password, part == route.KeyboardInteractive:
			methods = append(methods, part)
		}
	}
	return methods
}

// Guards that a key, an agent or a password that the provider has is tried even if ssh_config forbids its method, and
// that no other key is then.
func TestProviderBeforeTheMethodsOfSSHConfig(t *testing.T) {
	host := hostWithPassword(t)
	dir := home(t, map[string]string{"id": privatePEM(userKey)})
	startAgent(t, userKey)
	identity := "IdentityFile " + filepath.Join(dir, ".ssh", "id") + "\n"
	noKeys := "PubkeyAuthentication no\n" + identity
	noPassword := "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPubkeyAuthentication no\n" + identity
	on := true
	for _, tc := range []struct {
		name, config string
		change       func(*Config, *route.Settings)
		works        bool
		words        []string
	}{
		{"private_key of the host", noKeys, func(_ *Config, s *route.Settings) { s.PrivateKey = privatePEM(userKey) }, true,
			nil},
		{"private_key of the provider", noKeys, func(c *Config, _ *route.Settings) {
			c.Defaults.PrivateKey = privatePEM(userKey)
		}, true, nil},
		{"private_key of the environment", noKeys, func(c *Config, _ *route.Settings) {
			c.Environment.PrivateKey = privatePEM(userKey)
		}, false, []string{"has PubkeyAuthentication no, so that publickey was not tried"}},
		{"agent = true", noKeys, func(_ *Config, s *route.Settings) { s.Agent = &on }, true, nil},
		{"agent = true in the environment", noKeys, func(c *Config, _ *route.Settings) { c.Environment.Agent = &on }, false,
			[]string{"has PubkeyAuthentication no"}},
		{"another private_key", noKeys, func(_ *Config, s *route.Settings) { s.PrivateKey = privatePEM(otherKey) }, false,
			[]string{"tried: key " + ssh.FingerprintSHA256(public(otherKey)) + ";"}},
		{"password", noPassword, func(_ *Config, s *route.Settings) { s.Password = opsPassword }, true, nil},
		{"password, and another order", "PreferredAuthentications hostbased\n",
			func(_ *Config, s *route.Settings) { s.Password = opsPassword }, true, nil},
		{"nothing", noPassword, func(*Config, *route.Settings) {}, false, []string{"has PubkeyAuthentication no"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set := host
			c := withConfig(t, dir, host, tc.config, func(c *Config) {
				tc.change(c, &set)
				c.Hosts["web1"] = set
			})
			if tc.works {
				mustEcho(t, c)
				return
			}
			fails(t, c, fault.AuthRefused, tc.words...)
		})
	}
}

// Guards that a private key in a file of the user's own that others may read does not count, as for ssh, which is asked
// too, unless the agent has it, and that it is named with the remedy.
func TestKeyFileThatIsOpenToOthers(t *testing.T) {
	s := startSSHD(t)
	dir := home(t, map[string]string{"id": privatePEM(userKey)})
	file := filepath.Join(dir, ".ssh", "id")
	config := "IdentityFile " + file + "\nIdentitiesOnly yes\n"
	for _, tc := range []struct {
		mode  os.FileMode
		owner int
		agent bool
		works bool
	}{
		{mode: 0o600, works: true},
		{mode: 0o400, works: true},
		{mode: 0o644},
		{mode: 0o640},
		{mode: 0o602},
		{mode: 0o644, agent: true, works: true},
		{mode: 0o644, owner: 4242, works: true},
	} {
		t.Run(fmt.Sprintf("%#o of user %d, agent %v", tc.mode, tc.owner, tc.agent), func(t *testing.T) {
			t.Setenv("SSH_AUTH_SOCK", "")
			if tc.agent {
				startAgent(t, userKey)
			}
			if err := os.Chown(file, tc.owner, -1); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(file, tc.mode); err != nil {
				t.Fatal(err)
			}
			set := s.settings()
			if ok, said := askSSH(t, set, config, "", "-o", "BatchMode=yes"); ok != tc.works {
				t.Fatalf("ssh: %v, %s", ok, said)
			}
			set.PrivateKey, set.Agent = "", nil
			c := withConfig(t, dir, set, config)
			if tc.works {
				mustEcho(t, c)
				return
			}
			fails(t, c, fault.AuthRefused, "the key "+file+" (SHA256:", "open to other users", "chmod 600 "+file)
		})
	}
}

// Guards that the forms of key files are read that ssh reads, and that the note of another one says what it is. ssh is
// asked too.
func TestFormsOfKeyFiles(t *testing.T) {
	s := startSSHD(t)
	write(t, filepath.Join(s.dir, "authorized_keys"), publicLine(userKey)+publicLine(rsaKey)+publicLine(ecdsaKey))
	dir := home(t, map[string]string{})
	if err := os.Mkdir(filepath.Join(dir, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSH_AUTH_SOCK", "")
	const passphrase = "correct horse"
	pkcs8 := func(key any) string {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}))
	encrypted := func(key any, form string) string {
		file := filepath.Join(t.TempDir(), "key")
		write(t, file, privatePEM(key))
		if out, err := exec.Command("ssh-keygen", "-p", "-m", form, "-f", file, "-P", "", "-N",
			passphrase).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("of the same key")}))
	for _, tc := range []struct {
		name, text    string
		ssh, provider bool
		some          bool // some versions of ssh read it
		words         []string
	}{
		{name: "OpenSSH", text: privatePEM(userKey), ssh: true, provider: true},
		{name: "OpenSSH with CRLF", text: strings.ReplaceAll(privatePEM(userKey), "\n", "\r\n"), some: true, provider: true},
		{name: "OpenSSH without the last line", text: strings.TrimSpace(privatePEM(userKey)), some: true, provider: true},
		{name: "PKCS#8 of RSA", text: pkcs8(rsaKey), ssh: true, provider: true},
		{name: "PKCS#8 of ECDSA", text: pkcs8(ecdsaKey), ssh: true, provider: true},
		{name: "PKCS#8 with CRLF", text: strings.ReplaceAll(pkcs8(rsaKey), "\n", "\r\n"), ssh: true, provider: true},
		{name: "PKCS#1", text: pkcs1, ssh: true, provider: true},
		{name: "text before the key", text: "Bag Attributes\n    friendlyName: web1\n" + pkcs8(rsaKey), ssh: true,
			provider: true},
		{name: "a certificate before the key", text: certificate + pkcs8(rsaKey), ssh: true, provider: true},
		{name: "encrypted PKCS#1", text: encrypted(rsaKey, "PEM"), ssh: true, provider: true},
		{name: "encrypted EC", text: encrypted(ecdsaKey, "PEM"), ssh: true, provider: true},
		{name: "encrypted PKCS#8", text: encrypted(rsaKey, "PKCS8"), ssh: true,
			words: []string{"is encrypted in the form of PKCS#8", "ssh-keygen -p"}},
		{name: "DSA", text: dsaFile(), words: []string{"is a DSA key"}},
		{name: "PuTTY", text: "PuTTY-User-Key-File-3: ssh-ed25519\n", words: []string{"cannot be read"}},
		{name: "empty", text: "", words: []string{"cannot be read"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(dir, ".ssh", "key")
			write(t, file, tc.text)
			config := "IdentityFile " + file + "\n"
			set := s.settings()
			ok, said := askSSH(t, set, config, passphrase, "-o", "PreferredAuthentications=publickey")
			if ok != tc.ssh && !tc.some {
				t.Fatalf("ssh: %v, %s", ok, said)
			}
			set.PrivateKey, set.PrivateKeyPassphrase = "", passphrase
			c := withConfig(t, dir, set, config)
			if tc.provider {
				mustEcho(t, c)
				return
			}
			fails(t, c, fault.AuthRefused, append(tc.words, file)...)
		})
	}
}

// dsaFile is what ssh-keygen -t dsa wrote when it still did; the numbers are none of a key.
func dsaFile() string {
	public := ssh.Marshal(struct {
		Type       string
		P, Q, G, Y []byte
	}{"ssh-dss", append([]byte{0, 0x80}, make([]byte, 127)...), append([]byte{0, 0x80}, make([]byte, 19)...), []byte{2},
		[]byte{4}})
	text := append([]byte("openssh-key-v1\x00"), ssh.Marshal(struct {
		Cipher, KDF, Options string
		Keys                 uint32
		Public, Private      []byte
	}{"none", "none", "", 1, public, []byte("of a key that nobody takes")})...)
	return string(pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: text}))
}
