package kmod

import (
	"slices"
	"testing"
)

// TestOwnersList guards the modules that hosts are asked about: one that is left out would be neither found nor missed.
func TestOwnersList(t *testing.T) {
	modules := Owners()
	for _, m := range []string{"nf_conntrack", "br_netfilter", "mpls_router"} {
		if !slices.Contains(modules, m) {
			t.Errorf("Owners lacks %s: %q", m, modules)
		}
	}
	for _, m := range modules {
		if _, err := ParseName(m); err != nil || m != Canonical(m) {
			t.Errorf("Owners has %q: %v", m, err)
		}
	}
}
