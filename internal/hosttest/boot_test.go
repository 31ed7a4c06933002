package hosttest

import (
	"strings"
	"testing"
)

// Guards what the next boot makes of the files of the three families, each line observed with systemd 252. (semantics 2.1 to 2.22, 2.26, 4.1 to 4.18)
func TestBoot(t *testing.T) {
	type files map[string]string
	const (
		swap  = "vm.swappiness = "
		key   = "/proc/sys/vm/swappiness"
		eth   = "/proc/sys/net/ipv4/conf/eth0/rp_filter"
		all   = "/proc/sys/net/ipv4/conf/all/rp_filter"
		vlan  = "/proc/sys/net/ipv4/conf/eth0.100/forwarding"
		etcD  = "/etc/sysctl.d/"
		usrD  = "/usr/lib/sysctl.d/"
		dummy = "/proc/modules"
	)
	for _, c := range []struct {
		name    string
		files   files
		before  string // run before the reboot
		read    string
		want    string // all of it, or a part of /proc/modules; "!" before it: not in it
		journal string
		failed  string
	}{
		{name: "files sort by base name across directories", files: files{etcD + "10-a.conf": swap + "11", usrD + "20-b.conf": swap + "22"}, read: key, want: "22"},
		{name: "/etc masks /usr/lib", files: files{etcD + "10-a.conf": swap + "11", usrD + "20-b.conf": swap + "22", etcD + "20-b.conf": ""}, read: key, want: "11"},
		{name: "a link to /dev/null masks", files: files{usrD + "20-b.conf": swap + "22"}, before: "ln -s /dev/null /etc/sysctl.d/20-b.conf", read: key, want: "60"},
		{name: "/usr/local/lib beats /usr/lib", files: files{"/usr/local/lib/sysctl.d/x.conf": swap + "1", usrD + "x.conf": swap + "2"}, read: key, want: "1"},
		{name: "/run is empty after a boot", before: "echo vm.swappiness=5 >/run/sysctl.d/zz.conf", read: key, want: "60"},
		{name: "without .conf a file is ignored", files: files{etcD + "99-z": swap + "7"}, read: key, want: "60"},
		{name: "order is strcmp", files: files{etcD + "100-a.conf": swap + "1", etcD + "9-a.conf": swap + "2", etcD + "99-z.conf": swap + "3", etcD + "Z.conf": swap + "4",
			etcD + "_u.conf": swap + "5", etcD + "a.conf": swap + "6"}, read: key, want: "6"},
		{name: "dots", files: files{etcD + "a.conf": "net.ipv4.conf.eth0/100.forwarding = 1"}, read: vlan, want: "1"},
		{name: "slashes", files: files{etcD + "a.conf": "net/ipv4/conf/eth0.100/forwarding = 1"}, read: vlan, want: "1"},
		{name: "a dot too many", files: files{etcD + "a.conf": "net.ipv4.conf.eth0.100.forwarding = 1"}, read: vlan, want: "0",
			journal: "Couldn't write '1' to 'net/ipv4/conf/eth0/100/forwarding', ignoring: No such file or directory"},
		{name: "both spellings are one key", files: files{etcD + "a.conf": "vm.swappiness=1\nvm/swappiness=2"}, read: key, want: "2"},
		{name: "explicit beats a later glob", files: files{etcD + "a.conf": "net.ipv4.conf.eth0.rp_filter=1", etcD + "b.conf": "net.ipv4.conf.*.rp_filter=2"}, read: eth, want: "1"},
		{name: "a glob", files: files{etcD + "b.conf": "net.ipv4.conf.*.rp_filter=2"}, read: eth, want: "2"},
		{name: "a key without value is kept out of globs", files: files{etcD + "a.conf": "net.ipv4.conf.*.rp_filter=2\n-net.ipv4.conf.all.rp_filter"}, read: all, want: "0"},
		{name: "-k after k=7 unsets it", files: files{etcD + "10.conf": swap + "7", etcD + "20.conf": "-vm.swappiness"}, read: key, want: "60"},
		{name: "a key moves to the place of its last value", files: files{etcD + "10.conf": "vm.dirty_bytes=8192\nvm.dirty_ratio=5", etcD + "20.conf": "vm.dirty_bytes=16384"},
			read: "/proc/sys/vm/dirty_ratio", want: "0"},
		{name: "EINVAL fails the unit, the rest is applied", files: files{etcD + "a.conf": "vm.overcommit_memory=99\nvm.swappiness=3"}, read: key, want: "3",
			journal: "Couldn't write '99' to 'vm/overcommit_memory': Invalid argument", failed: "systemd-sysctl.service"},
		{name: "a leading - forgives", files: files{etcD + "a.conf": "-vm.overcommit_memory=99\nvm.swappiness=3"}, read: key, want: "3"},
		{name: "no assignment fails the unit, the rest is applied", files: files{etcD + "a.conf": "not a line\nvm.swappiness=3"}, read: key, want: "3",
			journal: "/etc/sysctl.d/a.conf:1: Line is not an assignment, ignoring: not a line", failed: "systemd-sysctl.service"},
		{name: "a read-only key is passed over in silence", files: files{etcD + "a.conf": "kernel.osrelease=1"}, read: "/proc/sys/kernel/osrelease", want: "6.1.0-56-amd64"},
		{name: "ENOENT of an existing key", files: files{etcD + "a.conf": "net.ipv4.tcp_congestion_control=nosuch"}, read: "/proc/sys/net/ipv4/tcp_congestion_control", want: "cubic",
			journal: "Couldn't write 'nosuch' to 'net/ipv4/tcp_congestion_control', ignoring: No such file or directory"},
		{name: "a comment behind a number", files: files{etcD + "a.conf": swap + "19 # note"}, read: key, want: "19"},
		{name: "a comment behind a string", files: files{etcD + "a.conf": "kernel.domainname = x # note"}, read: "/proc/sys/kernel/domainname", want: "x # note"},
		{name: "CRLF and comments", files: files{etcD + "a.conf": "# c\r\n; c\r\n\tvm.swappiness\t=\t4 \r\n"}, read: key, want: "4"},
		{name: "/etc/sysctl.conf is read at 99-sysctl.conf", files: files{"/etc/sysctl.conf": swap + "55", etcD + "99-h.conf": swap + "56"}, read: key, want: "55"},
		{name: "/etc/sysctl.conf without its link is not read", files: files{"/etc/sysctl.conf": swap + "55"}, before: "rm /etc/sysctl.d/99-sysctl.conf", read: key, want: "60"},
		{name: "the command line comes first", files: files{"/proc/cmdline": "ro sysctl.vm.swappiness=9 sysctl.vm.laptop_mode=2", etcD + "a.conf": swap + "8"}, read: key, want: "8"},
		{name: "the command line alone", files: files{"/proc/cmdline": "ro sysctl.vm.swappiness=9"}, read: key, want: "9"},
		{name: "Debian's own files", read: "/proc/sys/kernel/pid_max", want: "4194304"},
		{name: "memory state is lost", before: "echo 5 >/proc/sys/vm/swappiness; modprobe dummy", read: key, want: "60"},

		{name: "module of the list", files: files{"/etc/modules-load.d/a.conf": "# c\n; c\n nf-conntrack \n"}, read: dummy, want: "nf_conntrack ", journal: "Inserted module 'nf_conntrack'"},
		{name: "module of /etc/modules", files: files{"/etc/modules": "tun\n"}, read: dummy, want: "tun ", journal: "Inserted module 'tun'"},
		{name: "deny-listed", files: files{"/etc/modules-load.d/a.conf": "dummy\n", "/etc/modprobe.d/b.conf": "blacklist dummy\n"}, read: dummy, want: "!dummy",
			journal: "Module 'dummy' is deny-listed"},
		{name: "deny-listed on the command line", files: files{"/etc/modules-load.d/a.conf": "dummy\n", "/proc/cmdline": "ro modprobe.blacklist=ifb,dummy"}, read: dummy, want: "!dummy",
			journal: "Module 'dummy' is deny-listed"},
		{name: "deny-listed by the kernel", files: files{"/etc/modules-load.d/a.conf": "dummy\n", "/proc/cmdline": "ro module_blacklist=dummy"}, read: dummy, want: "!dummy",
			journal: "Module 'dummy' is deny-listed (by kernel)"},
		{name: "install line that fails", files: files{"/etc/modules-load.d/a.conf": "ifb\ntun\n", "/etc/modprobe.d/b.conf": "install ifb /bin/false\n"}, read: dummy, want: "tun ",
			journal: "Error running install command '/bin/false' for module ifb: retcode 1\nFailed to insert module 'ifb': Invalid argument\nInserted module 'tun'",
			failed:  "systemd-modules-load.service"},
		{name: "install line that does nothing", files: files{"/etc/modules-load.d/a.conf": "ifb\n", "/etc/modprobe.d/b.conf": "install ifb /bin/true\n"}, read: dummy, want: "!ifb",
			journal: "Inserted module 'ifb'"},
		{name: "built in", files: files{"/etc/modules-load.d/a.conf": "ipv6\n"}, read: dummy, want: "!ipv6", journal: "Module 'ipv6' is built in"},
		{name: "alias", files: files{"/etc/modules-load.d/a.conf": "net-pf-2-proto-132\n"}, read: dummy, want: "sctp ", journal: "Inserted module 'sctp'"},
		{name: "parameters are part of the name", files: files{"/etc/modules-load.d/a.conf": "sctp parm=1\ntun # c\n"}, read: dummy, want: "!sctp",
			journal: "Failed to find module 'sctp parm=1'\nFailed to find module 'tun # c'"},
		{name: "unknown", files: files{"/etc/modules-load.d/a.conf": "nosuch\n"}, read: dummy, want: "!nosuch", journal: "Failed to find module 'nosuch'"},
		{name: "modules_load on the command line", files: files{"/proc/cmdline": "ro modules_load=dummy,tun"}, read: dummy, want: "dummy ",
			journal: "Inserted module 'dummy'\nInserted module 'tun'"},
		{name: "options and the list", files: files{"/etc/modules-load.d/a.conf": "nf_conntrack\n", "/etc/modprobe.d/b.conf": "options nf_conntrack hashsize=2000\n"},
			read: "/sys/module/nf_conntrack/parameters/hashsize", want: "2048", journal: "Inserted module 'nf_conntrack'"},
		{name: "/etc masks a list of /usr/lib", files: files{"/etc/modules-load.d/q.conf": "", "/usr/lib/modules-load.d/q.conf": "tun\n"}, read: dummy, want: "!tun"},
		{name: "/etc masks modprobe.d of /usr/lib", files: files{"/etc/modprobe.d/q.conf": "", "/usr/lib/modprobe.d/q.conf": "blacklist tun\n",
			"/etc/modules-load.d/a.conf": "tun"}, read: dummy, want: "tun ", journal: "Inserted module 'tun'"},
		{name: "kernel upgraded, not rebooted into", files: files{"/etc/modules-load.d/a.conf": "tun\n"}, before: "rm -r /usr/lib/modules/6.1.0-56-amd64", read: dummy, want: "!tun",
			journal: "Failed to find module 'tun'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := start(t, Options{Interfaces: []string{"eth0", "eth0.100"}})
			for path, text := range c.files {
				h.WriteFile(path, text)
			}
			if out, status := h.Sh(c.before); status != 0 {
				t.Fatalf("%s: %s", c.before, out)
			}
			h.Reboot()
			got := strings.TrimSuffix(h.mustRead(t, c.read), "\n")
			not, isNot := strings.CutPrefix(c.want, "!")
			switch {
			case isNot && strings.Contains(got, not), !isNot && c.read == dummy && !strings.Contains(got, c.want), c.read != dummy && got != c.want:
				t.Errorf("%s reads %q; want %q", c.read, got, c.want)
			}
			if got := strings.Join(h.Journal(), "\n"); got != c.journal {
				t.Errorf("journal %q; want %q", got, c.journal)
			}
			if got := strings.Join(h.FailedUnits(), " "); got != c.failed {
				t.Errorf("failed units %q; want %q", got, c.failed)
			}
		})
	}
}

