package host

// What the resources of one run have to do with each other: which instances it knows, and what it plans for each
// machine, whatever names the machine has.

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// run is what one process of the provider knows of the resources that a CLI has shown it.
type run struct {
	mu sync.Mutex
	// known are the instances that were read or planned. One without an instance is known by its host and path.
	known map[string]bool
	// active are the calls of the CLI that are under way, most is how many there were at a time, and waiting are those
	// that wait for an instance to become known. steps counts what happened.
	active, most, waiting, steps int
	// reads counts the resources that were refreshed: there are none in an apply, and none if the state is empty.
	reads int
	// read are the paths of files that those resources have, each with its host.
	read map[string]bool
	// applying says that what is planned is being applied.
	applying bool
	// unseen are the files, each with its host, that were planned last when the host could not be read.
	unseen map[string]bool
	// claims are the planned keys of each machine, each by the resource that plans it, and loads the planned modules.
	claims map[string]map[sysctl.Key]map[string]claim
	loads  map[string]map[string]bool
	// unpersisted are the instances that hold keys without a file, and modules those that hold modules, by machine.
	unpersisted map[string]map[sysctl.Key]string
	modules     map[string]map[string]string
	// locks are held, by machine, from the look at a file or key to the proof that it holds what was written. changes
	// counts those that were taken.
	locks   map[string]chan struct{}
	changes int
}

// claim is the value that a resource plans for a key.
type claim struct {
	value string
	// file is the drop-in that the resource plans; it has no path if it plans none.
	file confdir.File
}

func newRun() *run {
	return &run{
		known: map[string]bool{}, read: map[string]bool{}, claims: map[string]map[sysctl.Key]map[string]claim{},
		loads: map[string]map[string]bool{}, unseen: map[string]bool{},
		unpersisted: map[string]map[sysctl.Key]string{}, modules: map[string]map[string]string{},
		locks: map[string]chan struct{}{},
	}
}

// Know notes that an instance belongs to this run, which a destroy plan has no other way to say.
func (h *Host) Know(instance, path string) {
	r := h.fleet.run
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps++
	r.known[h.knownAs(instance, path)] = true
	r.known[h.knownAs("", path)] = true
}

// knowRead is Know for a resource that is refreshed.
func (h *Host) knowRead(instance, path string) {
	h.Know(instance, path)
	r := h.fleet.run
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	r.read[h.knownAs("", path)] = true
}

// Applying notes that the run applies: whether an instance belongs to it was asked when it was planned, and most of
// them are not shown again.
func (f *Fleet) Applying() {
	f.run.mu.Lock()
	defer f.run.mu.Unlock()
	f.run.applying = true
}

// knows reports whether a resource of this run has had this path on the host.
func (h *Host) knows(path string) bool {
	r := h.fleet.run
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.read[h.knownAs("", path)]
}

// Applies reports whether the run applies.
func (f *Fleet) Applies() bool {
	f.run.mu.Lock()
	defer f.run.mu.Unlock()
	return f.run.applying
}

func (h *Host) knownAs(instance, path string) string {
	if instance != "" {
		return instance
	}
	return h.name + ":" + path
}

// noteSeen notes whether the host could be read when the file at path was planned.
func (h *Host) noteSeen(path string, err error) {
	r := h.fleet.run
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.unseen, h.knownAs("", path))
	if err != nil {
		r.unseen[h.knownAs("", path)] = true
	}
}

// checkSeen refuses to take over these files from instances that this run does not know, if no plan of the file at path
// could tell: the host was not read then.
func (h *Host) checkSeen(path string, files []confdir.File) error {
	r := h.fleet.run
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.unseen[h.knownAs("", path)] {
		return nil
	}
	faults := map[string]*Error{}
	for _, f := range files {
		if o, _ := ownerOf(f); !r.known[h.knownAs(o.Instance, f.Path)] {
			faults[f.Path] = h.unknownOwner(f)
		}
	}
	var all []*Error
	for _, path := range slices.Sorted(maps.Keys(faults)) {
		all = append(all, faults[path])
	}
	return several(all)
}

// quiet is how long nothing may happen in a run before an instance that the CLI has not shown counts as unknown.
const quiet = 2 * time.Second

// enter notes that a call of the CLI is under way, until leave is called.
func (h *Host) enter() (leave func()) {
	r := h.fleet.run
	r.mu.Lock()
	defer r.mu.Unlock()
	r.active++
	r.most = max(r.most, r.active)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.active--
		r.steps++
	}
}

// unknown returns those of the instances that do not belong to this run. A CLI shows its resources in no fixed order,
// so it waits for those that are still to come. certain is false if that cannot be known: a CLI that applies shows only
// what it changes, and not every CLI says that it applies; and if every call that the CLI makes at a time waits here,
// it can show nothing more.
func (h *Host) unknown(ctx context.Context, names []string) (unknown []string, certain bool) {
	r := h.fleet.run
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.applying {
		return nil, true
	}
	missing := func() []string {
		return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return r.known[name] })
	}
	if len(missing()) == 0 || r.reads == 0 {
		return missing(), r.reads > 0
	}
	r.waiting++
	defer func() { r.waiting-- }()
	steps, since := r.steps, time.Now()
	for ctx.Err() == nil {
		r.mu.Unlock()
		select {
		case <-time.After(quiet / 40):
		case <-ctx.Done():
		}
		r.mu.Lock()
		left := missing()
		switch {
		case len(left) == 0:
			return nil, true
		case r.steps != steps || r.active > r.waiting:
			steps, since = r.steps, time.Now()
		case time.Since(since) >= quiet:
			return left, r.waiting < r.most
		}
	}
	return missing(), false
}

