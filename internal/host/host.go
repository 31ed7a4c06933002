// Package host reads and changes one Linux host for Terraform: it takes snapshots, applies changes and removes them. It
// owns the order of the steps, the undoing of a failed change, and the texts of the errors.
package host

import (
	"context"
	"slices"
	"sync"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// Conn is the connection that a Host needs. Its methods may be called from many goroutines. After an error the step may
// still have been carried out.
type Conn interface {
	// Run runs a script and returns what it printed.
	Run(ctx context.Context, s shell.Script) (shell.Result, error)
	// WriteFile replaces the file at path in one step, with mode 0644. If it returns nil, the content survives a power
	// cut.
	WriteFile(ctx context.Context, path, content string) error
	// WriteFiles writes each file as WriteFile does, in order, and then runs the script. The error is that of the first
	// file that failed. The files after it may be written all the same.
	WriteFiles(ctx context.Context, files []shell.File, then shell.Script) (shell.Result, error)
	// Remove removes files. It is no error if a file does not exist.
	Remove(ctx context.Context, paths ...string) error
	// Wait connects. It waits for a machine that is still booting.
	Wait(ctx context.Context) error
}

// Fleet returns hosts by name. It has one Host, and so one connection and one snapshot, for each name.
type Fleet struct {
	connect func(name string) (Conn, error)

	mu    sync.Mutex
	hosts map[string]*Host

	// toPrefetch are the hosts to prefetch, atOnce of them at a time, as soon as one of them is read.
	toPrefetch   []string
	atOnce       int
	prefetchOnce sync.Once
	prefetching  sync.WaitGroup
	cancel       context.CancelFunc
}

// NewFleet returns a Fleet whose hosts use the connections that connect returns. connect is called once for each name
// and must do no I/O.
func NewFleet(connect func(name string) (Conn, error)) *Fleet {
	return &Fleet{connect: connect, hosts: map[string]*Host{}}
}

// Prefetch registers hosts to read in advance, because a CLI asks for a few resources at a time only. The first read of
// one of them starts the reads of the others, atOnce at a time. Close ends them.
func (f *Fleet) Prefetch(names []string, atOnce int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.toPrefetch, f.atOnce = names, atOnce
}

// prefetch starts the reads that Prefetch registered, once. ctx is used for logs only.
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
						_, _ = h.read(background) // the resources that need the host report its errors
					}
				}
			})
		}
	})
}

// Close stops the prefetch and waits until it has ended.
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

// Host returns the host with this name. It does not connect.
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
	h := &Host{
		fleet: f, name: name, conn: c,
		snapshotLock: make(chan struct{}, 1), fileLocks: map[string]chan struct{}{},
		planned: map[sysctl.Key]map[string]string{},
	}
	f.hosts[name] = h
	return h, nil
}

// Host is one Linux host. Its methods may be called from many goroutines.
type Host struct {
	fleet *Fleet
	name  string
	conn  Conn

	decoding   sync.Mutex // guards lastAnswer
	lastAnswer answer

	// snapshotLock is held while a snapshot is taken or extended, so that readers who come meanwhile share it.
	// It is a channel, because a reader must be able to stop waiting for it when its context is cancelled.
	snapshotLock chan struct{}

	mu sync.Mutex // guards everything below
	// fileLocks are held from the check of a file until the file is known to hold what was written. They are
	// channels for the same reason.
	fileLocks map[string]chan struct{}
	// snapshot is nil if none was taken, or if a write invalidated it.
	snapshot *boot.Snapshot
	// lastSeen is the last snapshot, for plans. A write does not invalidate it.
	lastSeen       *boot.Snapshot
	lastPrediction lastPrediction
	// writes counts the writes. A snapshot is not kept if a write began while it was taken.
	writes int
	// modules are those that module trees are searched for, in addition to the modules that own keys.
	modules []string
	// single is true if files changed while they were read. Then each file is read by itself.
	single bool
	// everything is true if there are readers whose keys no file names. Then snapshots for readers hold all keys.
	everything bool
	// wanted are the paths of readers that wait while another one reads.
	wanted []string
	// unreachable is the error of the first read that failed. It is returned for every resource, until Wait succeeds.
	unreachable error
	// planned are the values that the resources of this run plan, each by its resource.
	planned map[sysctl.Key]map[string]string
	// waited is true if Wait failed once. Then resources that follow try once, and do not wait as long again.
	waited bool
}

// lock locks the file at path against other changes, because two resources may name one file. The caller must call
// release.
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
