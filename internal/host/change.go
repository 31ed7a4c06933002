package host

// A change of several steps that is undone from the last to the first when a step fails.

import (
	"context"
	_ "embed"
	"errors"
	"strings"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/shell"
)

//go:embed scripts/set.sh
var setScript string

// undoTime bounds the undoing of a failed change, which goes on when the caller has given up.
const undoTime = 20 * time.Second

// change is one change of a host while it is made.
type change struct {
	host  *Host
	undos []undo
}

// undo takes one step back; left is what stays on the host where it fails.
type undo struct {
	left string
	do   func(context.Context) error
}

func (h *Host) begin() *change { return &change{host: h} }

// end undoes every step when err is an error, and returns it, with what may be left where undoing failed too.
func (c *change) end(ctx context.Context, err error) error {
	if err == nil || len(c.undos) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	failed := &undoError{cause: err}
	for i := len(c.undos) - 1; i >= 0; i-- {
		if undoErr := c.undos[i].do(ctx); undoErr != nil {
			failed.left = append(failed.left, c.undos[i].left)
			failed.undo = errors.Join(failed.undo, undoErr)
		}
	}
	if failed.undo != nil {
		return failed
	}
	return err
}

// refusal is the kernel's no to a write: its words, and what the file reads since.
type refusal struct {
	reason string
	kept   string
}

func (r *refusal) Error() string { return r.reason }

// write writes value to a file of /proc/sys or /sys/module and returns what it reads afterwards. A refused write gives a *refusal. before is what undoing puts
// back.
func (c *change) write(ctx context.Context, path, value, before string) (kept string, err error) {
	c.undos = append(c.undos, undo{
		left: path + " may no longer be " + quoted(before),
		do: func(ctx context.Context) error {
			kept, err := c.host.put(ctx, path, before)
			var no *refusal
			if errors.As(err, &no) {
				kept, err = no.kept, nil
			}
			if err == nil && kept != before {
				err = errors.New(path + " reads " + quoted(kept) + " after " + quoted(before) + " was put back")
			}
			return err
		},
	})
	kept, err = c.host.put(ctx, path, value)
	var no *refusal
	if errors.As(err, &no) && readOnly(no.reason) {
		c.undos = c.undos[:len(c.undos)-1] // the file was not even opened, and may change by itself
	}
	return kept, err
}

// put writes value to path with one write(2) and reads it back.
func (h *Host) put(ctx context.Context, path, value string) (kept string, err error) {
	h.writing()
	defer h.writing()
	r, err := h.conn.Run(ctx, shell.Script{Name: "set", Text: setScript, Args: []string{path}, Stdin: value + "\n"})
	if err != nil {
		return "", err
	}
	kept, _ = r.Get("value")
	kept = strings.TrimSuffix(kept, "\n")
	words, _ := r.Get("write")
	if _, refused := r.Get("refused"); refused {
		return kept, &refusal{reason: reason(words), kept: kept}
	}
	if _, unread := r.Get("unread"); unread {
		return "", &refusal{reason: reason(kept)}
	}
	return kept, nil
}

// replace makes the file at path hold content. had says what it held before, where it was there; undoing brings that back.
func (c *change) replace(ctx context.Context, path, content, had string, wasThere bool) error {
	if wasThere && had == content {
		return nil
	}
	c.undos = append(c.undos, c.bringBack(path, had, wasThere))
	c.host.writing()
	defer c.host.writing()
	return c.host.conn.WriteFile(ctx, path, content)
}

// remove removes the file at path, which held had.
func (c *change) remove(ctx context.Context, path, had string) error {
	c.undos = append(c.undos, c.bringBack(path, had, true))
	c.host.writing()
	defer c.host.writing()
	return c.host.conn.Remove(ctx, path)
}

func (c *change) bringBack(path, had string, wasThere bool) undo {
	return undo{left: "the file " + path, do: func(ctx context.Context) error {
		c.host.writing()
		defer c.host.writing()
		if wasThere {
			return c.host.conn.WriteFile(ctx, path, had)
		}
		return c.host.conn.Remove(ctx, path)
	}}
}

func quoted(value string) string { return `"` + strings.ReplaceAll(value, "\t", " ") + `"` }
