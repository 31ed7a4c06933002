package hosttest

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/shell"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start boots a host that is closed with the test, which then fails for anything that was not simulated.
func start(t *testing.T, o Options) *Host {
	t.Helper()
	h, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.Close()
		for _, what := range h.Unknown() {
			t.Errorf("not simulated: %s", what)
		}
	})
	return h
}

// dial logs in as root.
func dial(t *testing.T, h *Host) *ssh.Client {
	t.Helper()
	signer, err := ssh.ParsePrivateKey([]byte(h.PrivateKey()))
	if err != nil {
		t.Fatal(err)
	}
	return dialAs(t, h, "root", ssh.PublicKeys(signer))
}

func dialAs(t *testing.T, h *Host, user string, auth ssh.AuthMethod) *ssh.Client {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(h.HostKey()))
	if err != nil {
		t.Fatal(err)
	}
	c, err := ssh.Dial("tcp", h.Addr(), &ssh.ClientConfig{User: user, Auth: []ssh.AuthMethod{auth}, HostKeyCallback: ssh.FixedHostKey(key)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func password(s string) ssh.AuthMethod { return ssh.Password(s) }

// session is a framed shell session.
type session struct {
	in   io.WriteCloser
	out  io.Reader
	seen []byte
}

const nonce = "0123456789abcdef"

func openSession(t *testing.T, c *ssh.Client, command string) *session {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	in, _ := s.StdinPipe()
	out, _ := s.StdoutPipe()
	if err := s.Start(command); err != nil {
		t.Fatal(err)
	}
	x := &session{in: in, out: out}
	if _, err := io.WriteString(in, shell.Prologue(nonce)); err != nil {
		t.Fatal(err)
	}
	for !bytes.Contains(x.seen, shell.Ready(nonce)) {
		if err := x.more(); err != nil {
			t.Fatalf("no nonce: %v, saw %q", err, x.seen)
		}
	}
	_, x.seen, _ = bytes.Cut(x.seen, shell.Ready(nonce))
	return x
}

func (s *session) more() error {
	b := make([]byte, 64<<10)
	n, err := s.out.Read(b)
	s.seen = append(s.seen, b[:n]...)
	if n > 0 {
		return nil
	}
	return err
}

// run sends scripts as one batch and returns their results.
func (s *session) run(scripts ...shell.Script) ([]shell.Result, error) {
	var text strings.Builder
	for _, sc := range scripts {
		enc, err := shell.Encode(nonce, sc)
		if err != nil {
			return nil, err
		}
		text.WriteString(enc)
	}
	if _, err := io.WriteString(s.in, text.String()); err != nil {
		return nil, err
	}
	var all []shell.Result
	for len(all) < len(scripts) {
		r, n, err := shell.Decode(nonce, s.seen)
		if err != nil {
			return all, err
		}
		if n == 0 {
			if err := s.more(); err != nil {
				return all, err
			}
			continue
		}
		s.seen = s.seen[n:]
		all = append(all, r)
	}
	return all, nil
}

// one runs a script that must be answered.
func (s *session) one(t *testing.T, sc shell.Script) shell.Result {
	t.Helper()
	r, err := s.run(sc)
	if err != nil {
		t.Fatalf("%s: %v, saw %q", sc.Name, err, s.seen)
	}
	return r[0]
}

// Guards the framing: each request is answered as soon as its text is whole, whatever the script does to its shell, and counts as one exchange.
func TestASessionAnswersEachRequest(t *testing.T) {
	h := start(t, Options{LoginNoise: "You have mail.\n"})
	for _, command := range []string{"/bin/sh -s", "exec /bin/sh -s", "env LC_ALL=C /bin/sh -s", "sudo -n -- /bin/sh -s", "exec sudo -n -- /bin/sh -s"} {
		s := openSession(t, dial(t, h), command)
		before, batches := h.Exchanges(), h.Batches()
		for _, c := range []struct {
			script shell.Script
			status int
			body   string
		}{
			{shell.Script{Text: "echo hello"}, 0, "hello\n"},
			{shell.Script{Text: "cat", Stdin: "a $HOME `x` \\ 'q'\nEOF\n"}, 0, "a $HOME `x` \\ 'q'\nEOF\n"},
			{shell.Script{Text: "cat", Stdin: strings.Repeat("0123456789abcde\n", 4000)}, 0, strings.Repeat("0123456789abcde\n", 4000)},
			{shell.Script{Text: "cat; echo end"}, 0, "end\n"},
			{shell.Script{Text: `printf '%s|' "$@"`, Args: []string{"a b", "it's", "two\nlines", ""}}, 0, "a b|it's|two\nlines||"},
			{shell.Script{Text: "exit 7"}, 7, ""},
			{shell.Script{Text: "set -u; echo ${nope}; echo not reached"}, 1, "nope: unbound variable\n"},
			{shell.Script{Text: "echo words >&2; false"}, 1, "words\n"},
			{shell.Script{Text: "umask 077; umask; cat >/tmp/secret </dev/null; stat -c %a /tmp/secret; rm /tmp/secret"}, 0, "0077\n600\n"},
			{shell.Script{Text: "umask"}, 0, "0022\n"},
			{shell.Script{Text: "local=1; export A=b; env | grep '^A='; f() { local x=2; echo $x; }; f"}, 0, "A=b\n2\n"},
		} {
			r := s.one(t, c.script)
			if r.Status != c.status || r.Records[0].Body != c.body {
				t.Errorf("%s: %q: status %d, %.200q; want %d, %.200q", command, c.script.Text, r.Status, r.Records[0].Body, c.status, c.body)
			}
		}
		if n := h.Batches() - batches; n != 11 {
			t.Errorf("%s: 11 requests one after the other were %d batches", command, n)
		}
		if n := h.Exchanges() - before; n != 11 {
			t.Errorf("%s: 11 requests one after the other were %d exchanges", command, n)
		}
		if _, err := s.run(shell.Script{Text: "echo 1"}, shell.Script{Text: "cat", Stdin: "2"}, shell.Script{Text: "echo 3"}); err != nil {
			t.Error(err)
		}
		if n := h.Batches() - batches; n != 12 {
			t.Errorf("%s: three requests in one write were %d batches", command, n-11)
		}
	}
}
