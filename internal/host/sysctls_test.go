package host_test

// The promises of a change of many keys, which are those of a change of one, and that they hold for all keys or for
// none.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// keepAll is a persistent group of sysctls, each "KEY = VALUE", whose keys get their values back.
func keepAll(t *testing.T, settings ...string) host.Sysctls {
	t.Helper()
	s := host.Sysctls{
		Resource: "host_sysctls", Name: "test", FileName: strings.TrimPrefix(testDropIn, "/etc/sysctl.d/"), Persist: true,
		Restore: true,
	}
	for _, text := range settings {
		key, value, _ := strings.Cut(text, " = ")
		k, err := sysctl.ParseKey(key)
		must(t, err)
		s.Settings = append(s.Settings, host.Setting{Key: k, Value: value})
	}
	return s
}

var few = []string{"vm.swappiness = 10", "vm.dirty_ratio = 5", "net.core.somaxconn = 77"}

// Guards that one value which the kernel refuses, changes or does not let write puts all back and reaches no file, and
// that the error names each.
func TestOneBadValuePutsAllBack(t *testing.T) {
	for _, test := range []struct {
		bad  []string
		kind host.Kind
	}{
		{[]string{"kernel.panic = abc"}, host.ValueRefused},
		{[]string{"kernel.panic = abc", "kernel.pid_max = x"}, host.ValueRefused},
		{[]string{"vm.nr_hugepages = 100000"}, host.ValueChanged},
		{[]string{"kernel.osrelease = 1"}, host.KeyReadOnly},
		{[]string{"kernel.no_such_key = 1", "kernel.nor_this = 1"}, host.KeyMissing},
	} {
		t.Run(strings.Join(test.bad, ", "), func(t *testing.T) {
			b := newBench(t)
			before := b.holds()
			defer b.Inject(hosttest.Fault{Errno: syscall.ENOSPC, Path: "/etc/sysctl.d"})()
			_, err := b.host.SetSysctls(t.Context(), keepAll(t, append(few, test.bad...)...), nil, nil)
			wantKind(t, err, test.kind)
			for _, bad := range test.bad {
				if key, _, _ := strings.Cut(bad, " = "); !strings.Contains(err.Error(), key) {
					t.Errorf("the error does not name %s: %v", key, err)
				}
			}
			if host.MayHaveChanged(err) {
				t.Errorf("it says that something may be left: %v", err)
			}
			b.unchanged(t, before)
		})
	}
}

// Guards that a file which cannot be written puts all values back.
func TestFileThatCannotBeWrittenPutsAllBack(t *testing.T) {
	b := newBench(t)
	before := b.holds()
	undo := b.Inject(hosttest.Fault{Errno: syscall.ENOSPC, Path: "/etc/sysctl.d"})
	_, err := b.host.SetSysctls(t.Context(), keepAll(t, few...), nil, nil)
	undo()
	if err == nil {
		t.Error("no error")
	}
	b.unchanged(t, before)
}

// Guards that a caller who gives up during the write of the file does not stop the undoing of any key.
func TestAllUndoneThoughTheCallerGaveUp(t *testing.T) {
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
			_, err := b.host.SetSysctls(ctx, keepAll(t, few...), nil, nil)
			if !errors.Is(err, context.Canceled) || host.MayHaveChanged(err) {
				t.Errorf("got %v, want the cancellation, with all undone", err)
			}
			b.unchanged(t, before)
		})
	}
}

// Guards that a drop-in that does not say what was written is an error, after which all running values are as they
// were.
func TestDropInOfManyThatWasNotKept(t *testing.T) {
	b := over(t, func(c host.Conn) host.Conn {
		return writer{c, func(context.Context, string, string) error { return nil }}
	})
	before := b.holds()
	_, err := b.host.SetSysctls(t.Context(), keepAll(t, few...), nil, nil)
	wantKind(t, err, host.NotKept)
	b.unchanged(t, before)
}

// Guards that the values from before outlive updates, in the drop-in and out of it: whoever takes the group back
// restores them without a state.
func TestUpdateOfManyKeepsTheOriginals(t *testing.T) {
	b := newBench(t)
	before := b.holds()
	first := keepAll(t, few...)
	_, err := b.host.SetSysctls(t.Context(), first, nil, nil)
	must(t, err)
	second := keepAll(t, "vm.swappiness = 20", "net.core.somaxconn = 77", "kernel.panic = 5")
	states, err := b.host.SetSysctls(t.Context(), second, &first, nil)
	must(t, err)
	if got := text(states[second.Settings[0].Key].Original); got != "60" {
		t.Errorf("the value from before is %s, not 60", got)
	}
	got, _ := b.ReadFile(testDropIn)
	want := "# Managed by Terraform: host_sysctls test\n# Value before Terraform: 0\nkernel.panic = 5\n# Value before " +
		"Terraform: 4096\nnet.core.somaxconn = 77\n" +
		"# Value before Terraform: 60\nvm.swappiness = 20\n"
	if got != want {
		t.Errorf("the drop-in is\n%s\nnot\n%s", got, want)
	}
	must(t, b.host.UnsetSysctls(t.Context(), second, nil))
	b.unchanged(t, before)
}

