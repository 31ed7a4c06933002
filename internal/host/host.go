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
// and must do no I/O.
func NewFleet(connect func(name string) (Conn, error)) *Fleet {
	return &Fleet{connect: connect, hosts: map[string]*Host{}}
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
				_, _ = h.readNow(ctx) // the resources that need the host report its errors
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
