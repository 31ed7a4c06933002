package kmod

import (
	"slices"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
)

// FuzzLists guards what is read line by line: modules-load.d, /etc/modules, /proc/modules, modules.builtin. Nothing is found that does not stand on the line it
// names, a file of ours names its one module to every reader whatever its comment says, and the two grammars of boot agree on plain names.
func FuzzLists(f *testing.F) {
	f.Add("nf_conntrack\nbr-netfilter\n", "overlay", "Managed.")
	f.Add("# a\n; b\r\n tun a=1 # c\n\x00\xff", "net-pf-10", "two\nlines\\")
	f.Add("nf_conntrack 176128 2 nf_nat,xt_conntrack, Live 0x0\nkernel/net/ipv6/ipv6.ko.xz\n.ko\n/\n", "8021q", "\r\x00x")
	f.Fuzz(func(t *testing.T, text, module, comment string) {
		lines := slices.Collect(confdir.Lines(text))
		found := ParseLoad("f", text)
		for _, l := range found {
			if l.At.File != "f" || l.At.Line < 1 || l.At.Line > len(lines) || l.Name != strings.Trim(lines[l.At.Line-1], confdir.Blanks) || l.Name == "" || strings.ContainsAny(l.Name[:1], "#;") {
				t.Errorf("%+v does not stand in %q", l, text)
			}
		}
		if strings.Trim(text, nameBytes+"\n") == "" && !slices.Equal(found, ParseModules("f", text)) {
			t.Errorf("of %q one grammar takes %+v, the other %+v", text, found, ParseModules("f", text))
		}
		rows := strings.Split(text, "\n")
		for _, l := range ParseModules("f", text) {
			if l.At.Line < 1 || l.At.Line > len(rows) || !strings.HasPrefix(strings.TrimSpace(rows[l.At.Line-1]), l.Name) || len(strings.Fields(l.Name)) != 1 || strings.Contains(l.Name, "#") {
				t.Errorf("%+v does not stand in %q", l, text)
			}
		}
		for _, l := range ParseLoaded(text) {
			if len(strings.Fields(l.Name+" "+l.State)) != 2 || !strings.Contains(text, l.Name) {
				t.Errorf("%q gives the loaded module %+v", text, l)
			}
		}
		for _, name := range ParseBuiltin(text) {
			if again := ParseBuiltin("kernel/x/" + name + ".ko\n"); !slices.Equal(again, []string{name}) || strings.ContainsAny(name, "/-") {
				t.Errorf("%q gives the module %q, which reads back as %q", text, name, again)
			}
		}
		same := SameParameter
		if !same(text, text) || same(text, module) != same(module, text) || same(text, module) && same(module, comment) && !same(text, comment) {
			t.Errorf("%q, %q and %q are not the same in every order", text, module, comment)
		}
		if _, err := ParseName(module); err != nil {
			return
		}
		ours := FormatLoad(module, comment)
		for _, got := range [][]LoadLine{ParseLoad("f", ours), ParseModules("f", ours)} {
			if !slices.Equal(got, []LoadLine{{Name: module, At: confdir.Position{File: "f", Line: 2}}}) {
				t.Errorf("the file %q names %+v, not %s", ours, got, module)
			}
		}
	})
}
