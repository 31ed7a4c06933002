package sshconn

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// TestMain guards that no test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sshd is a real OpenSSH server on a loopback port, an ordinary child process whose files are all in a directory of its
// own.
type sshd struct {
	t    *testing.T
	dir  string
	addr string
	cmd  *exec.Cmd
	// stdin is held open as long as the server is to run.
	stdin io.Closer
	// logged is what it wrote so far, and grew has a signal when it wrote more.
	mu     sync.Mutex
	logged strings.Builder
	grew   chan struct{}
	ended  chan struct{}
}

const sshdPath = "/usr/sbin/sshd"

// startSSHD starts a server whose configuration has these lines; one that begins with # is a shell command for the
// server's own mount namespace. It lets root in with userKey, its host key is hostKey unless a line names another, and
// it listens on 127.0.0.1 unless a line has another ListenAddress.
func startSSHD(t *testing.T, lines ...string) *sshd {
	t.Helper()
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("NOT TESTED: a real sshd is run on Linux, by root")
	}
	if _, err := os.Stat(sshdPath); err != nil {
		t.Skip("NOT TESTED: there is no OpenSSH server here: ", err)
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	s := &sshd{t: t, dir: t.TempDir(), grew: make(chan struct{}, 1)}
	address := "127.0.0.1"
	for i, l := range lines {
		if a, ok := strings.CutPrefix(l, "ListenAddress "); ok {
			address, lines = a, slices.Delete(slices.Clone(lines), i, i+1)
			break
		}
	}
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(s.addr)
	write(t, filepath.Join(s.dir, "authorized_keys"), publicLine(userKey))
	if !strings.Contains(strings.Join(lines, "\n"), "HostKey ") {
		lines = append(lines, "HostKey "+hostKeyFile(t, s.dir, hostKey))
	}
	config := []string{
		"ListenAddress " + address, "Port " + port, "PidFile none", "StrictModes no",
		"AuthorizedKeysFile " + filepath.Join(s.dir, "authorized_keys"), "LogLevel VERBOSE",
	}
	for _, l := range lines {
		if mounts, ok := strings.CutPrefix(l, "#"); ok {
			write(t, filepath.Join(s.dir, "mounts"), mounts+"\n")
		}
	}
	config = append(config, lines...)
	for _, usual := range []string{"UsePAM no", "PermitRootLogin prohibit-password", "Subsystem sftp internal-sftp"} {
		if keyword, _, _ := strings.Cut(usual, " "); !strings.Contains(strings.Join(lines, "\n"), keyword) {
			config = append(config, usual)
		}
	}
	write(t, filepath.Join(s.dir, "sshd_config"), strings.Join(config, "\n")+"\n")
	s.start()
	t.Cleanup(s.stop)
	return s
}

// start runs the server and returns when it listens.
func (s *sshd) start() {
	s.t.Helper()
	// The end of its standard input ends it and the processes of its connections, however the test ends.
	mounts, _ := os.ReadFile(filepath.Join(s.dir, "mounts"))
	s.cmd = exec.Command("unshare", "--mount", "/bin/sh", "-c",
		string(mounts)+`"$1" -D -e -f "$2" & cat >/dev/null; kill -9 $(ps -o pid= --ppid $!) $!`, "sh", sshdPath,
		filepath.Join(s.dir, "sshd_config"))
	out, err := s.cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.ended = make(chan struct{})
	cmd, ended := s.cmd, s.ended
	go func() {
		defer close(ended)
		for r := bufio.NewScanner(out); r.Scan(); {
			s.mu.Lock()
			s.logged.WriteString(r.Text() + "\n")
			s.mu.Unlock()
			select {
			case s.grew <- struct{}{}:
			default:
			}
		}
		_ = cmd.Wait()
	}()
	s.await("Server listening")
}

