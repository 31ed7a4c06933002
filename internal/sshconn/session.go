package sshconn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/host-provider/terraform-provider-host/internal/shell"
)

// maxReply is how much a host may print before its session is given up as gone mad.
const maxReply = 64 << 20

// session is one framed shell on a link: requests in, replies out, in order, without a timer. Idle, a request is sent at once; busy, it queues, and the queue leaves
// as one write when the last reply is in.
type session struct {
	link  *link
	nonce string
	in    io.Writer
	// kick wakes the sender; one pending signal is enough.
	kick chan struct{}

	mu    sync.Mutex
	queue []*request
	// flight are the requests that were sent, in order, and whose replies are not in.
	flight []*request
	// out is what the shell printed and no reply took yet; scanned bytes of it hold no end of a reply.
	out     []byte
	scanned int
	over    bool
}

// request is one script on its way. Its result is set before done is closed.
type request struct {
	// ctx is for logs alone: whoever asked withdraws the request.
	ctx        context.Context
	name, text string
	done       chan struct{}
	res        shell.Result
	err        error
}

func newSession(l *link, nonce string, in io.Writer) *session {
	return &session{link: l, nonce: nonce, in: in, kick: make(chan struct{}, 1)}
}

// run sends s and waits for its reply.
func (s *session) run(ctx context.Context, script shell.Script) (shell.Result, error) {
	if ctx.Err() != nil {
		return shell.Result{}, s.link.conn.cancelled(ctx, fmt.Sprintf("before %q was sent", script.Name))
	}
	text, err := shell.Encode(s.nonce, script)
	if err != nil {
		return shell.Result{}, fmt.Errorf("script %s: %w", script.Name, err)
	}
	r := &request{ctx: ctx, name: script.Name, text: text, done: make(chan struct{})}
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return shell.Result{}, errNotSent
	}
	s.queue = append(s.queue, r)
	s.mu.Unlock()
	s.wake()

	select {
	case <-r.done:
		return r.res, r.err
	case <-ctx.Done():
	}
	if s.withdraw(r) {
		return shell.Result{}, s.link.conn.cancelled(ctx, fmt.Sprintf("before %q was sent", r.name))
	}
	select {
	case <-r.done:
		return r.res, r.err
	default:
		return shell.Result{}, s.link.conn.lost(r.name, context.Cause(ctx))
	}
}

func (s *session) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// withdraw takes r out of the queue; false means that it was sent.
func (s *session) withdraw(r *request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, q := range s.queue {
		if q == r {
			s.queue = append(s.queue[:i], s.queue[i+1:]...)
			return true
		}
	}
	return false
}

// send writes batches until the link is over.
func (s *session) send() {
	for {
		select {
		case <-s.link.ctx.Done():
			return
		case <-s.kick:
		}
		s.mu.Lock()
		if s.over || len(s.flight) > 0 || len(s.queue) == 0 {
			s.mu.Unlock()
			continue
		}
		batch := s.queue
		s.queue, s.flight = nil, batch
		s.mu.Unlock()

		var text strings.Builder
		names := make([]string, len(batch))
		for i, r := range batch {
			text.WriteString(r.text)
			names[i] = r.name
		}
		c := s.link.conn
		c.pool.log(batch[0].ctx, "batch for the host's shell",
			map[string]any{"host": c.host, "batch": c.batches.Add(1), "scripts": strings.Join(names, " "), "bytes": text.Len()})
		if n, err := io.WriteString(s.in, text.String()); err != nil {
			if n == 0 {
				s.unsend()
			}
			s.link.end(errHangup)
			return
		}
	}
}

// unsend puts a batch of which no byte left back into the queue.
func (s *session) unsend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue, s.flight = append(s.flight, s.queue...), nil
}

// receive reads replies until the shell's output ends.
func (s *session) receive(out io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := out.Read(buf)
		if e := s.took(buf[:n]); e != nil {
			err = e
		}
		if errors.Is(err, io.EOF) {
			err = errShellEnd
		}
		if err != nil {
			s.link.end(err)
			return
		}
	}
}

// took adds what the shell printed and hands out the replies that are whole.
func (s *session) took(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flight) == 0 {
		return nil // nobody asked
	}
	s.out = append(s.out, b...)
	end := []byte("\n\x1e" + s.nonce + " = ")
	for len(s.flight) > 0 {
		if !bytes.Contains(s.out[max(0, s.scanned-len(end)):], end) {
			if s.scanned = len(s.out); s.scanned > maxReply {
				return fmt.Errorf("the reply to %q is longer than %d MiB", s.flight[0].name, maxReply>>20)
			}
			return nil
		}
		res, n, err := shell.Decode(s.nonce, s.out)
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		r := s.flight[0]
		s.flight, s.out, s.scanned = s.flight[1:], s.out[n:], 0
		r.res = res
		close(r.done)
	}
	s.out = nil
	s.wake()
	return nil
}

// serve runs the session until the link is over. A reply that came in before the end still reaches its request.
func (s *session) serve(out io.Reader) {
	var both sync.WaitGroup
	both.Go(s.send)
	both.Go(func() { s.receive(out) })
	both.Wait()
	s.finish()
}

// finish answers every request that is left when the link is over.
func (s *session) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	for _, r := range s.flight {
		r.err = s.link.conn.lost(r.name, context.Cause(s.link.ctx))
		close(r.done)
	}
	for _, r := range s.queue {
		r.err = errNotSent
		close(r.done)
	}
	s.flight, s.queue = nil, nil
}
