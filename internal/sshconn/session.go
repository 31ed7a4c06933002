package sshconn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/shell"
)

// maxReply is how much a host may print before its session is given up as gone mad.
const maxReply = 64 << 20

// session is one framed shell on a link: requests in, replies out, in order. Idle, a request is sent at once; busy, it
// queues, and the queue leaves as one write when the last reply is in, and those whom the replies woke had a moment to
// ask for more.
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
	// left is when the last batch left, landed when its last reply came, and woken how many who asked it answered.
	left, landed time.Time
	woken        int
	// heard is when the host last sent or took something of the batch that is under way.
	heard time.Time
	// unlocks says that the batch under way gives the lock on the host back, locked that the session may have it, failed
	// that a script failed under it, which keeps it, and unlock that it is to be given back.
	unlocks, locked, failed, unlock bool
	// silence calls watchSilence while the session is served.
	silence *time.Timer
	// out is what the shell printed and no reply took yet; scanned bytes of it hold no end of a reply.
	out     []byte
	scanned int
	over    bool
}

// request is one script on its way. Its result is set before done is closed.
type request struct {
	// ctx is for logs alone: whoever asked withdraws the request.
	ctx    context.Context
	script shell.Script
	// together are those that were asked for together, itself among them, and ends says that it is the last of them.
	together []*request
	ends     bool
	// also are the requests of the batch that this one answers for.
	also []*request
	// left says that the request left with the first line of a shell. It belongs to conn.mu, and no longer changes when
	// the dial is done.
	left bool
	done chan struct{}
	res  shell.Result
	err  error
}

func newRequest(ctx context.Context, s shell.Script) *request {
	return &request{ctx: ctx, script: s, ends: true, done: make(chan struct{})}
}

// asked counts those who asked for requests, and for those that they answer for.
func asked(all ...*request) (n int) {
	for _, r := range all {
		if r.ends {
			n++
		}
		n += asked(r.also...)
	}
	return n
}

// answer ends r, and those that it answers for.
func (r *request) answer(res shell.Result, err error) {
	for _, a := range r.also {
		a.answer(res, err)
	}
	r.res, r.err = res, err
	close(r.done)
}

// merged is a batch in the order in which it is sent: of the scripts that one run may answer for, only that one, at the
// end.
func merged(queue []*request) (batch []*request) {
	last := map[bool]*request{} // by whether they need the lock on the host: who only reads does not wait for it
	for _, r := range queue {
		into := last[r.script.Exclusive]
		switch {
		case r.script.Merge == nil:
			batch = append(batch, r)
		case into == nil:
			last[r.script.Exclusive] = r
		default:
			into.script, into.also = into.script.Merge(into.script, r.script), append(into.also, r)
		}
	}
	for _, exclusive := range []bool{true, false} {
		if r := last[exclusive]; r != nil {
			batch = append(batch, r)
		}
	}
	return batch
}

func newSession(l *link, nonce string, in io.Writer) *session {
	return &session{link: l, nonce: nonce, in: in, kick: make(chan struct{}, 1)}
}

// run sends one script and waits for its reply.
func (s *session) run(ctx context.Context, script shell.Script) (shell.Result, error) {
	results, errs := s.runAll(ctx, script)
	return results[0], errs[0]
}

// runAll sends scripts in one batch, in order, and waits for their replies: a result and an error for each.
func (s *session) runAll(ctx context.Context, scripts ...shell.Script) ([]shell.Result, []error) {
	return s.awaitAll(ctx, scripts, nil)
}

// awaitAll is runAll. It calls asked, if any, when the scripts are in the queue.
func (s *session) awaitAll(ctx context.Context, scripts []shell.Script, asked func()) ([]shell.Result, []error) {
	results, errs := make([]shell.Result, len(scripts)), make([]error, len(scripts))
	all, err := s.ask(ctx, scripts)
	if asked != nil {
		asked()
	}
	for i := range scripts {
		if errs[i] = err; err == nil {
			results[i], errs[i] = s.await(ctx, all[i])
		}
	}
	return results, errs
}

