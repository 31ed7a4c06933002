package hosttest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	real "github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// Guards that a write to the simulated kernel changes the keys that it changes in a real one, and no others.
func TestTheKernelCouplesKeysAsARealOne(t *testing.T) {
	h := start(t, Options{})
	if out, status := h.Sh("modprobe nf_conntrack"); status != 0 {
		t.Fatal(out)
	}
	values := func() map[string]string {
		h.m.mu.Lock()
		defer h.m.mu.Unlock()
		all := map[string]string{}
		for path, k := range h.m.kernel.keys {
			if k.numeric() && k.path != "kernel/ns_last_pid" {
				all[path] = k.String()
			}
		}
		return all
	}
	coupled := 0
	for _, path := range slices.Sorted(maps.Keys(values())) {
		written, err := real.ParseKey(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(path, "modules_disabled") {
			continue
		}
		before := values()
		h.Sh(fmt.Sprintf("cd /proc/sys\ncase %[1]s in 0) n=1 ;; 1) n=0 ;; *) n=%[1]s0 ;; esac\n"+
			"echo $n >%[2]s || echo 8192 >%[2]s", strings.Fields(before[path])[0], path))
		after := values()
		for other := range after {
			o, err := real.ParseKey(other)
			if err != nil {
				t.Fatal(err)
			}
			if o == written || after[path] == before[path] {
				continue
			}
			effect, ok := real.Follows(written, o)
			w, is := after[path], after[other]
			right := is == before[other]
			switch {
			case !ok || effect == real.Resets:
			case effect == real.Copies, effect == real.Inherits && strings.HasSuffix(other, path[strings.LastIndexByte(path, '/'):]):
				right = is == w
			case effect == real.Zeroes:
				right = is == "0"
			case effect == real.Opposes:
				right = (is == "0") == (w != "0")
			default:
				right = !right
			}
			if ok {
				coupled++
			}
			if !right {
				t.Errorf("%s from %s to %s: %s from %s to %s, and in a real kernel it %q",
					path, before[path], w, other, before[other], is, effect)
			}
		}
	}
	if coupled < 40 {
		t.Errorf("only %d couplings were seen", coupled)
	}
}
