package boot

import (
	"maps"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// TestReadOpenRC guards what is concluded from runlevels and settings: which service applies nothing, and whether
// sysctls wait for modules.
func TestReadOpenRC(t *testing.T) {
	boot := []string{"boot/modules", "boot/sysctl", "sysinit/devfs", "default/sshd"}
	off := func(services ...string) map[string]string {
		m := map[string]string{}
		for _, s := range services {
			m[s] = "/etc/runlevels"
		}
		return m
	}
	for _, tt := range []struct {
		name     string
		services []string
		settings map[string]string
		off      map[string]string
		first    bool
	}{
		{"nothing in any runlevel", nil, nil, off("modules", "sysctl"), false},
		{"one level, no order", boot, nil, nil, false},
		{"only for the shutdown", []string{"shutdown/sysctl", "boot/modules"}, nil, off("sysctl"), false},
		{"a runlevel of one's own", []string{"boot/modules", "office/sysctl"}, nil, nil, true},
		{"Debian's names", []string{"sysinit/kmod", "boot/procps"}, nil, nil, true},
		{"modules later", []string{"default/modules", "boot/sysctl"}, nil, nil, false},
		{"double quotes", boot, map[string]string{"sysctl": "# why\nrc_after=\"clock modules\"\n"}, nil, true},
		{"single quotes", boot, map[string]string{"sysctl": "rc_need='modules'"}, nil, true},
		{"no quotes, exported", boot, map[string]string{"sysctl": "export rc_use=modules # why"}, nil, true},
		{"only in the comment", boot, map[string]string{"sysctl": "rc_after=\"clock\" # modules"}, nil, false},
		{"commented out", boot, map[string]string{"sysctl": "#rc_after=\"modules\""}, nil, false},
		{"a longer name", boot, map[string]string{"sysctl": "rc_after=\"modules2\""}, nil, false},
		{"said by the modules", boot, map[string]string{"modules": "rc_before=\"sysctl\""}, nil, true},
		{"for that service, in its own file", boot, map[string]string{"sysctl": "rc_sysctl_after=\"modules\""}, nil, true},
		{"for that service, in rc.conf", boot, map[string]string{"rc.conf": "rc_sysctl_after=\"modules\"\n"}, nil, true},
		{"for every service, in rc.conf", boot, map[string]string{"rc.conf": "rc_after=\"modules\"\n"}, nil, true},
		{"taken back below", boot, map[string]string{"sysctl": "rc_after=\"modules\"\nrc_after=\"clock\"\n"}, nil, false},
		{
			"taken back in rc.conf", boot,
			map[string]string{"sysctl": "rc_after=\"modules\"\n", "rc.conf": "rc_sysctl_after=\"clock\"\n"}, nil, false,
		},
		{
			"modules later, and only after them", []string{"default/modules", "boot/sysctl"},
			map[string]string{"sysctl": "rc_after=\"modules\"\n"}, nil, false,
		},
		{
			"modules later, and needed", []string{"default/modules", "boot/sysctl"},
			map[string]string{"sysctl": "rc_need=\"modules\"\n"}, nil, true,
		},
		{"for another service, in rc.conf", boot, map[string]string{"rc.conf": "rc_procps_after=\"modules\"\n"}, nil, false},
		{
			"a name with a hyphen", []string{"boot/modules-load", "boot/sysctl"},
			map[string]string{"rc.conf": "rc_modules_load_before=\"sysctl\"\n"}, nil, true,
		},
		{"a service that is in no runlevel", boot, map[string]string{"sysctl": "rc_after=\"kmod\""}, nil, false},
		{"the other way round", boot, map[string]string{"sysctl": "rc_before=\"modules\""}, nil, false},
	} {
		var s Snapshot
		s.ReadOpenRC(tt.services, tt.settings)
		if !maps.Equal(s.Off, tt.off) || s.OpenRC.ModulesFirst != tt.first {
			t.Errorf("%s: off %v, modules first %v", tt.name, s.Off, s.OpenRC.ModulesFirst)
		}
	}
}

// TestOpenRCUnreadFiles guards that with OpenRC no value is said to hold if a file that may decide could not be read.
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

// TestOpenRCCoupledKeys guards that no value is said to hold if Alpine's order writes its twin later.
func TestOpenRCCoupledKeys(t *testing.T) {
	k, _ := sysctl.ParseKey("vm.dirty_ratio")
	s := &Snapshot{Init: "openrc", Values: map[string]Reading{k.Path(): {Text: "10"}}}
	s.AddFile(confdir.File{Path: "/etc/sysctl.d/a.conf", Regular: true, Text: "vm.dirty_ratio = 10\n"})
	s.AddFile(confdir.File{Path: "/usr/lib/sysctl.d/00-a.conf", Regular: true, Text: "vm.dirty_bytes = 100000000\n"})
	if o := Predict(s).Key(k, "10"); o.Holds {
		t.Errorf("said to hold, by %s", o.Source)
	}
}