// ask puts scripts into the queue, next to each other.
func (s *session) ask(ctx context.Context, scripts []shell.Script) ([]*request, error) {
	if ctx.Err() != nil {
		return nil, s.link.conn.cancelled(ctx, fmt.Sprintf("before %q was sent", scripts[0].Name))
	}
	var all []*request
	for _, script := range scripts {
		if script.Session != "" && script.Session != s.nonce {
			return nil, shell.ErrOtherSession
		}
		if _, err := shell.Encode(s.nonce, script); err != nil {
			return nil, fmt.Errorf("script %s: %w", script.Name, err)
		}
		all = append(all, newRequest(ctx, script))
	}
	for i, r := range all {
		r.together, r.ends = all, i == len(all)-1
	}
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return nil, errNotSent
	}
	s.queue = append(s.queue, all...)
	s.mu.Unlock()
	s.wake()
	return all, nil
}

// await waits for the reply to r as long as ctx lives.
func (s *session) await(ctx context.Context, r *request) (shell.Result, error) {
	select {
	case <-r.done:
		return r.res, r.err
	case <-ctx.Done():
	}
	if s.withdraw(r) {
		return shell.Result{}, s.link.conn.cancelled(ctx, fmt.Sprintf("before %q was sent", r.script.Name))
	}
	select {
	case <-r.done:
		return r.res, r.err
	default:
		return shell.Result{}, s.link.conn.lost(r.script.Name, context.Cause(ctx))
	}
}

func (s *session) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// withdraw takes r out of the queue, and with it those that were asked for together, which all leave in one batch;
// false means that they were sent.
func (s *session) withdraw(r *request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.queue, r) {
		return false
	}
	s.queue = slices.DeleteFunc(s.queue, func(q *request) bool { return q == r || slices.Contains(r.together, q) })
	for _, q := range r.together {
		if q != r {
			q.answer(shell.Result{}, s.link.conn.cancelled(r.ctx, fmt.Sprintf("before %q was sent", q.script.Name)))
		}
	}
	return true
}

// send writes batches until the link is over.
func (s *session) send() {
	for {
		select {
		case <-s.link.ctx.Done():
			return
		case <-s.kick:
		}
		s.linger()
		s.mu.Lock()
		if s.over || len(s.flight) > 0 || len(s.queue) == 0 && !s.unlock {
			s.mu.Unlock()
			continue
		}
		var text string
		if s.unlock {
			text = shell.Unlock
			s.unlock, s.locked, s.failed = false, false, false
		}
		if batch := merged(s.queue); len(batch) > 0 {
			s.queue = nil
			text += s.leave(batch)
		}
		s.mu.Unlock()
		if n, err := s.write(text); err != nil {
			if n == 0 {
				s.unsend()
			}
			s.link.end(errHangup)
			return
		}
	}
}

// write sends text in parts, so that a long one that the host takes slowly is no silence. It returns how much was sent.
func (s *session) write(text string) (n int, err error) {
	for n < len(text) && err == nil {
		var part int
		part, err = io.WriteString(s.in, text[n:min(n+writeAtOnce, len(text))])
		n += part
		s.mu.Lock()
		s.heard = time.Now()
		s.mu.Unlock()
	}
	return n, err
}

// writeAtOnce is as much as one packet of SSH holds.
const writeAtOnce = 32 << 10

// leave makes a batch the one that is under way, and returns its text. The caller holds mu, or alone has the session.
func (s *session) leave(batch []*request) string {
	s.flight, s.left, s.woken = batch, time.Now(), 0
	s.heard = s.left
	c := s.link.conn
	var names []string
	var scripts []shell.Script
	last, exclusive := 0, false
	for _, r := range batch {
		names, scripts = append(names, r.script.Name), append(scripts, r.script)
		exclusive = exclusive || r.script.Exclusive
		if r.script.Last {
			last++
		}
	}
	s.locked = s.locked || exclusive
	s.unlocks = exclusive && int(c.holders.Load()) <= last
	text, _ := shell.EncodeBatch(s.nonce, c.pool.who, s.unlocks, scripts...) // whoever asks has seen that it can be
	c.pool.log(batch[0].ctx, "batch for the host's shell",
		map[string]any{"host": c.host, "batch": c.batches.Add(1), "scripts": strings.Join(names, " "), "bytes": len(text)})
	return text
}

// giveBack gives the lock on the host back, if the session may have it.
func (s *session) giveBack() {
	s.mu.Lock()
	s.unlock = s.locked && s.link.conn.holders.Load() == 0
	s.mu.Unlock()
	s.wake()
}

// lingerAtMost bounds linger: a batch may have taken long for what one script of it did.
const lingerAtMost = 250 * time.Millisecond

