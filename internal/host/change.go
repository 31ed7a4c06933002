package host

// A change takes several steps. If a step fails, the steps before it are undone, from the last to the first.

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/errno"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

//go:embed scripts/set.sh
var setScript string

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
}

// undo undoes one step. If it fails, it also returns what may remain on the host.
type undo func(context.Context) (leftovers []string, err error)

// begin starts a change. The caller must call end.
func (h *Host) begin() *change { return &change{host: h} }

// end returns err. If err is not nil, it undoes every step first. If undoing fails too, the returned error is an
// undoError, which says what may remain.
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
	failed := &undoError{cause: err}
	for i := len(c.undos) - 1; i >= 0; i-- {
		if leftovers, undoErr := c.undos[i](ctx); undoErr != nil {
			failed.leftovers = append(failed.leftovers, leftovers...)
			failed.undoErr = errors.Join(failed.undoErr, undoErr)
		}
	}
	if failed.undoErr != nil {
		return failed
	}
	return err
}

// write is a value for a file of /proc/sys or /sys/module. before is what undoing puts back.
type write struct {
	path, value, before string
	// readOnly says that the file is only read, after the writes.
	readOnly bool
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

// write makes all writes in one exchange. One that is refused does not stop the others: the caller ends the change
// with an error, which undoes all. followers are keys that the writes may change, with their values; undoing restores
// them too.
func (c *change) write(ctx context.Context, all []write, followers []Setting) ([]writeResult, error) {
	if len(all) == 0 {
		return nil, nil
	}
	var led []write
	for _, f := range followers {
		path := f.Key.Path()
		if !slices.ContainsFunc(all, func(w write) bool { return w.path == path }) {
			led = append(led, write{path: path, before: f.Value})
		}
	}
	undone := slices.Concat(all, led)
	c.undos = append(c.undos, func(ctx context.Context) ([]string, error) { return c.host.restoreValues(ctx, undone) })
	results, err := c.host.writeValues(ctx, all)
	if err != nil {
		return nil, err
	}
	undone = nil
	for i, r := range results {
		if !errno.ReadOnly(r.refused) && !r.absent { // else the file was not even opened, and may change by itself
			undone = append(undone, all[i])
		}
	}
	if len(undone) > 0 {
		undone = append(undone, led...)
	}
	return results, nil
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
	results, err := h.writeValues(ctx, back)
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

// writeValues writes each value with one write(2), and then reads all files back, in one exchange.
func (h *Host) writeValues(ctx context.Context, all []write) ([]writeResult, error) {
	h.invalidate()
	defer h.invalidate()
	s := shell.Script{Name: "set", Text: setScript + valuesScript}
	for _, w := range all {
		s.Args = append(s.Args, w.path)
		switch {
		case strings.Contains(w.value, "\n"):
			return nil, fmt.Errorf("%s: a value of several lines cannot be written", w.path)
		case w.readOnly:
			s.Stdin += "-\n"
		default:
			s.Stdin += "=" + w.value + "\n"
		}
	}
	r, err := h.conn.Run(ctx, s)
	if outcomeUnknown(err) && ctx.Err() == nil {
		if results, done := h.readBack(ctx, all); done {
			return results, nil
		}
		r, err = h.conn.Run(ctx, s)
	}
	if err != nil {
		return nil, err
	}
	readings := values(r)
	results := make([]writeResult, 0, len(all))
	var words string
	for _, rec := range r.Records {
		switch rec.Head {
		case "write":
			words = rec.Body
			results = append(results, writeResult{})
		case "refused":
			results[len(results)-1].refused = errno.Reason(words)
		}
	}
	if len(results) != len(all) {
		return nil, fmt.Errorf("the host answered for %d of %d writes: %w", len(results), len(all), shell.ErrGarbled)
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

// unchanged reports whether err says that the file which was to be written is as it was.
func unchanged(err error) bool {
	var e interface{ Unchanged() bool }
	return errors.As(err, &e) && e.Unchanged()
}

// files writes some files, removes others, and returns a new snapshot of the host with these paths. If nothing is
// removed, that takes one exchange. Undoing restores the files as snap has them.
func (c *change) files(
	ctx context.Context, snap *boot.Snapshot, written []shell.File, removed, paths []string,
) (*boot.Snapshot, error) {
	for _, f := range written {
		had, wasThere := snap.File(f.Path)
		c.undos = append(c.undos, c.restoreFile(f.Path, had.Text, wasThere))
	}
	c.host.invalidate()
	defer c.host.invalidate()
	if len(removed) == 0 && len(written) > 0 {
		r, err := c.host.conn.WriteFiles(ctx, written, c.host.snapshotScript(paths, false))
		if len(written) == 1 && unchanged(err) {
			c.undos = c.undos[:len(c.undos)-1]
		}
		if err != nil {
			return nil, err
		}
		return c.host.decoded(ctx, r, paths)
	}
	for _, f := range written {
		if err := c.host.conn.WriteFile(ctx, f.Path, f.Content); err != nil {
			return nil, err
		}
	}
	if err := c.remove(ctx, snap, removed...); err != nil {
		return nil, err
	}
	return c.host.fresh(ctx, paths...)
}

// remove removes those of the files that exist in snap.
func (c *change) remove(ctx context.Context, snap *boot.Snapshot, paths ...string) error {
	var there []string
	for _, path := range paths {
		if f, ok := snap.File(path); ok {
			there = append(there, path)
			c.undos = append(c.undos, c.restoreFile(path, f.Text, true))
		}
	}
	if len(there) == 0 {
		return nil
	}
	c.host.invalidate()
	defer c.host.invalidate()
	if err := c.host.conn.Remove(ctx, there...); err != nil {
		return err
	}
	c.host.mu.Lock()
	defer c.host.mu.Unlock()
	c.host.lastSeen = nil // a plan that follows must not see the files any more
	return nil
}

// restoreFile returns an undo that writes what the file held before. If there was no file, it removes the file.
func (c *change) restoreFile(path, had string, wasThere bool) undo {
	return func(ctx context.Context) (leftovers []string, err error) {
		c.host.invalidate()
		defer c.host.invalidate()
		if wasThere {
			err = c.host.conn.WriteFile(ctx, path, had)
		} else {
			err = c.host.conn.Remove(ctx, path)
		}
		return []string{"the file " + path}, err
	}
}

// quoted returns a value in quotation marks, with a space for each tab.
func quoted(value string) string { return `"` + strings.ReplaceAll(value, "\t", " ") + `"` }
