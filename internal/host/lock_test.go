package host_test

// Changes of one host by two processes, and by two names in one.

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sshconn"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// anotherProcess returns connections of another process, which waits so long for the lock on the host.
func anotherProcess(t *testing.T, b bench, wait time.Duration) *sshconn.Pool {
	t.Helper()
	p := sshconn.NewPool(sshconn.Config{
		Defaults: route.Settings{Login: route.Login{PrivateKey: b.PrivateKey(), HostKey: b.HostKey()}}, LockTimeout: wait,
	})
	t.Cleanup(p.Close)
	return p
}

// overPool returns a host over connections of a pool.
func overPool(t *testing.T, b bench, p *sshconn.Pool, wrap func(host.Conn) host.Conn) *host.Host {
	t.Helper()
	h, err := host.NewFleet(func(name string) (host.Conn, error) {
		c, err := p.Conn(name)
		return wrap(c), err
	}).Host(b.Addr())
	must(t, err)
	return h
}

func asItIs(c host.Conn) host.Conn { return c }

// takeLock takes the lock on the host for another process.
func takeLock(t *testing.T, b bench) (release func()) {
	t.Helper()
	c, err := anotherProcess(t, b, time.Second).Conn(b.Addr())
	must(t, err)
	release = c.Hold()
	_, err = c.Run(t.Context(), shell.Script{Name: "lock", Text: "true", Exclusive: true})
	must(t, err)
	return release
}

// Guards that a change which another process kept from happening leaves alone what that one did meanwhile, whether the
// wait ends by itself or is cancelled, and whether there was a value to write or not.
func TestLockedOutChangeLeavesTheOthersAlone(t *testing.T) {
	const others = "# Managed by Terraform: host_sysctl vm.swappiness (instance two)\n# Value before Terraform: 60\n"
	for _, tt := range []struct {
		name, before, now string
		cancelled         bool
	}{
		{"the wait is over", "60", "42", false},
		{"cancelled", "60", "42", true},
		{"nothing to write", "10", "10", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.WriteFile("/proc/sys/vm/swappiness", tt.before)
			wait := time.Second
			if tt.cancelled {
				wait = time.Minute
			}
			h := overPool(t, b, anotherProcess(t, b, wait), asItIs)
			s := keep(t, "vm.swappiness", "10")
			s.Instance = "one"
			_, err := h.PlanSysctl(t.Context(), s, nil)
			must(t, err)
			release := takeLock(t, b)
			b.WriteFile("/proc/sys/vm/swappiness", tt.now)
			b.WriteFile(testDropIn, others+"vm.swappiness = "+tt.now+"\n")
			before := b.holds()
			defer time.AfterFunc(2500*time.Millisecond, release).Stop()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tt.cancelled {
				time.AfterFunc(time.Second, cancel)
			}
			_, err = h.SetSysctl(ctx, s, nil, nil)
			if err == nil || !strings.Contains(err.Error(), "another run") || host.MayHaveChanged(err) {
				t.Errorf("it ends with %v", err)
			}
			b.unchanged(t, before)
			if v, _ := b.Sh("cat /proc/sys/vm/swappiness"); strings.TrimSpace(v) != tt.now {
				t.Errorf("the value is %s, not %s", v, tt.now)
			}
		})
	}
}

