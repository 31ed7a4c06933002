package host_test

// What a drop-in remembers of keys that follow its own, when a change fails and cannot be undone.

import (
	"context"
	"errors"
	"maps"
	"strings"
	"syscall"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/shell"
)

// cutConn is a connection that is lost after files were removed, and again when a file is to be restored.
type cutConn struct {
	host.Conn
	removes, restores int // how many of them are still to fail
}

var errCut = errors.New("connection lost")

func (c *cutConn) Change(ctx context.Context, ch shell.Change) (first, then shell.Result, err error) {
	first, then, err = c.Conn.Change(ctx, ch)
	if len(ch.Remove) > 0 && first.Status == 0 && c.removes > 0 {
		c.removes--
		return first, then, errCut
	}
	return first, then, err
}

func (c *cutConn) WriteFile(ctx context.Context, path, content string) error {
	if c.removes == 0 && c.restores > 0 {
		c.restores--
		return errCut
	}
	return c.Conn.WriteFile(ctx, path, content)
}

// Guards that the value from before of a key which follows another comes back, although the drop-in that remembers it
// was removed by a change that failed, and could not be restored.
func TestFollowersValueOutlivesAFailedUndo(t *testing.T) {
	t.Parallel()
	lines := []string{"vm.dirty_bytes = 0", "vm.dirty_ratio = 20"}
	for _, tt := range []struct {
		name string
		// change is what fails, on the resource "85-a", and retry what Terraform then does in the next apply.
		change, retry func(*together, *testing.T) error
	}{
		{
			"a destroy",
			func(g *together, t *testing.T) error {
				return g.host.UnsetSysctls(t.Context(), g.objects["85-a"].s, g.objects["85-a"].originals)
			},
			func(g *together, t *testing.T) error {
				return g.host.UnsetSysctls(t.Context(), g.objects["85-a"].s, g.objects["85-a"].originals)
			},
		},
		{
			"a new file name",
			func(g *together, t *testing.T) error {
				old := g.objects["85-a"]
				moved := old.s
				moved.FileName = "85-b.conf"
				_, err := g.host.SetSysctls(t.Context(), moved, &old.s, old.originals)
				return err
			},
			func(g *together, t *testing.T) error {
				old := g.objects["85-a"]
				moved := old.s
				moved.FileName = "85-b.conf"
				states, err := g.host.SetSysctls(t.Context(), moved, &old.s, old.originals)
				must(t, err)
				return g.host.UnsetSysctls(t.Context(), moved, originals(states))
			},
		},
		{
			"a create that takes the key over",
			func(g *together, t *testing.T) error {
				s := keepAll(t, "vm.dirty_bytes = 16777216")
				s.Name, s.FileName, s.Instance = "85-b", "85-b.conf", "85-b"
				states, err := g.host.SetSysctls(t.Context(), s, nil, nil)
				g.objects["85-b"] = &object{address: "85-b", s: s, originals: originals(states), tainted: true}
				return err
			},
			func(g *together, t *testing.T) error {
				for _, name := range []string{"85-b", "85-a"} {
					if err := g.host.UnsetSysctls(t.Context(), g.objects[name].s, g.objects[name].originals); err != nil {
						return err
					}
				}
				return nil
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cut := &cutConn{}
			b := over(t, func(c host.Conn) host.Conn { cut.Conn = c; return cut })
			g := &together{bench: b, objects: map[string]*object{}}
			start := g.values(lines)
			g.step(t, "85-a", "vm.dirty_bytes = 8388608")
			cut.removes, cut.restores = 1, 1
			if err := tt.change(g, t); !host.MayHaveChanged(err) {
				t.Fatalf("the change ended with %v", err)
			}
			if err := tt.retry(g, t); err != nil {
				t.Errorf("the next apply ended with %v", err)
			}
			if now := g.values(lines); !maps.Equal(now, start) {
				t.Errorf("after the destroy the host runs %v, and ran %v", now, start)
			}
		})
	}
}

// Guards that the value from before of a key comes back, although its destroy failed on a full disk after the drop-in
// was gone, and another resource took the key over in the same apply.
func TestValueFromBeforeOutlivesAFullDisk(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	one := keep(t, "net.core.somaxconn", "128")
	one.Instance = "one"
	st, err := b.host.SetSysctl(t.Context(), one, nil, nil)
	must(t, err)
	undo := b.Inject(hosttest.Fault{Errno: syscall.ENOSPC, Path: "/etc/sysctl.d"})
	failed := b.host.UnsetSysctl(t.Context(), one, st.Original, true)
	undo()
	if failed == nil {
		t.Fatal("the destroy did not fail")
	}
	many := keepAll(t, "net.core.somaxconn = 200")
	many.Instance, many.FileName = "many", "90-many.conf"
	states, err := b.host.SetSysctls(t.Context(), many, nil, nil)
	must(t, err)
	must(t, b.host.UnsetSysctl(t.Context(), one, st.Original, true))
	if got := text(states[many.Settings[0].Key].Original); got != text(st.Original) {
		t.Errorf("the value from before is %s, not %s; the destroy said %v", got, text(st.Original), failed)
	}
	must(t, b.host.UnsetSysctls(t.Context(), many, nil))
	if now, _ := b.Sh("cat /proc/sys/net/core/somaxconn"); strings.TrimSpace(now) != text(st.Original) {
		t.Errorf("after the last destroy it is %s", now)
	}
}
