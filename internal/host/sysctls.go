package host

// host_sysctls on a host: keys that share a drop-in and are read, set and removed together.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// Sysctls is what a host_sysctls wants of a host.
type Sysctls struct {
	// Resource is the type of the resource, and Name its name on the host. The drop-in's first line holds both.
	Resource, Name string
	// Settings are the keys with their values, each key once, in any order.
	Settings []Setting
	// Modules are the modules that own keys according to the configuration. It may be empty.
	Modules []string
	// FileName is the drop-in's name in /etc/sysctl.d.
	FileName string
	// Persist is false if there is no drop-in, and only the running values are set.
	Persist bool
	// Restore is true if a removed key gets the value that holds without this resource.
	Restore bool
	// Instance tells this resource instance from others that have, had or will have the same keys.
	Instance string
	// Boots is what the resource remembers of the boots of the host. Reads and changes bring it up to date; nil remembers
	// nothing.
	Boots *Boots
	// Adopt lets a plan take keys over from instances that this run does not know.
	Adopt bool
}

// Setting is a key and its wanted value.
type Setting struct {
	Key   sysctl.Key
	Value string
}

// SysctlState is the state of one key on a host, a field for each layer. A nil pointer means that the layer has no
// value.
type SysctlState struct {
	// Running is the value in /proc/sys. It is nil if the key does not exist now.
	Running *string
	// Boot is the value after the next boot, given every file on the host, and BootSource the path:line that decides. Boot
	// is nil if the value is lost.
	Boot, BootSource *string
	// Holds says that the next boot leaves the declared value, and Reason why it does not, or why that is not certain.
	Holds  bool
	Reason boot.Reason
	// Waits says that the key's network interface does not exist, so that only the drop-in holds the value for now.
	Waits bool
	// Original is the value from before Terraform first wrote the key.
	Original *string
}

// inOrder returns the settings in the order in which they must be written.
func (s Sysctls) inOrder() []Setting {
	return slices.SortedFunc(slices.Values(s.Settings), func(a, b Setting) int { return sysctl.Compare(a.Key, b.Key) })
}

// path is the drop-in's path; "" of a nil s.
func (s *Sysctls) path() string {
	if s == nil {
		return ""
	}
	return s.Path()
}

// coupledLock begins the name of the lock of all keys that change one another.
const coupledLock = "coupled with "

// noMore says that a change needs no locks beside those of its own files and keys.
func noMore(*boot.Snapshot) []string { return nil }

// locks returns the names of the locks that a change from prior to s takes: its drop-ins and its keys.
func (s Sysctls) locks(prior *Sysctls) []string {
	names := []string{s.Path()}
	if prior != nil {
		names = append(names, prior.Path())
	}
	for _, v := range slices.Concat(s.Settings, prior.without(s)) {
		names = append(names, v.Key.Path())
		if cluster := sysctl.Cluster(v.Key); cluster != "" {
			names = append(names, coupledLock+cluster)
		}
	}
	return names
}

// paths are the files of the keys under /proc/sys.
func (s Sysctls) paths() []string {
	var all []string
	for _, v := range s.Settings {
		all = append(all, v.Key.Path())
	}
	return all
}

// pathsOf are the files of the keys of settings under /proc/sys.
func (s Sysctls) pathsOf(settings []Setting) []string { return Sysctls{Settings: settings}.paths() }

// has reports whether k is a key of s.
func (s Sysctls) has(k sysctl.Key) bool {
	return slices.ContainsFunc(s.Settings, func(v Setting) bool { return v.Key == k })
}

// without returns the settings whose keys other does not have. s may be nil.
func (s *Sysctls) without(other Sysctls) []Setting {
	if s == nil {
		return nil
	}
	keys := map[sysctl.Key]bool{}
	for _, v := range other.Settings {
		keys[v.Key] = true
	}
	return slices.DeleteFunc(s.inOrder(), func(v Setting) bool { return keys[v.Key] })
}

// moved reports whether s writes another drop-in than prior did.
func (s Sysctls) moved(prior *Sysctls) bool {
	return s.Persist && (prior == nil || !prior.Persist || prior.FileName != s.FileName)
}

