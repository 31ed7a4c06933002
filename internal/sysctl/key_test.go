package sysctl

import (
	"errors"
	"strings"
	"testing"
)

// TestParseKey guards that each spelling names the file that systemd and procps write, and that a key reads back from its own spelling.
func TestParseKey(t *testing.T) {
	tests := []struct{ name, in, canonical, path, dropIn string }{
		{"dots", "net.ipv4.ip_forward", "net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward", "85-terraform-net.ipv4.ip_forward.conf"},
		{"slashes", "net/ipv4/ip_forward", "net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward", "85-terraform-net.ipv4.ip_forward.conf"},
		{
			"dots first: a slash stands for a dot", "net.ipv4.conf.eth0/100.forwarding", "net.ipv4.conf.eth0/100.forwarding",
			"/proc/sys/net/ipv4/conf/eth0.100/forwarding", "90-terraform-net.ipv4.conf.eth0%2F100.forwarding.conf",
		},
		{
			"slashes first: a dot is a dot", "net/ipv4/conf/eth0.100/forwarding", "net.ipv4.conf.eth0/100.forwarding",
			"/proc/sys/net/ipv4/conf/eth0.100/forwarding", "90-terraform-net.ipv4.conf.eth0%2F100.forwarding.conf",
		},
		{
			"dots only: a VLAN's number is a part", "net.ipv4.conf.eth0.100.forwarding", "net.ipv4.conf.eth0.100.forwarding",
			"/proc/sys/net/ipv4/conf/eth0/100/forwarding", "90-terraform-net.ipv4.conf.eth0.100.forwarding.conf",
		},
		{
			"dashes inside", "net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-iptables", "/proc/sys/net/bridge/bridge-nf-call-iptables",
			"90-terraform-net.bridge.bridge-nf-call-iptables.conf",
		},
		{"a percent sign", "vm.a%2Fb", "vm.a%2Fb", "/proc/sys/vm/a%2Fb", "90-terraform-vm.a%252Fb.conf"},
		{"a # inside", "vm.a#b", "vm.a#b", "/proc/sys/vm/a#b", "90-terraform-vm.a#b.conf"},
		{"a colon and a quote", `vm.a:'"b`, `vm.a:'"b`, `/proc/sys/vm/a:'"b`, `90-terraform-vm.a:'"b.conf`},
		{"two dots in a part", "vm/a..b/c", "vm.a//b.c", "/proc/sys/vm/a..b/c", "90-terraform-vm.a%2F%2Fb.c.conf"},
		{"letters beyond ASCII", "net.conf.größe.tag", "net.conf.größe.tag", "/proc/sys/net/conf/größe/tag", "90-terraform-net.conf.größe.tag.conf"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k, err := ParseKey(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if k.String() != tt.canonical || k.Path() != tt.path || k.DropInName() != tt.dropIn {
				t.Errorf("ParseKey(%q) = %q, %q, %q; want %q, %q, %q", tt.in, k, k.Path(), k.DropInName(), tt.canonical, tt.path, tt.dropIn)
			}
			for _, spelling := range []string{tt.canonical, strings.TrimPrefix(tt.path, "/proc/sys/")} {
				if again, err := ParseKey(spelling); err != nil || again != k {
					t.Errorf("ParseKey(%q) = %q, %v; want the same key", spelling, again, err)
				}
			}
		})
	}
}

