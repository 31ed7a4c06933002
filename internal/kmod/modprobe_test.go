package kmod

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
)

// TestParseModprobe guards what kmod takes from a file, line by line; the build tag oracle checks the rows against modprobe.
func TestParseModprobe(t *testing.T) {
	for _, tt := range modprobeCases {
		t.Run(tt.name, func(t *testing.T) {
			got, bad := ParseModprobe("f", tt.text)
			for i := range got {
				if got[i].At.File != "f" {
					t.Errorf("%+v is from no file", got[i])
				}
				got[i].At.File = ""
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("ParseModprobe(%q) = %+v, want %+v", tt.text, got, tt.want)
			}
			var lines []int
			for _, b := range bad {
				if b.At.File != "f" || b.Text == "" || b.Problem == "" {
					t.Errorf("%+v does not say what is wrong", b)
				}
				lines = append(lines, b.At.Line)
			}
			if !slices.Equal(lines, tt.bad) {
				t.Errorf("ParseModprobe(%q) refuses lines %v, want %v", tt.text, lines, tt.bad)
			}
		})
	}
}

// line is a line of a file whose name does not matter.
func line(n int) confdir.Position { return confdir.Position{Line: n} }

var modprobeCases = []struct {
	name, text string
	want       []Directive
	bad        []int
}{
	{"blacklist", "blacklist dummy\n", []Directive{{Command: "blacklist", Name: "dummy", At: line(1)}}, nil},
	{"a dash is an underscore", "blacklist snd-hda-intel\n", []Directive{{Command: "blacklist", Name: "snd_hda_intel", At: line(1)}}, nil},
	{"words behind a blacklisted module", "blacklist dummy ifb\n", []Directive{{Command: "blacklist", Name: "dummy", At: line(1)}}, nil},
	{"install", "install ifb /bin/false\n", []Directive{{Command: "install", Name: "ifb", Text: "/bin/false", At: line(1)}}, nil},
	{
		"a command with arguments", "install\tifb\t/sbin/modprobe --ignore-install ifb && echo 'a b'  # c\n",
		[]Directive{{Command: "install", Name: "ifb", Text: "/sbin/modprobe --ignore-install ifb && echo 'a b'  # c", At: line(1)}}, nil,
	},
	{"remove", "remove ifb /bin/true\n", []Directive{{Command: "remove", Name: "ifb", Text: "/bin/true", At: line(1)}}, nil},
	{
		"options", "options nf_conntrack hashsize=2000\tacct=1\noptions nf-conntrack tstamp=1 # c\n",
		[]Directive{
			{Command: "options", Name: "nf_conntrack", Text: "hashsize=2000 acct=1", At: line(1)},
			{Command: "options", Name: "nf_conntrack", Text: "tstamp=1 # c", At: line(2)},
		},
		nil,
	},
	{"alias", "alias my-mod really-mine ignored\n", []Directive{{Command: "alias", Name: "my_mod", Text: "really_mine", At: line(1)}}, nil},
	{"a pattern keeps its ranges", "alias pci:v[0-9]-x* my-mod\n", []Directive{{Command: "alias", Name: "pci:v[0-9]_x*", Text: "my_mod", At: line(1)}}, nil},
	{"softdep", "softdep a-b pre: c post: d\n", []Directive{{Command: "softdep", Name: "a_b", Text: "pre: c post: d", At: line(1)}}, nil},
	{"comments and empty lines", "# blacklist a\n\n   \nblacklist b\n", []Directive{{Command: "blacklist", Name: "b", At: line(4)}}, nil},
	{"blanks before a line", "  \tblacklist a\n", []Directive{{Command: "blacklist", Name: "a", At: line(1)}}, nil},
	{"a comment begins in the first column only", " # blacklist a\nblacklist b\n", []Directive{{Command: "blacklist", Name: "b", At: line(2)}}, []int{1}},
	{"a ; begins no comment", "; blacklist a\n", nil, []int{1}},
	{
		"a backslash joins lines", "options a \\\nb=1 \\\nc=2\nblacklist d\n",
		[]Directive{{Command: "options", Name: "a", Text: "b=1 c=2", At: line(1)}, {Command: "blacklist", Name: "d", At: line(4)}}, nil,
	},
	{"a comment too", "# a \\\nblacklist b\nblacklist c\n", []Directive{{Command: "blacklist", Name: "c", At: line(3)}}, nil},
	{"a backslash inside a line vanishes", `options a b=c\d\\e` + "\n", []Directive{{Command: "options", Name: "a", Text: `b=cd\e`, At: line(1)}}, nil},
	{"a carriage return stays", "blacklist a\r\n", []Directive{{Command: "blacklist", Name: "a\r", At: line(1)}}, nil},
	{"no line end at the end", "blacklist a", []Directive{{Command: "blacklist", Name: "a", At: line(1)}}, nil},
	{"no module", "blacklist\ninstall\n", nil, []int{1, 2}},
	{"nothing behind the module", "install a\noptions a \nalias a\nsoftdep a\nblacklist b\n", []Directive{{Command: "blacklist", Name: "b", At: line(5)}}, []int{1, 2, 3, 4}},
	{"an unknown command", "include /etc/x\nBlacklist a\nmodprobe a\n", nil, []int{1, 2, 3}},
}

