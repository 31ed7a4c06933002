//go:build vm

package vmtest

import (
	"cmp"
	"slices"
	"testing"
)

// Guards that each writer sets its key in a boot, and that the recording names its unit: a test of the last writer would
// else compare nothing.
func TestVMWriters(t *testing.T) {
	keys := []string{
		"vm/swappiness", "vm/dirty_ratio", "vm/laptop_mode", "vm/vfs_cache_pressure", "vm/overcommit_ratio", "vm/page-cluster",
		"vm/stat_interval", "kernel/panic", "net/core/somaxconn", "net/ipv4/tcp_fin_timeout",
	}
	v := start(t, Options{Suite: Trixie, Record: true})
	for i, w := range Writers {
		if err := w.Install(v, keys[i], "7"); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	wrote := func(r *Recording, i int) bool {
		w := Writers[i]
		return slices.ContainsFunc(r.Writes("/proc/sys/"+cmp.Or(w.Key, keys[i])), func(got Write) bool {
			return got.Unit == w.Unit && got.Value == cmp.Or(w.Value, "7") && got.Errno == 0
		})
	}
	r, err := v.RecordingWhen(t.Context(), func(r *Recording) bool {
		for i := range Writers {
			if !wrote(r, i) {
				return false
			}
		}
		return true
	})
	if err == nil {
		return
	}
	t.Error(err)
	for i, w := range Writers {
		if r != nil && !wrote(r, i) {
			t.Errorf("%s has not set %s: %s", w.Name, cmp.Or(w.Key, keys[i]), r.All)
		}
	}
}