// ReadSysctls reads the layers of each key of s. If the kernel treats a value as equal to the one in s, it returns the
// spelling in s.
func (h *Host) ReadSysctls(ctx context.Context, s Sysctls) (map[sysctl.Key]SysctlState, error) {
	defer h.enter()()
	h.knowRead(s.Instance, s.Path())
	if !s.Persist {
		h.readEverythingFor(s)
	}
	snap, err := s.readWith(ctx, h.read)
	if err != nil {
		return nil, err
	}
	if faults := h.checkSecrets(s); len(faults) > 0 {
		return nil, several(faults)
	}
	h.follow(snap, s)
	return h.sysctlStates(snap, s), nil
}

// sysctlStates returns the state of each key of s in a snapshot.
func (h *Host) sysctlStates(snap *boot.Snapshot, s Sysctls) map[sysctl.Key]SysctlState {
	next := h.predict(snap)
	file, _ := snap.File(s.Path())
	own, originals := assigned(file, s), originalsIn(file)
	states := make(map[sysctl.Key]SysctlState, len(s.Settings))
	for _, v := range s.Settings {
		var st SysctlState
		same := func(text string) *string {
			if sysctl.Equal(v.Key, text, v.Value) {
				text = v.Value
			}
			return &text
		}
		if r := snap.Values[v.Key.Path()]; !r.Absent && r.Unread == "" {
			st.Running = same(r.Text)
		}
		if s.Persist {
			wanted := v.Value
			if a := own[v.Key]; wanted == "" && a != nil {
				wanted = a.Value // of an import, or a key that was gone when it was last read, nothing else is known
			}
			o := next.Key(v.Key, wanted)
			st.Boot, st.BootSource = bootLayer(o, own[v.Key])
			st.Holds, st.Reason, st.Waits = o.Holds, o.Reason, waits(snap, v.Key)
			if _, lost := s.Boots.lost(v.Key); lost && o.Holds {
				st.Boot, st.Holds, st.Reason = nil, false, boot.OverwrittenAtBoot
			}
		}
		if st.Boot != nil {
			st.Boot = same(*st.Boot)
		}
		if original, ok := originals[v.Key]; ok {
			st.Original = &original
		}
		states[v.Key] = st
	}
	return states
}

// waits reports whether a key can be declared although it does not exist: it comes with its network interface.
func waits(snap *boot.Snapshot, k sysctl.Key) bool {
	sibling, later := siblingPath(k)
	return later && snap.Values[k.Path()].Absent && snap.Values[sibling].Absent
}

// siblingPath returns the path of a key that exists as long as the network interface of k does.
func siblingPath(k sysctl.Key) (path string, ok bool) {
	name, ok := boot.Interface(k)
	return "/proc/sys/net/ipv4/conf/" + name + "/forwarding", ok
}

// pathsAndSiblings are the files to read to know the keys, and whether they may appear later.
func (s Sysctls) pathsAndSiblings() []string {
	all := s.paths()
	for _, v := range s.Settings {
		if sibling, ok := siblingPath(v.Key); ok {
			all = append(all, sibling)
		}
	}
	return all
}

// readWith reads the keys of s with read or readForPlan. It looks for the interfaces of those that do not exist.
func (s Sysctls) readWith(ctx context.Context,
	read func(context.Context, ...string) (*boot.Snapshot, error)) (*boot.Snapshot, error) {
	snap, err := read(ctx, s.paths()...)
	if err != nil || !slices.ContainsFunc(s.Settings, func(v Setting) bool {
		_, later := siblingPath(v.Key)
		return later && snap.Values[v.Key.Path()].Absent
	}) {
		return snap, err
	}
	return read(ctx, s.pathsAndSiblings()...)
}

// originals returns the values from before Terraform: those that the state knows, else those that a drop-in remembers,
// the own one first, else what the host has now.
func (s Sysctls) originals(snap *boot.Snapshot, held map[sysctl.Key][]holding, settings []Setting,
	known map[sysctl.Key]string) map[sysctl.Key]string {
	file, _ := snap.File(s.Path())
	remembered := originalsIn(file)
	all := make(map[sysctl.Key]string, len(settings))
	for _, v := range settings {
		original, ok := known[v.Key]
		if there, inFile := remembered[v.Key]; inFile && (!ok || strings.ContainsRune(original, utf8.RuneError)) {
			original, ok = there, true // the state can hold text only, but the file holds every byte
		}
		for _, h := range held[v.Key] {
			if there, inFile := originalsIn(h.file)[v.Key]; inFile && !ok {
				original, ok = there, true
			}
		}
		if !ok {
			original, ok = beforeLeader(snap, v.Key)
		}
		if !ok {
			original = snap.Values[v.Key.Path()].Text
		}
		all[v.Key] = original
	}
	return all
}

