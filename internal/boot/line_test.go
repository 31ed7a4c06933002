package boot

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// lineCase is a case of testdata/lines: the files of a host, and what systemd-sysctl leaves of them.
type lineCase struct {
	name  string
	text  map[string]string // by path
	links map[string]string // by path: what each points to
	want  []lineWant
}

type lineWant struct {
	key    sysctl.Key
	set    bool
	value  string
	source string // path:line
}

func lineCases(t *testing.T) []lineCase {
	t.Helper()
	found, err := filepath.Glob("testdata/lines/*.txtar")
	if err != nil || len(found) == 0 {
		t.Fatalf("no cases in testdata/lines: %v", err)
	}
	var cases []lineCase
	for _, f := range found {
		archive, err := txtar.ParseFile(f)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(f), ".txtar")
		c := lineCase{name: name, text: map[string]string{}, links: map[string]string{}}
		for _, file := range archive.Files {
			switch file.Name {
			case "want":
				for line := range strings.Lines(string(file.Data)) {
					c.want = append(c.want, parseWant(t, strings.TrimSuffix(line, "\n")))
				}
			case "links":
				for line := range strings.Lines(string(file.Data)) {
					link, target, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
					c.links["/"+link] = target
				}
			default:
				c.text["/"+file.Name] = string(file.Data)
			}
		}
		if len(c.want) == 0 {
			t.Fatalf("%s wants nothing", f)
		}
		cases = append(cases, c)
	}
	return cases
}

// parseWant reads "KEY = VALUE PATH:LINE" or "KEY unset".
func parseWant(t *testing.T, line string) lineWant {
	t.Helper()
	name, unset := strings.CutSuffix(line, " unset")
	name, rest, _ := strings.Cut(name, " = ")
	k, err := sysctl.ParseKey(name)
	if err != nil {
		t.Fatal(err)
	}
	i := strings.LastIndexByte(rest, ' ')
	return lineWant{key: k, set: !unset, value: rest[:max(i, 0)], source: rest[i+1:]}
}

// snapshot is the host with these files, on which every key is missing.
func (c lineCase) snapshot() *Snapshot {
	s := &Snapshot{Init: "systemd", Kernel: "6.1.0-1", Trees: []Tree{{Release: "6.1.0-1"}}}
	for p, text := range c.text {
		s.AddFile(confdir.File{Path: p, Text: text, Regular: true})
	}
	for p, target := range c.links {
		text, exists := c.text[path.Join(path.Dir(p), target)]
		f := confdir.File{Path: p, Target: target, Text: text, Regular: exists}
		switch {
		case target == path.Base(p):
			f.Unread = linkLoop
		case !exists && target != os.DevNull:
			f.Unread = "No such file or directory"
		}
		s.AddFile(f)
	}
	return s
}

// TestLine guards which line decides about a key, and that a prediction follows it. The cases are decisions of
// systemd-sysctl: the build tag oracle runs it on them.
func TestLine(t *testing.T) {
	for _, c := range lineCases(t) {
		t.Run(c.name, func(t *testing.T) {
			p := Predict(c.snapshot())
			for _, want := range c.want {
				l, ok := p.Line(want.key)
				if ok != want.set || l.Value != want.value && ok || l.At.String() != want.source {
					t.Errorf("%s: %q from %q (set %v), want %q from %q (set %v)",
						want.key, l.Value, l.At, ok, want.value, want.source, want.set)
				}
				o := p.KeyAsSet(want.key)
				if o.Known != want.set || o.Known && (o.Value != want.value || o.Source != want.source) {
					t.Errorf("%s: got %+v, want %q from %q", want.key, o, want.value, want.source)
				}
			}
		})
	}
}

// TestLineAfter guards the order of writes where names of files do not give it: the credential is read last.
func TestLineAfter(t *testing.T) {
	c := lineCase{text: map[string]string{
		"/etc/sysctl.d/zz.conf": "vm.a = 1\nvm.b = 1\n", extraPath: "vm.c = 1\nvm.a = 1\n",
	}}
	p := Predict(c.snapshot())
	var lines []Line
	for _, name := range []string{"vm.a", "vm.b", "vm.c"} {
		k, err := sysctl.ParseKey(name)
		if err != nil {
			t.Fatal(err)
		}
		l, ok := p.Line(k)
		if !ok {
			t.Fatalf("nothing sets %s", k)
		}
		lines = append(lines, l)
	}
	// The same value again leaves the key at its place in the order, and moves the line that decides.
	if !lines[2].After(lines[1]) || !lines[1].After(lines[0]) || lines[0].At.String() != extraPath+":2" {
		t.Errorf("got %+v", lines)
	}
}

// TestLineIgnore guards that a forgiven failure is told from one that fails the unit: a "-" on any of the lines with
// the value forgives.
func TestLineIgnore(t *testing.T) {
	k, err := sysctl.ParseKey("vm.a")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, text string
		want       bool
	}{
		{"plain", "vm.a = 1", false},
		{"forgiven", "-vm.a = 1", true},
		{"forgiven once", "-vm.a = 1\nvm.a = 1", true},
		{"another value", "-vm.a = 1\nvm.a = 2", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, ok := Predict(lineCase{text: map[string]string{"/etc/sysctl.d/x.conf": tt.text}}.snapshot()).Line(k)
			if !ok || a.Ignore != tt.want {
				t.Errorf("Ignore = %v (set %v), want %v", a.Ignore, ok, tt.want)
			}
		})
	}
}

// TestCasesAreClean guards the cases themselves: without the white space at line ends, which an editor may remove, they
// would pass for nothing.
func TestCasesAreClean(t *testing.T) {
	data, err := os.ReadFile("testdata/lines/comments-and-blanks.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), "\tvm.b\t=\t 2 3 \t\n") {
		t.Error("comments-and-blanks.txtar has lost the white space it is about")
	}
}
