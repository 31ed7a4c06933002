package host_test

// Files that change while they are read.

import (
	"context"
	"sync"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/shell"
)

// growing is a connection to a host whose files grow between the count of their bytes and their reading.
type growing struct {
	host.Conn
	*sync.Mutex
	times int // the files were read all at once
}

func (g *growing) Run(ctx context.Context, s shell.Script) (shell.Result, error) {
	r, err := g.Conn.Run(ctx, s)
	return g.grow(r), err
}

func (g *growing) Change(ctx context.Context, c shell.Change) (first, then shell.Result, err error) {
	first, then, err = g.Conn.Change(ctx, c)
	return first, g.grow(then), err
}

func (g *growing) grow(r shell.Result) shell.Result {
	g.Lock()
	defer g.Unlock()
	for i := range r.Records {
		if r.Records[i].Head == "texts" {
			g.times++
			r.Records[i].Body += "# one more line\n"
		}
	}
	return r
}

// Guards that no file gets a part of another's text when one changes while all are read: they are then read each by
// itself, and so is all that follows on this host.
func TestFilesThatChangeWhileTheyAreRead(t *testing.T) {
	g := &growing{Mutex: &sync.Mutex{}}
	b := over(t, func(c host.Conn) host.Conn {
		g.Conn = c
		return g
	})
	s := keep(t, "vm.swappiness", "10")
	_, err := b.host.SetSysctl(t.Context(), s, nil, nil)
	must(t, err)
	walk(10, func(int) {
		st, err := b.host.ReadSysctl(t.Context(), s)
		must(t, err)
		if text(st.Boot) != "10" || text(st.BootSource) != testDropIn+":3" {
			t.Errorf("the next boot brings %q by %q", text(st.Boot), text(st.BootSource))
		}
	})
	if g.times != 1 {
		t.Errorf("the files were read %d times all at once", g.times)
	}
}
