// Package oracletest runs the programs of a Linux root file system that apply sysctl.d and load modules, on random
// trees of files, for tests. Nothing that they do reaches the machine: they run in a root directory of their own, on
// a fake kernel.
package oracletest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"pgregory.net/rapid"
)

// Entry is one generated entry of a directory.
type Entry struct {
	Path string // without the leading slash
	// Kind is text, null, dangling, loop, directory, or link for a link to another entry's text.
	Kind   string
	Target string
	Text   string
}

// write makes the entry below r.
func (e Entry) write(r Root) error {
	if err := os.MkdirAll(filepath.Dir(r.Path(e.Path)), 0o755); err != nil {
		return err
	}
	switch e.Kind {
	case "text":
		return os.WriteFile(r.Path(e.Path), []byte(e.Text), 0o644)
	case "directory":
		return os.Mkdir(r.Path(e.Path), 0o755)
	}
	return os.Symlink(e.Target, r.Path(e.Path))
}

// Configuration are the directories that entries are made in.
var Configuration = []string{
	"etc", "run", "usr/local", "usr/lib/sysctl.d", "usr/lib/modules-load.d", "usr/lib/modprobe.d", "usr/lib/credstore",
}

// Write makes these entries below r, and removes those that were there in the directories of Configuration.
func (r Root) Write(lists ...[]Entry) error {
	if err := r.Clear(Configuration...); err != nil {
		return err
	}
	for _, list := range lists {
		for _, e := range list {
			if err := e.write(r); err != nil {
				return err
			}
		}
	}
	return nil
}

var (
	roots     = []string{"etc", "run", "usr/local/lib", "usr/lib"}
	baseNames = []string{
		"10-a.conf", "20-b.conf", "9-a.conf", "99-z.conf", "Z.conf", "_u.conf", "k8s.conf", "n.conf", "a.conf", "a-b.conf",
		".hidden.conf", "c.conf~", "noext", "sp ace.conf", "\xff.conf", "ü.conf", ".conf",
	}
)

// Entries draws the entries of one family: up to n, each at its own path, with texts made by text. Some are links to
// conf, if it has a path.
func Entries(t *rapid.T, family string, n int, conf Entry, text func(*rapid.T) string) []Entry {
	seen := map[string]bool{}
	var list []Entry
	for range rapid.IntRange(1, n).Draw(t, "entries") {
		name := rapid.OneOf(rapid.SampledFrom(baseNames[:6]), rapid.SampledFrom(baseNames)).Draw(t, "name")
		e := Entry{Path: rapid.SampledFrom(roots).Draw(t, "root") + "/" + family + "/" + name}
		if seen[e.Path] {
			continue
		}
		seen[e.Path] = true
		switch k := rapid.IntRange(0, 29).Draw(t, "kind"); {
		case k < 21:
			e.Kind, e.Text = "text", text(t)
		case k < 23:
			e.Kind = "text"
		case k < 25:
			e.Kind, e.Target = "null", "/dev/null"
		case k == 25:
			e.Kind, e.Target = "dangling", "nowhere"
		case k == 26:
			e.Kind, e.Target = "loop", name
		case k == 27:
			e.Kind = "directory"
		case conf.Path == "":
			e.Kind, e.Text = "text", text(t)
		default:
			e.Kind, e.Target, e.Text = "link", "/"+conf.Path, conf.Text
		}
		list = append(list, e)
	}
	return list
}

// Show returns entries in words, for a test that fails.
func Show(lists ...[]Entry) string {
	var b bytes.Buffer
	for _, list := range lists {
		for _, e := range list {
			fmt.Fprintf(&b, "%s (%s %s) %q\n", e.Path, e.Kind, e.Target, e.Text)
		}
	}
	return b.String()
}

// ModuleNames are names that files and command lines of random trees use: of modules in each spelling, of aliases, and
// of nothing.
var ModuleNames = []string{
	"ma", "mb", "m-c", "m_c", "md", "me", "mf", "mg", "mh", "bb", "b-2", "al-c", "al_c", "al_two", "nosuch", "virt",
	"conf-alias", "nf_conntrack", "nf-conntrack", "br_netfilter", "sctp",
}

