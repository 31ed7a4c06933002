package host_test

// The promises of a change and of a read, each on a simulated host, some of them over a connection that does not do
// what it says.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sshconn"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

const testDropIn = "/etc/sysctl.d/60-terraform-test.conf"

// keep is a persistent sysctl in a file of the test's own, testDropIn.
func keep(t *testing.T, key, value string) host.Sysctl {
	t.Helper()
	k, err := sysctl.ParseKey(key)
	must(t, err)
	return host.Sysctl{Key: k, Value: value, FileName: strings.TrimPrefix(testDropIn, "/etc/sysctl.d/"), Persist: true}
}

// over is a bench whose Host talks over what wrap makes of the connection.
func over(t *testing.T, wrap func(host.Conn) host.Conn) bench {
	t.Helper()
	b := newBench(t)
	pool := sshconn.NewPool(sshconn.Config{
		Defaults:       route.Settings{Login: route.Login{PrivateKey: b.PrivateKey(), HostKey: b.HostKey()}},
		ConnectTimeout: 5 * time.Second, Timeout: 5 * time.Second,
	})
	t.Cleanup(pool.Close)
	var err error
	b.host, err = host.NewFleet(func(name string) (host.Conn, error) {
		c, err := pool.Conn(name)
		if err != nil {
			return nil, err
		}
		return wrap(c), nil
	}).Host(b.Addr())
	must(t, err)
	must(t, b.host.Wait(t.Context()))
	return b
}

// writer is a connection that writes each file in another way.
type writer struct {
	host.Conn
	write func(ctx context.Context, path, content string) error
}

func (w writer) WriteFile(ctx context.Context, path, content string) error {
	return w.write(ctx, path, content)
}

func (w writer) Change(ctx context.Context, c shell.Change) (first, then shell.Result, err error) {
	if c.First != nil {
		if first, err = w.Run(ctx, *c.First); err != nil || first.Status != 0 {
			return first, then, err
		}
	}
	for _, f := range c.Write {
		if err := w.write(ctx, f.Path, f.Content); err != nil {
			return first, then, err
		}
	}
	c.First, c.Write = nil, nil
	_, then, err = w.Conn.Change(ctx, c)
	return first, then, err
}

func wantKind(t *testing.T, err error, kind host.Kind) {
	t.Helper()
	if !errors.Is(err, &host.Error{Kind: kind}) {
		t.Errorf("%v, not %q", err, kind)
	}
}

// unchanged wants the host to hold what it held before.
func (b bench) unchanged(t *testing.T, before map[string]string) {
	t.Helper()
	if left := b.holds(); !maps.Equal(left, before) {
		t.Errorf("left %v\nnot  %v", left, before)
	}
}

// Guards that a value the kernel refuses never reaches a file: were the drop-in written first, the full disk would be
// the error.
func TestRefusedValueReachesNoFile(t *testing.T) {
	b := newBench(t)
	before := b.holds()
	defer b.Inject(hosttest.Fault{Errno: syscall.ENOSPC, Path: "/etc/sysctl.d"})()
	_, err := b.host.SetSysctl(t.Context(), keep(t, "vm.swappiness", "abc"), nil, nil)
	wantKind(t, err, host.ValueRefused)
	b.unchanged(t, before)
}

// Guards that a read after a write sees the write, in the running kernel and for the next boot, and none of a snapshot
// from before.
func TestReadSeesTheWriteBeforeIt(t *testing.T) {
	b := newBench(t)
	s := keep(t, "vm.swappiness", "10")
	read := func() (running, boot string) {
		t.Helper()
		st, err := b.host.ReadSysctl(t.Context(), s)
		must(t, err)
		return text(st.Running), text(st.Boot)
	}
	if running, _ := read(); running != "60" {
		t.Fatalf("it runs with %s before, not 60", running)
	}
	_, err := b.host.SetSysctl(t.Context(), s, nil, nil)
	must(t, err)
	if running, boot := read(); running != "10" || boot != "10" {
		t.Errorf("running %s and boot %s after, not 10", running, boot)
	}
	original := "60"
	must(t, b.host.UnsetSysctl(t.Context(), s, &original, true))
	if running, boot := read(); running != "60" || boot == "10" {
		t.Errorf("running %s and boot %s after it was taken back", running, boot)
	}
}

