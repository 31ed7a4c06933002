// Package host is one Linux host as Terraform sees it: take a Snapshot of it, apply a change, take it back. It owns the order of steps, the undoing and the
// words of errors.
package host

import (
	"context"
	"slices"
	"sync"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// Conn is what a Host needs of a connection. Calls may come from many goroutines. After an error the step may still have happened.
type Conn interface {
	// Run runs a script and returns what it printed.
	Run(ctx context.Context, s shell.Script) (shell.Result, error)
	// WriteFile replaces the file at path in one step, with mode 0644. When it returns nil the content survives a power cut.
	WriteFile(ctx context.Context, path, content string) error
	// WriteFiles does for each file what WriteFile does, in order, and runs then behind the last of them. The error is that of the first that failed; those after it
	// may be done all the same.
	WriteFiles(ctx context.Context, files []shell.File, then shell.Script) (shell.Result, error)
	// Remove removes files. One that is not there is no error.
	Remove(ctx context.Context, paths ...string) error
	// Wait connects, and waits for a machine that is still booting.
	Wait(ctx context.Context) error
}

// Fleet gives out hosts by name: one Host, and so one connection and one snapshot, a name.
type Fleet struct {
	connect func(name string) (Conn, error)

	mu    sync.Mutex
	hosts map[string]*Host

	// toPrefetch are the hosts to read ahead, so many at once, from the first read of one of them on.
	toPrefetch   []string
	atOnce       int
	prefetchOnce sync.Once
	prefetching  sync.WaitGroup
	cancel       context.CancelFunc
}

// NewFleet returns a Fleet whose hosts talk over what connect returns. connect is called once a name and does no I/O.
func NewFleet(connect func(name string) (Conn, error)) *Fleet {
	return &Fleet{connect: connect, hosts: map[string]*Host{}}
}

// Prefetch has the first read of a host among these read the others too, so many at once, since a CLI asks for some resources at a time only. Close ends it.
func (f *Fleet) Prefetch(names []string, atOnce int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.toPrefetch, f.atOnce = names, atOnce
}

// prefetch begins what Prefetch says, once. ctx is for logs alone.
func (f *Fleet) prefetch(ctx context.Context, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.toPrefetch, name) {
		return
	}
	f.prefetchOnce.Do(func() {
		background, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f.cancel = cancel
		next := make(chan string, len(f.toPrefetch))
		for _, other := range f.toPrefetch {
			next <- other
		}
		close(next)
		f.toPrefetch = nil
		for range min(f.atOnce, len(next)) {
			f.prefetching.Go(func() {
				for other := range next {
					if h, err := f.Host(other); err == nil && background.Err() == nil {
						_, _ = h.read(background) // what is wrong with a host is told to those who need it
					}
				}
			})
		}
	})
}

// Close ends what the fleet does by itself, and waits for it.
func (f *Fleet) Close() {
	f.mu.Lock()
	cancel := f.cancel
	f.toPrefetch = nil
	f.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	f.prefetching.Wait()
}

// Host returns the host of this name. It does not connect.
func (f *Fleet) Host(name string) (*Host, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if h, ok := f.hosts[name]; ok {
		return h, nil
	}
	c, err := f.connect(name)
	if err != nil {
		return nil, err
	}
	h := &Host{fleet: f, name: name, conn: c, snapshotLock: make(chan struct{}, 1), fileLocks: map[string]chan struct{}{}, planned: map[sysctl.Key]map[string]string{}}
	f.hosts[name] = h
	return h, nil
}

// Host is one Linux host. Its methods may be called from many goroutines.
type Host struct {
	fleet *Fleet
	name  string
	conn  Conn

	decoding   sync.Mutex // of answers; last is the one that was decoded last
	lastAnswer answer

	// snapshotLock is held by whoever takes or extends the snapshot, so that those who come meanwhile find it taken; a channel, since waiting for it can be cancelled.
	snapshotLock   chan struct{}
	mu             sync.Mutex
	fileLocks      map[string]chan struct{}         // a file's channel is held from the look at it to the proof that it holds what was written
	snapshot       *boot.Snapshot                   // nil when none is taken or a write threw it away
	lastSeen       *boot.Snapshot                   // what was last seen, for plans; nil when nothing was
	lastPrediction lastPrediction                   // the last prediction, for all that ask of the same snapshot
	writes         int                              // how many writes began; a snapshot that was under way meanwhile is not kept
	modules        []string                         // what module trees are searched for beside the modules that own keys
	single         bool                             // files change while they are read, so each is read by itself
	everything     bool                             // readers have keys that no file names, so snapshots for them hold all
	wanted         []string                         // paths that readers wait for while another one reads
	unreachable    error                            // why the host could not be read; it is not tried again for every resource, before Wait found it
	planned        map[sysctl.Key]map[string]string // the values that the resources of this run plan, each by the resource
	waited         bool                             // Wait gave up once: the resources that follow try, and do not wait as long again
}

// lock keeps other changes of the file at path waiting until release is called: two resources may name one file.
func (h *Host) lock(ctx context.Context, path string) (release func(), err error) {
	h.mu.Lock()
	held, ok := h.fileLocks[path]
	if !ok {
		held = make(chan struct{}, 1)
		h.fileLocks[path] = held
	}
	h.mu.Unlock()
	select {
	case held <- struct{}{}:
		return func() { <-held }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
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
