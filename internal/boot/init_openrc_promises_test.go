package boot

import (
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// TestOpenRCUnreadFiles guards that on OpenRC a file that could not be read and may have the last word leaves no promise.
func TestOpenRCUnreadFiles(t *testing.T) {
	k, _ := sysctl.ParseKey("vm.swappiness")
	for _, path := range []string{"/etc/sysctl.conf", "/usr/lib/sysctl.d/00-a.conf"} {
		s := &Snapshot{Init: "openrc", Values: map[string]Reading{k.Path(): {Text: "1"}}}
		s.AddFile(confdir.File{Path: "/etc/sysctl.d/a.conf", Regular: true, Text: "vm.swappiness = 1\n"})
		s.AddFile(confdir.File{Path: path, Regular: true, Unread: "Permission denied"})
		if o := Predict(s).Key(k, "1"); o.Holds {
			t.Errorf("%s unread: said to hold, by %s", path, o.Source)
		}
	}
}

// TestOpenRCCoupledKeys guards that a twin that Alpine's order writes later leaves no promise.
func TestOpenRCCoupledKeys(t *testing.T) {
	k, _ := sysctl.ParseKey("vm.dirty_ratio")
	s := &Snapshot{Init: "openrc", Values: map[string]Reading{k.Path(): {Text: "10"}}}
	s.AddFile(confdir.File{Path: "/etc/sysctl.d/a.conf", Regular: true, Text: "vm.dirty_ratio = 10\n"})
	s.AddFile(confdir.File{Path: "/usr/lib/sysctl.d/00-a.conf", Regular: true, Text: "vm.dirty_bytes = 100000000\n"})
	if o := Predict(s).Key(k, "10"); o.Holds {
		t.Errorf("said to hold, by %s", o.Source)
	}
}