// Guards the same for a change that was cancelled before it was sent.
func TestChangeThatWasNeverSentUndoesNothing(t *testing.T) {
	b := newBench(t)
	p := anotherProcess(t, b, time.Minute)
	h := overPool(t, b, p, asItIs)
	s := keep(t, "vm.swappiness", "10")
	_, err := h.PlanSysctl(t.Context(), s, nil)
	must(t, err)
	b.WriteFile("/proc/sys/vm/swappiness", "42")
	b.WriteFile(testDropIn, "vm.swappiness = 42\n")
	before := b.holds()
	c, err := p.Conn(b.Addr())
	must(t, err)
	var slow sync.WaitGroup
	defer slow.Wait()
	sent := c.Batches()
	slow.Go(func() {
		text := "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
		_, _ = c.Run(t.Context(), shell.Script{Name: "slow", Text: text})
	})
	for c.Batches() == sent {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err = h.SetSysctl(ctx, s, nil, nil); err == nil || host.MayHaveChanged(err) {
		t.Errorf("it ends with %v", err)
	}
	b.unchanged(t, before)
	if v, _ := b.Sh("cat /proc/sys/vm/swappiness"); v != "42\n" {
		t.Errorf("the value is %s, not 42", v)
	}
}

// lostReply is the error of a change whose reply did not come.
type lostReply struct{}

func (lostReply) Error() string        { return "the reply is lost" }
func (lostReply) OutcomeUnknown() bool { return true }

// changing is a connection that does something after each change.
type changing struct {
	host.Conn
	after func(shell.Change) error
}

func (c changing) Change(ctx context.Context, ch shell.Change) (first, then shell.Result, err error) {
	first, then, err = c.Conn.Change(ctx, ch)
	if lost := c.after(ch); lost != nil {
		return shell.Result{}, shell.Result{}, lost
	}
	return first, then, err
}

// Guards that a change whose reply was lost, and that is refused when it is looked at again, is taken back, followers
// included; and that one which is not refused knows the values from before.
func TestChangeWhoseReplyIsLostIsJudgedAnew(t *testing.T) {
	for _, tt := range []struct {
		name, line, file string
		refused          bool
	}{
		{name: "a value", line: "vm.swappiness = 10"},
		{name: "a value that is then refused", line: "vm.swappiness = 10", file: "vm.swappiness = 1\n", refused: true},
		{name: "a value that others follow", line: "net.ipv4.ip_forward = 1"},
		{name: "a value that others follow, then refused", line: "net.ipv4.ip_forward = 1", file: "net.ipv4.ip_forward = 0\n",
			refused: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			var once sync.Once
			b.host = overPool(t, b, anotherProcess(t, b, time.Minute), func(c host.Conn) host.Conn {
				return changing{c, func(shell.Change) (err error) {
					once.Do(func() {
						err = lostReply{}
						if tt.file != "" {
							b.WriteFile("/etc/sysctl.d/99-zz.conf", tt.file)
						}
					})
					return err
				}}
			})
			s := keepAll(t, tt.line)
			_, err := b.host.PlanSysctls(t.Context(), s, nil)
			must(t, err)
			const all = "cd /proc/sys; grep -H '' vm/swappiness net/ipv4/ip_forward net/ipv4/conf/*/* net/ipv6/conf/*/*"
			files, values := b.holds(), func() string { out, _ := b.Sh(all); return out }
			running := values()
			states, err := b.host.SetSysctls(t.Context(), s, nil, nil)
			if tt.refused {
				wantKind(t, err, host.KeyLost)
				if host.MayHaveChanged(err) {
					t.Errorf("it says that something may be left: %v", err)
				}
				files["/etc/sysctl.d/99-zz.conf"] = tt.file
			} else {
				must(t, err)
				must(t, b.host.UnsetSysctls(t.Context(), s, originals(states)))
			}
			b.unchanged(t, files)
			if now := values(); now != running {
				t.Errorf("the host ran\n%s\nand runs\n%s", running, now)
			}
		})
	}
}

// hungReply is the error of a change at which the host stopped answering.
type hungReply struct{ lostReply }

func (hungReply) Hung() bool { return true }

// lostOnTheWay is a connection whose first change is lost before it reaches the host.
type lostOnTheWay struct {
	host.Conn
	once *sync.Once
	lost error
}

func (c lostOnTheWay) Change(ctx context.Context, ch shell.Change) (first, then shell.Result, err error) {
	if c.once.Do(func() { err = c.lost }); err != nil {
		return shell.Result{}, shell.Result{}, err
	}
	return c.Conn.Change(ctx, ch)
}