// Guards the condition of systemd-sysctl's unit: in a container whose /proc/sys is read-only it does not run, and nobody may write a key. (semantics 2.17, 2.25)
func TestReadOnlyProcSys(t *testing.T) {
	h := start(t, Options{ReadOnlyProcSys: true, Files: map[string]string{"/etc/sysctl.d/a.conf": "vm.swappiness=5\n"}})
	out, _ := h.Sh("cat /proc/sys/vm/swappiness; echo 5 >/proc/sys/vm/swappiness; [ -w /proc/sys/vm/swappiness ] || echo no")
	if want := "60\nsh: 1: cannot create /proc/sys/vm/swappiness: Read-only file system\nno\n"; out != want || len(h.Journal()) > 0 {
		t.Errorf("got %q, journal %q; want %q and none", out, h.Journal(), want)
	}
}

// Guards what a power cut leaves: a file that was replaced without fsync may be empty, one that was synced and renamed without a sync is the old
// one, and only a sync after the rename keeps the new one; a reboot keeps all of it.
func TestPowerCut(t *testing.T) {
	for _, c := range []struct{ name, script, want string }{
		{"never synced", "echo new >/etc/x", "old\n"},
		{"new, never synced", "echo new >/etc/new; cat /etc/x", "old\n"},
		{"synced before the rename", "echo new >/etc/.tmp; sync /etc/.tmp; mv /etc/.tmp /etc/x", "old\n"},
		{"synced after the rename", "echo new >/etc/.tmp; mv /etc/.tmp /etc/x; sync", "new\n"},
		{"file synced, then its directory", "echo new >/etc/.tmp; sync /etc/.tmp; mv /etc/.tmp /etc/x; sync /etc", "new\n"},
		{"directory synced, its file not", "echo new >/etc/.tmp; mv /etc/.tmp /etc/x; sync /etc", ""},
		{"removed, not synced", "rm /etc/x", "old\n"},
		{"removed and synced", "rm /etc/x; sync /etc", "(none)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := start(t, Options{Files: map[string]string{"/etc/x": "old\n"}})
			h.Sh(c.script)
			h.PowerCut()
			got, ok := h.ReadFile("/etc/x")
			if !ok {
				got = "(none)"
			}
			if got != c.want {
				t.Errorf("after a power cut %q; want %q", got, c.want)
			}
			if _, ok := h.ReadFile("/etc/new"); ok {
				t.Error("a file that was never synced is there after a power cut")
			}
			h.Sh("echo newer >/etc/x; echo 1 >/run/x")
			h.Reboot()
			if got := h.mustRead(t, "/etc/x"); got != "newer\n" {
				t.Errorf("after a reboot %q; want newer", got)
			}
			if h.List("/run/x") != nil || len(h.List("/run")) != 4 {
				t.Errorf("/run holds %q after a boot", h.List("/run"))
			}
		})
	}
}
