// Package host is one Linux host as Terraform sees it: it takes a snapshot, plans and applies a change, and takes it
// back. It owns the order of steps, the rollback and the words of errors.
//
// These invariants hold for every change, whichever resources it goes through:
//
//  1. After an apply without an error every declared key has its value, running and at the next boot, in whatever order
//     creates, updates and destroys ran. A key has one owner at a time.
//  2. The value from before Terraform follows a key to its next resource, and is what the last destroy restores. A
//     drop-in remembers it, or a note in /run if there is no drop-in.
//  3. A destroy takes nothing away that another instance holds by now: the first line of a drop-in names the instance
//     that wrote it. What an instance unknown to the run wrote is not taken over unless the configuration adopts it.
//  4. A change leaves every key that it does not declare as it was, if the kernel lets both hold. Keys that follow a
//     written one, and that a file sets, are written again; rollback and destroy restore followers too.
//  5. A failure leaves the host as it was, or names each thing that it may have left.
//  6. Unloading takes away the named module only, and not while a drop-in of ours sets a key of it.
//  7. Nothing is decided from a stale look: a change is checked on a snapshot taken under the locks of its keys.
package host

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/shell"
)

// Conn is the connection that a Host needs. Its methods may be called from many goroutines. After an error the step may
// still have been carried out.
type Conn interface {
	// Run runs a script and returns what it printed.
	Run(ctx context.Context, s shell.Script) (shell.Result, error)
	// WriteFile replaces the file at path in one step, with mode 0644. If it returns nil, the content survives a power
	// cut.
	WriteFile(ctx context.Context, path, content string) error
	// Change makes a change of values and files in one exchange, as shell.Change says. If First fails or does not run, the
	// files stay as they are, and the error is nil.
	Change(ctx context.Context, c shell.Change) (first, then shell.Result, err error)
	// Remove removes files. It is no error if a file does not exist.
	Remove(ctx context.Context, paths ...string) error
	// Wait connects. It waits for a machine that is still booting.
	Wait(ctx context.Context) error
	// Hold keeps other processes from changing the host from the next exclusive script on, until release is called.
	Hold() (release func())
	// Expect has the next exchange wait a moment until asked is called, since another change is about to be made.
	Expect() (asked func())
}

// Fleet returns hosts by name. It has one Host, and so one connection and one snapshot, for each name.
type Fleet struct {
	connect func(name string) (Conn, error)
	run     *run

	mu    sync.Mutex
	hosts map[string]func() (*Host, error)

	// prefetch is who is read in advance. It belongs to mu.
	prefetch    prefetch
	prefetching sync.WaitGroup
}

// prefetch is the state of a prefetch. Each of its hosts is in waiting, ahead or asked, and moves on in this order.
type prefetch struct {
	// waiting are the hosts that nobody has read. ahead are those that were prefetched, and asked those that a resource
	// asked for.
	waiting      []string
	ahead, asked map[string]bool
	// running counts the reads that are under way, of which there are at most atOnce.
	running, atOnce int
	// ctx ends with the fleet; nil before the first read.
	ctx    context.Context
	cancel context.CancelFunc
}

// prefetchAfter is how many different hosts must have been asked for before others are prefetched.
const prefetchAfter = 3

// NewFleet returns a Fleet whose hosts use the connections that connect returns. connect is called once for each name
// and must not connect.
func NewFleet(connect func(name string) (Conn, error)) *Fleet {
	return &Fleet{connect: connect, run: newRun(), hosts: map[string]func() (*Host, error){}}
}

// Prefetch registers hosts to read in advance, because a CLI asks for a few resources at a time only. At most atOnce of
// them are read at a time. Close ends them.
//
// Nobody wants a login to a host that no resource asks for, as with -target. Terraform does not tell a provider.
// So a prefetch follows the demand: it starts when prefetchAfter different hosts have been asked for, and from then on
// at most as many hosts are read in advance as have been asked for. One host that is asked for leads to no other login,
// and a plan of all hosts doubles what it has read in every round.
func (f *Fleet) Prefetch(names []string, atOnce int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.prefetch = prefetch{waiting: slices.Clone(names), ahead: map[string]bool{}, asked: map[string]bool{}, atOnce: atOnce}
}

// demand takes note that a resource asks for a host, and prefetches others. ctx is used for logs only.
func (f *Fleet) demand(ctx context.Context, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &f.prefetch
	waiting := slices.Index(p.waiting, name)
	switch {
	case waiting >= 0:
		p.waiting = slices.Delete(p.waiting, waiting, waiting+1)
	case p.ahead[name]:
		delete(p.ahead, name)
	default:
		return
	}
	p.asked[name] = true
	if p.ctx == nil {
		p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	}
	f.prefetchMore()
}