// TestParseKeyRefuses guards that no string that is not a key reaches a path, a file name or a file, and that the message says what is wrong.
func TestParseKeyRefuses(t *testing.T) {
	tests := []struct{ name, in, problem string }{
		{"nothing", "", "empty"},
		{"a parent directory", "net/../kernel/core_pattern", `".."`},
		{"a parent directory, in dots", "net.//.kernel", `".."`},
		{"the same directory", "net/./ip_forward", `"."`},
		{"the same directory, in dots", "net./.ip_forward", `"."`},
		{"a leading dot", ".net.ipv4", "begins with a separator"},
		{"a leading slash", "/net/ipv4", "begins with a separator"},
		{"a whole path", "/proc/sys/net/ipv4/ip_forward", "leave out /proc/sys/"},
		{"a trailing dot", "net.ipv4.", "ends with a separator"},
		{"a trailing slash", "net/ipv4/", "ends with a separator"},
		{"a doubled dot", "net..ipv4", "two separators"},
		{"a doubled slash", "net//ipv4", "two separators"},
		{"a blank", "net.ipv4 .ip_forward", "white space"},
		{"a blank behind", "net.ipv4.ip_forward ", "white space"},
		{"a tab", "net.ipv4\tip_forward", "white space"},
		{"a line feed", "net.ipv4.ip_forward\nvm.swappiness", "line break"},
		{"a carriage return", "net.ipv4.ip_forward\r", "line break"},
		{"a line separator beyond ASCII", "net.ipv4\u2028x", "line break"},
		{"a NUL byte", "net.ipv4\x00x", "control character"},
		{"a delete character", "net.ipv4.\x7f", "control character"},
		{"an escape character", "net.ipv4.\x1b[0m", "control character"},
		{"bytes that are no text", "net.ipv4.\xff", "UTF-8"},
		{"an equals sign", "net.ipv4.ip_forward=1", "'='"},
		{"a star", "net.ipv4.conf.*.rp_filter", "'*'"},
		{"a question mark", "net.ipv?.x", "'?'"},
		{"brackets", "net.ipv[46].x", "'['"},
		{"a backslash", `net.ipv4.a\b`, `'\\'`},
		{"a leading dash", "-net.ipv4.ip_forward", "'-'"},
		{"a leading #", "#net.ipv4", "'#'"},
		{"a leading ;", ";net.ipv4", "';'"},
		{"one part", "ip_forward", "one part"},
		{"more than a file name holds", "net." + strings.Repeat("x", 250), "too long"},
		{"more than a file name holds once it is escaped", "net/" + strings.Repeat("x.", 80) + "x", "too long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k, err := ParseKey(tt.in)
			var refused *KeyError
			if !errors.As(err, &refused) {
				t.Fatalf("ParseKey(%q) = %q, %v; want a *KeyError", tt.in, k, err)
			}
			if refused.Input != tt.in || !strings.Contains(refused.Problem, tt.problem) {
				t.Errorf("ParseKey(%q): input %q, problem %q; want a problem with %s", tt.in, refused.Input, refused.Problem, tt.problem)
			}
			if strings.ContainsAny(err.Error(), "\n\r\x00\x1b") {
				t.Errorf("the error holds the input's own control characters: %q", err.Error())
			}
		})
	}
}

// FuzzParseKey guards that no input panics, that every key has one canonical spelling and one path that both read back, and one safe file name.
func FuzzParseKey(f *testing.F) {
	for _, seed := range []string{"net.ipv4.ip_forward", "net/ipv4/conf/eth0.100/x", "net.ipv4.conf.eth0/100.x", "a..b", "a/../b", "-a.b", "%.%2F", "a.b\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseKey(s)
		if err != nil {
			if k != (Key{}) || err.Error() == "" {
				t.Errorf("ParseKey(%q) = %q with error %q", s, k, err)
			}
			return
		}
		for _, spelling := range []string{k.String(), strings.TrimPrefix(k.Path(), "/proc/sys/")} {
			if again, err := ParseKey(spelling); err != nil || again != k {
				t.Errorf("ParseKey(%q) = %q, which %q does not read back: %q, %v", s, k, spelling, again, err)
			}
		}
		if name := k.DropInName(); strings.ContainsAny(name, "/\x00\n") || len(name) > 255 || !strings.HasSuffix(name, ".conf") {
			t.Errorf("ParseKey(%q) has the file name %q", s, name)
		}
		if strings.Contains(k.Path()+"/", "/../") || strings.Contains(k.Path(), "//") {
			t.Errorf("ParseKey(%q) has the path %q", s, k.Path())
		}
	})
}
