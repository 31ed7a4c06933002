package host

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/confdir"
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

// Guards that the snapshot script reads the machine the tests run on alike in every shell, and says of each asked file whether it is there and can be read.
func TestSnapshotScriptInEveryShell(t *testing.T) {
	dir := t.TempDir()
	value, secret, missing := filepath.Join(dir, "it's a value"), filepath.Join(dir, "folder"), filepath.Join(dir, "missing")
	if err := os.WriteFile(value, []byte("4096\t131072\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(secret, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, argv := range shells(t) {
		s := decode(inShell(t, argv, shell.Script{Name: "snapshot", Text: filesScript + bootScript + valuesScript, Args: []string{treePattern([]string{"nf_conntrack"}), value, secret, missing}}))
		want := map[string]boot.Reading{
			value:   {Text: "4096\t131072"},
			secret:  {Unread: "Is a directory", Writable: true},
			missing: {Absent: true},
		}
		for path, reading := range want {
			if got := s.Values[path]; got != reading {
				t.Errorf("%v: %s is %+v, not %+v", argv, path, got, reading)
			}
		}
		if s.Kernel == "" {
			t.Errorf("%v: no kernel release", argv)
		}
	}
}

// Guards the refusal of a write in every shell: the program's words, in which the reason is found, and what the file holds then.
func TestSetScriptInEveryShell(t *testing.T) {
	dir := t.TempDir()
	for _, argv := range shells(t) {
		path := filepath.Join(dir, "value")
		r := inShell(t, argv, shell.Script{Name: "set", Text: setScript, Args: []string{path}, Stdin: "it's EOF\n"})
		if got, _ := r.Get("value"); got != "it's EOF\n" {
			t.Errorf("%v: it holds %q", argv, got)
		}
		if _, refused := r.Get("refused"); refused {
			t.Errorf("%v: refused", argv)
		}
		r = inShell(t, argv, shell.Script{Name: "set", Text: setScript, Args: []string{dir}, Stdin: "1\n"})
		words, _ := r.Get("write")
		if _, refused := r.Get("refused"); !refused || reason(words) != "Is a directory" {
			t.Errorf("%v: not refused, or for another reason: %q", argv, words)
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
		{"file with a newline in its name", rec("file", "/etc/sysctl.d/a\nb.conf", "text", "x"), func(s *boot.Snapshot) any { return s.Sysctl },
			[]confdir.File{{Path: "/etc/sysctl.d/a\nb.conf", Text: "x", Regular: true}}},
		{"link to /dev/null", rec("file", "/run/modprobe.d/a.conf", "link", "/dev/null\n"), func(s *boot.Snapshot) any { return s.Modprobe },
			[]confdir.File{{Path: "/run/modprobe.d/a.conf", Target: "/dev/null"}}},
		{"file that cannot be read", rec("file", "/etc/modules-load.d/a.conf", "text", "cat: /etc/modules-load.d/a.conf: Input/output error\n", "unread", ""),
			func(s *boot.Snapshot) any { return s.ModulesLoad },
			[]confdir.File{{Path: "/etc/modules-load.d/a.conf", Unread: "Input/output error", Regular: true}}},
		{"sysctl.conf is of no family", rec("file", "/etc/sysctl.conf", "text", "x"), func(s *boot.Snapshot) any { return s.SysctlConf.Text }, "x"},
		{"modules", rec("absent", "", "modules", "nf_conntrack 200704 1 xt_conntrack, Live 0x0\n", "sysmodules", "tcp_cubic\nnf_conntrack\n", "kernel", "6.1\n", "trees", "",
			"tree", "6.1", "dep", "", "alias", "", "softdep", "", "builtin", "kernel/net/ipv6/ipv6.ko\n"),
			func(s *boot.Snapshot) any {
				return []bool{s.IsBuiltin("nf-conntrack"), s.Has("nf-conntrack"), s.IsBuiltin("tcp_cubic"), s.IsBuiltin("ipv6"), s.Has("overlay")}
			}, []bool{false, true, true, true, false}},
		{"value of several lines beside one with a colon",
			rec("values", "/proc/sys/a:1\n/proc/sys/b:x: y\n/proc/sys/b:\n/proc/sys/b:z\n"), func(s *boot.Snapshot) any { return s.Values },
			map[string]boot.Reading{"/proc/sys/a": {Text: "1"}, "/proc/sys/b": {Text: "x: y\n\nz"}}},
		{"value that was asked for and is named by a file too", rec("path", "/proc/sys/a", "value", "1\n", "mode", "-rw-r--r-- 1 root", "values", "/proc/sys/a:1\n"),
			func(s *boot.Snapshot) any { return s.Values }, map[string]boot.Reading{"/proc/sys/a": {Text: "1", Writable: true}}},
		{"value that cannot be read", rec("path", "/proc/sys/a", "value", "cat: read error: Input/output error\n", "unread-value", "", "mode", "-rw------- 1 root"),
			func(s *boot.Snapshot) any { return s.Values }, map[string]boot.Reading{"/proc/sys/a": {Unread: "Input/output error", Writable: true}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.want(decode(test.in)); !reflect.DeepEqual(got, test.is) {
				t.Errorf("got %+v, want %+v", got, test.is)
			}
		})
	}
}

// Guards that a host whose systemd does not load modules before it sets sysctls is not said to come back.
func TestUnitsInOrder(t *testing.T) {
	modules := Unit{Name: "systemd-modules-load.service", LoadState: "loaded"}
	for _, test := range []struct {
		name    string
		sysctls Unit
		want    bool
	}{
		{"after the modules", Unit{Name: "systemd-sysctl.service", LoadState: "loaded", After: []string{"system.slice", modules.Name}}, true},
		{"in no order", Unit{Name: "systemd-sysctl.service", LoadState: "loaded", After: []string{"system.slice"}}, false},
		{"masked", Unit{Name: "systemd-sysctl.service", LoadState: "masked", After: []string{modules.Name}}, false},
		{"not there", Unit{Name: "other.service", LoadState: "loaded", After: []string{modules.Name}}, false},
	} {
		if got := inOrder([]Unit{modules, test.sysctls}); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
