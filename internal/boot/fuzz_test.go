package boot

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// FuzzPredict guards that nothing in a host's files makes a prediction panic, and that a known value always names the
// line that sets it.
func FuzzPredict(f *testing.F) {
	f.Add("vm.swappiness = 1\n-vm.*\nnet.ipv4.conf.*.rp_filter=2\n", "= 1\n..=2\n", "nf_conntrack\n",
		"softdep a pre: b\nsoftdep b pre: a\nalias a b\nalias b a\n",
		"k/a.ko: k/b.ko\nk/b.ko: k/a.ko\n", "sysctl.vm.swappiness=1 modules_load=a,b modprobe.blacklist=a", "eth0/100")
	f.Add("", "", "", "", "", "", "")
	f.Add("\xff\xfe\x00[*?\\", "-\n-=\n=", "[", "install [ \\\n", ":\n.ko:", `"`, "..")
	f.Fuzz(func(t *testing.T, first, second, load, modprobe, dep, cmdline, name string) {
		tree := ParseTree("6.1", dep, modprobe, modprobe, dep)
		file := func(path, text string) []confdir.File { return []confdir.File{{Path: path, Text: text, Regular: true}} }
		s := &Snapshot{
			Kernel: "6.1", Init: "systemd", Cmdline: cmdline, Trees: []Tree{tree, ParseTree("6.2", "", "", "", "")},
			Sysctl:      append(file("/etc/sysctl.d/a.conf", first), file("/usr/lib/sysctl.d/b.conf", second)...),
			ModulesLoad: file("/etc/modules-load.d/a.conf", load), Modprobe: file("/etc/modprobe.d/a.conf", modprobe),
			SysctlConf: &file("/etc/sysctl.conf", second)[0],
			Values:     map[string]Reading{"/proc/sys/vm/swappiness": {Text: second}, "/proc/sys/" + name: {Text: first}},
		}
		p := Predict(s)
		keys := p.Keys()
		if k, err := sysctl.ParseKey("net.ipv4.conf." + name + ".rp_filter"); err == nil {
			keys = append(keys, k)
		}
		for _, k := range keys {
			o := p.KeyAsSet(k)
			unexplained := o.Reason == "" || o.Detail == "" || o.Holds
			if o.Known && (o.Source == "" || !p.Key(k, o.Value).Holds) || !o.Known && unexplained {
				t.Errorf("%s: %+v", k, o)
			}
			_ = p.Key(k, second)
		}
		for _, m := range append(p.Modules(), name) {
			o := p.Module(m)
			loaded, unexplained := o.Known && o.LoadedAtBoot, o.Reason == "" || o.Detail == ""
			if loaded && !o.Builtin && o.Source == "" || !loaded && unexplained {
				t.Errorf("%s: %+v", m, o)
			}
		}
	})
}

// FuzzHostFiles guards the parsers of what is not a file of a family: a module tree gives back what was read of it, a
// command line gives back the words that quotes hold together, and releases have one order.
func FuzzHostFiles(f *testing.F) {
	f.Add("kernel/a-b.ko.xz: kernel/c.ko kernel/d.ko\nkernel/c.ko:\n", "alias x-* a_b\n", "softdep a-b pre: c\n",
		"kernel/net/ipv6/ipv6.ko\n",
		"ro sysctl.vm.swappiness=7 modules_load=tun,dummy module_blacklist=ifb -- x", "6.1.0-9", "6.1.0-10")
	f.Add(":\n/:\n.ko: /\n: : :\n", "alias\n", "softdep a b\\\n", ".ko\n",
		`"a b"c "modules-load=a,,a" modprobe.blacklist=, sysctl.=1 sysctl/..=2`, "6.01", "6.1")
	f.Add("\xff\x00.ko: \xfe", "\x00", "[", "\xff.ko", `"""`+"\v\f", "", "é")
	f.Fuzz(func(t *testing.T, dep, alias, softdep, builtin, cmdline, r1, r2 string) {
		tree := ParseTree(r1, dep, alias, softdep, builtin)
		again := ParseTree(r1, formatDep(tree), formatAlias(tree), softdep, formatBuiltin(tree))
		if !reflect.DeepEqual(tree, again) {
			t.Errorf("%q, %q and %q give %+v, which reads back as %+v", dep, alias, builtin, tree, again)
		}
		if n := strings.Count(dep, ":"); len(tree.Dep) > n {
			t.Errorf("%q has %d lines of the form, and gives %d modules", dep, n, len(tree.Dep))
		}
		commandLineHolds(t, cmdline)
		for _, a := range []string{r1, r2, cmdline} {
			for _, b := range []string{r1, r2, cmdline} {
				if compareReleases(a, b) != -compareReleases(b, a) || compareReleases(a, a) != 0 {
					t.Errorf("%q and %q have no order", a, b)
				}
				if compareReleases(r1, a) <= 0 && compareReleases(a, b) <= 0 && compareReleases(r1, b) > 0 {
					t.Errorf("%q, %q and %q have no order", r1, a, b)
				}
			}
		}
	})
}

func formatDep(t Tree) string {
	var b strings.Builder
	for m, deps := range t.Dep {
		b.WriteString("kernel/" + m + ".ko:")
		for _, d := range slices.Backward(deps) {
			b.WriteString(" kernel/" + d + ".ko")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// formatAlias writes an alias as modprobe.d does, where a backslash is doubled.
func formatAlias(t Tree) string {
	var b strings.Builder
	for name, modules := range t.Alias {
		for _, m := range modules {
			b.WriteString(strings.ReplaceAll("alias "+name+" "+m, `\`, `\\`) + "\n")
		}
	}
	return b.String()
}

func formatBuiltin(t Tree) string {
	var b strings.Builder
	for m := range t.Builtin {
		b.WriteString("kernel/" + m + ".ko\n")
	}
	return b.String()
}

// commandLineHolds checks what is read of a command line against the words it is made of.
func commandLineHolds(t *testing.T, text string) {
	t.Helper()
	words := strings.Split(strings.ReplaceAll(text, `"`, ""), "|")
	if got := parameters(`"` + strings.Join(words, `" "`) + `"`); !slices.Equal(got, words) {
		t.Errorf("%q in quotes reads back as %q", words, got)
	}
	if !strings.Contains(text, `"`) {
		space := func(r rune) bool { return strings.ContainsRune(" \t\r\n\v\f", r) }
		if got, want := parameters(text), strings.FieldsFunc(text, space); !slices.Equal(got, want) {
			t.Errorf("%q has the parameters %q, want %q", text, got, want)
		}
	}
	c := parseCommandLine(text)
	if n := len(parameters(text)); len(c.sysctls) > n || len(c.load) > len(text) {
		t.Errorf("%q has %d parameters and gives %+v", text, n, c)
	}
	for _, name := range slices.Concat(c.load, slices.Collect(maps.Keys(c.deny)), slices.Collect(maps.Keys(c.refuse))) {
		spelled := strings.Contains(text, strings.Trim(name, `"`)) || strings.Contains(text, `"`)
		if name == "" || strings.Contains(name, ",") || !spelled {
			t.Errorf("%q gives the module %q", text, name)
		}
	}
	for path, value := range c.sysctls {
		if value == "" || strings.Contains(path, ".") {
			t.Errorf("%q sets %q to %q", text, path, value)
		}
	}
	if c := parseCommandLine("-- " + text); len(c.sysctls)+len(c.refuse) > 0 {
		t.Errorf("behind --, where the kernel takes nothing, %q gives %+v", text, c)
	}
}
