package hostkey

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
)

func publicKey(t *testing.T) ssh.PublicKey {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// What was recorded meanwhile by somebody else counts, also where it is another key.
func TestAcceptNewLooksAgainUnderItsLock(t *testing.T) {
	const addr = "192.0.2.1:22"
	file := filepath.Join(t.TempDir(), "known_hosts")
	rules := Rules{Checking: AcceptNew, Files: []string{file}, Host: "192.0.2.1", Port: 22, Algorithms: Preferred()}
	k, err := New(rules, nil, fault.Maker{Host: "web1", Addr: addr}, func(string, map[string]any) {})
	if err != nil {
		t.Fatal(err)
	}
	hostKey, otherKey := publicKey(t), publicKey(t)
	line := knownhosts.Line([]string{addr}, otherKey) + "\n"
	if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	remote := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 22}
	var e *fault.Error
	err = k.Check(t.Context(), remote, hostKey)
	if !errors.As(err, &e) || e.Kind != fault.HostKeyChanged || !strings.Contains(err.Error(), file+":1") {
		t.Errorf("got %v", err)
	}
	if err := k.Check(t.Context(), remote, otherKey); err != nil {
		t.Error(err)
	}
}