var (
	moduleGlobs = []string{"m*", "m[a-c]", "m?c", "conf*", "[mb]b", "vir*", "m[-_]c"}
	commands    = []string{
		"/bin/true", "/bin/false", "/bin/echo x", "/bin/echo modprobe --ignore-install ma", ":", "/bin/false # CIS",
		"/bin/true\t# CIS", "/bin/echo /bin/false", "# nothing", "/sbin/true", `"/bin/true # CIS"`, "/bin/false&&/bin/true",
		"/bin/true||/bin/false",
	}
)

// ModprobeText draws the text of a file of modprobe.d.
func ModprobeText(t *rapid.T) string {
	var b strings.Builder
	name := func() string {
		return rapid.OneOf(rapid.SampledFrom(ModuleNames), rapid.SampledFrom(ModuleNames),
			rapid.SampledFrom(moduleGlobs)).Draw(t, "name")
	}
	plain := func() string { return rapid.SampledFrom(ModuleNames).Draw(t, "plain") }
	for range rapid.IntRange(1, 3).Draw(t, "lines") {
		switch rapid.IntRange(0, 8).Draw(t, "command") {
		case 0, 1:
			b.WriteString("blacklist " + name())
		case 2:
			alias := rapid.SampledFrom([]string{"conf-alias", "conf_alias", "conf*", "ma", "nosuch", "al-c"})
			b.WriteString("alias " + alias.Draw(t, "alias") + " " + plain())
		case 3, 4:
			b.WriteString("install " + name() + " " + rapid.SampledFrom(commands).Draw(t, "run"))
		case 5:
			more := rapid.SampledFrom([]string{"", " post: mg", " " + plain()}).Draw(t, "more")
			b.WriteString("softdep " + name() + " pre: " + plain() + more)
		case 6:
			b.WriteString(rapid.SampledFrom([]string{
				"# blacklist ma", " #x", "", "nonsense ma", "blacklist", "alias ma", "install ma", "options ma p=1",
				"remove virt /bin/true", "softdep ma",
			}).Draw(t, "junk"))
		case 7:
			b.WriteString("\tblacklist\t" + plain() + "  # c")
		default:
			b.WriteString("install \\\n" + plain() + " \\\n" + rapid.SampledFrom(commands).Draw(t, "run"))
		}
		b.WriteString(rapid.SampledFrom([]string{"\n", "\n", "\n", "\r\n", "\n\n", ""}).Draw(t, "end"))
	}
	return b.String()
}

// LoadText draws the text of a file of modules-load.d.
func LoadText(t *rapid.T) string {
	var b strings.Builder
	for range rapid.IntRange(1, 4).Draw(t, "lines") {
		line := rapid.SampledFrom(ModuleNames).Draw(t, "name")
		switch rapid.IntRange(0, 9).Draw(t, "form") {
		case 0:
			line = rapid.SampledFrom([]string{
				"# ma", "; ma", "", "ma p=1", "ma # c", "\tmb ", "m*", "\xff\xfe", "-ma",
			}).Draw(t, "odd")
		case 1:
			line = " " + line + "\t"
		}
		end := rapid.SampledFrom([]string{"\n", "\n", "\n", "\r\n", "\r", "\x00", ""})
		b.WriteString(line + end.Draw(t, "end"))
	}
	return b.String()
}

// CommandLine draws a kernel command line about modules, with words of the forms in more too, which may hold %s for a
// list of names.
func CommandLine(t *rapid.T, more ...string) string {
	var words []string
	for range rapid.IntRange(0, 3).Draw(t, "words") {
		rest := rapid.SampledFrom([]string{"", ",", ",mb", ",m-c,nosuch"})
		list := rapid.SampledFrom(ModuleNames).Draw(t, "first") + rest.Draw(t, "rest")
		word := rapid.SampledFrom(append(more, "modprobe.blacklist=%s", "modules_load=%s", "modules-load=%s",
			"rd.modules_load=%s", "quiet", "ma.p=1", `modules_load="%s"`, "xmodules_load=%s")).Draw(t, "word")
		if strings.Contains(word, "%s") {
			word = fmt.Sprintf(word, list)
		}
		words = append(words, word)
	}
	return strings.Join(words, " ") + "\n"
}

