package host

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/errno"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// FuzzDecodeSnapshot guards the reading of what a host prints: whatever its records hold, no file that could not be
// read has a text, and what files.sh and values.sh say of a file, a link and a value comes out as it went in, after any
// other records.
func FuzzDecodeSnapshot(f *testing.F) {
	f.Add(
		"proc\x1d/proc/sys/kernel/osrelease:6.1\n\x1etrees\x1etree\x1d6.1\x1elines\x1dk/a.ko:\nalias a b\nk/b.ko\n",
		"10-a", "vm.swappiness = 1\n", "../sysctl.conf", "60")
	f.Add(
		"file\x1d/etc/x\x1eunread\x1etext\x1dx\x1ebroken\x1d\x1elink\x1evalues\x1d:\n\x1emode\x1d--w",
		"it's\nx", "\xff\x00", "/dev/null", "a: b\n\nc")
	f.Add(
		"file\x1d/etc/x\x1eregular\x1esizes\x1d3 x\n\x1etexts\x1da\nb\x1eregular\x1esizes\x1d1 x\n9 x\n10 "+
			"total\n\x1etexts\x1da\nb",
		"a", "b", "c", "d")
	f.Add(
		"value\x1dx\x1eunread-value\x1eabsent\x1d\n\n\x1eoff\x1d \n\x1esysmodules\x1d- -\x1emodules\x1da b c d\n",
		"", "", "", "")
	f.Fuzz(func(t *testing.T, junk, name, text, target, value string) {
		var earlier []shell.Record
		for r := range strings.SplitSeq(junk, "\x1e") {
			head, body, _ := strings.Cut(r, "\x1d")
			earlier = append(earlier, shell.Record{Head: head, Body: body})
		}
		early, _ := decode(shell.Result{Records: earlier})
		for _, file := range all(early) {
			if file.Path == "" || file.Unread != "" && file.Text != "" || !file.Regular && file.Text != "" {
				t.Errorf("%q gives the file %+v", junk, file)
			}
		}
		// What our scripts print of a host with these four files.
		dir, key := "/etc/sysctl.d/"+strings.ReplaceAll(name, "/", "_"), "/proc/sys/vm/x"
		printed := []shell.Record{
			{Head: "file", Body: dir + "1.conf"}, {Head: "regular"},
			{Head: "file", Body: dir + "2.conf"}, {Head: "link", Body: target + "\n"}, {Head: "regular"},
			{Head: "file", Body: dir + "3.conf"}, {Head: "regular"},
			{
				Head: "read",
				Body: dir + "1.conf",
			}, {Head: "text", Body: text}, {Head: "read", Body: dir + "2.conf"}, {Head: "text", Body: text},
			{
				Head: "read",
				Body: dir + "3.conf",
			}, {Head: "text", Body: "cat: " + dir + "3.conf: Permission denied\n"}, {Head: "unread"},
			{
				Head: "file",
				Body: dir + "4.conf",
			}, {Head: "broken", Body: "cat: " + dir + "4.conf: Too many levels of symbolic links\n"},
			{Head: "absent", Body: "/proc/sys/vm/none\n"},
			{
				Head: "path",
				Body: key,
			}, {Head: "value", Body: value + "\n"}, {Head: "modes", Body: "-rw-r--r-- 1 root root 0 " + key + "\n"},
			{Head: "values", Body: grepped("/proc/sys/vm/y", value)},
		}
		want := []confdir.File{
			{Path: dir + "1.conf", Text: text, Regular: true},
			{Path: dir + "2.conf", Target: target, Text: text, Regular: true},
			{Path: dir + "3.conf", Unread: "Permission denied", Regular: true},
			{Path: dir + "4.conf", Unread: "Too many levels of symbolic links"},
		}
		s, _ := decode(shell.Result{Records: slices.Insert(printed, 0, shell.Record{Head: "proc", Body: junk})})
		if !reflect.DeepEqual(s.Sysctl, want) {
			t.Errorf("the files are %+v, not %+v", s.Sysctl, want)
		}
		readings := map[string]boot.Reading{
			"/proc/sys/vm/none": {Absent: true}, key: {Text: value, Writable: true}, "/proc/sys/vm/y": {Text: value},
		}
		if !maps.Equal(s.Values, readings) {
			t.Errorf("the values are %+v, not %+v", s.Values, readings)
		}
		later, _ := decode(shell.Result{Records: slices.Concat(earlier, printed)})
		after := later.Sysctl
		if len(after) < len(want) || !reflect.DeepEqual(after[len(after)-len(want):], want) {
			t.Errorf("after the records %q the files are %+v, not %+v", earlier, after, want)
		}
		// The texts of all files in one, after how long each is.
		sized := []shell.Record{
			{
				Head: "file",
				Body: dir + "1.conf",
			}, {Head: "regular"}, {Head: "file", Body: dir + "2.conf"}, {Head: "link", Body: target + "\n"}, {Head: "regular"},
			{
				Head: "sizes",
				Body: fmt.Sprintf("%3d a\n%3d b\n%3d total\n", len(text), len(value), len(text)+len(value)),
			}, {Head: "texts", Body: text + value},
		}
		want = []confdir.File{
			{Path: dir + "1.conf", Text: text, Regular: true},
			{Path: dir + "2.conf", Target: target, Text: value, Regular: true},
		}
		if s, torn := decode(shell.Result{Records: sized}); torn || !reflect.DeepEqual(s.Sysctl, want) {
			t.Errorf("torn: %v, the files are %+v, not %+v", torn, s.Sysctl, want)
		}
		sized[len(sized)-1].Body += "x"
		if _, torn := decode(shell.Result{Records: sized}); !torn {
			t.Error("a file that grew is not seen")
		}
		wordsHold(t, text, name, value)
	})
}

