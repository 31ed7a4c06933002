package fault

import (
	"fmt"
	"testing"
)

// Guards that only a host which does not answer counts as not reached: unreachable = "warn" must not hide a host whose key
// has changed or that refuses.
func TestNotReached(t *testing.T) {
	want := map[Kind]bool{Unreachable: true, Lost: true, Hung: true}
	for kind := Misconfigured; kind <= Locked; kind++ {
		if err := fmt.Errorf("reading it: %w", &Error{Kind: kind}); NotReached(err) != want[kind] {
			t.Errorf("NotReached of %q is %v", (&Error{Kind: kind}).Summary(), !want[kind])
		}
	}
	if NotReached(&Error{Kind: Unreachable, Final: true}) {
		t.Error("a host that can never be reached this way counts as not reached")
	}
}