// TestConcerns guards which lines a module's fate hangs on.
func TestConcerns(t *testing.T) {
	tests := []struct {
		line, name string
		want       bool
	}{
		{"blacklist nf_conntrack", "nf-conntrack", true},
		{"blacklist nf-conntrack", "nf_conntrack", true},
		{"blacklist nf_*", "nf_conntrack", false},
		{"options nf_conntrack a=1", "nf_conntrack", true},
		{"options nf_* a=1", "nf_conntrack", false},
		{"install nf_conntrack /bin/true", "nf_conntrack", true},
		{"install nf_conntrack /bin/true", "nf_conntrack_netlink", false},
		{"install nf-* /bin/true", "nf_conntrack", true},
		{"alias net-pf-[0-9]* ipv6", "net-pf-10", true},
		{"softdep nf_conntrack pre: a", "nf-conntrack", true},
		{"remove nf_conntrack /bin/true", "nf_nat", false},
	}
	for _, tt := range tests {
		directives, bad := ParseModprobe("f", tt.line)
		if len(directives) != 1 || len(bad) != 0 {
			t.Errorf("%q is %+v, %+v", tt.line, directives, bad)
			continue
		}
		if got := directives[0].Concerns(tt.name); got != tt.want {
			t.Errorf("%q concerns %s: %v", tt.line, tt.name, got)
		}
	}
}

// TestParseParameters guards how the kernel takes an options line apart.
func TestParseParameters(t *testing.T) {
	tests := []struct {
		name, text string
		want       []Parameter
	}{
		{"several", "a=1  b=2\tc=3", []Parameter{{"a", "1", true}, {"b", "2", true}, {"c", "3", true}}},
		{"a switch", "debug a=1", []Parameter{{"debug", "", false}, {"a", "1", true}}},
		{"an empty value", "a= b=2", []Parameter{{"a", "", true}, {"b", "2", true}}},
		{"a comment becomes parameters", "a=1 # c", []Parameter{{"a", "1", true}, {"#", "", false}, {"c", "", false}}},
		{"quotes round a value", `a="b c" d=1`, []Parameter{{"a", "b c", true}, {"d", "1", true}}},
		{"quotes round a parameter", `"a=b c" d=1`, []Parameter{{"a", "b c", true}, {"d", "1", true}}},
		{"quotes inside a value protect, and stay", `a=b" "c d=1`, []Parameter{{"a", `b" "c`, true}, {"d", "1", true}}},
		{"a quote that does not end", `a="b c d=1`, []Parameter{{"a", "b c d=1", true}}},
		{"the first = ends the name", "a=b=c", []Parameter{{"a", "b=c", true}}},
		{"a no-break space in Latin-1", "a=\xa0b=1", []Parameter{{"a", "", true}, {"b", "1", true}}},
		{"nothing", " \t", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := ParseParameters(tt.text); !slices.Equal(got, tt.want) {
				t.Errorf("ParseParameters(%q) = %+v, want %+v", tt.text, got, tt.want)
			}
		})
	}
}

