package sshconn

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// securityKey is a FIDO key that somebody touches whenever it has to sign, unless it is unplugged.
type securityKey struct {
	secret    ed25519.PrivateKey
	counter   uint32
	unplugged bool
}

const (
	securityKeyType = "sk-ssh-ed25519@openssh.com"
	application     = "ssh:"
	touched         = 1
)

func newSecurityKey(t *testing.T) *securityKey {
	t.Helper()
	_, secret, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &securityKey{secret: secret}
}

func (k *securityKey) half() []byte { return k.secret[ed25519.SeedSize:] }

func (k *securityKey) public() ssh.PublicKey {
	key, err := ssh.ParsePublicKey(ssh.Marshal(struct {
		Type        string
		Key         []byte
		Application string
	}{securityKeyType, k.half(), application}))
	if err != nil {
		panic(err)
	}
	return key
}

func (k *securityKey) line() string { return string(ssh.MarshalAuthorizedKey(k.public())) }

// file is the private file of the key, as ssh-keygen -t ed25519-sk writes it: it says which secret of the device is it.
func (k *securityKey) file() string {
	private := ssh.Marshal(struct {
		Check1, Check2 uint32
		Type           string
		Key            []byte
		Application    string
		Flags          byte
		Handle         []byte
		Reserved       []byte
		Comment        string
	}{7, 7, securityKeyType, k.half(), application, touched, []byte("handle"), nil, "web1"})
	for pad := byte(1); len(private)%8 != 0; pad++ {
		private = append(private, pad)
	}
	text := append([]byte("openssh-key-v1\x00"), ssh.Marshal(struct {
		Cipher, KDF, Options string
		Keys                 uint32
		Public, Private      []byte
	}{"none", "none", "", 1, k.public().Marshal(), private})...)
	return string(pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: text}))
}

// tokenAgent is an agent that also has keys on security keys.
type tokenAgent struct {
	agent.Agent
	tokens []*securityKey
}

func (a *tokenAgent) List() ([]*agent.Key, error) {
	keys, err := a.Agent.List()
	var tokens []*agent.Key
	for _, k := range a.tokens {
		tokens = append(tokens, &agent.Key{Format: securityKeyType, Blob: k.public().Marshal(), Comment: "token"})
	}
	return slices.Concat(tokens, keys), err
}

// Sign signs as a FIDO key does: the digest of the application, the flags, the counter, and the digest of the data.
func (a *tokenAgent) Sign(key ssh.PublicKey, data []byte) (*ssh.Signature, error) {
	for _, k := range a.tokens {
		if !bytes.Equal(key.Marshal(), k.public().Marshal()) {
			continue
		}
		if k.unplugged {
			return nil, errors.New("device not found")
		}
		k.counter++
		about := sha256.Sum256([]byte(application))
		digest := sha256.Sum256(data)
		rest := ssh.Marshal(struct {
			Flags   byte
			Counter uint32
		}{touched, k.counter})
		return &ssh.Signature{Format: securityKeyType,
			Blob: ed25519.Sign(k.secret, slices.Concat(about[:], rest, digest[:])), Rest: rest}, nil
	}
	return a.Agent.Sign(key, data)
}

// startTokenAgent serves an agent with the security keys, and then these keys.
func startTokenAgent(t *testing.T, tokens []*securityKey, keys ...any) {
	t.Helper()
	ring := agent.NewKeyring()
	for _, k := range keys {
		if err := ring.Add(agent.AddedKey{PrivateKey: k}); err != nil {
			t.Fatal(err)
		}
	}
	serveAgent(t, &tokenAgent{ring, tokens})
}

// askSSH runs ssh with lines of ssh_config for the server, and says whether it logs in. Its questions get the answer.
func askSSH(t *testing.T, s route.Settings, config, answer string, options ...string) (ok bool, said string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "config")
	address, port, _ := strings.Cut(s.Addr(), ":")
	write(t, file, config+"\nHost web1\nHostName "+address+"\nPort "+port+"\nUser "+s.User+
		"\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nNumberOfPasswordPrompts 1\n")
	asked := filepath.Join(dir, "asked")
	write(t, asked, "#!/bin/sh\necho '"+answer+"'\n")
	if err := os.Chmod(asked, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "ssh", append(append([]string{"-F", file}, options...), "web1", "true")...)
	cmd.Env = append(os.Environ(), "SSH_ASKPASS="+asked, "SSH_ASKPASS_REQUIRE=force")
	out, err := cmd.CombinedOutput()
	return err == nil, string(out)
}

// withConfig are the connections of a pool to web1 with lines of ssh_config in ~/.ssh/config.
func withConfig(t *testing.T, dir string, set route.Settings, config string, change ...func(*Config)) *Conn {
	t.Helper()
	write(t, filepath.Join(dir, ".ssh", "config"), config)
	c := Config{Hosts: map[string]route.Settings{"web1": set}, SSHConfig: []string{"~/.ssh/config"}}
	for _, f := range change {
		f(&c)
	}
	p := NewPool(c)
	t.Cleanup(p.Close)
	return conn(t, p)
}

