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

// write is a value for a file in /proc/sys or /sys/module. Undoing writes before.
type write struct{ path, value, before string }

// writeResult is the result of one write. value is what the file reads after all writes. refused is the kernel's error,
// or "" if the kernel accepted the value.
type writeResult struct{ value, refused string }

// write makes all writes in one exchange. A refused write does not stop the others. A caller that finds a bad result
// must end the change with an error, because that undoes all writes.
func (c *change) write(ctx context.Context, all []write) ([]writeResult, error) {
	if len(all) == 0 {
		return nil, nil
	}
	undone := all
	c.undos = append(c.undos, func(ctx context.Context) ([]string, error) { return c.host.restoreValues(ctx, undone) })
	results, err := c.host.writeValues(ctx, all)
	if err != nil {
		return nil, err
	}
	undone = nil
	for i, r := range results {
		// A read-only file was not even opened. It must not be restored, because it may change by itself.
		if !errno.ReadOnly(r.refused) {
			undone = append(undone, all[i])
		}
	}
	return results, nil
}

// restoreValues writes to every file what it held before, and returns the values that may not be restored.
func (h *Host) restoreValues(ctx context.Context, all []write) (leftovers []string, err error) {
	if len(all) == 0 {
		return nil, nil
	}
	back := slices.Clone(all)
	for i, w := range back {
		back[i].value = w.before
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

// writeValues writes each value with one write(2) and reads all of them back in the same exchange. If the connection is
// lost and it is unknown whether the values were written, it reads them, and writes again only if they differ.
func (h *Host) writeValues(ctx context.Context, all []write) ([]writeResult, error) {
	h.invalidate()
	defer h.invalidate()
	s := shell.Script{Name: "set", Text: setScript + valuesScript}
	for _, w := range all {
		s.Args = append(s.Args, w.path)
		s.Stdin += w.value + "\n"
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
		results[i].value = read.Text
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
		if !ok || reading.Absent || reading.Unread != "" || !slices.Equal(
			strings.Fields(reading.Text), strings.Fields(w.value)) {
			return nil, false
		}
		results = append(results, writeResult{value: reading.Text})
	}
	return results, true
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
	return c.host.conn.Remove(ctx, there...)
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