// Guards that a file of others is neither overwritten nor left without a line that is not ours.
func TestManyKeysLeaveForeignLinesAlone(t *testing.T) {
	for name, content := range map[string]string{
		"a person's":       "vm.dirty_ratio = 5\n",
		"of the same keys": "vm.swappiness = 10\nvm.dirty_ratio = 5\nnet.core.somaxconn = 77\n",
		"another resource's": "# Managed by Terraform: host_sysctls other\n# Value before Terraform: 20\nvm.dirty_ratio = " +
			"5\n",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.WriteFile(testDropIn, content)
			before := b.holds()
			_, err := b.host.SetSysctls(t.Context(), keepAll(t, few...), nil, nil)
			wantKind(t, err, host.DropInForeign)
			b.unchanged(t, before)
		})
	}
	b := newBench(t)
	s := keepAll(t, few...)
	_, err := b.host.SetSysctls(t.Context(), s, nil, nil)
	must(t, err)
	ours, _ := b.ReadFile(testDropIn)
	b.WriteFile(testDropIn, ours+"kernel.panic = 5\n")
	before := b.holds()
	changed := keepAll(t, "vm.swappiness = 11")
	_, err = b.host.SetSysctls(t.Context(), changed, &s, nil)
	wantKind(t, err, host.DropInForeign)
	wantKind(t, b.host.UnsetSysctls(t.Context(), s, nil), host.DropInForeign)
	b.unchanged(t, before)
}

// Guards that a value from before that the kernel no longer takes is told, and stops neither the other keys nor the
// removal of the file.
func TestValueThatCannotBeRestoredStopsNoOther(t *testing.T) {
	b := newBench(t)
	before := b.holds()
	s := keepAll(t, "vm.swappiness = 10", "kernel.kptr_restrict = 1")
	_, err := b.host.SetSysctls(t.Context(), s, nil, nil)
	must(t, err)
	err = b.host.UnsetSysctls(t.Context(), s, map[sysctl.Key]string{s.Settings[0].Key: "60", s.Settings[1].Key: "never"})
	wantKind(t, err, host.NotRestored)
	if host.MayHaveChanged(err) {
		t.Errorf("it says that something may be left: %v", err)
	}
	b.unchanged(t, before)
}

// Guards that a read after a write of many keys sees the write, in the running kernel and for the next boot, and none
// of a snapshot from before.
func TestReadOfManySeesTheWriteBeforeIt(t *testing.T) {
	b := newBench(t)
	s := keepAll(t, few...)
	read := func(n int) string {
		t.Helper()
		states, err := b.host.ReadSysctls(t.Context(), s)
		must(t, err)
		return text(states[s.Settings[n].Key].Running) + " and at boot " + text(states[s.Settings[n].Key].Boot)
	}
	if got := read(1); got != "20 and at boot nothing" {
		t.Fatalf("it reads %s before", got)
	}
	_, err := b.host.SetSysctls(t.Context(), s, nil, nil)
	must(t, err)
	if got := read(1); got != "5 and at boot 5" {
		t.Errorf("it reads %s after", got)
	}
	must(t, b.host.UnsetSysctls(t.Context(), s, nil))
	if got := read(1); got != "20 and at boot nothing" {
		t.Errorf("it reads %s after it was taken back", got)
	}
}

// Guards that an import takes over what a file sets, by the file's name or the group's, and refuses what a resource
// cannot hold.
func TestFindSysctls(t *testing.T) {
	b := newBench(t)
	s := keepAll(t, few...)
	s.Name, s.FileName = "router", host.SysctlsFileName("router")
	_, err := b.host.SetSysctls(t.Context(), s, nil, nil)
	must(t, err)
	for _, name := range []string{"router", "90-terraform-router.conf"} {
		found, err := b.host.FindSysctls(t.Context(), name)
		must(t, err)
		if found.Name != "router" || found.FileName != s.FileName || len(found.Settings) != len(few) {
			t.Errorf("%s is %+v", name, found)
		}
	}
	for content, want := range map[string]string{
		"vm.swappiness = 1\nnet.ipv4.conf.*.rp_filter = 1\n": ":2 is a pattern", "-vm.swappiness\n": "excludes a key",
		"vm.swappiness\n": ":1 sets nothing", "# none\n": "sets no key",
	} {
		b := newBench(t)
		b.WriteFile("/etc/sysctl.d/50-site.conf", content)
		_, err := b.host.FindSysctls(t.Context(), "50-site.conf")
		wantKind(t, err, host.NothingToImport)
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%q: %v, not %q", content, err, want)
		}
	}
}