// all are the files of a snapshot.
func all(s *boot.Snapshot) []confdir.File {
	files := slices.Concat(s.Sysctl, s.ModulesLoad, s.Modprobe)
	for _, f := range []*confdir.File{s.SysctlConf, s.Modules, s.Extra} {
		if f != nil {
			files = append(files, *f)
		}
	}
	return files
}

// grepped is what grep prints of all lines of one file, with its name before each.
func grepped(path, value string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(value, "\n") {
		b.WriteString(path + ":" + line + "\n")
	}
	return b.String()
}

// wordsHold checks the readers of single answers: systemctl show, the words of a refusal, and the note of our drop-in
// about the value before Terraform.
func wordsHold(t *testing.T, text, name, value string) {
	t.Helper()
	_ = parseUnits(text)
	word := strings.Join(strings.Fields(name), "-")
	u := Unit{Name: word, LoadState: "loaded", ActiveState: "active", Result: "success", After: strings.Fields(value)}
	shown := "Result=success\nId=" + word + "\nAfter=" + strings.Join(
		u.After, " ") + "\nLoadState=loaded\nActiveState=active\n"
	if got := parseUnits(shown + "\n" + shown); len(got) != 2 || !unitsEqual(got[0], u) || !unitsEqual(got[1], u) {
		t.Errorf("%q is %+v, not %+v twice", shown, got, u)
	}
	if got := errno.Reason(text + "\ncat: write error: Invalid argument\n"); got != "Invalid argument" {
		t.Errorf("after %q the reason is %q", text, got)
	}
	k, err := sysctl.ParseKey("vm.swappiness")
	if err != nil {
		t.Fatal(err)
	}
	s := (&Sysctl{Key: k, Value: "1", FileName: "x.conf"}).alone()
	if got := originalsIn(confdir.File{Text: text}); len(got) > 0 && !strings.HasPrefix(text, "# "+owned) {
		t.Errorf("%q, which is not ours, remembers %q", text, got)
	}
	value = strings.NewReplacer("\n", " ", "\r", " ", "\x00", " ").Replace(value)
	ours := confdir.File{Text: s.dropIn(map[sysctl.Key]string{k: value}, nil)}
	if got, ok := originalsIn(ours)[k]; !ok || got != value {
		t.Errorf("%q does not remember %q", ours.Text, value)
	}
}

func unitsEqual(a, b Unit) bool {
	return a.Name == b.Name && a.LoadState == b.LoadState && a.ActiveState == b.ActiveState && a.Result == b.Result &&
		slices.Equal(a.After, b.After)
}
