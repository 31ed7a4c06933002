package confdir

import (
	"slices"
	"strings"
	"testing"
)

func paths(files []File) []string {
	var list []string
	for _, f := range files {
		list = append(list, f.Path)
	}
	return list
}

func text(paths ...string) []File {
	var files []File
	for _, p := range paths {
		files = append(files, File{Path: p, Text: "k = 1\n", Regular: true})
	}
	return files
}

// TestOrder guards the rule that decides which file has the last word: a wrong order or a lost mask predicts a wrong boot.
func TestOrder(t *testing.T) {
	mask := func(p string) File { return File{Path: p, Target: "/dev/null"} }
	tests := []struct {
		name  string
		files []File
		want  []string
	}{
		{
			"files sort by basename across directories",
			text("/etc/sysctl.d/10-a.conf", "/usr/lib/sysctl.d/05-c.conf", "/usr/lib/sysctl.d/20-b.conf", "/run/sysctl.d/15-r.conf"),
			[]string{"/usr/lib/sysctl.d/05-c.conf", "/etc/sysctl.d/10-a.conf", "/run/sysctl.d/15-r.conf", "/usr/lib/sysctl.d/20-b.conf"},
		},
		{
			"basenames compare byte by byte",
			text("/run/x.d/a.conf", "/run/x.d/_u.conf", "/run/x.d/Z.conf", "/run/x.d/99-z.conf", "/run/x.d/9-a.conf", "/run/x.d/100-a.conf"),
			[]string{"/run/x.d/100-a.conf", "/run/x.d/9-a.conf", "/run/x.d/99-z.conf", "/run/x.d/Z.conf", "/run/x.d/_u.conf", "/run/x.d/a.conf"},
		},
		{
			"k8s.conf comes after every 99-* file",
			text("/etc/sysctl.d/k8s.conf", "/etc/sysctl.d/99-zzz.conf"),
			[]string{"/etc/sysctl.d/99-zzz.conf", "/etc/sysctl.d/k8s.conf"},
		},
		{
			"the suffix takes part in the comparison",
			text("/etc/sysctl.d/a.conf", "/etc/sysctl.d/a-b.conf"),
			[]string{"/etc/sysctl.d/a-b.conf", "/etc/sysctl.d/a.conf"},
		},
		{"of one basename /lib is weakest", text("/lib/sysctl.d/x.conf", "/usr/lib/sysctl.d/x.conf"), []string{"/usr/lib/sysctl.d/x.conf"}},
		{"then /usr/lib", text("/usr/lib/sysctl.d/x.conf", "/usr/local/lib/sysctl.d/x.conf"), []string{"/usr/local/lib/sysctl.d/x.conf"}},
		{"then /usr/local/lib", text("/usr/local/lib/sysctl.d/x.conf", "/run/sysctl.d/x.conf"), []string{"/run/sysctl.d/x.conf"}},
		{"then /run", text("/run/sysctl.d/x.conf", "/etc/sysctl.d/x.conf"), []string{"/etc/sysctl.d/x.conf"}},
		{
			"modules-load.d and modprobe.d follow the same rule",
			text("/usr/lib/modprobe.d/x.conf", "/etc/modprobe.d/x.conf", "/lib/modprobe.d/a.conf"),
			[]string{"/lib/modprobe.d/a.conf", "/etc/modprobe.d/x.conf"},
		},
		{"a link to /dev/null masks", append(text("/usr/lib/sysctl.d/x.conf"), mask("/etc/sysctl.d/x.conf")), nil},
		{"an empty file masks", append(text("/usr/lib/sysctl.d/x.conf"), File{Path: "/etc/sysctl.d/x.conf", Regular: true}), nil},
		{"a dangling link masks", append(text("/usr/lib/sysctl.d/x.conf"), File{Path: "/etc/sysctl.d/x.conf", Target: "gone"}), nil},
		{"a directory masks", append(text("/usr/lib/sysctl.d/x.conf"), File{Path: "/etc/sysctl.d/x.conf"}), nil},
		{"and says nothing, whatever trying to read it gave", []File{{Path: "/etc/sysctl.d/x.conf", Unread: "Is a directory"}}, nil},
		{"a weak mask hides nothing", append(text("/etc/sysctl.d/x.conf"), mask("/usr/lib/sysctl.d/x.conf")), []string{"/etc/sysctl.d/x.conf"}},
		{
			"a file that could not be read counts, for it may set anything",
			[]File{{Path: "/etc/sysctl.d/x.conf", Regular: true, Unread: "Permission denied"}},
			[]string{"/etc/sysctl.d/x.conf"},
		},
		{
			"a link to a file counts under its own name",
			[]File{{Path: "/etc/sysctl.d/99-sysctl.conf", Target: "../sysctl.conf", Regular: true, Text: "k = 1\n"}},
			[]string{"/etc/sysctl.d/99-sysctl.conf"},
		},
		{
			"what no program reads is left out",
			text("/etc/sysctl.d/10-a", "/etc/sysctl.d/10-a.conf.bak", "/etc/sysctl.d/.hidden.conf", "/etc/sysctl.conf", "/opt/sysctl.d/x.conf",
				"/etc/sysctl.d/sub/x.conf"),
			nil,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := slices.Clone(tt.files)
			if got := paths(Order(tt.files)); !slices.Equal(got, tt.want) {
				t.Errorf("Order = %q, want %q", got, tt.want)
			}
			reversed := slices.Clone(tt.files)
			slices.Reverse(reversed)
			if got := paths(Order(reversed)); !slices.Equal(got, tt.want) {
				t.Errorf("Order of the same files in reverse = %q, want %q", got, tt.want)
			}
			if !slices.Equal(tt.files, before) {
				t.Errorf("Order changed its argument to %q", paths(tt.files))
			}
		})
	}
}