// prefetchMore starts as many reads as the demand allows. The caller holds mu.
func (f *Fleet) prefetchMore() {
	p := &f.prefetch
	if len(p.asked) < prefetchAfter {
		return
	}
	for len(p.waiting) > 0 && len(p.ahead) < len(p.asked) && p.running < p.atOnce {
		name, ctx := p.waiting[0], p.ctx
		p.waiting = p.waiting[1:]
		p.ahead[name] = true
		p.running++
		f.prefetching.Go(func() {
			if h, err := f.Host(name); err == nil && ctx.Err() == nil {
				_, _ = h.readOnce(ctx, false, nil) // the resources that need the host report its errors
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			p.running--
			f.prefetchMore()
		})
	}
}

// Close stops the prefetch and waits until it has ended.
func (f *Fleet) Close() {
	f.mu.Lock()
	f.prefetch.waiting = nil
	cancel := f.prefetch.cancel
	f.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	f.prefetching.Wait()
}

// Host returns the host with this name. It does not connect.
func (f *Fleet) Host(name string) (*Host, error) {
	f.mu.Lock()
	found, ok := f.hosts[name]
	if !ok {
		found = sync.OnceValues(func() (*Host, error) { return f.newHost(name) })
		f.hosts[name] = found
	}
	f.mu.Unlock()
	return found()
}

func (f *Fleet) newHost(name string) (*Host, error) {
	c, err := f.connect(name)
	if err != nil {
		return nil, err
	}
	return &Host{fleet: f, name: name, conn: c, snapshotLock: make(chan struct{}, 1), evidenceLock: make(chan struct{}, 1),
		turnstile: turnstile{expect: c.Expect}}, nil
}

// Host is one Linux host. Its methods may be called from many goroutines.
type Host struct {
	fleet *Fleet
	name  string
	conn  Conn

	decoding   sync.Mutex // guards lastAnswer
	lastAnswer answer

	// snapshotLock is held by whoever takes or extends the snapshot, so that those who come meanwhile find it taken; a
	// channel, since waiting for it can be cancelled.
	snapshotLock chan struct{}
	// evidenceLock is likewise held by whoever asks what the boot has shown. It is taken after snapshotLock, if at all.
	evidenceLock chan struct{}
	mu           sync.Mutex

	machineName    string         // what a snapshot called the machine; locks go by it
	snapshot       *boot.Snapshot // nil when none is taken or a write threw it away
	lastSeen       *boot.Snapshot // what was last seen, for plans; nil when nothing was
	lastPrediction lastPrediction // the last prediction, for all that ask of the same snapshot
	writes         int            // how many writes began; a snapshot that was under way meanwhile is not kept
	modules        []string       // what module trees are searched for beside the modules that own keys
	single         bool           // files change while they are read, so each is read by itself
	evidence       evidence       // what the boot has shown
	everything     bool           // single keys are read that no file names, so snapshots for readers hold all keys
	wanted         []string       // paths that readers wait for while another one reads
	queued         int            // readers that wait for the one who reads
	// unreachable is why the host could not be read: it is not tried again for every resource, before Wait finds it.
	unreachable error
	// noMarks says that marks tell nothing here, so that no change is decided on an earlier look; turnstile is where such
	// changes form groups.
	noMarks   bool
	turnstile turnstile
	// waited says that Wait gave up once: the resources that follow try, and do not wait as long again.
	waited bool
}

// lock keeps other changes of these files and keys of the machine waiting until release is called: two resources may
// name one file, take one key from each other, or reach one machine by two names. Locks are taken in the order of their
// names, so that no two changes wait for each other.
func (r *run) lock(ctx context.Context, machine string, names ...string) (release func(), err error) {
	return r.lockBy(machine, names, func(l chan struct{}) error {
		select {
		case l <- struct{}{}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// errTaken says that another change has a lock.
var errTaken = errors.New("another change has the lock")

// tryLock is lock for a caller that does not wait.
func (r *run) tryLock(machine string, names ...string) (release func(), ok bool) {
	release, err := r.lockBy(machine, names, func(l chan struct{}) error {
		select {
		case l <- struct{}{}:
			return nil
		default:
			return errTaken
		}
	})
	return release, err == nil
}

// lockBy takes each lock with take.
func (r *run) lockBy(machine string, names []string, take func(chan struct{}) error) (release func(), err error) {
	var held []chan struct{}
	release = func() {
		for _, l := range held {
			<-l
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.changes++
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		r.mu.Lock()
		l, ok := r.locks[machine+" "+name]
		if !ok {
			l = make(chan struct{}, 1)
			r.locks[machine+" "+name] = l
		}
		r.mu.Unlock()
		if err := take(l); err != nil {
			release()
			return nil, err
		}
		held = append(held, l)
	}
	r.mu.Lock()
	r.changes++
	r.mu.Unlock()
	return release, nil
}

// look is what a change is decided on: a snapshot under the locks of its keys. If mark is not empty, the snapshot is an
// earlier one, and the change must be made only if the host still prints the mark.
type look struct {
	snap *boot.Snapshot
	mark string
	// decides are the files of an earlier look under /proc/sys that decide, and so must still hold what they held.
	decides []string
	// session is the session that took a fresh look, and has the lock on the host since.
	session string
	// asked tells the others of the look's group that the host has been asked; nil for a fresh look.
	asked func()
	// made is an attempt before it, of which written are the values that are there, by path. The snapshot has what was
	// before it.
	made    *attempt
	written map[string]string
	// release gives the locks back.
	release func()
}

// lookFor takes a snapshot that holds these paths, under the locks with these names and those that more finds to be
// needed in it. It may be an earlier one if all of decides are there in that.
func (h *Host) lookFor(ctx context.Context, decides, paths, names []string, more func(*boot.Snapshot) []string,
) (l look, err error) {
	r := h.fleet.run
	h.mu.Lock()
	machine := h.machineName
	h.mu.Unlock()
	for {
		l = look{release: func() {}}
		also := func(release func()) { // released before what was taken before it
			before := l.release
			l.release = func() {
				release()
				before()
			}
		}
		if machine != "" {
			unlock, err := r.lock(ctx, machine, slices.Clone(names)...)
			if err != nil {
				return look{}, err
			}
			also(unlock)
		}
		r.mu.Lock()
		changes := r.changes
		r.mu.Unlock()
		if len(decides) > 0 && machine != "" {
			if l, err = h.earlier(ctx, l, decides); err != nil {
				l.release()
				return look{}, err
			}
		}
		// Only now, since whoever waits for a key must not keep others from the host.
		also(h.conn.Hold())
		if l.snap == nil {
			if l.snap, l.session, err = h.freshIn(ctx, slices.Clone(paths)...); err != nil {
				l.release()
				return look{}, err
			}
		}
		if machine == "" {
			// The first look tells which machine it is. It counts if no other change began or ended meanwhile.
			machine = h.machine(l.snap)
			unlock, ok := r.tryLock(machine, slices.Clone(names)...)
			if !ok {
				l.release()
				continue
			}
			also(unlock)
			r.mu.Lock()
			alone := r.changes == changes+1
			r.mu.Unlock()
			if !alone {
				l.release()
				continue
			}
		}
		missing := slices.DeleteFunc(more(l.snap), func(name string) bool { return slices.Contains(names, name) })
		if len(missing) == 0 {
			return l, nil
		}
		l.release()
		names = append(names, missing...)
	}
}

// earlier returns the last snapshot and its mark, if all of these paths are there in it; a nil snapshot if not. Changes
// that were decided on it and are on their way make it old, so it waits for them.
func (h *Host) earlier(ctx context.Context, l look, paths []string) (look, error) {
	has := func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.lastSeen != nil && !h.noMarks && !slices.ContainsFunc(paths, func(p string) bool {
			v, ok := h.lastSeen.Values[p]
			return !ok || v.Absent || v.Unread != ""
		})
	}
	if !has() {
		return l, nil
	}
	asked, leave, err := h.turnstile.enter(ctx)
	if err != nil {
		return l, err
	}
	h.mu.Lock()
	s := h.lastSeen
	h.mu.Unlock()
	if has() && s != nil {
		if m, ok := markOf(s); ok {
			l.snap, l.mark, l.decides, l.asked = s, m, paths, asked
			before := l.release
			l.release = func() {
				leave()
				before()
			}
			return l, nil
		}
	}
	leave()
	return l, nil
}

// distrustMarks has every later change begin with a fresh look, since this host's marks are never as expected: it has
// no sha256sum, or one that prints otherwise.
func (h *Host) distrustMarks() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.noMarks = true
}

// Wait connects to the host, and waits for one that is still booting.
func (h *Host) Wait(ctx context.Context) error {
	h.mu.Lock()
	waited := h.waited
	h.mu.Unlock()
	if waited {
		return nil
	}
	err := h.conn.Wait(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waited = err != nil && ctx.Err() == nil
	if err == nil {
		h.unreachable = nil
	}
	return err
}