// Guards that a key of which only the agent has the private half is offered, and only that with IdentitiesOnly: a
// security key, by its private file or the .pub beside it, and a key on a smart card. ssh is asked too.
func TestKeysThatOnlyTheAgentHas(t *testing.T) {
	s := startSSHD(t)
	token, other := newSecurityKey(t), newSecurityKey(t)
	const passphrase = "correct horse"
	dir := home(t, map[string]string{"sk": token.file(), "encrypted": token.file(), "damaged": "what only a token reads\n",
		"damaged.pub": token.line(), "absent.pub": token.line(), "card.pub": publicLine(ecdsaKey),
		"id_ed25519_sk": token.file()})
	at := func(name string) string { return filepath.Join(dir, ".ssh", name) }
	if out, err := exec.Command("ssh-keygen", "-p", "-a", "1", "-f", at("encrypted"), "-P", "", "-N",
		passphrase).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	write(t, filepath.Join(s.dir, "authorized_keys"), token.line()+publicLine(ecdsaKey))
	for _, tc := range []struct {
		name, config, passphrase string
		tokens                   []*securityKey
		keys                     []any
		works                    bool
		words                    []string
	}{
		{name: "no IdentityFile", tokens: []*securityKey{other, token}, works: true},
		{name: "its private file", config: "IdentityFile " + at("sk"), tokens: []*securityKey{other, token}, works: true},
		{name: "an encrypted one", config: "IdentityFile " + at("encrypted"), tokens: []*securityKey{token}, works: true},
		{name: "an encrypted one, with its passphrase", config: "IdentityFile " + at("encrypted"), passphrase: passphrase,
			tokens: []*securityKey{token}, works: true},
		{name: "a .pub beside a file that nobody reads", config: "IdentityFile " + at("damaged"),
			tokens: []*securityKey{token}, works: true},
		{name: "a .pub beside no file", config: "IdentityFile " + at("absent"), tokens: []*securityKey{token}, works: true},
		{name: "a .pub itself", config: "IdentityFile " + at("absent.pub"), tokens: []*securityKey{token}, works: true},
		{name: "a smart card", config: "IdentityFile " + at("card.pub"), keys: []any{otherKey, ecdsaKey}, works: true},
		{name: "the agent has another one only", config: "IdentityFile " + at("sk"), tokens: []*securityKey{other},
			words: []string{"the key " + at("sk") + " (" + ssh.FingerprintSHA256(token.public()) + ")", "on a security key",
				"the agent does not have it"}},
		{name: "the agent has no key", config: "IdentityFile " + at("card.pub"),
			words: []string{"the key " + at("card.pub"), "the agent does not have it"}},
		{name: "another key is named", config: "IdentityFile " + at("card.pub"), tokens: []*securityKey{token},
			words: []string{"the key " + at("card.pub")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			startTokenAgent(t, tc.tokens, tc.keys...)
			config := tc.config + "\n"
			if tc.config != "" {
				config += "IdentitiesOnly yes\n"
			}
			set := s.settings()
			if ok, said := askSSH(t, set, config, tc.passphrase, "-o", "BatchMode=yes"); ok != tc.works {
				t.Fatalf("ssh: %v, %s", ok, said)
			}
			set.PrivateKey, set.PrivateKeyPassphrase, set.Agent = "", tc.passphrase, nil
			c := withConfig(t, dir, set, config)
			if !tc.works {
				fails(t, c, fault.AuthRefused, tc.words...)
				return
			}
			mustEcho(t, c)
		})
	}
	t.Run("in its usual place", func(t *testing.T) {
		startTokenAgent(t, []*securityKey{other, token})
		set := s.settings()
		set.PrivateKey, set.Agent = "", nil
		mustEcho(t, withConfig(t, dir, set, "IdentitiesOnly yes\n"))
	})
}

// Guards that a key which cannot sign, as one on a token that is unplugged, does not end the login: the next key is
// offered, as by ssh.
func TestKeyThatDoesNotSign(t *testing.T) {
	s := startSSHD(t)
	token := newSecurityKey(t)
	token.unplugged = true
	dir := home(t, map[string]string{"id": privatePEM(userKey)})
	write(t, filepath.Join(s.dir, "authorized_keys"), token.line()+publicLine(userKey))
	set := s.settings()
	set.PrivateKey, set.Agent = "", nil
	startTokenAgent(t, []*securityKey{token})
	config := "IdentityFile " + filepath.Join(dir, ".ssh", "id") + "\n"
	if ok, said := askSSH(t, set, config, "", "-o", "BatchMode=yes"); !ok {
		t.Fatal(said)
	}
	mustEcho(t, withConfig(t, dir, set, config))
	fails(t, withConfig(t, dir, set, "IdentityFile none\n"), fault.AuthRefused, ssh.FingerprintSHA256(token.public()),
		"does not sign")
}