// TestLines guards line numbers and values against the line ends that systemd knows.
func TestLines(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"line feeds", "a\nb\n", []string{"a", "b"}},
		{"no line end at the end", "a\nb", []string{"a", "b"}},
		{"an empty line is a line", "a\n\nb\n", []string{"a", "", "b"}},
		{"CRLF is one line end", "a\r\nb\r\n\r\nc", []string{"a", "b", "", "c"}},
		{"and so is LFCR", "a\n\rb", []string{"a", "b"}},
		{"a carriage return alone ends a line", "a\rb\r\rc", []string{"a", "b", "", "c"}},
		{"a NUL byte ends a line, and nothing joins it", "a\x00b\x00\nc", []string{"a", "b", "", "c"}},
		{"nothing", "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := slices.Collect(Lines(tt.text)); !slices.Equal(got, tt.want) {
				t.Errorf("Lines(%q) = %q, want %q", tt.text, got, tt.want)
			}
		})
	}
}

// TestMatch guards patterns of sysctl.d and modprobe.d; each row was checked with fnmatch(3).
func TestMatch(t *testing.T) {
	tests := []struct {
		pattern, name string
		want          bool
	}{
		{"eth0", "eth0", true},
		{"eth0", "eth01", false},
		{"*", "", true},
		{"*", "anything", true},
		{"eth*", "eth0", true},
		{"eth*", "et", false},
		{"*0", "eth0", true},
		{"*a*b", "xaxb", true},
		{"*a*b", "xaxbx", false},
		{"?", "", false},
		{"eth?", "eth0", true},
		{"eth?", "eth10", false},
		{"[ab]*", "b1", true},
		{"[!ab]*", "b1", false},
		{"[!ab]*", "c1", true},
		{"[^ab]", "c", true},
		{"[0-9]", "5", true},
		{"[0-9]", "a", false},
		{"[]a]", "]", true},
		{"[!]a]", "]", false},
		{"[a-]", "-", true},
		{`[\]]`, "]", true},
		{"[ab", "[ab", true},
		{"[ab", "a", false},
		{`\*`, "*", true},
		{`\*`, "x", false},
		{`a\`, `a\`, false},
		{"[[:alpha:]]*", "eth0", true},
		{"[[:alpha:]]*", "0eth", false},
		{"[![:alpha:]]", "0", true},
		{"[[:digit:]x]", "x", true},
		{"[[:digit:]x]", "7", true},
		{"[[:digit:]x]", "y", false},
		{"[[:nothing:]]", "n]", true},
		{"[[:upper:][:punct:]]", "-", true},
		{"[[:upper:][:punct:]]", "a", false},
	}
	for _, tt := range tests {
		if got := Match(tt.pattern, tt.name); got != tt.want {
			t.Errorf("Match(%q, %q) = %v, want %v", tt.pattern, tt.name, got, tt.want)
		}
	}
}

// TestBraces guards what a pattern with braces stands for; each row was checked with glob(3) and GLOB_BRACE.
func TestBraces(t *testing.T) {
	for pattern, want := range map[string][]string{
		"a*": {"a*"}, "{a,b}c*": {"ac*", "bc*"}, "{a,b}{c,d}": {"ac", "ad", "bc", "bd"}, "{a,{b,c}}": {"a", "b", "c"},
		"x{}y": {"x{}y"}, "{a": {"{a"}, "{a}": {"a"}, `\{a,b}`: {`\{a,b}`}, "{net,x}/*": {"net/*", "x/*"}, "{,a}b": {"b", "ab"},
	} {
		if got := Braces(pattern); !slices.Equal(got, want) {
			t.Errorf("Braces(%q) = %q, want %q", pattern, got, want)
		}
	}
	if n := len(Braces(strings.Repeat("{a,b}", 30))); n > 1<<10 {
		t.Errorf("%d patterns", n)
	}
}