// await returns when the server's log has text.
func (s *sshd) await(text string) {
	s.t.Helper()
	limit := time.After(patience)
	for s.count(text) == 0 {
		select {
		case <-s.grew:
		case <-s.ended:
			s.t.Fatalf("sshd ended:\n%s", s.log())
		case <-limit:
			s.t.Fatalf("sshd never says %q:\n%s", text, s.log())
		}
	}
}

func (s *sshd) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logged.String()
}

// count is how often text is in the server's log.
func (s *sshd) count(text string) int { return strings.Count(s.log(), text) }

// stop ends the server and the processes of its connections.
func (s *sshd) stop() {
	s.stdin.Close()
	<-s.ended
	s.mu.Lock()
	s.logged.Reset()
	s.mu.Unlock()
}

// settings reach the server with its host key pinned and the user's key.
func (s *sshd) settings() route.Settings {
	host, port, _ := net.SplitHostPort(s.addr)
	no := false
	n, _ := strconv.Atoi(port)
	return route.Settings{Address: host, Login: route.Login{Port: n, User: "root", PrivateKey: privatePEM(userKey),
		HostKey: publicLine(hostKey), Agent: &no}}
}

// pool returns a pool with one host, "web1", and closes it at the end of the test.
func pool(t *testing.T, web1 route.Settings, change ...func(*Pool)) *Pool {
	t.Helper()
	p := NewPool(Config{Hosts: map[string]route.Settings{"web1": web1}, SFTP: true})
	p.pace.redial = func(int) time.Duration { return time.Millisecond }
	for _, c := range change {
		c(p)
	}
	log := p.config.Log
	p.config.Log = func(ctx context.Context, msg string, fields map[string]any) {
		noSecret(t, web1, fmt.Sprint(msg, fields))
		log(ctx, msg, fields)
	}
	t.Cleanup(p.Close)
	return p
}

// noSecret fails the test if text has a secret of s.
func noSecret(t *testing.T, s route.Settings, text string) {
	t.Helper()
	for _, secret := range []string{s.Password, s.SudoPassword, s.PrivateKeyPassphrase, s.PrivateKey} {
		if secret != "" && strings.Contains(text, secret) {
			t.Errorf("a secret in %q", text)
		}
	}
}

func conn(t *testing.T, p *Pool) *Conn {
	t.Helper()
	c, err := p.Conn("web1")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// echo is a script that prints its arguments.
func echo(words ...string) shell.Script {
	return shell.Script{Name: "echo", Text: `printf '%s' "$*"`, Args: words}
}

// mustEcho fails the test unless the host answers.
func mustEcho(t *testing.T, c *Conn) {
	t.Helper()
	res, err := c.Run(t.Context(), echo("a", "b c"))
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := res.Get(""); body != "a b c" || res.Status != 0 {
		t.Fatalf("got %+v", res)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Keys that the tests share: making them is slow.
var (
	_, userKey, _  = ed25519.GenerateKey(rand.Reader)
	_, hostKey, _  = ed25519.GenerateKey(rand.Reader)
	_, otherKey, _ = ed25519.GenerateKey(rand.Reader)
	ecdsaKey, _    = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	rsaKey, _      = rsa.GenerateKey(rand.Reader, 2048)
	otherRSAKey, _ = rsa.GenerateKey(rand.Reader, 2048)
)

func newKey() any {
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	return key
}

func privatePEM(key any) string {
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(block))
}

func public(key any) ssh.PublicKey {
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		panic(err)
	}
	return signer.PublicKey()
}

func publicLine(key any) string { return string(ssh.MarshalAuthorizedKey(public(key))) }

func hostKeyFile(t *testing.T, dir string, key any) string {
	t.Helper()
	name := filepath.Join(dir, "host_"+public(key).Type())
	write(t, name, privatePEM(key))
	return name
}

// patience is how long a condition may take to come true on a machine that has much else to do.
const patience = time.Minute

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("never: " + what)
		}
	}
}