// Guards that a change which never reached the host, because the connection was lost, does not take for the value from
// before what the host had before another change, by another name of the host or by another process.
func TestChangeThatWasLostOnTheWayIsNotTakenForMade(t *testing.T) {
	for _, tt := range []struct {
		name, first, second, key string
		// dropped says that the other change drops the key of a group; else it destroys the resource.
		dropped bool
		lost    error
	}{
		{name: "destroyed before", first: "vm.swappiness = 10", second: "vm.swappiness = 60", key: "vm.swappiness",
			lost: lostReply{}},
		{name: "dropped from a group before, with another",
			first:  "net.ipv4.conf.all.accept_redirects = 0\nvm.swappiness = 10\nnet.ipv4.tcp_fin_timeout = 40",
			second: "net.ipv4.conf.all.accept_redirects = 1", key: "net.ipv4.conf.all.accept_redirects", dropped: true,
			lost: lostReply{}},
		{name: "dropped before, and not tried again",
			first:  "net.ipv4.conf.all.accept_redirects = 0\nvm.swappiness = 10\nnet.ipv4.tcp_fin_timeout = 40",
			second: "net.ipv4.conf.all.accept_redirects = 1", key: "net.ipv4.conf.all.accept_redirects", dropped: true,
			lost: hungReply{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			p := anotherProcess(t, b, time.Minute)
			b.host = overPool(t, b, p, func(c host.Conn) host.Conn {
				return lostOnTheWay{c, &sync.Once{}, tt.lost}
			})
			other := overPool(t, b, p, asItIs)
			files := b.holds()
			was, _ := b.Sh("cat " + keyNamed(tt.key).Path())
			a := keepAll(t, strings.Split(tt.first, "\n")...)
			a.Name, a.FileName, a.Instance = "a", "85-a.conf", "i1"
			states, err := other.SetSysctls(t.Context(), a, nil, nil)
			must(t, err)
			s := keepAll(t, tt.second)
			_, err = b.host.PlanSysctls(t.Context(), s, nil)
			must(t, err)
			if tt.dropped {
				rest := keepAll(t, "net.ipv4.tcp_fin_timeout = 40")
				rest.Name, rest.FileName, rest.Instance = a.Name, a.FileName, a.Instance
				_, err = other.SetSysctls(t.Context(), rest, &a, originals(states))
				must(t, err)
			} else {
				must(t, other.UnsetSysctls(t.Context(), a, originals(states)))
			}
			states, err = b.host.SetSysctls(t.Context(), s, nil, nil)
			if _, hung := tt.lost.(hungReply); hung != (err != nil) { //nolint:errorlint // it is wrapped by nothing
				t.Fatal(err)
			}
			if err == nil {
				must(t, b.host.UnsetSysctls(t.Context(), s, originals(states)))
			}
			if now, _ := b.Sh("cat " + keyNamed(tt.key).Path()); now != was {
				t.Errorf("%s was %s, and is %s", tt.key, strings.TrimSpace(was), strings.TrimSpace(now))
			}
			if !tt.dropped {
				b.unchanged(t, files)
			}
		})
	}
}

// Guards that changes of one machine by two names do not wait for each other in a circle.
func TestChangesByTwoNamesEnd(t *testing.T) {
	b := newBench(t)
	p := anotherProcess(t, b, 20*time.Second)
	fleet := host.NewFleet(func(name string) (host.Conn, error) {
		if name == "b" {
			return p.Conn("root@" + b.Addr())
		}
		return p.Conn(b.Addr())
	})
	var hosts []*host.Host
	for _, name := range []string{"a", "b"} {
		h, err := fleet.Host(name)
		must(t, err)
		_, err = h.ReadSysctl(t.Context(), keep(t, "vm.swappiness", "60"))
		must(t, err)
		hosts = append(hosts, h)
	}
	var all sync.WaitGroup
	for i, module := range []string{"nf_conntrack", "overlay", "br_netfilter", "nf_nat", "bridge"} {
		all.Go(func() {
			if _, err := hosts[i%2].SetModule(t.Context(), host.Module{Name: module, Persist: true}, nil); err != nil {
				t.Errorf("%s: %v", module, err)
			}
		})
		time.Sleep(time.Millisecond)
	}
	all.Wait()
}

// Guards that nobody else changes the host between the removal of a module's files and its unloading.
func TestModuleIsUnloadedUnderTheLock(t *testing.T) {
	b := newBench(t)
	other, err := anotherProcess(t, b, 200*time.Millisecond).Conn(b.Addr())
	must(t, err)
	tried := 0
	h := overPool(t, b, anotherProcess(t, b, time.Second), func(c host.Conn) host.Conn {
		return changing{c, func(ch shell.Change) error {
			if len(ch.Remove) > 0 {
				tried++
				if _, err := other.Run(t.Context(), shell.Script{Name: "change", Text: "true", Exclusive: true}); err == nil {
					t.Error("another process got the lock")
				}
			}
			return nil
		}}
	})
	m := host.Module{Name: "nf_conntrack", Persist: true}
	_, err = h.SetModule(t.Context(), m, nil)
	must(t, err)
	must(t, h.UnsetModule(t.Context(), m, true))
	if tried != 1 {
		t.Errorf("%d removals", tried)
	}
}

