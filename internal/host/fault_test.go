package host_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/sshconn"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a simulated host and the Host that talks to it.
type bench struct {
	*hosttest.Host
	host *host.Host
}

func newBench(t *testing.T) bench {
	t.Helper()
	return newBenchOver(t, false)
}

// newBenchOver is newBench with files by SFTP or by the shell.
func newBenchOver(t *testing.T, sftp bool) bench {
	t.Helper()
	sim, err := hosttest.Start(hosttest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pool := sshconn.NewPool(sshconn.Config{
		Defaults:       sshconn.Settings{PrivateKey: sim.PrivateKey(), HostKey: sim.HostKey()},
		ConnectTimeout: 5 * time.Second, Timeout: 5 * time.Second, SFTP: sftp,
	})
	t.Cleanup(func() {
		pool.Close()
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
		if unknown := sim.Unknown(); len(unknown) > 0 {
			t.Errorf("the simulated host was asked for what it does not have: %q", unknown)
		}
	})
	h, err := host.NewFleet(func(name string) (host.Conn, error) { return pool.Conn(name) }).Host(sim.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Wait(t.Context()); err != nil { // connected, so that the exchanges counted are those of the change
		t.Fatal(err)
	}
	return bench{sim, h}
}

// holds is all of the host that a change may touch.
func (b bench) holds() map[string]string {
	all := map[string]string{}
	for _, dir := range []string{"/etc/sysctl.d", "/etc/modules-load.d", "/etc/modprobe.d"} {
		for _, name := range b.List(dir) {
			all[dir+"/"+name], _ = b.ReadFile(dir + "/" + name)
		}
	}
	for _, key := range []string{"vm/swappiness", "vm/dirty_ratio", "net/core/somaxconn"} {
		all[key], _ = b.Sh("cat /proc/sys/" + key)
	}
	all["hashsize"], _ = b.Sh("cat /sys/module/nf_conntrack/parameters/hashsize 2>/dev/null")
	all["loaded"], _ = b.Sh("grep -c '^nf_conntrack ' /proc/modules")
	return all
}

// operation is a change of a host, from what prepare made of it.
type operation struct {
	name    string
	sftp    bool // files go by SFTP
	prepare func(context.Context, *host.Host) error
	change  func(context.Context, *host.Host) error
}

func operations(t *testing.T) []operation {
	t.Helper()
	key, err := sysctl.ParseKey("vm.swappiness")
	if err != nil {
		t.Fatal(err)
	}
	one := host.Sysctl{Key: key, Value: "10", FileName: key.DropInName(), Persist: true}
	two := host.Sysctl{Key: key, Value: "20", FileName: "50-swap.conf", Persist: true}
	original := "60"
	small := host.Module{Name: "nf_conntrack", Parameters: map[string]string{"hashsize": "4096"}, Persist: true}
	large := host.Module{Name: "nf_conntrack", Parameters: map[string]string{"hashsize": "8192"}, Persist: true}
	few, other := keepAll(t, "vm.swappiness = 10", "vm.dirty_ratio = 5"), keepAll(t, "vm.swappiness = 20", "net.core.somaxconn = 77")
	other.FileName = "50-few.conf"
	setFew := func(ctx context.Context, h *host.Host) error { _, err := h.SetSysctls(ctx, few, nil, nil); return err }
	setOne := func(ctx context.Context, h *host.Host) error { _, err := h.SetSysctl(ctx, one, nil, nil); return err }
	setSmall := func(ctx context.Context, h *host.Host) error { _, err := h.SetModule(ctx, small, nil); return err }
	nothing := func(context.Context, *host.Host) error { return nil }
	return []operation{
		{"create a sysctl", false, nothing, setOne},
		{"create a sysctl by SFTP", true, nothing, setOne},
		{"update a sysctl", false, setOne, func(ctx context.Context, h *host.Host) error {
			_, err := h.SetSysctl(ctx, two, &one, &original)
			return err
		}},
		{"delete a sysctl", false, setOne, func(ctx context.Context, h *host.Host) error { return h.UnsetSysctl(ctx, one, &original, true) }},
		{"create sysctls", false, nothing, setFew},
		{"update sysctls", false, setFew, func(ctx context.Context, h *host.Host) error {
			_, err := h.SetSysctls(ctx, other, &few, nil)
			return err
		}},
		{"delete sysctls", false, setFew, func(ctx context.Context, h *host.Host) error {
			return h.UnsetSysctls(ctx, few, map[sysctl.Key]string{few.Settings[0].Key: "60", few.Settings[1].Key: "20"})
		}},
		{"create a module", false, nothing, setSmall},
		{"update a module", false, setSmall, func(ctx context.Context, h *host.Host) error { _, err := h.SetModule(ctx, large, &small); return err }},
		{"delete a module", false, setSmall, func(ctx context.Context, h *host.Host) error { return h.UnsetModule(ctx, large, false) }},
		{"delete and unload a module", false, setSmall, func(ctx context.Context, h *host.Host) error { return h.UnsetModule(ctx, large, true) }},
	}
}

// Guards that a connection cut at any exchange of any change is made anew and the change goes on, and that the same change made again converges.
func TestConnectionCutAtEveryExchange(t *testing.T) {
	for _, op := range operations(t) {
		t.Run(op.name, func(t *testing.T) {
			whole := newBenchOver(t, op.sftp)
			must(t, op.prepare(t.Context(), whole.host))
			start := whole.Exchanges()
			must(t, op.change(t.Context(), whole.host))
			exchanges, want := whole.Exchanges()-start, whole.holds()
			if exchanges < 2 {
				t.Fatalf("%d exchanges: the count is broken", exchanges)
			}
			for at := 1; at <= exchanges; at++ {
				for _, after := range []bool{false, true} {
					t.Run(fmt.Sprintf("exchange %d after=%v", at, after), func(t *testing.T) {
						faulty(t, op, hosttest.Fault{CutAt: at, After: after}, want)
					})
				}
			}
		})
	}
}

// Guards the same for a file system that refuses, with every kind of refusal, on each of the directories.
func TestFileSystemRefuses(t *testing.T) {
	for _, op := range operations(t) {
		whole := newBenchOver(t, op.sftp)
		must(t, op.prepare(t.Context(), whole.host))
		must(t, op.change(t.Context(), whole.host))
		want := whole.holds()
		for _, dir := range []string{"/etc/sysctl.d", "/etc/modules-load.d", "/etc/modprobe.d"} {
			for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EROFS, syscall.EACCES} {
				t.Run(fmt.Sprintf("%s, %s: %v", op.name, dir, errno), func(t *testing.T) {
					faulty(t, op, hosttest.Fault{Errno: errno, Path: dir}, want)
				})
			}
		}
	}
}

// faulty makes the change under the fault, and judges what is left; then it makes the change again without.
func faulty(t *testing.T, op operation, fault hosttest.Fault, want map[string]string) {
	t.Helper()
	b := newBenchOver(t, op.sftp)
	must(t, op.prepare(t.Context(), b.host))
	before := b.holds()
	undo := b.Inject(fault)
	err := op.change(t.Context(), b.host)
	undo()
	left := b.holds()
	switch {
	case err != nil && fault.CutAt > 0:
		t.Errorf("one cut is more than the change takes: %v", err)
	case err == nil && !maps.Equal(left, want):
		t.Errorf("no error, but %v is not %v", left, want)
	case err != nil && !host.MayHaveChanged(err) && !maps.Equal(withoutTemporary(left), before):
		t.Errorf("%v\nleft %v\nnot  %v", err, left, before)
	}
	must(t, op.change(t.Context(), b.host))
	if left := b.holds(); !maps.Equal(left, want) {
		t.Errorf("the next apply leaves %v, not %v", left, want)
	}
}

// withoutTemporary leaves out what the next write of the same file takes away.
func withoutTemporary(files map[string]string) map[string]string {
	files = maps.Clone(files)
	maps.DeleteFunc(files, func(path, _ string) bool { return strings.HasSuffix(path, ".terraform-tmp") })
	return files
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
