package sshconn

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// process is a command on an exec channel of a link.
type process struct {
	link *link
	chn  remoteSession
	in   io.WriteCloser
	out  *bufio.Reader
	// printed and complained are the beginnings of what it wrote to its output, up to the line that was awaited, and to
	// its error output.
	printed, complained *transcript
	// exited is closed when the command ended or its channel was closed; told says then that the host told how it ended.
	exited chan struct{}
	told   bool
}

// transcriptLen is how much of a process's words is kept.
const transcriptLen = 4 << 10

// transcript keeps the beginning of a stream.
type transcript struct {
	mu   sync.Mutex
	text []byte
	// changed has a signal when text grew since it was last taken.
	changed chan struct{}
}

func newTranscript() *transcript { return &transcript{changed: make(chan struct{}, 1)} }

// Write keeps what fits and never fails.
func (t *transcript) Write(b []byte) (int, error) {
	t.mu.Lock()
	t.text = append(t.text, b[:min(len(b), transcriptLen-len(t.text))]...)
	t.mu.Unlock()
	select {
	case t.changed <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

// start runs command on a channel of its own. It blocks as long as the host does not answer; the end of the link frees
// it.
func (l *link) start(request func(remoteSession) error) (*process, error) {
	chn, err := l.client.newSession()
	if err != nil {
		return nil, err
	}
	p := &process{link: l, chn: chn, printed: newTranscript(), complained: newTranscript(), exited: make(chan struct{})}
	var out, complaints io.Reader
	if p.in, err = chn.StdinPipe(); err == nil {
		if out, err = chn.StdoutPipe(); err == nil {
			complaints, err = chn.StderrPipe()
		}
	}
	if err == nil {
		err = request(chn)
	}
	if err != nil {
		_ = chn.Close()
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if !l.spawn(func() {
		defer close(p.exited)
		// to the end, so that the last words are there when the end is noticed
		_, _ = io.CopyBuffer(p.complained, complaints, make([]byte, 512))
		var exit *ssh.ExitError
		var status exitStatus
		err := chn.Wait()
		p.told = err == nil || errors.As(err, &exit) || errors.As(err, &status)
	}) {
		return nil, errHangup
	}
	return p, nil
}

// await reads the output up to a line that is exactly line, or to the output's end, and says which. Only afterwards may
// others read it.
func (p *process) await(line string) <-chan bool {
	found := make(chan bool, 1)
	if !p.link.spawn(func() {
		for {
			got, err := p.out.ReadSlice('\n')
			if err == nil && strings.TrimSuffix(string(got), "\n") == line {
				found <- true
				return
			}
			_, _ = p.printed.Write(got)
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
				found <- false
				return
			}
		}
	}) {
		found <- false
	}
	return found
}

// said is what the command printed and complained of, for an error.
func (p *process) said() string { return p.complained.String() + " " + p.printed.String() }

// ended says that the command is known to have ended, and not with its connection alone.
func (p *process) ended() bool {
	select {
	case <-p.exited:
		return p.told
	default:
		return false
	}
}

// stop closes the command's channel. The remote command may run on.
func (p *process) stop() { _ = p.chn.Close() }

// nonce is a word that nobody can guess.
func nonce() string { return "tf" + strings.ToLower(rand.Text()) }

// asks reports whether words end in a question with this prompt: sudo prints the prompt alone, and sudo-rs
// "[sudo: PROMPT] Password: ", maybe in two writes.
func asks(words, prompt string) bool {
	at := strings.LastIndex(words, prompt)
	if at < 0 {
		return false
	}
	rest := words[at+len(prompt):]
	return rest == "" || strings.HasPrefix(rest, "] ") && !strings.Contains(rest, "\n")
}

// answer waits for line and, whenever the complaints end in a question with prompt, calls asked with the number of
// times they have. It returns nil when the line came.
func (p *process) answer(ctx context.Context, line, prompt string, asked func(times int) error) error {
	found := p.await(line)
	from, times := 0, 0
	for {
		select {
		case ok := <-found:
			if ok {
				return nil
			}
			select {
			case <-p.exited:
			case <-ctx.Done():
			}
			return errNoLine
		case <-ctx.Done():
			return ctx.Err()
		case <-p.complained.changed:
			words := p.complained.String()
			if prompt != "" && asks(words[from:], prompt) {
				from, times = len(words), times+1
				if err := asked(times); err != nil {
					return err
				}
			}
		}
	}
}
