package sshconn

import (
	"fmt"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// A connection that is cut before or after any exchange of a write or a removal makes no difference: what certainly did
// not happen is done again over a new connection, and of what may have happened the file is asked first. Nil means the
// new file, also after a power cut. The next try leaves nothing else behind.
func TestConnectionCutAtEveryExchange(t *testing.T) {
	const before, after = "old = 1\n", "new = 2\n"
	for _, op := range []struct {
		name string
		do   func(*testing.T, *Conn) error
		want string // "" : no file
	}{
		{"write", func(t *testing.T, c *Conn) error { return c.WriteFile(t.Context(), dropIn, after) }, after},
		{"remove", func(t *testing.T, c *Conn) error { return c.Remove(t.Context(), dropIn) }, ""},
	} {
		for _, way := range []struct {
			name   string
			user   account
			noSFTP bool
			warm   bool // SFTP is open before
			bySh   bool // SFTP is there and not asked for
			proxy  string
		}{
			{name: "SFTP", user: accounts[0], warm: true},
			{name: "SFTP not open yet", user: accounts[0]},
			{name: "SFTP under sudo not open yet", user: accounts[2]},
			{name: "shell", user: accounts[0], noSFTP: true, warm: true},
			{name: "shell of choice", user: accounts[0], bySh: true},
			{name: "SFTP through a command", user: accounts[0], proxy: "busybox nc %h %p"},
			{name: "shell through a command", user: accounts[0], bySh: true, proxy: "busybox nc %h %p"},
		} {
			t.Run(op.name+" by "+way.name, func(t *testing.T) {
				h := simulated(t, machineOptions{users: accounts, noSFTP: way.noSFTP})
				on := true
				set := reach(h, way.user.name)
				set.Sudo, set.SudoPassword, set.ProxyCommand = &on, way.user.password, way.proxy

				// run does op on a new connection, with a fault after so many exchanges.
				run := func(t *testing.T, f hosttest.Fault) (exchanges int, cut bool, err error) {
					p := NewPool(Config{Hosts: map[string]route.Settings{"web1": set}, SFTP: !way.bySh})
					defer p.Close()
					c := conn(t, p)
					h.WriteFile(dropIn, before)
					mustEcho(t, c)
					if way.warm {
						if err := c.WriteFile(t.Context(), "/etc/sysctl.d/other.conf", "x\n"); err != nil {
							t.Fatal(err)
						}
					}
					start, _ := h.Connections()
					_, dialled := h.Connections()
					undo := h.Inject(f)
					defer undo()
					n := h.Exchanges()
					err = op.do(t, c)
					exchanges = h.Exchanges() - n
					undo()
					open, total := h.Connections()
					if err == nil && open == start && total == dialled {
						return exchanges, false, nil
					}
					return exchanges, true, err
				}
				whole, _, err := run(t, hosttest.Fault{})
				if err != nil || whole == 0 {
					t.Fatalf("without a cut: %d exchanges, %v", whole, err)
				}
				for n := 1; n <= whole; n++ {
					for _, afterwards := range []bool{false, true} {
						t.Run(fmt.Sprintf("cut at %d of %d, after %v", n, whole, afterwards), func(t *testing.T) {
							_, cut, err := run(t, hosttest.Fault{CutAt: n, After: afterwards})
							if !cut {
								t.Error("the connection was not cut")
							}
							if err == nil {
								h.PowerCut()
							}
							got, _ := h.ReadFile(dropIn)
							if err != nil || got != op.want {
								t.Errorf("the file holds %q, error %v", got, err)
							}
							p := pool(t, set)
							if err := op.do(t, conn(t, p)); err != nil {
								t.Fatalf("the next try: %v", err)
							}
							h.PowerCut()
							if got, _ := h.ReadFile(dropIn); got != op.want {
								t.Errorf("after the next try and a power cut the file holds %q", got)
							}
							for _, f := range h.List("/etc/sysctl.d") {
								if strings.Contains(f, "terraform-tmp") {
									t.Errorf("left: %s", f)
								}
							}
						})
					}
				}
			})
		}
	}
}