// machine names the machine that a snapshot was taken of, whatever name it was reached by.
func (h *Host) machine(snap *boot.Snapshot) string {
	if snap.Machine == "" {
		return h.name
	}
	return snap.Machine
}

// noteModule notes that this run loads m on a machine.
func (h *Host) noteModule(machine string, m Module) {
	r := h.fleet.run
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.loads[machine] == nil {
		r.loads[machine] = map[string]bool{}
	}
	r.loads[machine][kmod.Canonical(m.Name)] = true
}

// loadsModules reports whether this run plans to load a module that the machine does not have yet.
func (h *Host) loadsModules(snap *boot.Snapshot) bool {
	r := h.fleet.run
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.loads[h.machine(snap)] {
		if !snap.Has(name) {
			return true
		}
	}
	return false
}

// withPlanned returns the snapshot with the files that other resources of this run plan for the machine, as far as they
// have a say in the keys of s: those of keys that change others, and those that load the modules of keys.
func (h *Host) withPlanned(snap *boot.Snapshot, s Sysctls) *boot.Snapshot {
	r := h.fleet.run
	r.mu.Lock()
	defer r.mu.Unlock()
	machine := h.machine(snap)
	files, owners, coupled := map[string]confdir.File{}, map[string]bool{}, false
	for _, v := range s.Settings {
		coupled = coupled || sysctl.Cluster(v.Key) != ""
		if owner, ok := kmod.Owner(v.Key); ok {
			owners[kmod.Canonical(owner)] = true
		}
	}
	for k, by := range r.claims[machine] {
		for _, c := range by {
			if coupled && sysctl.Cluster(k) != "" && c.file.Path != "" && c.file.Path != s.Path() {
				files[c.file.Path] = c.file
			}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if _, there := snap.File(path); !there {
			snap = snap.WithFile(files[path])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.loads[machine])) {
		if m := (Module{Name: name}); owners[name] && !snap.Has(name) {
			if _, there := snap.File(m.LoadPath()); !there {
				snap = snap.WithFile(m.pretended())
			}
		}
	}
	return snap
}

// conflicts notes what s plans for a machine, and says which other resources of the run plan the same keys, or keys
// that cannot keep their values beside them. Two resources that plan the same by the same file cannot be told from one
// that is planned twice.
func (h *Host) conflicts(machine string, s Sysctls) []*Error {
	r := h.fleet.run
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.claims[machine] == nil {
		r.claims[machine] = map[sysctl.Key]map[string]claim{}
	}
	planned := r.claims[machine]
	me, mine := s.owner().String(), claim{}
	if s.Persist {
		me += ", in " + s.Path()
		mine.file = s.pretended()
	}
	me += " on the host " + h.name
	var faults []*Error
	for _, v := range s.inOrder() {
		by := planned[v.Key]
		if by == nil {
			by = map[string]claim{}
			planned[v.Key] = by
		}
		for _, other := range slices.Sorted(maps.Keys(by)) {
			if other == me && sysctl.Equal(v.Key, by[other].value, v.Value) {
				continue
			}
			faults = append(faults, h.errorf(KeyTwice, "%s is set to %s by %s, and to %s by %s. Each apply would undo what the "+
				"other did, and destroying one takes the value away from both. Leave the key to one of them.",
				v.Key, shownOf(v.Key, by[other].value), h.called(other), shownOf(v.Key, v.Value), h.called(me)))
		}
		mine.value = v.Value
		by[me] = mine
		if sysctl.Cluster(v.Key) != "" {
			faults = append(faults, h.coupledConflicts(planned, v)...)
		}
	}
	return faults
}

// shownOf returns a value in quotes, unless it is a secret.
func shownOf(k sysctl.Key, value string) string {
	if sysctl.Secret(k) {
		return "a secret"
	}
	return quoted(value)
}

// called returns the name of a claim without the host that the error names anyway.
func (h *Host) called(claim string) string {
	if name, ok := strings.CutSuffix(claim, " on the host "+h.name); ok {
		return name
	}
	return claim + ", which is the same machine"
}

// coupledConflicts says which of the planned keys cannot keep their values beside v.
func (h *Host) coupledConflicts(planned map[sysctl.Key]map[string]claim, v Setting) (faults []*Error) {
	var coupled []Setting
	for other, by := range planned {
		for _, c := range by {
			if excludes(v, Setting{other, c.value}) {
				coupled = append(coupled, Setting{other, c.value})
			}
		}
	}
	for _, other := range (Sysctls{Settings: coupled}).inOrder() {
		switch effect, _ := sysctl.Follows(v.Key, other.Key); effect {
		case sysctl.Zeroes:
			faults = append(faults, h.errorf(KeysFight, "%s and %s are the same limit in two units: setting one makes the "+
				"other 0, so no apply can keep both. Keep one of the two.", v.Key, other.Key))
		case sysctl.Rescales:
			faults = append(faults, h.errorf(KeysFight, "%s and %s are one value in two units: setting one changes the other. "+
				"Keep one of the two.", v.Key, other.Key))
		case sysctl.Copies:
			faults = append(faults, h.errorf(KeysFight, "%s is planned to be %s and %s %s, but changing one changes the other "+
				"too, so it depends on the order what is left. Give both one value, or keep one of the two.",
				v.Key, quoted(v.Value), other.Key, quoted(other.Value)))
		}
	}
	return faults
}
