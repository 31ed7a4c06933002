package host

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/errno"
	"github.com/host-provider/terraform-provider-host/internal/shell"
)

// inShell runs a script as a session does, in this shell.
func inShell(t *testing.T, argv []string, s shell.Script) shell.Result {
	t.Helper()
	const nonce = "0123456789abcdef"
	text, err := shell.Encode(nonce, s)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Stdin = bytes.NewBufferString(shell.Prologue(nonce) + text)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	_, out, found := bytes.Cut(out, shell.Ready(nonce))
	if !found {
		t.Fatalf("%v: no ready line in %q", argv, out)
	}
	r, n, err := shell.Decode(nonce, out)
	if err != nil || n != len(out) {
		t.Fatalf("%v: took %d of %d bytes: %v", argv, n, len(out), err)
	}
	return r
}

// shells are the POSIX shells of this machine; dash is Debian's /bin/sh, ash of BusyBox is Alpine's.
func shells(t *testing.T) [][]string {
	t.Helper()
	var found [][]string
	for _, argv := range [][]string{{"dash", "-s"}, {"bash", "--posix", "-s"}, {"busybox", "sh", "-s"}} {
		if _, err := exec.LookPath(argv[0]); err == nil {
			found = append(found, argv)
		}
	}
	if len(found) == 0 {
		found = [][]string{{"/bin/sh", "-s"}}
	}
	return found
}

