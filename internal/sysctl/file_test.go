package sysctl

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
)

// TestParseFile guards what one file says, line by line: which key, which value, and where.
func TestParseFile(t *testing.T) {
	const file = "/etc/sysctl.d/x.conf"
	set := func(line int, pattern, value string) Assignment {
		return Assignment{Pattern: pattern, Value: value, HasValue: true, At: confdir.Position{File: file, Line: line}}
	}
	bad := func(line int, text, problem string) BadLine {
		return BadLine{At: confdir.Position{File: file, Line: line}, Text: text, Problem: problem}
	}
	tests := []struct {
		name, text string
		want       []Assignment
		bad        []BadLine
	}{
		{"nothing", "", nil, nil},
		{"no line end at the end", "vm.a=1", []Assignment{set(1, "vm/a", "1")}, nil},
		{"CRLF", "vm.a = 1\r\n\r\nvm.b = 2\r\n", []Assignment{set(1, "vm/a", "1"), set(3, "vm/b", "2")}, nil},
		{"tabs", "\tvm.a\t=\t1\t2\t\n", []Assignment{set(1, "vm/a", "1\t2")}, nil},
		{"comments", "# vm.a=1\n; vm.a=1\n \t# vm.a=1\nvm.a=1\n", []Assignment{set(4, "vm/a", "1")}, nil},
		{"no comments behind a value", "vm.a = 1 # c\nvm.b = 2 ; c\n", []Assignment{set(1, "vm/a", "1 # c"), set(2, "vm/b", "2 ; c")}, nil},
		{"no continued lines", "vm.a = 1\\\nvm.b = 2\n", []Assignment{set(1, "vm/a", "1\\"), set(2, "vm/b", "2")}, nil},
		{"a value with =", "vm.a=b=c\n", []Assignment{set(1, "vm/a", "b=c")}, nil},
		{"an empty value", "vm.a =\n", []Assignment{set(1, "vm/a", "")}, nil},
		{"a pattern", "net.ipv4.conf.*.rp_filter=2\n", []Assignment{set(1, "net/ipv4/conf/*/rp_filter", "2")}, nil},
		{"one part", "foo = 1\n", []Assignment{set(1, "foo", "1")}, nil},
		{"a parent directory stays what it is", "net/../vm/a = 1\n", []Assignment{set(1, "net/../vm/a", "1")}, nil},
		{
			"a leading dash forgives", "-vm.a = 1\n- vm.b = 2\n",
			[]Assignment{
				{Pattern: "vm/a", Value: "1", HasValue: true, Ignore: true, At: confdir.Position{File: file, Line: 1}},
				{Pattern: "vm/b", Value: "2", HasValue: true, Ignore: true, At: confdir.Position{File: file, Line: 2}},
			},
			nil,
		},
		{"only one dash does", "--vm.a = 1\n", []Assignment{{Pattern: "-vm/a", Value: "1", HasValue: true, Ignore: true, At: confdir.Position{File: file, Line: 1}}}, nil},
		{"a dash and no value excludes", "-vm.a\n", []Assignment{{Pattern: "vm/a", At: confdir.Position{File: file, Line: 1}}}, nil},
		{
			"no assignment", "vm.a = 1\n not a line \nvm.b = 2\n",
			[]Assignment{set(1, "vm/a", "1"), set(3, "vm/b", "2")},
			[]BadLine{bad(2, "not a line", "it is no assignment")},
		},
		{"no key", "= 1\n-\n", nil, []BadLine{bad(1, "= 1", "it names no key"), bad(2, "-", "it names no key")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, refused := ParseFile(file, tt.text)
			if !slices.Equal(got, tt.want) {
				t.Errorf("ParseFile(%q) = %+v, want %+v", tt.text, got, tt.want)
			}
			if !slices.Equal(refused, tt.bad) {
				t.Errorf("ParseFile(%q) refuses %+v, want %+v", tt.text, refused, tt.bad)
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

// TestParseValue guards the last gate before a file and the kernel: one line, no more than one write(2), and nothing of a refused value in the error.
func TestParseValue(t *testing.T) {
	tests := []struct{ name, in, want, problem string }{
		{"as it is", "4096\t131072  6291456", "4096\t131072  6291456", ""},
		{"outer blanks", " \t1 \t", "1", ""},
		{"empty", " ", "", ""},
		{"a comment sign", "19 # note", "19 # note", ""},
		{"shell characters", "|/bin/x '$HOME' `id` EOF", "|/bin/x '$HOME' `id` EOF", ""},
		{"a page", strings.Repeat("x", 4095), strings.Repeat("x", 4095), ""},
		{"more than a page", strings.Repeat("x", 4096), "", "4096 bytes"},
		{"a line feed", "secret\nkernel.modprobe=/tmp/x", "", "line break"},
		{"a line feed behind", "secret\n", "", "line break"},
		{"a carriage return, which ends a line for systemd", "secret\rvm.a=1", "", "line break"},
		{"a NUL byte", "secret\x00", "", "NUL"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseValue(tt.in)
			if tt.problem == "" {
				if err != nil || got != tt.want {
					t.Errorf("ParseValue(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
				}
				return
			}
			var refused *ValueError
			if !errors.As(err, &refused) || !strings.Contains(refused.Problem, tt.problem) || got != "" {
				t.Fatalf("ParseValue(%q) = %q, %v; want a *ValueError about %s", tt.in, got, err, tt.problem)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows the value: %v", err)
			}
		})
	}
}

// FuzzParseFile guards that no file panics the parser, that what it finds is on the line it names, and that a drop-in of ours gives back its value
// whatever else it says.
func FuzzParseFile(f *testing.F) {
	f.Add("vm.a = 1\n", "net.ipv4.ip_forward", "1", "comment")
	f.Add("-vm.a\n*.x=2\r\nnot a line\n", "net/ipv4/conf/eth0.100/forwarding", "4096 131072\t6291456", "two\nlines")
	f.Add("\x00\r\n=\n-=\n[", "a.-b", "# ; = -x", "\r\x00vm.a = 3")
	f.Fuzz(func(t *testing.T, text, key, value, comment string) {
		assignments, bad := ParseFile("f", text)
		lines := slices.Collect(confdir.Lines(text))
		for _, a := range assignments {
			if a.At.Line < 1 || a.At.Line > len(lines) || !strings.Contains(lines[a.At.Line-1], a.Value) || a.Pattern == "" || a.Value != strings.Trim(a.Value, confdir.Blanks) {
				t.Errorf("%+v does not stand in %q", a, text)
			}
		}
		for _, b := range bad {
			if b.At.Line < 1 || b.At.Line > len(lines) || !strings.Contains(lines[b.At.Line-1], b.Text) {
				t.Errorf("%+v does not stand in %q", b, text)
			}
		}
		k, err := ParseKey(key)
		if err != nil {
			return
		}
		value, err = ParseValue(value)
		if err != nil {
			return
		}
		ours := Format(k, value, comment)
		all, bad := ParseFile("f", ours)
		if len(all) != 1 || len(bad) != 0 {
			t.Fatalf("the drop-in %q says more than one thing: %+v %+v", ours, all, bad)
		}
		if a := all[0]; !a.HasValue || a.Value != value || a.At.Line != 2 || a.Ignore || a.IsGlob() || !a.Matches(k) {
			t.Errorf("the drop-in %q does not set %s to %q, but %+v", ours, k, value, a)
		}
	})
}
