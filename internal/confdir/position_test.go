package confdir

import "testing"

// TestPosition guards the form in which every message names a line.
func TestPosition(t *testing.T) {
	for want, p := range map[string]Position{
		"":                        {},
		"/proc/cmdline":           {File: "/proc/cmdline"},
		"/etc/sysctl.d/a.conf:12": {File: "/etc/sysctl.d/a.conf", Line: 12},
	} {
		if got := p.String(); got != want {
			t.Errorf("%#v is %q, want %q", p, got, want)
		}
	}
}
