package host

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// runOf is a host of a run in which something was refreshed already, and so many calls have been under way at a time.
func runOf(most int) *Host {
	h := &Host{fleet: NewFleet(nil), name: "web1"}
	h.fleet.run.reads, h.fleet.run.most = 1, most
	return h
}

// Guards when an instance counts as foreign: only if the CLI could have shown it, and did not.
func TestInstanceIsForeignOnlyIfItCouldHaveBeenShown(t *testing.T) {
	for _, tt := range []struct {
		name             string
		most             int
		meanwhile        func(h *Host)
		foreign, certain bool
	}{
		{"nothing else happens", 2, func(*Host) {}, true, true},
		{"it is shown later", 2, func(h *Host) { time.Sleep(quiet / 2); h.Know("other", "") }, false, true},
		{"the CLI makes one call at a time, which waits here", 1, func(*Host) {}, true, false},
		{"it is shown after a call that takes long", 2, func(h *Host) {
			leave := h.enter()
			time.Sleep(10 * quiet)
			h.Know("other", "")
			leave()
		}, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := runOf(tt.most)
				go tt.meanwhile(h)
				leave := h.enter()
				defer leave()
				foreign, certain := h.unknown(t.Context(), []string{"other"})
				if (len(foreign) > 0) != tt.foreign || certain != tt.certain {
					t.Errorf("foreign: %q, certain: %v", foreign, certain)
				}
			})
		})
	}
}

// Guards that nobody waits where there is nothing to wait for: in an apply, and where nothing was refreshed, which may
// be one.
func TestOwnersAreNotWaitedForInAnApply(t *testing.T) {
	h := runOf(1)
	h.fleet.run.reads = 0
	if foreign, certain := h.unknown(t.Context(), []string{"other"}); len(foreign) != 1 || certain {
		t.Errorf("nothing was refreshed: foreign %q, certain %v", foreign, certain)
	}
	h.fleet.Applying()
	if foreign, certain := h.unknown(t.Context(), []string{"other"}); len(foreign) != 0 || !certain {
		t.Errorf("it applies: foreign %q, certain %v", foreign, certain)
	}
}

// Guards that whoever waits for an instance ends with its context.
func TestWaitForAnInstanceEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := runOf(2)
		defer h.enter()()
		defer h.enter()() // of another call, which goes on
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if foreign, certain := h.unknown(ctx, []string{"other"}); len(foreign) != 1 || certain {
			t.Errorf("foreign %q, certain %v", foreign, certain)
		}
	})
}
