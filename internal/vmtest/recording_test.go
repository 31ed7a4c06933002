package vmtest

import (
	"os"
	"strings"
	"testing"
)

func parse(t *testing.T, text string) *Recording {
	t.Helper()
	r, err := ParseTrace(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// printed is a recording, an event a line.
func printed(r *Recording) string {
	var b strings.Builder
	for _, w := range r.All {
		b.WriteString(w.String() + "\n")
	}
	for _, l := range r.Loads {
		b.WriteString(l.String() + "\n")
	}
	return b.String()
}

// Guards that the trace of a boot is read as it was: who wrote what where in which order, and what the kernel refused.
// testdata/trace.txt is from a boot of trixie that TestVMRecording makes, some of its events left out.
func TestParseTraceOfABoot(t *testing.T) {
	text, err := os.ReadFile("testdata/trace.txt")
	if err != nil {
		t.Fatal(err)
	}
	r := parse(t, string(text))
	const want = `   6.482231 swapper/0[1] - /proc/sys/vm/swappiness="10"
  12.366279 systemd[1] - /proc/sys/net/unix/max_dgram_qlen="512"
  12.367942 systemd[1] - /proc/sys/fs/file-max="9223372036854775807"
  12.369850 systemd[1] - /proc/sys/fs/nr_open="2147483640" refused with errno 22
  12.370731 systemd[1] - /proc/sys/fs/nr_open="1073741816"
  38.266804 systemd-sysctl[148] systemd-sysctl.service /proc/sys/kernel/pid_max="4194304"
  38.267862 systemd-sysctl[148] systemd-sysctl.service /proc/sys/vm/swappiness="11"
  38.283490 systemd-sysctl[148] systemd-sysctl.service /proc/sys/vm/dirty_ratio="101" refused with errno 22
  38.364917 systemd-sysctl[148] systemd-sysctl.service /proc/sys/net/ipv4/conf/eth0/rp_filter="2"
  44.746665 systemd-tmpfile[162] systemd-tmpfiles-setup.service /proc/sys/vm/swappiness="12"
  54.888762 sysctl[179] own.service /proc/sys/vm/swappiness="13"
  56.650958 sh[185] own.service /proc/sys/vm/swappiness="14"
   7.426257 busybox[122] - loads virtio_blk
  31.547017 systemd-modules[140] systemd-modules-load.service loads dummy
`
	if got := printed(r); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if last, ok := r.Last("/proc/sys/fs/nr_open"); !ok || last.Value != "1073741816" {
		t.Errorf("the last write to fs.nr_open is %s", last)
	}
	if last, ok := r.Last("/proc/sys/vm/dirty_ratio"); ok {
		t.Errorf("a write that the kernel refused is the last: %s", last)
	}
	if got := r.Writes("/proc/sys/vm"); len(got) > 0 {
		t.Errorf("a directory was written to: %s", got)
	}
}

// Guards the odd texts that an event may have.
func TestParseTrace(t *testing.T) {
	const (
		fork  = "       systemd-1       [000] .N...     1.000000: fork: (wake_up_new_task+0x4/0x2f0) "
		write = "            sh-7       [001] .....     2.000000: sysctl: (proc_sys_write+0x4/0x20) "
		done  = "            sh-7       [001] .....     3.000000: sysctl_done: (vfs_write+0x289/0x440 <- proc_sys_write) "
		load  = "            sh-7       [001] .....     4.000000: module: (do_init_module+0x0/0x230) "
		fails = "            sh-7       [001] .....     5.000000: module_done: (init_module_from_file+0x89/0xe0 <- do_init_module) "
		moved = "            sh-7       [001] d..1.     1.500000: cgroup_attach_task: dst_root=0 dst_id=1 dst_level=2 "
		names = `name0="k" name1="net" name2="sys" name3="/" name4="/" name5="/" name6="/" kernel=(fault) `
	)
	for name, c := range map[string]struct{ text, want string }{
		"nothing": {"# tracer: nop\n#\n", ""},
		"a value of several lines": {
			write + `comm="sh" iter=0 count=6 ` + names + "user=\"a\nb\"c\n\"\n" + done + "error=6\n",
			`   2.000000 sh[7] - /proc/sys/net/k="a\nb\"c"` + "\n",
		},
		"what the buffer has after the value": {
			write + `comm="sh" iter=0 count=2 ` + names + "user=\"1\n\n\nrest\" x=\"\"\n",
			`   2.000000 sh[7] - /proc/sys/net/k="1"` + "\n",
		},
		"an empty value": {
			write + `comm="sh" iter=0 count=0 ` + names + "user=\"rest\"\n", `   2.000000 sh[7] - /proc/sys/net/k=""` + "\n",
		},
		"a buffer that is not there": {
			write + `comm="sh" iter=0 count=2 ` + names + "user=(fault)\n", "   2.000000 sh[7] - /proc/sys/net/k=?\n",
		},
		"a buffer of writev": {
			write + `comm="sh" iter=1 count=2 ` + names + "user=\"x\"\n", "   2.000000 sh[7] - /proc/sys/net/k=?\n",
		},
		"a program's name with blanks and a dash": {
			"        a b-c-7       [001] .....     2.000000: sysctl: (proc_sys_write+0x4/0x20) " +
				`comm="a b-c" iter=0 count=1 ` + names + `user="1"` + "\n",
			`   2.000000 a b-c[7] - /proc/sys/net/k="1"` + "\n",
		},
		"a group below a unit's": {
			fork + `pid=7 cgroup="udev" parent="systemd-udevd.service"` + "\n" + load + `comm="sh" module="m"` + "\n",
			"   4.000000 sh[7] systemd-udevd.service loads m\n",
		},
		"a slice": {
			fork + `pid=7 cgroup="system.slice" parent=""` + "\n" + load + `comm="sh" module="m"` + "\n", "   4.000000 sh[7] - loads m\n",
		},
		"no cgroup yet": {
			fork + `pid=7 cgroup="" parent=(fault)` + "\n" + load + `comm="sh" module="m"` + "\n", "   4.000000 sh[7] - loads m\n",
		},
		"a task that is moved": {
			fork + `pid=7 cgroup="a.service" parent="system.slice"` + "\n" +
				moved + "dst_path=/system.slice/b.service/below pid=7 comm=(sh)\n" + load + `comm="sh" module="m"` + "\n",
			"   4.000000 sh[7] b.service loads m\n",
		},
		"a unit below a unit": {
			fork + `pid=7 cgroup="x.service" parent="user@0.service"` + "\n" + load + `comm="sh" module="m"` + "\n" +
				moved + "dst_path=/user.slice/user@0.service/app.slice/y.service pid=7 comm=(sh)\n" + load + `comm="sh" module="n"` + "\n",
			"   4.000000 sh[7] x.service loads m\n   4.000000 sh[7] y.service loads n\n",
		},
		"a write that is refused after a load": {
			load + `comm="sh" module="m"` + "\n" + write + `comm="sh" iter=0 count=1 ` + names + "user=\"1\"\n" + done + "error=-22\n",
			`   2.000000 sh[7] - /proc/sys/net/k="1" refused with errno 22` + "\n   4.000000 sh[7] - loads m\n",
		},
		"a load that fails after a write": {
			write + `comm="sh" iter=0 count=1 ` + names + "user=\"1\"\n" + done + "error=1\n" + load + `comm="sh" module="m"` + "\n" +
				fails + "error=-19\n",
			`   2.000000 sh[7] - /proc/sys/net/k="1"` + "\n   4.000000 sh[7] - loads m refused with errno 19\n",
		},
		"a PID that is used again": {
			fork + `pid=7 cgroup="a.service" parent="system.slice"` + "\n" + fork + `pid=7 cgroup="" parent=(fault)` + "\n" +
				load + `comm="sh" module="m"` + "\n",
			"   4.000000 sh[7] - loads m\n",
		},
		"a module that fails": {
			load + `comm="sh" module="m"` + "\n" + fails + "error=-19\n", "   4.000000 sh[7] - loads m refused with errno 19\n",
		},
		"events of others": {
			"       systemd-1       [000] .....     1.000000: sched_process_exec: filename=/init pid=1 old_pid=1\n", "",
		},
		"an end without a beginning": {done + "error=-22\n" + fails + "error=-1\n", ""},
	} {
		if got := printed(parse(t, c.text)); got != c.want {
			t.Errorf("%s:\n%swant\n%s", name, got, c.want)
		}
	}
	for name, text := range map[string]string{
		"other arguments": write + "comm=\"sh\"\n",
		"names of nothing": write + `comm="sh" iter=0 count=1 name0="x" name1=(fault) name2="/" name3="/" name4="/" ` +
			`name5="/" name6="/" kernel=(fault) user="1"` + "\n",
		"the root alone": write + `comm="sh" iter=0 count=1 name0="/" name1="/" name2="/" name3="/" name4="/" ` +
			`name5="/" name6="/" kernel=(fault) user="1"` + "\n",
		"a path that is too deep": write + `comm="sh" iter=0 count=1 name0="a" name1="b" name2="c" name3="d" name4="e" ` +
			`name5="f" name6="sys" kernel=(fault) user="1"` + "\n",
	} {
		if r, err := ParseTrace(text); err == nil || !strings.Contains(err.Error(), "the recorder's event") {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}