// remembered returns the values from before of followers that the own drop-in remembers and those of other instances
// for the keys that s takes from them.
func (s Sysctls) remembered(snap *boot.Snapshot, held map[sysctl.Key][]holding, prior *Sysctls) map[sysctl.Key]string {
	all := map[sysctl.Key]string{}
	add := func(f confdir.File, leads func(sysctl.Key) bool) {
		for k, v := range followersIn(f) {
			if _, known := all[k]; !known && leads(k) {
				all[k] = v
			}
		}
	}
	for _, path := range []string{s.Path(), prior.path()} {
		file, _ := snap.File(path)
		add(file, func(sysctl.Key) bool { return true })
	}
	for k, hs := range held {
		for _, h := range hs {
			add(h.file, func(f sysctl.Key) bool { return follows(k, f) || inherits(k, f) })
		}
	}
	return all
}

// SetSysctls makes the host hold s: the running values first, in one exchange, then the drop-in. prior is what
// Terraform last recorded, nil when it creates; a key that only prior has is restored. originals are the values from
// before Terraform, as far as the state knows them. Keys that drop-ins of other instances hold are taken over with
// their values from before. If a value is refused, all are restored. On failure the host is as it was, or the error
// says what may be left (MayHaveChanged); an error of the kind NotRestored alone says that s holds all the same.
func (h *Host) SetSysctls(ctx context.Context, s Sysctls, prior *Sysctls,
	originals map[sysctl.Key]string) (states map[sysctl.Key]SysctlState, err error) {
	paths := slices.Concat(s.pathsAndSiblings(), s.pathsOf(prior.without(s)),
		followerPatterns(s.Settings, prior.without(s)), inheritorPatterns(s.Settings), leaderPaths(s.Settings),
		inheritedPaths(s.Settings))
	more := func(snap *boot.Snapshot) []string {
		var files []string
		for _, all := range s.holdings(snap, prior) {
			for _, other := range all {
				files = append(files, other.file.Path)
			}
		}
		return append(files, h.inheritLocks(snap, slices.Concat(s.Settings, prior.without(s)))...)
	}
	var decides []string
	if len(followerPatterns(s.Settings, prior.without(s))) == 0 &&
		(len(inheritorPatterns(s.Settings)) == 0 || h.sawAllKeys()) {
		decides = slices.Concat(s.paths(), s.pathsOf(prior.without(s)), leaderPaths(s.Settings))
	}
	lookAt := func(decides []string) (look, error) { return h.lookFor(ctx, decides, paths, s.locks(prior), more) }
	err = h.decided(decides, lookAt, func(l look) (err error) {
		states, err = h.setSysctls(ctx, l, s, prior, originals)
		return err
	})
	return states, err
}

// looksAtMost is how often a change is decided: the host may change, or the connection be lost, after each look.
const looksAtMost = 4

// decided makes a change on an earlier look if decides is not empty, and on fresh ones as long as do asks for another.
func (h *Host) decided(decides []string, lookAt func(decides []string) (look, error), do func(look) error) error {
	var made *attempt
	mark := ""
	for n := 1; ; n++ {
		l, err := lookAt(decides)
		switch {
		case err != nil && made != nil:
			return made.open(err)
		case err != nil:
			return err
		}
		if m, ok := markOf(l.snap); ok && mark != "" && m == mark {
			h.distrustMarks()
		}
		if mark = l.mark; made != nil {
			l = made.takenBack(l)
		}
		err = do(l)
		l.release()
		if !errors.Is(err, errLookAgain) {
			return err
		}
		if !errors.Is(err, errOtherMark) {
			mark = ""
		}
		errors.As(err, &made)
		switch decides = nil; {
		case n < looksAtMost:
		case made != nil:
			return made.open(err)
		default:
			return fmt.Errorf("on %s, nothing was changed, because the connection was lost after each of %d looks at the host. "+
				"Apply again when the connection holds: %w", h.name, n, err)
		}
	}
}