func text(v *string) string {
	if v == nil {
		return "nothing"
	}
	return *v
}

// Guards that a caller who gives up during the write of the file does not stop the undoing, whether or not the file was
// written.
func TestUndoneThoughTheCallerGaveUp(t *testing.T) {
	for _, written := range []bool{false, true} {
		t.Run(fmt.Sprintf("written=%v", written), func(t *testing.T) {
			ctx, giveUp := context.WithCancel(t.Context())
			b := over(t, func(c host.Conn) host.Conn {
				return writer{c, func(ctx context.Context, path, content string) error {
					if written {
						must(t, c.WriteFile(ctx, path, content))
					}
					giveUp()
					return ctx.Err()
				}}
			})
			before := b.holds()
			_, err := b.host.SetSysctl(ctx, keep(t, "vm.swappiness", "10"), nil, nil)
			if !errors.Is(err, context.Canceled) || host.MayHaveChanged(err) {
				t.Errorf("got %v, want the cancellation, with all undone", err)
			}
			b.unchanged(t, before)
		})
	}
}

// Guards that a drop-in that does not say what was written is an error, after which the running value is as it was.
func TestDropInThatWasNotKept(t *testing.T) {
	b := over(t, func(c host.Conn) host.Conn {
		return writer{c, func(context.Context, string, string) error { return nil }}
	})
	before := b.holds()
	_, err := b.host.SetSysctl(t.Context(), keep(t, "vm.swappiness", "10"), nil, nil)
	wantKind(t, err, host.NotKept)
	b.unchanged(t, before)
}

// Guards that an update keeps the value from before Terraform in the drop-in, whether the state still knows it or only
// the file.
func TestUpdateKeepsTheOriginal(t *testing.T) {
	sixty := "60"
	for name, original := range map[string]*string{"state knows it": &sixty, "file alone knows it": nil} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			ten := keep(t, "vm.swappiness", "10")
			_, err := b.host.SetSysctl(t.Context(), ten, nil, nil)
			must(t, err)
			_, err = b.host.SetSysctl(t.Context(), keep(t, "vm.swappiness", "20"), &ten, original)
			must(t, err)
			got, _ := b.ReadFile(testDropIn)
			if lines := strings.Split(
				got, "\n"); len(lines) < 3 || lines[1] != "# Value before Terraform: 60" || lines[2] != "vm.swappiness = 20" {
				t.Errorf("the drop-in is\n%s", got)
			}
		})
	}
}

// Guards that an update to a file_name that is another's is refused and changes nothing, whether a person or another
// resource wrote that file.
func TestUpdateToAnothersFile(t *testing.T) {
	for name, content := range map[string]string{
		"a person's":      "vm.dirty_ratio = 5\n",
		"of the same key": "vm.swappiness = 5\n",
		"another resource's": "# Managed by Terraform: host_sysctl vm.dirty_ratio\n# Value before Terraform: " +
			"20\nvm.dirty_ratio = 5\n",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			ten := keep(t, "vm.swappiness", "10")
			_, err := b.host.SetSysctl(t.Context(), ten, nil, nil)
			must(t, err)
			b.WriteFile("/etc/sysctl.d/70-other.conf", content)
			before := b.holds()
			moved := keep(t, "vm.swappiness", "20")
			moved.FileName = "70-other.conf"
			original := "60"
			_, err = b.host.SetSysctl(t.Context(), moved, &ten, &original)
			wantKind(t, err, host.DropInForeign)
			b.unchanged(t, before)
		})
	}
}