// Guards that a change which lost its session after a look, or after its values were written, does not go on in another
// session over what another process has done between: what that one wrote stays, file and value.
func TestChangeIsBoundToItsSession(t *testing.T) {
	for _, tt := range []struct {
		name          string
		sftp, planned bool
		now           string // what the key has when ours is applied
		one, other    string
	}{
		{name: "by the shell", now: "4096", one: "100", other: "200"},
		{name: "by SFTP", sftp: true, now: "4096", one: "100", other: "200"},
		{name: "by SFTP, planned", sftp: true, planned: true, now: "4096", one: "100", other: "200"},
		{name: "nothing to write", now: "100", one: "100", other: "200"},
		{name: "by SFTP, nothing to write", sftp: true, now: "100", one: "100", other: "200"},
		{name: "spelled otherwise", now: "4096", one: "0x100", other: "0x200"},
		{name: "spelled otherwise, planned", planned: true, now: "4096", one: "0x100", other: "0x200"},
	} {
		for cut := range 5 { // 0 is before anything of the change is sent
			t.Run(fmt.Sprintf("%s, cut at %d", tt.name, cut), func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				b.WriteFile("/proc/sys/net/core/somaxconn", tt.now)
				one, other := keep(t, "net.core.somaxconn", tt.one), keep(t, "net.core.somaxconn", tt.other)
				one.Instance, other.Instance = "one", "other"
				theirs := overPool(t, b, anotherProcess(t, b, time.Minute), asItIs)
				done := make(chan struct{})
				otherOnce := sync.OnceFunc(func() {
					defer close(done)
					if _, err := theirs.SetSysctl(t.Context(), other, nil, nil); err != nil {
						t.Error(err)
					}
				})
				var work sync.WaitGroup
				var cutting atomic.Bool
				p := sshconn.NewPool(sshconn.Config{
					Defaults: route.Settings{Login: route.Login{PrivateKey: b.PrivateKey(), HostKey: b.HostKey()}}, SFTP: tt.sftp,
					// Ours is back only when the other process has made its change.
					Log: func(_ context.Context, msg string, _ map[string]any) {
						switch {
						case !cutting.Load():
						case msg == "SSH connection closed":
							work.Go(otherOnce)
						case msg == "SSH connection made":
							<-done
						}
					},
				})
				t.Cleanup(p.Close)
				ours := overPool(t, b, p, func(c host.Conn) host.Conn {
					return before{c, func() {
						if !cutting.CompareAndSwap(false, true) {
							return
						}
						if b.Inject(hosttest.Fault{CutAt: max(cut, 1)}); cut == 0 {
							_, _ = c.Run(t.Context(), shell.Script{Name: "cut", Text: "true"})
						}
					}}
				})
				if tt.planned {
					_, err := ours.PlanSysctl(t.Context(), one, nil)
					must(t, err)
				}
				_, err := ours.SetSysctl(t.Context(), one, nil, nil)
				otherOnce() // if nothing was cut
				work.Wait()
				text, _ := b.ReadFile(testDropIn)
				value, _ := b.Sh("cat /proc/sys/net/core/somaxconn")
				last := map[string]string{"100": "100", "256": "0x100", "200": "200", "512": "0x200"}[strings.TrimSpace(value)]
				if last == "" || !strings.Contains(text, "net.core.somaxconn = "+last+"\n") {
					t.Errorf("the host runs %q, and the file holds %q; the change ended with %v", value, text, err)
				}
			})
		}
	}
}

// before is a connection that does something before each change.
type before struct {
	host.Conn
	do func()
}

func (c before) Change(ctx context.Context, ch shell.Change) (first, then shell.Result, err error) {
	c.do()
	return c.Conn.Change(ctx, ch)
}