// setSysctls is SetSysctls on one look. The error is errLookAgain if the look must be a fresh one.
func (h *Host) setSysctls(ctx context.Context, l look, s Sysctls, prior *Sysctls,
	known map[sysctl.Key]string) (states map[sysctl.Key]SysctlState, err error) {
	snap, gone := l.snap, Sysctls{Settings: prior.without(s), Instance: s.Instance}
	c := h.begin()
	defer func() { err = c.end(ctx, err) }()
	if c.last = true; l.made != nil {
		c.undos = append(c.undos, l.made.undo(h))
	}
	if l.mark != "" && !readLeaders(snap, s.Settings) {
		return nil, errLookAgain
	}
	h.follow(snap, s)
	held := s.holdings(snap, prior)
	if err := h.checkSettable(snap, s, prior, held); err != nil {
		if l.mark != "" {
			err = errLookAgain
		}
		return nil, err
	}
	was := s
	if prior != nil {
		was = *prior
	}
	originals := was.originals(snap, held, slices.Concat(s.Settings, gone.Settings), known)
	before := s.remembered(snap, held, prior)
	odd := oddFollowers(snap, s.Settings, s.newlyHeld(snap, held, known), originals)
	maps.Copy(odd, before)
	before = odd
	states = map[sysctl.Key]SysctlState{}
	for _, v := range s.Settings {
		original := originals[v.Key]
		states[v.Key] = SysctlState{Original: &original}
	}

	var restored []Setting
	if s.Restore {
		gone.Settings = h.withoutHeld(gone, snap, prior)
		rest := s.pretendIn(snap.WithoutFile(s.Path()).WithoutFile(was.Path()), prior, held)
		restored = gone.restored(rest, originals, before)
		restored = slices.DeleteFunc(restored, func(v Setting) bool { return s.has(v.Key) })
	}
	v := h.valuesToWrite(snap, s.Settings, restored)
	maps.Copy(before, sameAsDefault(snap, s.Settings, restored))
	v.written, v.removed = s.changedFiles(snap, prior, held, originals, before)
	v.remind(snap, s.Path(), restored)
	s.addNote(&v, snap, originals)
	then := h.snapshotScript(s.pathsAndSiblings(), false)
	v.then = &then
	snap, notRestored, err := c.apply(ctx, l, v)
	if err != nil {
		return states, err
	}
	now, err := h.checkApplied(snap, s)
	if err != nil {
		return states, err
	}
	for k, st := range now {
		st.Original = states[k].Original
		states[k] = st
	}
	h.noteUnpersisted(h.machine(snap), s)
	s.setRight(snap)
	c.undos = nil
	return states, several(notRestored)
}

// newlyHeld returns the settings whose values from before no drop-in remembers yet. One that the state knows, after an
// update that failed, counts if the host has that value again.
func (s Sysctls) newlyHeld(snap *boot.Snapshot, held map[sysctl.Key][]holding, known map[sysctl.Key]string) []Setting {
	file, _ := snap.File(s.Path())
	remembered := originalsIn(file)
	return slices.DeleteFunc(slices.Clone(s.Settings), func(v Setting) bool {
		original, inState := known[v.Key]
		_, inFile := remembered[v.Key]
		inFile = inFile || slices.ContainsFunc(held[v.Key], func(h holding) bool { return h.key == v.Key })
		return inState && !sysctl.Equal(v.Key, snap.Values[v.Key.Path()].Text, original) || inFile
	})
}

// changedFiles returns the files that make s hold at boot: its own drop-in, those of other instances without the keys
// that s takes from them, and those that are to go.
func (s Sysctls) changedFiles(snap *boot.Snapshot, prior *Sysctls, held map[sysctl.Key][]holding,
	originals, followers map[sysctl.Key]string) (written []shell.File, removed []string) {
	file, _ := snap.File(s.Path())
	led := map[sysctl.Key]string{}
	for k, v := range followers {
		if slices.ContainsFunc(s.Settings, func(own Setting) bool { return follows(own.Key, k) || inherits(own.Key, k) }) {
			led[k] = v
		}
	}
	written, removed = s.takeOver(held)
	if o, _ := ownerOf(file); s.Persist && (!s.isExactly(file) || s.mends(snap) ||
		o.Instance != s.Instance && o.Resource != "" || len(led) != len(followersIn(file))) {
		written = append(written, shell.File{Path: s.Path(), Content: s.dropIn(originals, led)})
	}
	if prior != nil && prior.Persist && (!s.Persist || prior.FileName != s.FileName) {
		if old, _ := snap.File(prior.Path()); belongsTo(old, s.Instance) {
			removed = append(removed, prior.Path())
		}
	}
	return written, removed
}