// Guards that a refused write of a read-only key leaves nothing to undo, also where the key reads otherwise each time.
func TestReadOnlyKeyThatChangesByItself(t *testing.T) {
	for _, key := range []string{"kernel.random.uuid", "fs.file-nr"} {
		t.Run(key, func(t *testing.T) {
			b := newBench(t)
			s := keep(t, key, "1")
			s.Persist = false
			_, err := b.host.SetSysctl(t.Context(), s, nil, nil)
			wantKind(t, err, host.KeyReadOnly)
			if host.MayHaveChanged(err) {
				t.Errorf("it says that something may be left: %v", err)
			}
		})
	}
}

// gated is a connection whose first script waits until every asker waits for something, so that those who ask at once
// are there at once.
type gated struct {
	host.Conn
	all <-chan struct{}
}

func (g gated) Run(ctx context.Context, s shell.Script) (shell.Result, error) {
	ctx.Value(running{}) // the asker whose script this is waits for the host, if it did not wait before
	select {
	case <-g.all:
	case <-time.After(10 * time.Second): // the count of the batches is then what fails
	}
	return g.Conn.Run(ctx, s)
}

// running asks an asker's context to take its script as waiting.
type running struct{}

// asker is a context that tells once that someone waits on it.
type asker struct {
	context.Context
	waits func()
}

func (a asker) Done() <-chan struct{} { a.waits(); return a.Context.Done() }

func (a asker) Value(key any) any {
	if key == any(running{}) {
		a.waits()
	}
	return a.Context.Value(key)
}