// Guards that the snapshot script reads the machine the tests run on alike in every shell, and says of each asked file
// whether it is there and can be read.
func TestSnapshotScriptInEveryShell(t *testing.T) {
	dir := t.TempDir()
	value, secret, missing, empty := filepath.Join(
		dir, "it's a value"), filepath.Join(dir, "folder"), filepath.Join(dir, "missing"), filepath.Join(dir, "empty")
	parameter := filepath.Join(dir, "parameters", "p")
	if err := os.WriteFile(value, []byte("4096\t131072\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{empty: 0o400, parameter: 0o644} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(secret, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, argv := range shells(t) {
		s, torn := decode(inShell(
			t, argv,
			shell.Script{
				Name: "snapshot", Text: filesScript + bootScript + valuesScript,
				Args: []string{treePattern([]string{"nf_conntrack"}), value, secret, missing, empty, parameter},
			}))
		want := map[string]boot.Reading{
			value:     {Text: "4096\t131072"},
			secret:    {Unread: "Is a directory"},
			missing:   {Absent: true},
			empty:     {},
			parameter: {Writable: true},
		}
		for path, reading := range want {
			if got := s.Values[path]; got != reading {
				t.Errorf("%v: %s is %+v, not %+v", argv, path, got, reading)
			}
		}
		if s.Kernel == "" || torn {
			t.Errorf("%v: kernel release %q, torn: %v", argv, s.Kernel, torn)
		}
	}
}

// Guards that a snapshot has the tree's lines about all that a load may come to, in every shell: what an alias is for,
// and what soft dependencies of the tree and of modprobe.d name, even as an alias and on a line that goes on.
func TestTreeScriptInEveryShell(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"lib/modules/6.1/modules.dep": "kernel/a.ko:\nkernel/b-b.ko.xz: kernel/a.ko\nkernel/c.ko:\nkernel/d.ko:\n" +
			"kernel/e.ko:\n" +
			"kernel/f.ko:\nkernel/g.ko:\nkernel/h.ko:\n",
		"lib/modules/6.1/modules.alias":   "alias al-b b_b\nalias crypto-c c\nalias other h\n",
		"lib/modules/6.1/modules.softdep": "# a comment\nsoftdep a pre: crypto-c post: d\n",
		"etc/modules-load.d/x.conf":       "al_b\n",
		"etc/modprobe.d/x.conf":           "blacklist h\n softdep d\tpre: \\\n  e\nalias local f\nsoftdep local post: g",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	inDir := strings.NewReplacer("/lib/modules/", dir+"/lib/modules/", "/etc/mod", dir+"/etc/mod")
	for _, argv := range shells(t) {
		s, _ := decode(inShell(t, argv, shell.Script{Text: inDir.Replace(filesScript + bootScript), Args: []string{"x"}}))
		want := map[string][]string{"a": {}, "b_b": {"a"}, "c": {}, "d": {}, "e": {}, "f": {}, "g": {}}
		if len(s.Trees) != 1 || !reflect.DeepEqual(s.Trees[0].Dep, want) {
			t.Errorf("%v: the trees are %v, want the lines %v", argv, s.Trees, want)
		}
	}
}

// Guards the writes in every shell: each value as it is, and of a refused one the program's words, in which the reason
// is found; the writes after it are made.
func TestSetScriptInEveryShell(t *testing.T) {
	for _, argv := range shells(t) {
		dir := t.TempDir()
		text, odd, empty := filepath.Join(dir, "text"), filepath.Join(dir, "odd"), filepath.Join(dir, "empty")
		r := inShell(
			t, argv,
			shell.Script{
				Name: "set", Text: setScript + valuesScript, Args: []string{"", "", text, dir, odd, empty},
				Stdin: "=it's EOF\n=1\n= \\$(x) `y` \xff\t\\\n=\n",
			})
		var words []string
		for _, rec := range r.Records {
			switch rec.Head {
			case "write":
				words = append(words, errno.Reason(rec.Body))
			case "refused":
				words[len(words)-1] += " refused"
			}
		}
		if want := []string{"", "Is a directory refused", "", ""}; !slices.Equal(words, want) {
			t.Errorf("%v: the writes said %q, not %q", argv, words, want)
		}
		for path, want := range map[string]string{text: "it's EOF", odd: " \\$(x) `y` \xff\t\\", empty: ""} {
			if got := values(r)[path]; got != (boot.Reading{Text: want}) {
				t.Errorf("%v: it holds %+v, not %q", argv, got, want)
			}
		}
	}
}

// Guards that a module's name and parameters reach modprobe as they are, in every shell, and that its failure is told.
func TestLoadScriptInEveryShell(t *testing.T) {
	const modprobe = "modprobe() { for a; do printf '<%s>' \"$a\"; done; [ \"$1\" != no ]; }\n"
	for _, argv := range shells(t) {
		r := inShell(
			t, argv, shell.Script{Name: "load", Text: modprobe + loadScript, Stdin: "nf_conntrack\na=it's $(x) \\\nb= 1\t2 \n"})
		_, failed := r.Get("failed")
		if got, _ := r.Get("modprobe"); got != "<nf_conntrack><a=it's $(x) \\><b= 1\t2 >" || failed {
			t.Errorf("%v: modprobe got %s, failed: %v", argv, got, failed)
		}
		if _, failed := inShell(
			t, argv, shell.Script{Name: "load", Text: modprobe + loadScript, Stdin: "no\n"}).Get("failed"); !failed {
			t.Errorf("%v: a failure is not told", argv)
		}
	}
}

// Guards the reading of what the scripts print, whatever a host's files are called and hold.
func TestDecode(t *testing.T) {
	rec := func(words ...string) shell.Result {
		var r shell.Result
		for i := 0; i < len(words); i += 2 {
			r.Records = append(r.Records, shell.Record{Head: words[i], Body: words[i+1]})
		}
		return r
	}
	for _, test := range []struct {
		name string
		in   shell.Result
		want func(*boot.Snapshot) any
		is   any
	}{
		{"file with a newline in its name", rec(
			"file", "/etc/sysctl.d/a\nb.conf", "regular", "", "read", "/etc/sysctl.d/a\nb.conf", "text",
			"x"), func(s *boot.Snapshot) any { return s.Sysctl },
			[]confdir.File{{Path: "/etc/sysctl.d/a\nb.conf", Text: "x", Regular: true}}},
		{"link to /dev/null", rec(
			"file", "/run/modprobe.d/a.conf", "link", "/dev/null\n"), func(s *boot.Snapshot) any { return s.Modprobe },
			[]confdir.File{{Path: "/run/modprobe.d/a.conf", Target: "/dev/null"}}},
		{"file that cannot be read", rec("file", "/etc/modules-load.d/a.conf", "regular", "", "read",
			"/etc/modules-load.d/a.conf", "text",
			"cat: /etc/modules-load.d/a.conf: Input/output error\n",
			"unread", ""),
			func(s *boot.Snapshot) any { return s.ModulesLoad },
			[]confdir.File{{Path: "/etc/modules-load.d/a.conf", Unread: "Input/output error", Regular: true}}},
		{"file whose read fails without a word", rec(
			"file", "/etc/sysctl.d/a.conf", "regular", "", "read", "/etc/sysctl.d/a.conf", "text", "", "unread",
			""), func(s *boot.Snapshot) any { return s.Sysctl[0].Unread != "" }, true},
		{"value whose read fails without a word", rec("path", "/proc/sys/a", "value", "", "unread-value", ""),
			func(s *boot.Snapshot) any { return s.Values["/proc/sys/a"].Unread != "" }, true},
		{"sysctl.conf is of no family", rec(
			"file", "/etc/sysctl.conf", "regular", "", "sizes", "1 x\n", "texts",
			"x"), func(s *boot.Snapshot) any { return s.SysctlConf.Text }, "x"},
		{"modules", rec("absent", "", "sysmodules", "tcp_cubic\nnf_conntrack\n",
			"proc", "/proc/sys/kernel/osrelease:6.1\n/proc/modules:nf_conntrack 200704 1 xt_conntrack, Live 0x0\n", "trees", "",
			"tree", "6.1", "lines", "kernel/net/ipv6/ipv6.ko\n"),
			func(s *boot.Snapshot) any {
				return []bool{
					s.IsBuiltin("nf-conntrack"), s.Has("nf-conntrack"), s.IsBuiltin("tcp_cubic"), s.IsBuiltin("ipv6"),
					s.Has("overlay"),
				}
			}, []bool{false, true, true, true, false}},
		{"value of several lines beside one with a colon",
			rec("values",
				"/proc/sys/a:1\n/proc/sys/b:x: y\n/proc/sys/b:\n/proc/sys/b:z\n"), func(s *boot.Snapshot) any { return s.Values },
			map[string]boot.Reading{"/proc/sys/a": {Text: "1"}, "/proc/sys/b": {Text: "x: y\n\nz"}}},
		{"value that was asked for and is named by a file too", rec("values", "/proc/sys/a:1\n", "values", "/proc/sys/a:1\n"),
			func(s *boot.Snapshot) any { return s.Values }, map[string]boot.Reading{"/proc/sys/a": {Text: "1"}}},
		{"parameter and its mode", rec("values", "/sys/module/a/parameters/b:1\n", "modes",
			"-rw------- 1 root root 4096 Jan 1 00:00 /sys/module/a/parameters/b\n"),
			func(s *boot.Snapshot) any { return s.Values }, map[string]boot.Reading{"/sys/module/a/parameters/b": {
				Text: "1", Writable: true,
			}}},
		{"value that grep cannot read, beside one that is not there",
			rec("absent", "/proc/sys/b\n", "unread-values",
				"grep: /proc/sys/a: Input/output error\ngrep: /proc/sys/b: No such file or directory\n"),
			func(s *boot.Snapshot) any { return s.Values }, map[string]boot.Reading{
				"/proc/sys/a": {Unread: "Input/output error"}, "/proc/sys/b": {Absent: true},
			}},
		{"value that grep hides and cat cannot read", rec(
			"path", "/proc/sys/a", "value", "cat: read error: Input/output error\n", "unread-value", ""),
			func(s *boot.Snapshot) any { return s.Values }, map[string]boot.Reading{"/proc/sys/a": {Unread: "Input/output " +
				"error"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, torn := decode(test.in)
			if torn {
				t.Error("the texts are not as long as was said")
			}
			if got := test.want(s); !reflect.DeepEqual(got, test.is) {
				t.Errorf("got %+v, want %+v", got, test.is)
			}
		})
	}
}

// Guards that a host whose systemd does not load modules before it sets sysctls is not said to come back. (semantics
// 2.25)
func TestUnitsInOrder(t *testing.T) {
	modules := Unit{Name: "systemd-modules-load.service", LoadState: "loaded"}
	for _, test := range []struct {
		name    string
		sysctls Unit
		want    bool
	}{
		{
			"after the modules",
			Unit{Name: "systemd-sysctl.service", LoadState: "loaded", After: []string{"system.slice", modules.Name}}, true,
		},
		{"in no order", Unit{Name: "systemd-sysctl.service", LoadState: "loaded", After: []string{"system.slice"}}, false},
		{"masked", Unit{Name: "systemd-sysctl.service", LoadState: "masked", After: []string{modules.Name}}, false},
		{"not there", Unit{Name: "other.service", LoadState: "loaded", After: []string{modules.Name}}, false},
	} {
		got := outOfOrder([]Unit{modules, test.sysctls}, modules.Name, "systemd-sysctl.service")
		if (got == nil) != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// Guards that the mark which a change expects of a host is the one that the host prints, in every shell.
func TestMarkInEveryShell(t *testing.T) {
	for _, argv := range shells(t) {
		h := &Host{}
		snap, torn := decode(inShell(t, argv, h.snapshotScript(nil, false)))
		want, ok := markOf(snap)
		if torn || !ok {
			t.Fatalf("%v: the snapshot is torn, or has no mark", argv)
		}
		r := inShell(t, argv, shell.Script{Text: markScript})
		if got := strings.TrimSpace(r.Records[0].Body); got != want {
			t.Errorf("%v: it prints %q, and %q is expected", argv, got, want)
		}
	}
}

// Guards that every difference between two hosts' files is one between their marks.
func TestMarksDiffer(t *testing.T) {
	file := func(path, text string) confdir.File { return confdir.File{Path: path, Text: text, Regular: true} }
	seen := map[string]int{}
	for i, files := range [][]confdir.File{
		{},
		{file("/etc/sysctl.d/a.conf", "x\n")},
		{file("/etc/sysctl.d/a.conf", "x")},
		{file("/etc/sysctl.d/b.conf", "x\n")},
		{file("/run/sysctl.d/a.conf", "x\n")},
		{file("/etc/modprobe.d/a.conf", "x\n")},
		{file("/etc/sysctl.conf", "x\n")},
		{{Path: "/etc/sysctl.d/a.conf", Text: "x\n", Regular: true, Target: "../a"}},
		{{Path: "/etc/sysctl.d/a.conf", Target: "/dev/null"}},
		{{Path: "/etc/sysctl.d/a.conf"}},
		{file("/etc/sysctl.d/a.conf", ""), file("/etc/sysctl.d/b.conf", "x\n")},
		{file("/etc/sysctl.d/a.conf", "x\n"), file("/etc/sysctl.d/b.conf", "")},
	} {
		snap := &boot.Snapshot{}
		for _, f := range files {
			snap.AddFile(f)
		}
		m, ok := markOf(snap)
		if other, twice := seen[m]; twice || !ok {
			t.Errorf("case %d has the mark of case %d", i, other)
		}
		seen[m] = i
	}
	unread := &boot.Snapshot{}
	unread.AddFile(confdir.File{Path: "/etc/sysctl.d/a.conf", Unread: "Permission denied"})
	if _, ok := markOf(unread); ok {
		t.Error("a host with a file that could not be read has a mark")
	}
}

// Guards which versions of systemd and kmod the names of their libraries tell.
func TestVersionsByLibraries(t *testing.T) {
	for _, tt := range []struct {
		libraries     string
		systemd, kmod int
	}{
		{"libsystemd-shared-252.so\nlibkmod.so.2.4.0\n", 252, 30},           // Debian 12
		{"libsystemd-shared-257.so\nlibkmod.so.2.5.1\n", 257, 34},           // Debian 13
		{"libsystemd-shared-262.so\nlibkmod.so.2.5.1\n", 262, 34},           // Debian sid
		{"libsystemd-shared-257.10-1.fc42.so\nlibkmod.so.2.5.0\n", 257, 33}, // as Fedora names it
		{"libkmod.so.2.6.0\n", 0, 34},
		{"libsystemd-shared-x.so\nlibkmod.so.2\n", 0, 0},
		{"", 0, 0},
	} {
		if systemd, kmod := versions(tt.libraries); systemd != tt.systemd || kmod != tt.kmod {
			t.Errorf("%q: %d and %d", tt.libraries, systemd, kmod)
		}
	}
}

// Guards that a login with a mount namespace of its own is no other boot, and that a container which starts again is.
func TestBootIsTold(t *testing.T) {
	boots := map[string]string{}
	for name, machine := range map[string]string{
		"host": "id-1 mnt:[1] net:[7]", "login": "id-1 mnt:[2] net:[7]",
		"boot": "id-2 mnt:[1] net:[7]", "container": "id-1 mnt:[3] net:[8]",
	} {
		boots[name] = bootOf(&boot.Snapshot{Machine: machine})
	}
	if boots["login"] != boots["host"] || boots["boot"] == boots["host"] || boots["container"] == boots["host"] {
		t.Errorf("%q", boots)
	}
}