// valuesAndFiles is what a change does: running values first, then files.
type valuesAndFiles struct {
	// writes are the running values that are written, and settings what each is written for: a value that is wanted, or
	// restored, or kept because another write changes it. followers may change with them.
	writes         []write
	settings       []Setting
	followers      []Setting
	restored, kept map[sysctl.Key]bool
	// onlyRestores says that no value is wanted.
	onlyRestores bool

	written []shell.File
	removed []string
	// then takes the snapshot afterwards; nil if none is needed.
	then *shell.Script
}

// valuesToWrite returns the running values to write, those that are wanted and those that are restored. A key that
// follows one of them, or may inherit one, is written again if a file of the host sets it, since the change is not
// meant to change it. A wanted key that nobody has declared yet is written though it has its value, if it may have that
// from a default: a change of the default at the same time does not know of it.
func (h *Host) valuesToWrite(snap *boot.Snapshot, wanted, restored []Setting) valuesAndFiles {
	v := valuesAndFiles{restored: map[sysctl.Key]bool{}, kept: map[sysctl.Key]bool{}, onlyRestores: len(wanted) == 0}
	for _, r := range restored {
		v.restored[r.Key] = true
	}
	add := func(s Setting) {
		v.settings = append(v.settings, s)
		v.writes = append(v.writes, write{path: s.Key.Path(), value: s.Value, before: snap.Values[s.Key.Path()].Text})
	}
	led := func(k sysctl.Key) bool { // an earlier write may change k
		return slices.ContainsFunc(v.settings, func(s Setting) bool { return follows(s.Key, k) })
	}
	all := slices.Concat(wanted, restored)
	changes := func(s Setting) bool { return !sysctl.Equal(s.Key, snap.Values[s.Key.Path()].Text, s.Value) }
	inheriting := func(k sysctl.Key) bool {
		return slices.ContainsFunc(all, func(s Setting) bool { return inherits(s.Key, k) && changes(s) })
	}
	fresh := func(s Setting) bool {
		return slices.Contains(wanted, s) && len(inheritedPaths([]Setting{s})) > 0 && !h.declared(snap, s.Key)
	}
	for _, s := range (Sysctls{Settings: all}).inOrder() {
		if had := snap.Values[s.Key.Path()]; !had.Absent && (led(s.Key) || inheriting(s.Key) || changes(s) || fresh(s)) {
			add(s)
		}
	}
	own := slices.Clone(v.settings)
	v.followers = slices.DeleteFunc(followers(snap, own), func(f Setting) bool {
		return slices.ContainsFunc(all, func(s Setting) bool { return s.Key == f.Key })
	})
	for _, f := range slices.Concat(v.followers, h.inheritors(snap, own)) {
		if h.declared(snap, f.Key) && !slices.ContainsFunc(own, func(s Setting) bool { return follows(f.Key, s.Key) }) {
			v.kept[f.Key] = true
			add(f)
		}
	}
	return v
}

// judgeResults says what the kernel made of the writes of v otherwise than was meant. What could not be restored is no
// fault of what is set.
func (h *Host) judgeResults(v valuesAndFiles, results []writeResult) (notRestored []*Error, err error) {
	var faults []*Error
	own := slices.DeleteFunc(slices.Clone(v.settings), func(s Setting) bool { return v.kept[s.Key] })
	for i, s := range v.settings {
		switch r := results[i]; {
		case v.kept[s.Key]:
			switch e := h.checkKept(s, own, r); {
			case e == nil:
			case v.onlyRestores:
				e.Kind = NotRestored
				notRestored = append(notRestored, e)
			default:
				faults = append(faults, e)
			}
		case v.restored[s.Key]:
			if e := h.checkRestored(s, r); e != nil {
				notRestored = append(notRestored, e)
			}
		default:
			if e := h.checkWritten(s, v.writes[i].before, r); e != nil {
				faults = append(faults, e)
			}
		}
	}
	return notRestored, several(faults)
}

