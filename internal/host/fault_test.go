package host_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/sshconn"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
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
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
		if unknown := sim.Unknown(); len(unknown) > 0 {
			t.Errorf("the simulated host was asked for what it does not have: %q", unknown)
		}
	})
	return bench{sim, newHost(t, sim, sftp)}
}

// newHost returns sim as a process sees it that has just begun.
func newHost(t *testing.T, sim *hosttest.Host, sftp bool) *host.Host {
	t.Helper()
	pool := sshconn.NewPool(sshconn.Config{
		Defaults:       route.Settings{Login: route.Login{PrivateKey: sim.PrivateKey(), HostKey: sim.HostKey()}},
		ConnectTimeout: 5 * time.Second, Timeout: 5 * time.Second, SFTP: sftp,
	})
	t.Cleanup(pool.Close)
	h, err := host.NewFleet(func(name string) (host.Conn, error) { return pool.Conn(name) }).Host(sim.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Wait(t.Context()); err != nil { // connected, so that the exchanges counted are those of the change
		t.Fatal(err)
	}
	return h
}

// holds is all of the host that a change may touch.
func (b bench) holds() map[string]string {
	all := map[string]string{}
	for _, dir := range []string{"/etc/sysctl.d", "/etc/modules-load.d", "/etc/modprobe.d"} {
		for _, name := range b.List(dir) {
			all[dir+"/"+name], _ = b.ReadFile(dir + "/" + name)
		}
	}
	for _, path := range faultValues {
		all[path], _ = b.Sh("cat " + path + " 2>/dev/null")
	}
	all[faultModule], _ = b.Sh("grep -c '^nf_conntrack ' /proc/modules")
	return all
}

// faultValues are the kernel's files that operations write, and faultModule is what an error calls the module that they
// load.
var faultValues = []string{
	"/proc/sys/net/ipv4/tcp_fin_timeout", "/proc/sys/net/ipv4/tcp_keepalive_probes", "/proc/sys/net/core/somaxconn",
	"/sys/module/nf_conntrack/parameters/hashsize",
}

const faultModule = "the kernel module nf_conntrack"

// operation is a change of a host, from what prepare made of it.
type operation struct {
	name    string
	sftp    bool // files go by SFTP
	prepare func(context.Context, *host.Host) error
	change  func(context.Context, *host.Host) error
}

func operations(t *testing.T) []operation {
	t.Helper()
	key, err := sysctl.ParseKey("net.ipv4.tcp_fin_timeout")
	must(t, err)
	one := host.Sysctl{Key: key, Value: "10", FileName: key.DropInName(), Persist: true}
	alone := host.Sysctls{
		Resource: "host_sysctl", Name: key.String(), Settings: []host.Setting{{Key: key, Value: "10"}},
		FileName: one.FileName, Persist: true, Restore: true,
	}
	two := host.Sysctl{Key: key, Value: "20", FileName: "50-fin.conf", Persist: true}
	original := "60"
	small := host.Module{Name: "nf_conntrack", Parameters: map[string]string{"hashsize": "4096"}, Persist: true}
	large := host.Module{Name: "nf_conntrack", Parameters: map[string]string{"hashsize": "8192"}, Persist: true}
	few := keepAll(t, "net.ipv4.tcp_fin_timeout = 10", "net.ipv4.tcp_keepalive_probes = 5")
	other := keepAll(t, "net.ipv4.tcp_fin_timeout = 20", "net.core.somaxconn = 77")
	other.FileName = "50-few.conf"
	whole := map[sysctl.Key]string{few.Settings[0].Key: "60", few.Settings[1].Key: "9"}
	setOne := func(ctx context.Context, h *host.Host) error { _, err := h.SetSysctl(ctx, one, nil, nil); return err }
	setFew := func(ctx context.Context, h *host.Host) error { _, err := h.SetSysctls(ctx, few, nil, nil); return err }
	planFew := func(ctx context.Context, h *host.Host) error { _, err := h.PlanSysctls(ctx, few, nil); return err }
	setSmall := func(ctx context.Context, h *host.Host) error { _, err := h.SetModule(ctx, small, nil); return err }
	nothing := func(context.Context, *host.Host) error { return nil }
	return []operation{
		{"create a sysctl", false, nothing, createSysctls(alone)},
		{"create a sysctl by SFTP", true, nothing, createSysctls(alone)},
		{"update a sysctl", false, setOne, func(ctx context.Context, h *host.Host) error {
			_, err := h.SetSysctl(ctx, two, &one, &original)
			return err
		}},
		{"delete a sysctl", false, setOne, func(ctx context.Context, h *host.Host) error {
			return h.UnsetSysctl(
				ctx, one, &original, true)
		}},
		{"create sysctls", false, nothing, createSysctls(few)},
		{"create planned sysctls", false, planFew, createSysctls(few)},
		{"update sysctls", false, setFew, updateSysctls(other, few, whole)},
		{"delete sysctls", false, setFew, func(ctx context.Context, h *host.Host) error {
			return h.UnsetSysctls(
				ctx, few, whole)
		}},
		{"create a module", false, nothing, createModule(small)},
		{"update a module", false, setSmall, func(ctx context.Context, h *host.Host) error {
			_, err := h.SetModule(
				ctx, large, &small)
			return err
		}},
		{"delete a module", false, setSmall, func(ctx context.Context, h *host.Host) error {
			return h.UnsetModule(
				ctx, large, false)
		}},
		{"delete and unload a module", false, setSmall, func(ctx context.Context, h *host.Host) error {
			return h.UnsetModule(
				ctx, large, true)
		}},
	}
}

// createSysctls creates s. As Terraform does, it first destroys what a failed create has left, with the values from
// before that the state then knows.
func createSysctls(s host.Sysctls) func(context.Context, *host.Host) error {
	var tainted map[sysctl.Key]string
	return func(ctx context.Context, h *host.Host) error {
		if tainted != nil {
			if err := h.UnsetSysctls(ctx, s, tainted); err != nil {
				return err
			}
			tainted = nil
		}
		states, err := h.SetSysctls(ctx, s, nil, nil)
		if host.MayHaveChanged(err) {
			tainted = originals(states)
		}
		return err
	}
}

// updateSysctls makes prior s. The values from before of its new keys stay in the state when it fails half-way.
func updateSysctls(s, prior host.Sysctls, before map[sysctl.Key]string) func(context.Context, *host.Host) error {
	var more map[sysctl.Key]string
	return func(ctx context.Context, h *host.Host) error {
		known := maps.Clone(before)
		maps.Copy(known, more)
		states, err := h.SetSysctls(ctx, s, &prior, known)
		if more = nil; host.MayHaveChanged(err) {
			more = originals(states)
		}
		return err
	}
}

func originals(states map[sysctl.Key]host.SysctlState) map[sysctl.Key]string {
	all := map[sysctl.Key]string{}
	for k, st := range states {
		if st.Original != nil {
			all[k] = *st.Original
		}
	}
	return all
}

// createModule does for a module what createSysctls does for keys.
func createModule(m host.Module) func(context.Context, *host.Host) error {
	tainted := false
	return func(ctx context.Context, h *host.Host) error {
		if tainted {
			if err := h.UnsetModule(ctx, m, false); err != nil {
				return err
			}
		}
		_, err := h.SetModule(ctx, m, nil)
		tainted = host.MayHaveChanged(err)
		return err
	}
}

// Guards that a connection cut at any exchange of any change is made anew and the change goes on, and that the same
// change made again converges.
func TestConnectionCutAtEveryExchange(t *testing.T) {
	t.Parallel()
	for _, op := range operations(t) {
		t.Run(op.name, func(t *testing.T) {
			whole := newBenchOver(t, op.sftp)
			must(t, op.prepare(t.Context(), whole.host))
			start := whole.Exchanges()
			must(t, op.change(t.Context(), whole.host))
			exchanges, want := whole.Exchanges()-start, whole.holds()
			if exchanges < 1 {
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
	t.Parallel()
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
	if err != nil && fault.CutAt > 0 {
		t.Errorf("one cut is more than the change takes: %v", err)
	}
	judge(t, err, before, b.holds(), want)
	must(t, op.change(t.Context(), b.host))
	if left := b.holds(); !maps.Equal(left, want) {
		t.Errorf("the next apply leaves %v, not %v", left, want)
	}
}

// judge wants of a change under a fault that it is whole, or undone, or that its error names what it left; and that no
// file is half written. A temporary file may stay, which the next write of the same file takes away.
func judge(t *testing.T, err error, before, left, want map[string]string) {
	t.Helper()
	for _, what := range slices.Sorted(maps.Keys(mergedMaps(before, left, want))) {
		is, was, wanted := left[what], before[what], want[what]
		switch {
		case strings.HasSuffix(what, ".terraform-tmp"):
		case err == nil && is != wanted:
			t.Errorf("no error, but of %s is left %q, not %q", what, is, wanted)
		case err != nil && is != was && (!host.MayHaveChanged(err) || !strings.Contains(err.Error(), named(what))):
			t.Errorf("of %s is left %q, not %q, which the error does not say: %v", what, is, was, err)
		case is != was && is != wanted:
			t.Errorf("of %s is left %q, neither %q nor %q: %v", what, is, was, wanted, err)
		}
	}
}

// named is what an error calls a thing that is left: a parameter comes and goes with its module.
func named(what string) string {
	if strings.HasPrefix(what, "/sys/module/nf_conntrack/") {
		return "nf_conntrack"
	}
	return what
}

func mergedMaps(all ...map[string]string) map[string]string {
	merged := map[string]string{}
	for _, m := range all {
		maps.Copy(merged, m)
	}
	return merged
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