// KernelKeys are the keys that the fake kernel has without a module, as paths below /proc/sys.
var KernelKeys = []string{
	"net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter", "net/ipv4/conf/eth0/rp_filter",
	"net/ipv4/conf/eth0.100/rp_filter", "net/ipv4/conf/all/forwarding", "net/ipv4/conf/eth0/forwarding",
	"net/ipv4/conf/eth0.100/forwarding", "vm/swappiness", "vm/stat_interval", "kernel/core_pattern", "kernel/.dot",
	"fs/a.b/c",
}

var (
	patterns = []string{
		"net.ipv4.conf.*.rp_filter", "net/ipv4/conf/*/rp_filter", "net.ipv4.conf.eth*.rp_filter",
		"net.ipv4.conf.eth0/1*.rp_filter", "net.ipv4.*.*.rp_filter", "net.ipv4.conf.[ae]*.forwarding",
		"net.ipv4.conf.[!a]*.*", "net.ipv4.conf.eth0?100.rp_filter", "vm.s*", "vm.[a-z]*", "kernel.*", "*.swappiness", "*",
		"net.*", "net.ipv4.conf.*", "vm.swappin[e]ss", "vm.sw[", "fs.*.c", "fs/a?b/c", "vm/*/x", "nosuch.*", "net/../vm/*",
		"vm/swappiness/*", `vm.s\w*`, "vm.?wappiness", "net/ipv4/conf/[[:alpha:]]*/rp_filter",
		"{net,x}*.ipv4.conf.eth0.forwarding", "*/./swappiness",
	}
	names = []string{
		"net.ipv4.conf.eth0/100.rp_filter", "net.ipv4.conf.eth0.100.rp_filter", "vm/nosuch", "net.netfilter.nosuch",
		"/vm/swappiness", "vm//swappiness", "vm/swappiness/", ".vm.swappiness", "./vm/swappiness", "vm/../vm/swappiness",
		"net/ipv4", "vm", "vm/swappiness/x", "", "vm.\xff", "vm swappiness", "fs.a/b.c", "fs/a.b/c",
		"vm." + strings.Repeat("x", 256), "swappiness", "..", "vm.swappiness = 1 = ",
		"/../vm/swappiness",
	}
	values = []string{
		"1", "2", "33", "a b\tc", "4 # note", "", "=", "\xfe\xff", "-1", strings.Repeat("long", 60), ";", "#", "0x10", "*",
	}
	lineEnds = []string{"\n", "\n", "\n", "\n", "\r\n", "\r", "\n\r", "\n\n", "\x00", ""}
	blanks   = []string{"", "", " ", "\t", " \t "}
	junk     = []string{
		"# vm.swappiness = 7", "; vm.swappiness = 7", "", "   ", "not a line", "-", "=", "- = 1",
		"\xef\xbb\xbfvm.swappiness = 9", "\x01\x02", "\\", "-#", "- #x = 1",
	}
)

func sysctlLine(t *rapid.T, keys []string) string {
	kind := rapid.IntRange(0, 19).Draw(t, "line")
	if kind == 0 {
		return rapid.SampledFrom(junk).Draw(t, "junk")
	}
	var name string
	switch {
	case kind < 12:
		name = rapid.SampledFrom(keys).Draw(t, "key")
		if rapid.Bool().Draw(t, "dots") {
			name = strings.NewReplacer("/", ".", ".", "/").Replace(name)
		}
	case kind < 17:
		name = rapid.SampledFrom(patterns).Draw(t, "pattern")
	default:
		name = rapid.SampledFrom(names).Draw(t, "name")
	}
	blank := func() string { return rapid.SampledFrom(blanks).Draw(t, "blank") }
	switch rapid.IntRange(0, 9).Draw(t, "form") {
	case 0:
		return blank() + "-" + blank() + name + blank()
	case 1:
		value := rapid.SampledFrom(values).Draw(t, "value")
		return "-" + blank() + name + blank() + "=" + blank() + value + blank()
	}
	return blank() + name + blank() + "=" + blank() + rapid.SampledFrom(values).Draw(t, "value") + blank()
}

// SysctlText draws the text of a file of sysctl.d that names these keys, or others.
func SysctlText(t *rapid.T, keys []string) string {
	var b strings.Builder
	for range rapid.IntRange(1, 5).Draw(t, "lines") {
		b.WriteString(sysctlLine(t, keys))
		b.WriteString(rapid.SampledFrom(lineEnds).Draw(t, "end"))
	}
	return b.String()
}