// declared reports whether a file of the host, or a resource of this run without a file, sets the key.
func (h *Host) declared(snap *boot.Snapshot, k sysctl.Key) bool {
	if _, ok := h.predict(snap).Line(k); ok {
		return true
	}
	if _, ok := notesOf(snap)[k]; ok {
		return true
	}
	r := h.fleet.run
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.unpersisted[h.machine(snap)][k]
	return ok
}

// noteUnpersisted remembers which instance holds keys of a machine without a file, since nothing on the host tells.
func (h *Host) noteUnpersisted(machine string, s Sysctls) {
	r := h.fleet.run
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unpersisted[machine] == nil {
		r.unpersisted[machine] = map[sysctl.Key]string{}
	}
	for _, v := range s.Settings {
		if delete(r.unpersisted[machine], v.Key); !s.Persist {
			r.unpersisted[machine][v.Key] = s.Instance
		}
	}
}

// withoutHeld returns the settings of s whose keys no other instance holds by now.
func (h *Host) withoutHeld(s Sysctls, snap *boot.Snapshot, prior *Sysctls) []Setting {
	held := s.holdings(snap, prior)
	r := h.fleet.run
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.Settings), func(v Setting) bool {
		by, ok := r.unpersisted[h.machine(snap)][v.Key]
		return len(held[v.Key]) > 0 || ok && by != s.Instance
	})
}

// UnsetSysctls takes s back: with Restore the running values become what the remaining files set, else originals; then
// the drop-in goes. Without Restore the values stay. Keys that another instance holds by now are left alone, and so is
// a drop-in that another instance wrote. An error of the kind NotRestored says that s is gone all the same.
func (h *Host) UnsetSysctls(ctx context.Context, s Sysctls, originals map[sysctl.Key]string) error {
	paths := slices.Concat(s.paths(), followerPatterns(s.Settings))
	more := func(snap *boot.Snapshot) []string { return h.inheritLocks(snap, s.Settings) }
	lookAt := func([]string) (look, error) { return h.lookFor(ctx, nil, paths, s.locks(nil), more) }
	return h.decided(nil, lookAt, func(l look) error { return h.unsetSysctls(ctx, l, s, originals) })
}

// unsetSysctls is UnsetSysctls on one look. The error is errLookAgain if another one must be taken.
func (h *Host) unsetSysctls(ctx context.Context, l look, s Sysctls, originals map[sysctl.Key]string) (err error) {
	snap := l.snap
	c := h.begin()
	defer func() { err = c.end(ctx, err) }()
	if c.last = true; l.made != nil {
		c.undos = append(c.undos, l.made.undo(h))
	}
	file, _ := snap.File(s.Path())
	own := s.Persist && belongsTo(file, s.Instance)
	if own {
		if err := errors.Join(h.checkNoLink(file), h.checkOwnership(s, nil, file)); err != nil {
			return err
		}
	}
	var restored []Setting
	if s.Restore {
		free := s
		free.Settings = h.withoutHeld(s, snap, nil)
		originals = s.originals(snap, nil, s.Settings, originals)
		rest := snap
		if own {
			rest = snap.WithoutFile(s.Path())
		}
		restored = free.restored(rest, originals, s.remembered(snap, nil, nil))
	}
	v := h.valuesToWrite(snap, nil, restored)
	v.removed = []string{s.notePath()}
	if own {
		v.removed = append(v.removed, s.Path())
	}
	v.remind(snap, s.Path(), restored)
	_, notRestored, err := c.apply(ctx, l, v)
	if err != nil {
		return err
	}
	h.forgetUnpersisted(h.machine(snap), s)
	c.undos = nil
	return several(notRestored)
}

// forgetUnpersisted takes back what noteUnpersisted noted for s.
func (h *Host) forgetUnpersisted(machine string, s Sysctls) {
	r := h.fleet.run
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range s.Settings {
		if r.unpersisted[machine][v.Key] == s.Instance {
			delete(r.unpersisted[machine], v.Key)
		}
	}
}

