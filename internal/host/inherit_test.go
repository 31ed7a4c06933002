package host_test

// Keys of interfaces and the defaults that they inherit, on a real kernel.

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// Guards that the key of an interface of a real kernel, which inherits a default, has what is declared after each step,
// and at the end what it had at the start. A step is one of TestCoupledKeysTogether, with "runs " before it if nothing
// is persisted, or a script after "sh ". Each step is another run's.
func TestInheritedKeysOnRealKernel(t *testing.T) {
	t.Parallel()
	const (
		one   = "net.ipv4.conf.default.arp_ignore = 1"
		two   = "net.ipv4.conf.default.arp_ignore = 2"
		same  = "net.ipv4.conf.x0.arp_ignore = 1"
		other = "net.ipv4.conf.x0.arp_ignore = 2"
		hand  = "sh echo 1 >/proc/sys/net/ipv4/conf/x0/arp_ignore"
	)
	cases := []struct {
		name  string
		steps []string
		// left is what the key has at the end.
		left string
	}{
		{"the default goes first", []string{"85-a: " + one, "85-b: " + other, "85-a:", "85-b:"}, "0"},
		{"the default goes last", []string{"85-a: " + one, "85-b: " + other, "85-b:", "85-a:"}, "0"},
		{"the inherited value is declared", []string{"85-a: " + one, "85-b: " + same, "85-a: " + two, "85-a:", "85-b:"}, "0"},
		{"both in one resource", []string{"85-a: " + one + ", " + other, "85-a:"}, "0"},
		{"one after the other in one resource", []string{"85-a: " + one, "85-a: " + same, "85-a: " + one, "85-a:"}, "0"},
		{"set by hand before", []string{hand, "85-a: " + one, "85-b: " + other, "85-a:", "85-b:"}, "1"},
		{"set by hand between", []string{"85-a: " + two, hand, "85-b: " + other, "85-a:", "85-b:"}, "1"},
		{"the default is not persisted", []string{"runs 85-a: " + one, "85-b: " + other, "85-a:", "85-b:"}, "0"},
		{"the interface's key is not persisted", []string{"85-a: " + one, "runs 85-b: " + same, "85-a:", "85-b:"}, "0"},
		{"a file of the host sets it", []string{
			"sh echo net.ipv4.conf.x0.arp_ignore=0 >/etc/sysctl.d/80-site.conf",
			"85-a: " + one, "85-b: " + other, "85-a:", "85-b:",
		}, "0"},
	}
	p := sshdPlant(t)
	sh := func(t *testing.T, script string) string {
		t.Helper()
		out, status := p.machine.Sh(script)
		if status != 0 {
			t.Fatalf("%s: %s", script, out)
		}
		return strings.TrimSpace(out)
	}
	value := func(t *testing.T, k sysctl.Key) string { t.Helper(); return sh(t, "cat "+k.Path()) }
	// An interface that is made after its default was written inherits nothing.
	for i := range cases {
		sh(t, fmt.Sprintf("ip link add each%d type bridge", i))
	}
	for i, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			sh(t, fmt.Sprintf("rm -f /etc/sysctl.d/80-*; ip link del x0 2>/dev/null; ip link set each%d name x0", i))
			g := &together{objects: map[string]*object{}}
			for _, step := range tt.steps {
				if script, ok := strings.CutPrefix(step, "sh "); ok {
					sh(t, script)
					continue
				}
				step, runs := strings.CutPrefix(step, "runs ")
				g.host, g.unpersisted = p.reach(t, true, route.Settings{}), runs
				g.steps(t, step)
				for _, o := range g.objects {
					for _, v := range o.s.Settings {
						if now := value(t, v.Key); now != v.Value {
							t.Errorf("after %q, %s is %s and not %s", step, v.Key, now, v.Value)
						}
					}
				}
			}
			now := value(t, keyNamed("net.ipv4.conf.x0.arp_ignore")) + value(t, keyNamed("net.ipv4.conf.default.arp_ignore"))
			if now != tt.left+"0" {
				t.Errorf("at the end the interface and the default have %s, not %s0", now, tt.left)
			}
		})
	}
}

// Guards that a key keeps the value that it had from the default and that is declared now, when the default changes at
// the same time, whichever of the two looks at the host first.
func TestInheritedKeyIsDeclaredWhileTheDefaultChanges(t *testing.T) {
	const key, value = "net.ipv4.conf.lo.arp_ignore = 1", "net.ipv4.conf.default.arp_ignore = 2"
	for _, lines := range [][]string{{key, value}, {value, key}} {
		for _, persist := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s first, persist %v", lines[0], persist), func(t *testing.T) {
				looked, goOn := make(chan struct{}), make(chan struct{})
				var armed atomic.Bool
				g := &together{bench: over(t, func(c host.Conn) host.Conn {
					return runner{c, func(ctx context.Context, s shell.Script) (shell.Result, error) {
						r, err := c.Run(ctx, s)
						if s.Name == "snapshot" && armed.CompareAndSwap(true, false) {
							close(looked)
							<-goOn
						}
						return r, err
					}}
				}), objects: map[string]*object{}}
				g.step(t, "85-z", "net.ipv4.tcp_fin_timeout = 60") // from here on it is known which machine it is
				g.WriteFile("/proc/sys/net/ipv4/conf/default/arp_ignore", "1")
				set := func(line string) {
					s := keepAll(t, line)
					s.FileName, s.Instance, s.Persist = fmt.Sprintf("85-%d.conf", len(line)), line, persist || line == value
					if _, err := g.host.SetSysctls(t.Context(), s, nil, nil); err != nil {
						t.Error(err)
					}
				}
				armed.Store(true)
				var both sync.WaitGroup
				both.Go(func() { set(lines[0]) })
				<-looked
				second := make(chan struct{})
				both.Go(func() { set(lines[1]); close(second) })
				select {
				case <-second:
				case <-time.After(time.Second): // it waits for the first one
				}
				close(goOn)
				both.Wait()
				want := map[string]string{"net.ipv4.conf.lo.arp_ignore": "1", "net.ipv4.conf.default.arp_ignore": "2"}
				if now := g.values(lines); !maps.Equal(now, want) {
					t.Errorf("the host runs %v", now)
				}
			})
		}
	}
}

// Guards that what a key inherited from a change whose reply was lost is not taken for a value of its own.
func TestInheritedFromAChangeWhoseReplyIsLost(t *testing.T) {
	b := newBench(t)
	var once sync.Once
	b.host = overPool(t, b, anotherProcess(t, b, time.Minute), func(c host.Conn) host.Conn {
		return changing{c, func(shell.Change) (err error) {
			once.Do(func() { err = lostReply{} })
			return err
		}}
	})
	g := &together{bench: b, objects: map[string]*object{}}
	lines := []string{"net.ipv4.conf.default.arp_ignore = 1", "net.ipv4.conf.lo.arp_ignore = 2"}
	start := g.values(lines)
	g.steps(t, "85-a: "+lines[0], "85-b: "+lines[1], "85-a:", "85-b:")
	if now := g.values(lines); !maps.Equal(now, start) {
		t.Errorf("the host ran %v and runs %v", start, now)
	}
}
