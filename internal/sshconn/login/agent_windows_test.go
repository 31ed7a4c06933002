package login

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/sys/windows"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// serveAgent serves an agent with one key at a pipe.
func serveAgent(t *testing.T, pipe string) ssh.PublicKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: private}); err != nil {
		t.Fatal(err)
	}
	servePipe(t, pipe, func(conn io.ReadWriter) { _ = agent.ServeAgent(ring, conn) })
	return signer.PublicKey()
}

// servePipe serves each client of a pipe until the end of the test.
func servePipe(t *testing.T, pipe string, serve func(io.ReadWriter)) {
	t.Helper()
	name, err := windows.UTF16PtrFromString(pipe)
	if err != nil {
		t.Fatal(err)
	}
	instance := func() windows.Handle {
		h, err := windows.CreateNamedPipe(name, windows.PIPE_ACCESS_DUPLEX, windows.PIPE_TYPE_BYTE|windows.PIPE_WAIT,
			windows.PIPE_UNLIMITED_INSTANCES, 4096, 4096, 0, nil)
		if err != nil {
			t.Error(err)
		}
		return h
	}
	var all sync.WaitGroup
	var over atomic.Bool
	first := instance()
	all.Go(func() {
		for h := first; h != windows.InvalidHandle; {
			err := windows.ConnectNamedPipe(h, nil)
			conn := os.NewFile(uintptr(h), pipe)
			if over.Load() || err != nil && !errors.Is(err, windows.ERROR_PIPE_CONNECTED) {
				conn.Close()
				return
			}
			h = instance() // before this client ends, so that the next one finds the pipe
			all.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		over.Store(true)
		if conn, err := os.OpenFile(pipe, os.O_RDWR, 0); err == nil { // which ends the wait for a client
			conn.Close()
		}
		all.Wait()
	})
}

// Guards that an agent at a pipe is asked, by each way to name the pipe that ssh_config and the environment have, and
// signs.
func TestAgentAtAPipe(t *testing.T) {
	name := fmt.Sprintf("terraform-provider-host-%d", os.Getpid())
	key := serveAgent(t, `\\.\pipe\`+name)
	config := filepath.Join(t.TempDir(), "config")
	for _, tc := range []struct{ name, config, socket string }{
		{"SSH_AUTH_SOCK", "", `\\.\pipe\` + name},
		{"IdentityAgent", `IdentityAgent \\.\pipe\` + name, ""},
		{"IdentityAgent with pairs of backslashes", `IdentityAgent \\\\.\\pipe\\` + name, ""},
		{"IdentityAgent with slashes", "IdentityAgent //./pipe/" + name, ""},
		{"IdentityAgent before SSH_AUTH_SOCK", "IdentityAgent //./pipe/" + name, `\\.\pipe\nobody`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("SSH_AUTH_SOCK", tc.socket)
			if err := os.WriteFile(config, []byte(tc.config+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			resolver, err := route.NewResolver(t.Context(), route.Sources{SSHConfig: []string{config}})
			if err != nil {
				t.Fatal(err)
			}
			r, err := resolver.Resolve("web1")
			if err != nil {
				t.Fatal(err)
			}
			l, err := New(r, nil, &Keys{}, fault.Maker{})
			if err != nil {
				t.Fatal(err)
			}
			signers, hangUp := l.agentSigners(t.Context())
			if len(signers) != 1 {
				t.Fatalf("%d keys; %q", len(signers), l.notes)
			}
			defer hangUp()
			signature, err := signers[0].Sign(rand.Reader, []byte("data"))
			if err != nil {
				t.Fatal(err)
			}
			if err := key.Verify([]byte("data"), signature); err != nil {
				t.Error(err)
			}
		})
	}
}

// Guards that the agent of Windows is asked where nothing else names one, and that it is no news if there is none,
// unless it is wanted.
func TestUsualAgentOfWindows(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "")
	if got := agentSocket(""); got != usualAgent {
		t.Errorf("%q is asked", got)
	}
	if got := agentSocket("none"); got != "" {
		t.Errorf("%q is asked, and IdentityAgent is none", got)
	}
	for _, mayBeAbsent := range []bool{true, false} {
		l := &Attempt{route: &route.Route{Added: route.Added{Methods: []string{route.PublicKey}}},
			agent: `\\.\pipe\nobody-listens-here`, mayBeAbsent: mayBeAbsent}
		signers, _ := l.agentSigners(t.Context())
		said := strings.Join(l.notes, "")
		if len(signers) > 0 || strings.Contains(said, "did not answer") == mayBeAbsent {
			t.Errorf("it may be absent: %v; %d keys, %q", mayBeAbsent, len(signers), said)
		}
	}
}