// restored returns the values that hold without the resource, in a snapshot without its files: what the others set,
// else what was there before. Keys that follow one of them get the value from before too, unless a file sets them.
func (s Sysctls) restored(snap *boot.Snapshot, originals, before map[sysctl.Key]string) []Setting {
	var all []Setting // also those that have the value already: the write of another may change them
	add := func(k sysctl.Key, value string) {
		_, perInterface := boot.Interface(k)
		appeared := perInterface && value == "" // its interface did not exist, so there is no value from before
		twice := slices.ContainsFunc(all, func(v Setting) bool { return v.Key == k })
		if had := snap.Values[k.Path()]; !appeared && !twice && !had.Absent && had.Unread == "" {
			all = append(all, Setting{k, value})
		}
	}
	var derived []Setting // those that other settings of the host give the keys of s
	next := boot.Predict(snap)
	for _, v := range s.Settings {
		a, set := next.Line(v.Key)
		switch other, by, ok := setByOther(snap, next, v.Key); {
		case ok && (!set || by.After(a)):
			derived = append(derived, Setting{other, by.Value})
			if !sysctl.Equal(other, snap.Values[other.Path()].Text, by.Value) {
				add(other, by.Value) // the kernel derives the key from it
			}
		case set:
			add(v.Key, a.Value)
		default:
			add(v.Key, originals[v.Key])
		}
	}
	for _, f := range followers(snap, slices.Concat(all, derived)) {
		value, known := before[f.Key]
		_, set := next.Line(f.Key)
		if _, _, follows := setByOther(snap, next, f.Key); known && !set && !follows {
			all = append(all, Setting{f.Key, value})
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(v Setting) bool { return zeroedBy(v, all) })
}

// setByOther returns the line that sets k at the next boot through other: the key that is the same switch under another
// name, or the same limit in another unit.
func setByOther(
	snap *boot.Snapshot, next *boot.Prediction, k sysctl.Key,
) (other sysctl.Key, by boot.Line, ok bool) {
	for _, f := range followers(snap, []Setting{{Key: k}}) {
		l, set := next.Line(f.Key)
		effect, led := sysctl.Follows(f.Key, k)
		off := effect == sysctl.Zeroes && sysctl.Equal(f.Key, l.Value, "0")
		if set && led && effect != sysctl.Inherits && !off && (!ok || l.After(by)) {
			other, by, ok = f.Key, l, true
		}
	}
	return other, by, ok
}

// zeroedBy reports whether v is a limit of 0 which the kernel takes only from writing the limit in its other unit, as
// vm.dirty_bytes is from vm.dirty_ratio, and one of the settings does that.
func zeroedBy(v Setting, all []Setting) bool {
	return sysctl.Equal(v.Key, v.Value, "0") && slices.ContainsFunc(all, func(other Setting) bool {
		effect, ok := sysctl.Follows(other.Key, v.Key)
		return ok && effect == sysctl.Zeroes && !sysctl.Equal(other.Key, other.Value, "0")
	})
}

// FindSysctls returns what an import of a drop-in takes over. name is the name of a host_sysctls, or the name of any
// file in /etc/sysctl.d, which ends in .conf.
func (h *Host) FindSysctls(ctx context.Context, name string) (Sysctls, error) {
	s := Sysctls{Resource: "host_sysctls", Name: name, FileName: name, Persist: true}
	snap, err := h.read(ctx)
	if err != nil {
		return s, err
	}
	if base, ok := strings.CutSuffix(name, ".conf"); ok {
		s.Name = strings.TrimPrefix(base, SysctlsPrefix)
	} else {
		s.FileName = SysctlsFileName(name)
	}
	f, ok := snap.File(s.Path())
	if !ok || f.Target != "" || f.Unread != "" {
		return s, h.errorf(NothingToImport,
			"there is no file %s that can be read, or it is a link. Check its name, or let Terraform create it.",
			s.Path())
	}
	all, bad := sysctl.ParseFile(f.Path, f.Text)
	for _, b := range bad {
		return s, h.errorf(NothingToImport, "%s sets nothing: %s. Mend the line first.", b.At, b.Problem)
	}
	for _, a := range all {
		k, err := sysctl.ParseKey(a.Pattern)
		if err != nil || !a.HasValue {
			return s, h.errorf(NothingToImport,
				"%s is a pattern or excludes a key, which no resource holds. Move that line to a file of its own first.",
				a.At)
		}
		s.Settings = slices.DeleteFunc(s.Settings, func(v Setting) bool { return v.Key == k })
		s.Settings = append(s.Settings, Setting{k, a.Value})
	}
	if len(s.Settings) == 0 {
		return s, h.errorf(NothingToImport, "%s sets no key.", s.Path())
	}
	return s, nil
}
