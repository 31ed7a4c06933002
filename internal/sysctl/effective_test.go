package sysctl

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
)

// bootCase is a case of testdata/boot: the files of a host, and what systemd-sysctl leaves of them.
type bootCase struct {
	name  string
	text  map[string]string // by path
	links map[string]string // by path: what each points to
	want  []bootWant
}

type bootWant struct {
	key    Key
	set    bool
	value  string
	source string // path:line
}

func bootCases(t *testing.T) []bootCase {
	t.Helper()
	found, err := filepath.Glob("testdata/boot/*.txtar")
	if err != nil || len(found) == 0 {
		t.Fatalf("no cases in testdata/boot: %v", err)
	}
	var cases []bootCase
	for _, f := range found {
		archive, err := txtar.ParseFile(f)
		if err != nil {
			t.Fatal(err)
		}
		c := bootCase{name: strings.TrimSuffix(filepath.Base(f), ".txtar"), text: map[string]string{}, links: map[string]string{}}
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
func parseWant(t *testing.T, line string) bootWant {
	t.Helper()
	name, unset := strings.CutSuffix(line, " unset")
	name, rest, _ := strings.Cut(name, " = ")
	k, err := ParseKey(name)
	if err != nil {
		t.Fatal(err)
	}
	i := strings.LastIndexByte(rest, ' ')
	return bootWant{key: k, set: !unset, value: rest[:max(i, 0)], source: rest[i+1:]}
}

// files are the family's entries as a snapshot has them.
func (c bootCase) files() []confdir.File {
	var files []confdir.File
	for p, text := range c.text {
		files = append(files, confdir.File{Path: p, Text: text, Regular: true})
	}
	for p, target := range c.links {
		text, exists := c.text[path.Join(path.Dir(p), target)]
		files = append(files, confdir.File{Path: p, Target: target, Text: text, Regular: exists})
	}
	return files
}

// TestEffective guards the prediction of a sysctl's value at the next boot, and of the line that decides it. The cases are decisions of systemd-sysctl: the
// build tag oracle runs it on them.
func TestEffective(t *testing.T) {
	for _, c := range bootCases(t) {
		t.Run(c.name, func(t *testing.T) {
			for _, want := range c.want {
				a, ok := Effective(c.files(), want.key)
				source := ""
				if ok {
					source = a.At.String()
				}
				if ok != want.set || a.Value != want.value && ok || source != want.source {
					t.Errorf("%s: %q from %q (set %v), want %q from %q (set %v)", want.key, a.Value, source, ok, want.value, want.source, want.set)
				}
			}
		})
	}
}

// TestEffectiveIgnore guards that a forgiven failure is told from one that fails the unit: a "-" on any of the lines with the value forgives.
func TestEffectiveIgnore(t *testing.T) {
	k, err := ParseKey("vm.a")
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
			a, ok := Effective([]confdir.File{{Path: "/etc/sysctl.d/x.conf", Text: tt.text, Regular: true}}, k)
			if !ok || a.Ignore != tt.want {
				t.Errorf("Ignore = %v (set %v), want %v", a.Ignore, ok, tt.want)
			}
		})
	}
}

// TestFormat guards the text of a drop-in, byte by byte: other programs read it, and no comment may become a setting.
func TestFormat(t *testing.T) {
	tests := []struct {
		name, key, value string
		comments         []string
		want             string
	}{
		{"dots", "net/ipv4/ip_forward", "1", nil, "net.ipv4.ip_forward = 1\n"},
		{"slashes where a part holds a dot", "net.ipv4.conf.eth0/100.forwarding", "1", nil, "net/ipv4/conf/eth0.100/forwarding = 1\n"},
		{"a vector", "net.ipv4.tcp_rmem", "4096 131072 6291456", nil, "net.ipv4.tcp_rmem = 4096 131072 6291456\n"},
		{"an empty value", "net.ipv4.ip_local_reserved_ports", "", nil, "net.ipv4.ip_local_reserved_ports =\n"},
		{"comments", "vm.a", "1", []string{"Managed.", "Before: "}, "# Managed.\n# Before: \nvm.a = 1\n"},
		{"a comment stays one line", "vm.a", "1", []string{"x\nvm.a = 2\r\x00vm.a = 3"}, "# x vm.a = 2  vm.a = 3\nvm.a = 1\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k, err := ParseKey(tt.key)
			if err != nil {
				t.Fatal(err)
			}
			if got := Format(k, tt.value, tt.comments...); got != tt.want {
				t.Errorf("Format = %q, want %q", got, tt.want)
			}
		})
	}
}

// TestCasesAreClean guards the cases themselves: white space at line ends that an editor took away would let them pass for nothing.
func TestCasesAreClean(t *testing.T) {
	data, err := os.ReadFile("testdata/boot/comments-and-blanks.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), "\tvm.b\t=\t 2 3 \t\n") {
		t.Error("comments-and-blanks.txtar has lost the white space it is about")
	}
}