// TestParseParameter guards that no parameter adds a line, or another parameter, to the file, and that no error shows a value.
func TestParseParameter(t *testing.T) {
	tests := []struct{ name, parameter, value, problem string }{
		{"a number", "hashsize", "2048", ""},
		{"spaces", "opts", "a b", ""},
		{"empty", "opts", "", ""},
		{"a backslash and a comment sign", "opts", `a\b#c`, ""},
		{"an apostrophe and an equals sign", "opts", `it's=x`, ""},
		{"a dash in the name", "num-dummies", "1", ""},
		{"no name", "", "1", "name"},
		{"a blank in the name", "a b", "1", "name"},
		{"an equals sign in the name", "a=b", "1", "name"},
		{"the end of parameters", "--", "1", "name"},
		{"a directory in the name", "../x", "1", "name"},
		{"a line feed", "a", "hidden\ninstall x y", "line break"},
		{"a carriage return", "a", "hidden\r", "line break"},
		{"a NUL byte", "a", "hidden\x00", "NUL"},
		{"a tab", "a", "hidden\tx", "tab"},
		{"a quote", "a", `hidden" b=2`, "quote"},
		{"too long", "a", strings.Repeat("hidden", 200), "1024"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseParameter(tt.parameter, tt.value)
			if tt.problem == "" {
				if want := (Parameter{Name: tt.parameter, Value: tt.value, HasValue: true}); err != nil || got != want {
					t.Errorf("ParseParameter(%q, %q) = %+v, %v", tt.parameter, tt.value, got, err)
				}
				return
			}
			var refused *ParameterError
			if !errors.As(err, &refused) || refused.Name != tt.parameter || !strings.Contains(refused.Problem, tt.problem) {
				t.Fatalf("ParseParameter(%q, %q) = %+v, %v; want a *ParameterError about %q", tt.parameter, tt.value, got, err, tt.problem)
			}
			if strings.Contains(err.Error(), "hidden") {
				t.Errorf("the error shows the value: %v", err)
			}
		})
	}
}

// TestFormatOptions guards the text of our file, byte by byte.
func TestFormatOptions(t *testing.T) {
	tests := []struct {
		name       string
		parameters map[string]string
		comments   []string
		want       string
	}{
		{"sorted by name", map[string]string{"tstamp": "1", "acct": "Y", "hashsize": "2048"}, nil, "options nf_conntrack acct=Y hashsize=2048 tstamp=1\n"},
		{"spaces are quoted", map[string]string{"a": "b c"}, nil, "options nf_conntrack a=\"b c\"\n"},
		{"so are letters with a byte that the kernel takes for a space", map[string]string{"a": "voilà"}, nil, "options nf_conntrack a=\"voilà\"\n"},
		{"backslashes are doubled", map[string]string{"a": `b\`}, nil, "options nf_conntrack a=b\\\\\n"},
		{"an empty value", map[string]string{"a": ""}, nil, "options nf_conntrack a=\n"},
		{"none", nil, []string{"Managed."}, "# Managed.\n"},
		{"comments stay comments", map[string]string{"a": "1"}, []string{"x\nblacklist y", `z\`}, "# x blacklist y\n# z\\ \noptions nf_conntrack a=1\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := FormatOptions("nf_conntrack", tt.parameters, tt.comments...)
			if got != tt.want {
				t.Errorf("FormatOptions = %q, want %q", got, tt.want)
			}
		})
	}
}

// FuzzParseModprobe guards that no file panics the parser, that each line it finds concerns the module it names, and that a file of ours gives back its one
// parameter whatever else it says.
func FuzzParseModprobe(f *testing.F) {
	for _, tt := range modprobeCases {
		f.Add(tt.text, "a", "b c", "comment")
	}
	f.Add("options a \"b=c d\" \\", "x-y", `\\`, `\`)
	f.Add("alias [a [b]-c]", "x", "#'=", "a\nblacklist b")
	f.Fuzz(func(t *testing.T, text, parameter, value, comment string) {
		directives, bad := ParseModprobe("f", text)
		last := strings.Count(text, "\n") + 1
		for _, d := range directives {
			if d.Name == "" || d.At.Line < 1 || d.At.Line > last || (d.Text == "") != (d.Command == "blacklist") {
				t.Errorf("%q gives %+v", text, d)
			}
			if !strings.ContainsAny(d.Name, `*?[\`) && !d.Concerns(d.Name) {
				t.Errorf("%q gives %+v, which does not concern its own name", text, d)
			}
			for _, p := range ParseParameters(d.Text) {
				if !p.HasValue && p.Value != "" {
					t.Errorf("%q gives the parameter %+v", d.Text, p)
				}
			}
		}
		for _, b := range bad {
			if b.At.Line < 1 || b.At.Line > last || b.Problem == "" {
				t.Errorf("%q gives %+v", text, b)
			}
		}
		p, err := ParseParameter(parameter, value)
		if err != nil {
			return
		}
		ours := FormatOptions("nf_conntrack", map[string]string{p.Name: p.Value}, comment)
		directives, bad = ParseModprobe("f", ours)
		if len(directives) != 1 || len(bad) != 0 || directives[0].Command != "options" || directives[0].Name != "nf_conntrack" || directives[0].At.Line != 2 {
			t.Fatalf("%q is %+v, %+v", ours, directives, bad)
		}
		if got := ParseParameters(directives[0].Text); !slices.Equal(got, []Parameter{p}) {
			t.Errorf("%q holds %+v, not %+v", ours, got, p)
		}
	})
}