// linger waits until as many have asked as the last batch answered, since whoever was answered soon asks for more, and
// a batch costs as much as many. It does so for a quarter of the time that the last batch took, and not at all where
// that answered one alone. Those that Expect told of it waits for in any case.
func (s *session) linger() {
	since := time.Now()
	for {
		s.mu.Lock()
		expected := s.link.conn.expected.Load() > 0
		enough := len(s.queue) == 0 || len(s.flight) > 0 || s.over ||
			!expected && (s.woken < 2 || asked(s.queue...) >= s.woken)
		patience := time.Until(s.landed.Add(min(s.landed.Sub(s.left)/4, lingerAtMost)))
		if expected {
			patience = time.Until(since.Add(lingerAtMost))
		}
		s.mu.Unlock()
		if enough || patience <= 0 {
			return
		}
		timer := time.NewTimer(patience)
		select {
		case <-s.kick:
		case <-timer.C:
		case <-s.link.ctx.Done():
		}
		if timer.Stop(); s.link.ctx.Err() != nil {
			return
		}
	}
}

// unsend puts a batch of which no byte left back into the queue.
func (s *session) unsend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var batch []*request
	for _, r := range s.flight {
		batch = append(append(batch, r), r.also...)
		r.also = nil
	}
	s.queue, s.flight = append(batch, s.queue...), nil
}

// receive reads replies until the shell's output ends.
func (s *session) receive(out io.Reader) {
	buf := make([]byte, 4<<10) // as long as the connection: a thousand hosts have one each
	for {
		n, err := out.Read(buf)
		if e := s.took(buf[:n]); e != nil {
			err = e
		}
		if errors.Is(err, io.EOF) {
			err = errShellEnd
			if s.shared() && !s.link.answers() {
				err = errHangup // a master that ends closes the shell's output first
			}
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
	s.out, s.heard = append(s.out, b...), time.Now()
	end := []byte("\n\x1e" + s.nonce + " = ")
	for len(s.flight) > 0 {
		if !bytes.Contains(s.out[max(0, s.scanned-len(end)):], end) {
			if s.scanned = len(s.out); s.scanned > maxReply {
				return fmt.Errorf("the reply to %q is longer than %d MiB", s.flight[0].script.Name, maxReply>>20)
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
		res.Session = s.nonce
		r := s.flight[0]
		s.flight, s.out, s.scanned = s.flight[1:], s.out[n:], 0
		s.woken += asked(r)
		s.failed = s.failed || r.script.Exclusive && res.Skipped == "" && res.Status != 0
		if s.unlocks && !s.failed && len(s.flight) == 0 {
			s.locked = false
		}
		r.answer(res, nil)
	}
	s.out, s.landed = nil, time.Now()
	s.wake()
	return nil
}

// serve runs the session until the link is over. A reply that came in before the end still reaches its request.
func (s *session) serve(out io.Reader) {
	s.mu.Lock()
	s.silence = time.AfterFunc(s.link.conn.pool.config.ReplyTimeout, s.watchSilence)
	s.mu.Unlock()
	var all sync.WaitGroup
	all.Go(s.send)
	all.Go(func() { s.receive(out) })
	if s.shared() {
		all.Go(s.echo)
	}
	all.Wait()
	s.finish()
}

// shared reports whether the connection is a master's.
func (s *session) shared() bool {
	_, shared := s.link.client.(*master)
	return shared
}

// echo asks the host for a sign of life while the shell has nothing else to do, and ends the link if none comes. It is
// for connections over a master, which asks the host nothing for us. While the shell is busy, silence ends the link.
func (s *session) echo() {
	tick := time.NewTicker(s.link.conn.pool.pace.keepalive)
	defer tick.Stop()
	var asked *request
	misses := 0
	for {
		select {
		case <-s.link.ctx.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		switch {
		case asked != nil && slices.Contains(s.flight, asked):
			if misses++; misses == keepaliveMisses {
				s.link.end(errSilent)
			}
		case len(s.flight) == 0 && len(s.queue) == 0 && !s.over:
			asked, misses = newRequest(s.link.log, shell.Script{Name: "keepalive", Text: ":"}), 0
			s.queue = []*request{asked}
			s.wake()
		}
		s.mu.Unlock()
	}
}

// finish answers every request that is left when the link is over.
func (s *session) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.silence.Stop()
	for _, r := range s.flight {
		r.answer(shell.Result{}, s.link.conn.lost(r.script.Name, context.Cause(s.link.ctx)))
	}
	for _, r := range s.queue {
		r.answer(shell.Result{}, s.link.unsent(r.script.Name))
	}
	s.flight, s.queue = nil, nil
}
