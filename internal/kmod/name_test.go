package kmod

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
)

// TestParseName guards what may reach modprobe's command line, a file name and a line of modules-load.d.
func TestParseName(t *testing.T) {
	tests := []struct{ name, in, problem string }{
		{"a module", "nf_conntrack", ""},
		{"with dashes", "br-netfilter", ""},
		{"capitals", "Module_1", ""},
		{"an alias of a protocol", "net-pf-10", ""},
		{"an alias of a device", "char-major-10-200", ""},
		{"digits first", "8021q", ""},
		{"nothing", "", "empty"},
		{"an option", "-r", "option"},
		{"a path", "../x", "directory"},
		{"a file", "nf_conntrack.ko", ".ko"},
		{"parameters", "nf_conntrack hashsize=1", "parameters"},
		{"a tab", "a\tb", "white space"},
		{"a line feed", "a\nb", "letters, digits"},
		{"a NUL byte", "a\x00", "letters, digits"},
		{"a quote", "a'b", "letters, digits"},
		{"shell code", "a;b", "letters, digits"},
		{"a pattern", "a*", "letters, digits"},
		{"a letter beyond ASCII", "größe", "letters, digits"},
		{"bytes that are no text", "a\xff", "letters, digits"},
		{"too long", strings.Repeat("a", 201), "200"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseName(tt.in)
			if tt.problem == "" {
				if err != nil || got != tt.in {
					t.Errorf("ParseName(%q) = %q, %v", tt.in, got, err)
				}
				return
			}
			var refused *NameError
			if !errors.As(err, &refused) || refused.Input != tt.in || !strings.Contains(refused.Problem, tt.problem) {
				t.Errorf("ParseName(%q) = %q, %v; want a *NameError about %q", tt.in, got, err, tt.problem)
			}
		})
	}
}

// TestSame guards that a module has one identity, whichever of '-' and '_' is written.
func TestSame(t *testing.T) {
	if !Same("nf-conntrack", "nf_conntrack") || !Same("snd-hda_intel", "snd_hda-intel") || Same("nf_conntrack", "nfconntrack") || Same("a", "A") {
		t.Error("Same does not tell '-' and '_' from all else")
	}
	if got := Canonical("snd-hda-intel"); got != "snd_hda_intel" {
		t.Errorf("Canonical = %q", got)
	}
}

// TestParseLoad guards what systemd-modules-load takes from a file, line by line.
func TestParseLoad(t *testing.T) {
	const file = "/etc/modules-load.d/x.conf"
	at := func(line int, name string) LoadLine {
		return LoadLine{Name: name, At: confdir.Position{File: file, Line: line}}
	}
	tests := []struct {
		name, text string
		want       []LoadLine
	}{
		{"a name a line", "nf_conntrack\nbr-netfilter\n", []LoadLine{at(1, "nf_conntrack"), at(2, "br-netfilter")}},
		{"no line end at the end", "overlay", []LoadLine{at(1, "overlay")}},
		{"comments and empty lines", "# a\n; b\n\n  # c\noverlay\n", []LoadLine{at(5, "overlay")}},
		{"outer white space", " \toverlay \r\n", []LoadLine{at(1, "overlay")}},
		{"the whole line is the name", "overlay a=1\noverlay # c\n", []LoadLine{at(1, "overlay a=1"), at(2, "overlay # c")}},
		{"an alias", "net-pf-10\n", []LoadLine{at(1, "net-pf-10")}},
		{"nothing", "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := ParseLoad(file, tt.text); !slices.Equal(got, tt.want) {
				t.Errorf("ParseLoad(%q) = %+v, want %+v", tt.text, got, tt.want)
			}
		})
	}
}

// TestFormatLoad guards the text of our file, and that no comment becomes a module.
func TestFormatLoad(t *testing.T) {
	got := FormatLoad("br-netfilter", "Managed.", "evil\nsctp\r\x00vfat")
	if want := "# Managed.\n# evil sctp  vfat\nbr-netfilter\n"; got != want {
		t.Errorf("FormatLoad = %q, want %q", got, want)
	}
	if lines := ParseLoad("f", got); !slices.Equal(lines, []LoadLine{{Name: "br-netfilter", At: confdir.Position{File: "f", Line: 3}}}) {
		t.Errorf("it reads back as %+v", lines)
	}
}

// TestParseLoaded guards which modules count as there, against the real form of /proc/modules.
func TestParseLoaded(t *testing.T) {
	const text = "tcp_bbr 20480 1 - Live 0x0000000000000000\n" +
		"nf_conntrack 176128 2 nf_nat,xt_conntrack, Live 0x0000000000000000\n" +
		"ext4 983040 1 [permanent], Live 0x0000000000000000\n" +
		"dummy 16384 0 - Loading 0x0000000000000000 (OE)\n" +
		"torn 16384\n"
	want := []Loaded{{"tcp_bbr", "Live"}, {"nf_conntrack", "Live"}, {"ext4", "Live"}, {"dummy", "Loading"}}
	if got := ParseLoaded(text); !slices.Equal(got, want) {
		t.Errorf("ParseLoaded = %+v, want %+v", got, want)
	}
}

// TestParseBuiltin guards that a built-in module is found under the name that lsmod would show.
func TestParseBuiltin(t *testing.T) {
	got := ParseBuiltin("kernel/net/ipv6/ipv6.ko\nkernel/drivers/usb/usb-common.ko\nkernel/x/y.ko.xz\n\nkernel/README\n")
	if want := []string{"ipv6", "usb_common", "y"}; !slices.Equal(got, want) {
		t.Errorf("ParseBuiltin = %q, want %q", got, want)
	}
}

// TestSameParameter guards that what /sys/module shows is no drift from what was asked, and that what differs is. It
// also guards that only the spellings count as numbers that the kernel reads as numbers.
func TestSameParameter(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{"Y", "1", true},
		{"Y", "y", true},
		{"N", "0", true},
		{"Y", "N", false},
		{"Y", "0", false},
		{"2048", "0x800", true},
		{"8", "010", true},
		{"2048", "2000", false},
		{"-1", "-0x1", true},
		{"18446744073709551615", "0xffffffffffffffff", true},
		{"1,2,3", "0x1,2,3", true},
		{"1,2,3", "1,2", false},
		{"Y,N", "1,0", true},
		{"a b", "a b", true},
		{"eth0", "eth1", false},
		{"x\n", "x", true},
		// Spellings that Go reads and kstrto* refuses.
		{"3", "0b11", false},
		{"10", "1_0", false},
		{"15", "0o17", false},
		{"16", "0x_10", false},
		{"1,2", "1,0b10", false},
		{"0", "0x", false},
		{"8", "08", false},
		{"5", "+-5", false},
		{"-5", "-+5", false},
		// Spellings that kstrto* takes.
		{"5", "+5", true},
		{"0", "-0", true},
		{"31", "0X1F", true},
		{"-9223372036854775808", "-0x8000000000000000", true},
	}
	for _, tt := range tests {
		if got := SameParameter(tt.a, tt.b); got != tt.want {
			t.Errorf("SameParameter(%q, %q) = %v", tt.a, tt.b, got)
		}
		if got := SameParameter(tt.b, tt.a); got != tt.want {
			t.Errorf("SameParameter(%q, %q) = %v, but not the other way round", tt.b, tt.a, got)
		}
	}
}