// Guards that reads that come together share their exchanges, also of keys that no file names, and that what was read
// is not read again.
func TestReadsTogetherShareExchanges(t *testing.T) {
	keys := []string{"vm.swappiness", "net.core.somaxconn", "net.core.rmem_max", "net.core.wmem_max",
		"net.core.optmem_max", "net.core.netdev_max_backlog",
		"net.core.dev_weight", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_max_syn_backlog"}
	all := make(chan struct{})
	b := over(t, func(c host.Conn) host.Conn { return gated{c, all} })
	var waiting atomic.Int32
	readAll := func() int {
		start := b.Batches()
		var readers sync.WaitGroup
		for _, key := range keys {
			s := keep(t, key, "")
			ctx := asker{t.Context(), sync.OnceFunc(func() {
				if int(waiting.Add(1)) == len(keys) {
					close(all)
				}
			})}
			readers.Go(func() {
				if st, err := b.host.ReadSysctl(ctx, s); err != nil || st.Running == nil {
					t.Errorf("%s reads %s: %v", key, text(st.Running), err)
				}
			})
		}
		readers.Wait()
		return b.Batches() - start
	}
	if n := readAll(); n < 1 || n > 2 {
		t.Errorf("ten reads at once cost %d batches, not one or two", n)
	}
	if n := readAll(); n != 0 {
		t.Errorf("the same ten reads again cost %d batches", n)
	}
}

// Guards that a key which two files name has its value once, whether it was asked for when the snapshot was taken or
// later.
func TestKeyNamedByTwoFilesHasItsValueOnce(t *testing.T) {
	for _, first := range []string{"vm.dirty_ratio", "vm.swappiness"} {
		t.Run(first+" first", func(t *testing.T) {
			b := newBench(t)
			b.WriteFile("/etc/sysctl.d/10-site.conf", "vm.swappiness = 30\n")
			b.WriteFile("/etc/sysctl.d/20-site.conf", "vm.swappiness = 40\n")
			for _, key := range []string{first, "vm.swappiness"} {
				st, err := b.host.ReadSysctl(t.Context(), keep(t, key, ""))
				must(t, err)
				if got := text(st.Running); key == "vm.swappiness" && got != "60" {
					t.Errorf("it reads %q, not 60", got)
				}
			}
		})
	}
}

// Guards that a module that is in use stays, and with it its files, whatever was removed before the kernel said no.
func TestModuleInUseKeepsItsFiles(t *testing.T) {
	for _, test := range []struct {
		module host.Module
		user   string // what keeps the module in use
	}{
		{host.Module{Name: "ext4", Persist: true}, ":"},
		{
			host.Module{Name: "nf_conntrack", Parameters: map[string]string{"hashsize": "4096"}, Persist: true},
			"modprobe nf_nat",
		},
	} {
		t.Run(test.module.Name, func(t *testing.T) {
			b := newBench(t)
			_, err := b.host.SetModule(t.Context(), test.module, nil)
			must(t, err)
			if out, status := b.Sh(test.user); status != 0 {
				t.Fatal(out)
			}
			before := b.holds()
			err = b.host.UnsetModule(t.Context(), test.module, true)
			wantKind(t, err, host.ModuleNotUnloaded)
			if host.MayHaveChanged(err) {
				t.Errorf("it says that something may be left: %v", err)
			}
			if _, there := before[test.module.LoadPath()]; !there {
				t.Errorf("no %s before", test.module.LoadPath())
			}
			b.unchanged(t, before)
		})
	}
}

// runner is a connection with another Run.
type runner struct {
	host.Conn
	run func(ctx context.Context, s shell.Script) (shell.Result, error)
}

func (r runner) Run(ctx context.Context, s shell.Script) (shell.Result, error) { return r.run(ctx, s) }

func (r runner) Change(ctx context.Context, c shell.Change) (first, then shell.Result, err error) {
	if c.First != nil {
		if first, err = r.run(ctx, *c.First); err != nil || first.Status != 0 {
			return first, then, err
		}
	}
	last := c.Then
	c.First, c.Then = nil, nil
	if len(c.Write)+len(c.Remove) > 0 {
		_, _, err = r.Conn.Change(ctx, c)
	}
	if err == nil && last != nil {
		then, err = r.run(ctx, *last)
	}
	return first, then, err
}

// Guards that two resources of one module, however spelled, do not change it at once: the second asks the host nothing
// while the first is at work.
func TestChangesOfOneModuleWaitForEachOther(t *testing.T) {
	loading, goOn := make(chan struct{}), make(chan struct{})
	var asked atomic.Int32
	b := over(t, func(c host.Conn) host.Conn {
		return runner{c, func(ctx context.Context, s shell.Script) (shell.Result, error) {
			asked.Add(1)
			if s.Name == "load" {
				close(loading)
				<-goOn
			}
			return c.Run(ctx, s)
		}}
	})
	var first sync.WaitGroup
	first.Go(func() {
		if _, err := b.host.SetModule(t.Context(), host.Module{Name: "nf_conntrack", Persist: true}, nil); err != nil {
			t.Error(err)
		}
	})
	<-loading
	before := asked.Load()
	ctx, giveUp := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer giveUp()
	second := host.Module{Name: "nf-conntrack", Persist: true}
	if _, err := b.host.SetModule(ctx, second, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the second: %v", err)
	}
	if err := b.host.UnsetModule(ctx, second, false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the removal: %v", err)
	}
	if n := asked.Load() - before; n != 0 {
		t.Errorf("it asked the host %d times meanwhile", n)
	}
	close(goOn)
	first.Wait()
}

// Guards that a group which is created reads its own keys alone, and that keys of single resources, of which many may
// follow, are read with all others at once.
func TestWhoReadsAllKeys(t *testing.T) {
	for _, settings := range [][]string{
		{"net.ipv4.tcp_fin_timeout = 30"}, {"net.ipv4.tcp_fin_timeout = 30", "net.core.somaxconn = 128"},
	} {
		all := false
		b := over(t, func(c host.Conn) host.Conn {
			return runner{c, func(ctx context.Context, s shell.Script) (shell.Result, error) {
				all = all || strings.Contains(s.Text, "all-keys")
				return c.Run(ctx, s)
			}}
		})
		_, err := b.host.PlanSysctls(t.Context(), keepAll(t, settings...), nil)
		must(t, err)
		if all != (len(settings) == 1) {
			t.Errorf("for %q all keys are read: %v", settings, all)
		}
	}
}
