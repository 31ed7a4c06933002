package host

// Changes of one host that are decided on an earlier look. Each makes that look old, so they go in groups: all of a
// group are decided on one snapshot and share one exchange, and those who come meanwhile are the next group.

import (
	"context"
	"math"
	"sync"
	"time"
)

// turnstile lets changes in, a group at a time.
type turnstile struct {
	mu sync.Mutex
	// expect is called for each of a group before they are let in. It returns what the change calls when it has asked the
	// host, or does not.
	expect func() (asked func())
	// waiting are the changes of the next group.
	waiting []chan func()
	// inside counts those of the present group that are under way, and size all that were in it. It began at began.
	inside, size int
	began        time.Time
	// In pause the next group waits, until it has as many as are expected.
	pause    *time.Timer
	expected int
}

// A group waits for lingerFirst if there was none before it: a CLI has several changes under way. Later ones wait
// for as many as were in the last one, since a CLI soon comes with other changes in their place, but only for a part of
// the time that the last one took, and no longer than lingerAtMost.
const (
	lingerFirst  = 10 * time.Millisecond
	lingerAtMost = 250 * time.Millisecond
)

// enter waits for the next group. The caller calls asked when the host has been asked, and leave at the end.
func (t *turnstile) enter(ctx context.Context) (asked, leave func(), err error) {
	in := make(chan func(), 1)
	t.mu.Lock()
	t.waiting = append(t.waiting, in)
	switch {
	case t.inside > 0:
	case t.pause == nil:
		t.linger(lingerFirst, math.MaxInt)
	case len(t.waiting) >= t.expected:
		t.open()
	}
	t.mu.Unlock()
	select {
	case asked = <-in:
	case <-ctx.Done():
		if t.withdraw(in) {
			return nil, nil, ctx.Err()
		}
		asked = <-in
	}
	return asked, sync.OnceFunc(func() {
		asked()
		t.leave()
	}), nil
}

// open lets those in who wait. The caller holds mu.
func (t *turnstile) open() {
	if t.pause != nil {
		t.pause.Stop()
		t.pause = nil
	}
	t.inside, t.size, t.began = len(t.waiting), len(t.waiting), time.Now()
	for _, in := range t.waiting {
		in <- t.expect()
	}
	t.waiting = nil
}

// leave ends one change of the group. After the last one, the next group waits.
func (t *turnstile) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.inside--; t.inside > 0 {
		return
	}
	// One alone waits for others.
	t.linger(max(lingerFirst, min(time.Since(t.began)/4, lingerAtMost)), max(len(t.waiting)+t.size, 2))
}

// linger opens after a pause, if anybody waits then, or as soon as the expected number does. The caller holds mu.
func (t *turnstile) linger(pause time.Duration, expected int) {
	t.expected = expected
	t.pause = time.AfterFunc(pause, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.inside > 0 {
			return
		}
		if t.pause = nil; len(t.waiting) > 0 {
			t.open()
		}
	})
}

// withdraw takes a change out of the next group; false means that it was let in.
func (t *turnstile) withdraw(in chan func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, w := range t.waiting {
		if w == in {
			t.waiting = append(t.waiting[:i], t.waiting[i+1:]...)
			return true
		}
	}
	return false
}
