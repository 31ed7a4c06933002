package host

// A change takes several steps. If a step fails, the steps before it are undone, from the last to the first.

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/errno"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

var (
	//go:embed scripts/set.sh
	setScript string
	//go:embed scripts/mark.sh
	markScript string
)

// undoTime bounds the undoing of a failed change. Undoing goes on if the caller has cancelled, with undoTimeGivenUp,
// because somebody waits for the end.
const (
	undoTime        = 20 * time.Second
	undoTimeGivenUp = 5 * time.Second
)

// change is one change of a host while it is made.
type change struct {
	host  *Host
	undos []undo
	// last says that nothing follows the change of files, so that the lock on the host is given back with it.
	last bool
}

// undo undoes one step. If it fails, it also returns what may remain on the host.
type undo func(context.Context) (leftovers []string, err error)

// begin starts a change. The caller must call end.
func (h *Host) begin() *change { return &change{host: h} }

// end returns err. If err is not nil, it undoes every step first. If undoing a step fails, the steps before it are
// kept: without the drop-in that remembers them, the values from before must not be lost from the running kernel too.
// The returned error is then an undoError, which says what may remain.
func (c *change) end(ctx context.Context, err error) error {
	if err == nil || len(c.undos) == 0 {
		return err
	}
	limit := undoTime
	if ctx.Err() != nil {
		limit = undoTimeGivenUp
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	if leftovers, undoErr := c.undo(ctx); undoErr != nil {
		return &undoError{cause: err, leftovers: leftovers, undoErr: undoErr}
	}
	return err
}

// undo undoes every step, as end says.
func (c *change) undo(ctx context.Context) (leftovers []string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, u := range slices.Backward(c.undos) {
		left, undoErr := u(ctx)
		if undoErr == nil {
			continue
		}
		leftovers = append(leftovers, left...)
		if err == nil {
			err = undoErr
			cancel() // the undos that are left only name what they would have undone
		}
	}
	return leftovers, err
}

// write is a value for a file of /proc/sys or /sys/module. before is what undoing puts back.
type write struct {
	path, value, before string
	// readOnly says that the file is only read, after the writes, and done that it was written before and is only read.
	readOnly, done bool
}

// key returns the key of a file under /proc/sys; the zero Key of any other.
func (w write) key() sysctl.Key {
	below, ok := strings.CutPrefix(w.path, "/proc/sys/")
	k, err := sysctl.ParseKey(below)
	if !ok || err != nil || k.Path() != w.path {
		return sysctl.Key{}
	}
	return k
}

// writeResult is what a write came to.
type writeResult struct {
	// value is what the file reads when all writes are done; absent says that there is no such file by then.
	value  string
	absent bool
	// refused are the kernel's words if it refused the write; "" if it did not.
	refused string
}

// errLookAgain says that the host is not as a change saw it, or that the look is of a session that has ended. Unless it
// is an attempt, the host was not touched.
var errLookAgain = errors.New("the host has changed since it was looked at")

// errOtherMark is an errLookAgain for a host that printed another mark.
var errOtherMark = fmt.Errorf("%w: its files are others", errLookAgain)

// attempt is a change whose reply was lost: it may have happened, in whole or in part. It is an errLookAgain, since
// only a fresh look tells.
type attempt struct {
	lost error
	snap *boot.Snapshot
	// compares says that the host compares its files with snap before it does anything, and answered that it has told
	// what became of the values.
	compares, answered bool
	writes             []write
	followers          []Setting
	files              shell.Change
}

func (a *attempt) Error() string { return a.lost.Error() }

// Unwrap makes an attempt match errLookAgain.
func (a *attempt) Unwrap() []error { return []error{a.lost, errLookAgain} }

// takenBack returns a fresh look as it would be if the attempt had not been made, so that what is decided on it knows
// what was there before.
func (a *attempt) takenBack(l look) look {
	if a.refused(l.snap) {
		return l
	}
	values, fresh := map[string]boot.Reading{}, l.snap
	l.made, l.written = a, map[string]string{}
	for _, w := range a.writes {
		if k := w.key(); !w.readOnly && sysctl.Equal(k, fresh.Values[w.path].Text, w.value) {
			values[w.path], l.written[w.path] = a.snap.Values[w.path], w.value
		}
	}
	for _, f := range a.followers {
		if path := f.Key.Path(); len(l.written) > 0 {
			values[path] = a.snap.Values[path]
		}
	}
	maps.Copy(values, a.inherited(l, fresh))
	fresh = fresh.WithValues(values)
	back := func(path string) {
		if had, was := a.snap.File(path); was {
			fresh = fresh.WithFile(had)
		} else {
			fresh = fresh.WithoutFile(path)
		}
	}
	for _, f := range a.files.Write {
		if now, ok := fresh.File(f.Path); ok && now.Text == f.Content {
			back(f.Path)
		}
	}
	for _, path := range a.files.Remove {
		if _, ok := fresh.File(path); !ok {
			back(path)
		}
	}
	l.snap = fresh
	return l
}

// refused reports whether the host refused the attempt before it did anything, because a drop-in of another instance
// that sets one of its keys is no longer as the attempt saw it. It cannot have become so afterwards, because this
// process has kept the locks on those keys since. A script that ran has left its files.
func (a *attempt) refused(fresh *boot.Snapshot) bool {
	if !a.compares || a.answered {
		return false
	}
	for _, f := range a.files.Write {
		if now, ok := fresh.File(f.Path); ok && now.Text == f.Content {
			return false
		}
	}
	return slices.ContainsFunc(slices.Concat(a.snap.Sysctl, fresh.Sysctl), func(f confdir.File) bool {
		had, was := a.snap.File(f.Path)
		now, is := fresh.File(f.Path)
		changed := was != is || had.Text != now.Text
		if removed := slices.Contains(a.files.Remove, f.Path); !changed || removed && !is {
			return false
		}
		_, ours := ownerOf(f)
		return ours && a.concerns(f)
	})
}

// concerns reports whether a file sets a key that the attempt writes, or one that the kernel changes with it.
func (a *attempt) concerns(f confdir.File) bool {
	assignments, _ := sysctl.ParseFile(f.Path, f.Text)
	return slices.ContainsFunc(assignments, func(line sysctl.Assignment) bool {
		k, err := sysctl.ParseKey(line.Pattern)
		if err != nil {
			return false
		}
		return slices.ContainsFunc(a.writes, func(w write) bool {
			own, cluster := w.key(), sysctl.Cluster(k)
			return own == k || cluster != "" && cluster == sysctl.Cluster(own) || inherits(own, k) || inherits(k, own)
		})
	})
}

// inherited returns what the attempt's look has of the keys which a default that was written seems to have given its
// value. They get that back with the default.
func (a *attempt) inherited(l look, fresh *boot.Snapshot) map[string]boot.Reading {
	values := map[string]boot.Reading{}
	for _, w := range a.writes {
		if _, written := l.written[w.path]; !written {
			continue
		}
		for _, f := range led(fresh, []Setting{{Key: w.key()}}, inherits) {
			path := f.Key.Path()
			had, was := a.snap.Values[path]
			if was && sysctl.Equal(f.Key, f.Value, fresh.Values[inheritedKey(w.key(), f.Key).Path()].Text) {
				values[path] = had
			}
		}
	}
	for path := range l.written {
		delete(values, path)
	}
	return values
}

// leftovers names what the attempt may have left.
func (a *attempt) leftovers() []string {
	var all []string
	for _, w := range a.writes {
		if !w.readOnly {
			all = append(all, w.path+" may no longer be "+quoted(w.before))
		}
	}
	for _, f := range a.followers {
		all = append(all, f.Key.Path()+" may no longer be "+quoted(f.Value))
	}
	for _, path := range slices.Concat(pathsOfFiles(a.files.Write), a.files.Remove) {
		all = append(all, "the file "+path)
	}
	return all
}

// open is the error of the attempt if the host cannot be looked at again, because of err.
func (a *attempt) open(err error) error {
	return &undoError{cause: a.lost, undoErr: err, leftovers: a.leftovers()}
}

// undo takes the attempt back: of what it wrote, only what is still there, since another process may have changed the
// host since.
func (a *attempt) undo(h *Host) undo {
	return func(ctx context.Context) (leftovers []string, err error) {
		defer h.conn.Hold()()
		var paths []string
		for _, w := range a.writes {
			paths = append(paths, w.path)
		}
		fresh, err := h.fresh(ctx, paths...)
		if err != nil {
			return a.leftovers(), err
		}
		c := &change{host: h}
		before := a.takenBack(look{snap: fresh})
		var values []write
		for _, w := range a.writes {
			if _, ours := before.written[w.path]; ours {
				values = append(values, w)
			}
		}
		for _, f := range a.followers {
			if len(values) > 0 {
				values = append(values, write{path: f.Key.Path(), before: f.Value})
			}
		}
		c.undos = append(c.undos, func(ctx context.Context) ([]string, error) { return h.restoreValues(ctx, values) })
		for _, path := range slices.Concat(pathsOfFiles(a.files.Write), a.files.Remove) {
			now, there := fresh.File(path)
			if had, was := before.snap.File(path); had.Text != now.Text || was != there {
				c.undos = append(c.undos, c.restoreFile(path, had.Text, was))
			}
		}
		return c.undo(ctx)
	}
}

// pathsOfFiles returns the paths of files.
func pathsOfFiles(files []shell.File) []string {
	var all []string
	for _, f := range files {
		all = append(all, f.Path)
	}
	return all
}

// write makes all writes in one exchange. One that is refused does not stop the others: the caller ends the change
// with an error, which undoes all. followers are keys that the writes may change, with their values; undoing restores
// them too.
func (c *change) write(ctx context.Context, all []write, followers []Setting) ([]writeResult, error) {
	if len(all) == 0 {
		return nil, nil
	}
	results, _, _, err := c.writeAnd(ctx, look{}, all, followers, shell.Change{})
	return results, err
}

// writeAnd is write. If each file then reads as it was written, it makes the change ch of files in the same exchange,
// and done says so; looked is what ch.Then printed. If err is not nil although there are results, it is about the
// files, and the caller judges the results first. If l has a mark and the host does not print it, or a file does not
// read as before, or if l's session has ended, nothing is written, and the error is errLookAgain.
func (c *change) writeAnd(ctx context.Context, l look, all []write, followers []Setting, ch shell.Change,
) (results []writeResult, looked shell.Result, done bool, err error) {
	var led []write
	for _, f := range followers {
		path := f.Key.Path()
		if !slices.ContainsFunc(all, func(w write) bool { return w.path == path }) {
			led = append(led, write{path: path, before: f.Value})
		}
	}
	undone := slices.DeleteFunc(slices.Concat(all, led), func(w write) bool { return w.readOnly })
	c.undos = append(c.undos, func(ctx context.Context) ([]string, error) { return c.host.restoreValues(ctx, undone) })
	results, looked, done, err = c.host.writeValues(ctx, l, all, ch)
	if results == nil {
		return nil, looked, false, err
	}
	undone = nil
	for i, r := range results {
		// What was not even opened may change by itself.
		if !all[i].readOnly && !errno.ReadOnly(r.refused) && !r.absent {
			undone = append(undone, all[i])
		}
	}
	if len(undone) > 0 {
		undone = append(undone, led...)
	}
	return results, looked, done, err
}

// apply makes the change v that was decided on l, in one exchange where the values read as they were written, and
// returns the snapshot that v.then takes. The error is errLookAgain if the host is not as l saw it, or if the reply was
// lost, so that a fresh look must tell what happened.
func (c *change) apply(ctx context.Context, l look, v valuesAndFiles,
) (now *boot.Snapshot, notRestored []*Error, err error) {
	all := slices.Clone(v.writes)
	for i, w := range all {
		value, ok := l.written[w.path]
		all[i].done = ok && value == w.value
	}
	if l.mark != "" {
		all = slices.Concat(all, l.unwritten(all))
	}
	base := len(c.undos)
	tried := &attempt{snap: l.snap, writes: all, followers: v.followers, compares: l.mark != ""}
	if len(all) == 0 {
		now, err = c.filesThen(ctx, l, v, tried, base)
		return now, nil, err
	}
	ch := c.changesOf(l.snap, v.written, v.removed)
	ch.Then, ch.Asked = v.then, l.asked
	files := slices.Clone(c.undos[base:])
	c.undos = c.undos[:base]
	tried.files = ch
	results, looked, done, err := c.writeAnd(ctx, l, all, v.followers, ch)
	if results == nil {
		return nil, nil, c.failed(ctx, err, tried, base)
	}
	if tried.answered = true; done {
		c.undos = append(c.undos, files...)
	}
	notRestored, faults := c.host.judgeResults(v, results)
	switch {
	case faults != nil:
		return nil, notRestored, faults
	case !done && err != nil:
		return nil, notRestored, err
	case !done:
		if l.session == "" {
			l.session = looked.Session // which has had the lock on the host since the values were written
		}
		now, err = c.filesThen(ctx, l, v, tried, base)
		return now, notRestored, err
	}
	c.afterFiles(ch, err)
	if err == nil && v.then != nil {
		now, err = c.host.decoded(ctx, looked, v.then.Args[1:])
	}
	if len(v.followers) == 0 {
		// The lock on the host was given back: what another process has changed since is not undone.
		c.undos = append(c.undos[:base], tried.undo(c.host))
	}
	return now, notRestored, err
}

// failed returns the error of an attempt that did not come to its end, and leaves the undos that are needed: those up
// to base are of an attempt before it.
func (c *change) failed(ctx context.Context, err error, tried *attempt, base int) error {
	switch {
	case outcomeUnknown(err) && ctx.Err() == nil && !hangs(err):
		tried.lost, c.undos = err, nil
		return tried
	case outcomeUnknown(err), errors.Is(err, shell.ErrGarbled):
		c.undos = append(c.undos[:base], tried.undo(c.host))
	case errors.Is(err, errLookAgain):
		c.undos = nil
	default:
		c.undos = c.undos[:base] // it was never sent
	}
	return err
}

// unwritten are the files that decide and are not written, to be compared with what they held.
func (l look) unwritten(writes []write) []write {
	var all []write
	for _, p := range l.decides {
		r, ok := l.snap.Values[p]
		if !ok || r.Absent || slices.ContainsFunc(writes, func(w write) bool { return w.path == p }) {
			continue
		}
		all = append(all, write{path: p, value: r.Text, before: r.Text, readOnly: true})
	}
	return all
}

// restoreValues writes to every file what it held before, those first that others follow.
func (h *Host) restoreValues(ctx context.Context, all []write) (leftovers []string, err error) {
	if len(all) == 0 {
		return nil, nil
	}
	var before []Setting
	for _, w := range all {
		before = append(before, Setting{w.key(), w.before})
	}
	all = slices.SortedStableFunc(slices.Values(all), func(a, b write) int { return sysctl.Compare(a.key(), b.key()) })
	back := slices.Clone(all)
	for i, w := range back {
		back[i].value = w.before
		back[i].readOnly = zeroedBy(Setting{w.key(), w.before}, before)
	}
	results, _, _, err := h.writeValues(ctx, look{}, back, shell.Change{})
	for i, w := range all {
		if err != nil || results[i].value != w.before {
			leftovers = append(leftovers, w.path+" may no longer be "+quoted(w.before))
		}
	}
	if err == nil && len(leftovers) > 0 {
		err = fmt.Errorf("%d of %d values read otherwise after they were put back", len(leftovers), len(all))
	}
	return leftovers, err
}

// writeValues writes each value with one write(2), and then reads all files back, in one exchange. If each reads as it
// was written, ch follows in it; done says that it did, or that its error is err.
func (h *Host) writeValues(ctx context.Context, l look, all []write, ch shell.Change,
) (results []writeResult, looked shell.Result, done bool, err error) {
	h.invalidate()
	defer h.invalidate()
	s, err := setValues(l.mark, all)
	if err != nil {
		return nil, looked, false, err
	}
	ch.First, ch.Session = &s, l.session
	first, looked, err := h.conn.Change(ctx, ch)
	switch {
	case first.Skipped == shell.Stale:
		return nil, looked, false, errOtherMark
	case errors.Is(err, shell.ErrOtherSession):
		return nil, looked, false, errLookAgain
	}
	if _, stale := first.Get("stale"); stale {
		return nil, looked, false, errLookAgain
	}
	replied := first.Skipped == "" && len(first.Records) > 0
	if !replied && l.snap == nil && outcomeUnknown(err) && ctx.Err() == nil {
		if results, done := h.readBack(ctx, all); done {
			return results, looked, false, nil
		}
		if s, err = setValues("", all); err == nil {
			first, err = h.conn.Run(ctx, s)
		}
		replied, ch = err == nil, shell.Change{}
	}
	if !replied {
		return nil, looked, false, err
	}
	results, garbled := writeResults(first, all)
	if garbled != nil {
		return nil, looked, false, garbled
	}
	more := len(ch.Write)+len(ch.Remove) > 0 || ch.Then != nil
	if outcomeUnknown(err) && more {
		return nil, looked, false, err // values are written, and what of the files is not known
	}
	return results, looked, more && first.Status == 0, err
}

// setValues returns the script that makes the writes. It succeeds if each file reads as it was written. If mark is not
// empty, it writes nothing unless the host prints it and each file reads as before.
func setValues(mark string, all []write) (shell.Script, error) {
	s := shell.Script{Name: "set", Text: setScript + valuesScript + "exit 1\n", Exclusive: true}
	if !slices.ContainsFunc(all, func(w write) bool { return !w.readOnly && !w.done }) {
		s.Name = "compare"
	}
	var paths, before, after []string
	if mark != "" {
		s.Mark, s.Expect = markScript, mark
	}
	for _, w := range all {
		paths, after = append(paths, w.path), append(after, words(w.path, w.value)...)
		if mark != "" {
			before = append(before, words(w.path, w.before)...)
		}
		switch {
		case w.readOnly, w.done:
			s.Stdin += "-\n"
		case strings.Contains(w.value, "\n"):
			return s, fmt.Errorf("%s: a value of several lines cannot be written", w.path)
		default:
			s.Stdin += "=" + w.value + "\n"
		}
	}
	s.Args = append([]string{strings.Join(before, " "), strings.Join(after, " ")}, paths...)
	return s, nil
}

// words are what set.sh finds in a file that holds the value.
func words(path, value string) []string {
	var all []string
	for line := range strings.SplitSeq(value, "\n") {
		all = append(all, strings.Fields(path+":"+line)...)
	}
	return all
}

// writeResults decodes what set.sh printed of all writes.
func writeResults(r shell.Result, all []write) ([]writeResult, error) {
	readings := values(r)
	results := make([]writeResult, len(all))
	written := func(n int) int { // the first from n on that was written
		for n < len(all) && (all[n].readOnly || all[n].done) {
			n++
		}
		return n
	}
	n := -1
	var said string
	for _, rec := range r.Records {
		switch rec.Head {
		case "write":
			n = written(n + 1)
			said = rec.Body
		case "refused":
			if n >= 0 && n < len(all) {
				results[n].refused = errno.Reason(said)
			}
		}
	}
	if n = written(n + 1); n != len(all) {
		return nil, fmt.Errorf("the host answered for %d of %d writes: %w", n, len(all), shell.ErrGarbled)
	}
	for i, w := range all {
		read := readings[w.path]
		results[i].value, results[i].absent = read.Text, read.Absent
		if read.Unread != "" && results[i].refused == "" {
			results[i].refused = read.Unread
		}
	}
	return results, nil
}

// outcomeUnknown reports whether err means that a request was sent and may have been carried out.
func outcomeUnknown(err error) bool {
	var e interface{ OutcomeUnknown() bool }
	return errors.As(err, &e) && e.OutcomeUnknown()
}

// readBack reads every file. ok is true if each holds its value; white space may differ as the kernel prints it.
func (h *Host) readBack(ctx context.Context, all []write) (results []writeResult, ok bool) {
	s := shell.Script{Name: "values", Text: valuesScript, Repeatable: true}
	for _, w := range all {
		s.Args = append(s.Args, w.path)
	}
	r, err := h.conn.Run(ctx, s)
	if err != nil {
		return nil, false
	}
	readings := values(r)
	for _, w := range all {
		reading, ok := readings[w.path]
		if w.readOnly {
			results = append(results, writeResult{value: reading.Text, absent: reading.Absent})
			continue
		}
		if !ok || reading.Absent || reading.Unread != "" || !slices.Equal(strings.Fields(reading.Text),
			strings.Fields(w.value)) {
			return nil, false
		}
		results = append(results, writeResult{value: reading.Text})
	}
	return results, true
}

// hangs reports whether err comes of a host that stopped answering in the middle of a request.
func hangs(err error) bool {
	var e interface{ Hung() bool }
	return errors.As(err, &e) && e.Hung()
}

// unchanged reports whether err says that the file which was to be written is as it was.
func unchanged(err error) bool {
	var e interface{ Unchanged() bool }
	return errors.As(err, &e) && e.Unchanged()
}

// changesOf returns the change that writes and removes files, of those removed only such as exist in snap, and notes
// how to undo it.
func (c *change) changesOf(snap *boot.Snapshot, written []shell.File, removed []string) shell.Change {
	ch := shell.Change{Write: written, Last: c.last}
	for _, f := range written {
		had, wasThere := snap.File(f.Path)
		c.undos = append(c.undos, c.restoreFile(f.Path, had.Text, wasThere))
	}
	for _, path := range removed {
		if f, ok := snap.File(path); ok {
			ch.Remove = append(ch.Remove, path)
			c.undos = append(c.undos, c.restoreFile(path, f.Text, true))
		}
	}
	return ch
}

// files writes some files, removes others, and returns a new snapshot of the host with these paths, in one exchange.
// Undoing restores the files as snap has them.
func (c *change) files(
	ctx context.Context, snap *boot.Snapshot, written []shell.File, removed, paths []string,
) (*boot.Snapshot, error) {
	then := c.host.snapshotScript(paths, false)
	return c.filesThen(ctx, look{snap: snap}, valuesAndFiles{written: written, removed: removed, then: &then}, nil, 0)
}

// filesThen changes the files of v, and returns the snapshot that v.then takes. tried, if any, is the attempt that the
// change of files belongs to.
func (c *change) filesThen(ctx context.Context, l look, v valuesAndFiles, tried *attempt, base int,
) (*boot.Snapshot, error) {
	ch := c.changesOf(l.snap, v.written, v.removed)
	ch.Then, ch.Session = v.then, l.session
	switch {
	case len(ch.Write)+len(ch.Remove) == 0 && v.then == nil:
		return nil, nil
	case len(ch.Write)+len(ch.Remove) == 0:
		return c.host.fresh(ctx, v.then.Args[1:]...)
	}
	c.host.invalidate()
	defer c.host.invalidate()
	_, r, err := c.host.conn.Change(ctx, ch)
	if tried != nil && (outcomeUnknown(err) || errors.Is(err, shell.ErrOtherSession)) {
		tried.files = ch
		if written := slices.ContainsFunc(tried.writes, func(w write) bool { return !w.readOnly }); !outcomeUnknown(err) {
			if c.undos = nil; written {
				tried.lost = err
				return nil, tried
			}
			return nil, errLookAgain
		}
		return nil, c.failed(ctx, err, tried, base)
	}
	c.afterFiles(ch, err)
	if err != nil || v.then == nil {
		return nil, err
	}
	return c.host.decoded(ctx, r, v.then.Args[1:])
}

// afterFiles forgets how to undo the change of a file that err says is as it was, and has no plan see files that were
// removed.
func (c *change) afterFiles(ch shell.Change, err error) {
	if len(ch.Write)+len(ch.Remove) == 1 && unchanged(err) {
		c.undos = c.undos[:len(c.undos)-1]
	}
	if err == nil && len(ch.Remove) > 0 {
		c.host.mu.Lock()
		defer c.host.mu.Unlock()
		c.host.lastSeen = nil
	}
}

// remove removes those of the files that exist in snap.
func (c *change) remove(ctx context.Context, snap *boot.Snapshot, paths ...string) error {
	_, err := c.filesThen(ctx, look{snap: snap}, valuesAndFiles{removed: paths}, nil, 0)
	return err
}

// restoreFile returns an undo that writes what the file held before. If there was no file, it removes the file. It is
// no error if that fails because the file never changed, as on a read-only file system.
func (c *change) restoreFile(path, had string, wasThere bool) undo {
	return func(ctx context.Context) (leftovers []string, err error) {
		c.host.invalidate()
		defer c.host.invalidate()
		if wasThere {
			err = c.host.conn.WriteFile(ctx, path, had)
		} else {
			err = c.host.conn.Remove(ctx, path)
		}
		if err == nil {
			return nil, nil
		}
		if snap, failed := c.host.fresh(ctx); failed == nil {
			if f, exists := snap.File(path); exists == wasThere && f.Text == had {
				return nil, nil
			}
		}
		return []string{"the file " + path}, err
	}
}

// quoted returns a value in quotation marks, with a space for each tab.
func quoted(value string) string { return `"` + strings.ReplaceAll(value, "\t", " ") + `"` }
