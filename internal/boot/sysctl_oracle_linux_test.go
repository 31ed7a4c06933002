package boot

import (
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// oracleKeys are the keys of the fake kernel, as paths below /proc/sys.
var oracleKeys = []string{
	"net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter", "net/ipv4/conf/eth0/rp_filter", "net/ipv4/conf/eth0.100/rp_filter",
	"net/ipv4/conf/all/forwarding", "net/ipv4/conf/eth0/forwarding", "net/ipv4/conf/eth0.100/forwarding",
	"vm/swappiness", "vm/stat_interval", "kernel/core_pattern", "kernel/.dot", "fs/a.b/c",
}

var (
	oraclePatterns = []string{
		"net.ipv4.conf.*.rp_filter", "net/ipv4/conf/*/rp_filter", "net.ipv4.conf.eth*.rp_filter", "net.ipv4.conf.eth0/1*.rp_filter", "net.ipv4.*.*.rp_filter",
		"net.ipv4.conf.[ae]*.forwarding", "net.ipv4.conf.[!a]*.*", "net.ipv4.conf.eth0?100.rp_filter", "vm.s*", "vm.[a-z]*", "kernel.*", "*.swappiness", "*", "net.*",
		"net.ipv4.conf.*", "vm.swappin[e]ss", "vm.sw[", "fs.*.c", "fs/a?b/c", "vm/*/x", "nosuch.*", "net/../vm/*", "vm/swappiness/*", `vm.s\w*`, "vm.?wappiness",
	}
	oracleNames = []string{
		"net.ipv4.conf.eth0/100.rp_filter", "net.ipv4.conf.eth0.100.rp_filter", "vm/nosuch", "net.netfilter.nosuch", "/vm/swappiness", "vm//swappiness", "vm/swappiness/",
		".vm.swappiness", "./vm/swappiness", "vm/../vm/swappiness", "net/ipv4", "vm", "vm/swappiness/x", "", "vm.\xff", "vm swappiness", "fs.a/b.c", "fs/a.b/c",
		"vm." + strings.Repeat("x", 256), "swappiness", "..", "vm.swappiness = 1 = ",
	}
	oracleValues = []string{"1", "2", "33", "a b\tc", "4 # note", "", "=", "\xfe\xff", "-1", strings.Repeat("long", 60), ";", "#", "0x10", "*"}
	oracleEnds   = []string{"\n", "\n", "\n", "\n", "\r\n", "\r", "\n\r", "\n\n", "\x00", ""}
	oracleBlanks = []string{"", "", " ", "\t", " \t "}
	oracleJunk   = []string{"# vm.swappiness = 7", "; vm.swappiness = 7", "", "   ", "not a line", "-", "=", "- = 1", "\xef\xbb\xbfvm.swappiness = 9", "\x01\x02", "\\", "-#", "- #x = 1"}
)

func oracleLine(t *rapid.T) string {
	kind := rapid.IntRange(0, 19).Draw(t, "line")
	if kind == 0 {
		return rapid.SampledFrom(oracleJunk).Draw(t, "junk")
	}
	var name string
	switch {
	case kind < 12:
		name = rapid.SampledFrom(oracleKeys).Draw(t, "key")
		if k, err := sysctl.ParseKey(name); err == nil && rapid.Bool().Draw(t, "dots") {
			name = k.String()
		}
	case kind < 17:
		name = rapid.SampledFrom(oraclePatterns).Draw(t, "pattern")
	default:
		name = rapid.SampledFrom(oracleNames).Draw(t, "name")
	}
	blank := func() string { return rapid.SampledFrom(oracleBlanks).Draw(t, "blank") }
	switch rapid.IntRange(0, 9).Draw(t, "form") {
	case 0:
		return blank() + "-" + blank() + name + blank()
	case 1:
		return "-" + blank() + name + blank() + "=" + blank() + rapid.SampledFrom(oracleValues).Draw(t, "value") + blank()
	}
	return blank() + name + blank() + "=" + blank() + rapid.SampledFrom(oracleValues).Draw(t, "value") + blank()
}

func oracleText(t *rapid.T) string {
	var b strings.Builder
	for range rapid.IntRange(1, 5).Draw(t, "lines") {
		b.WriteString(oracleLine(t))
		b.WriteString(rapid.SampledFrom(oracleEnds).Draw(t, "end"))
	}
	return b.String()
}

// TestPredictLikeSystemdSysctl guards the prediction against the real systemd-sysctl: on random trees both must agree on the value of every key and on
// whether the unit fails. The keys are plain files, so what a kernel refuses, rounds or cuts is not part of it.
func TestPredictLikeSystemdSysctl(t *testing.T) {
	const program = "/usr/lib/systemd/systemd-sysctl"
	differential(t, []string{program}, func(*testing.T, root) {}, func(t *rapid.T, r root) {
		conf := entry{path: "etc/sysctl.conf", kind: "text", text: oracleText(t)}
		list := entries(t, "sysctl.d", 7, conf, oracleText)
		const untouched = "untouched"
		s := &Snapshot{Init: "systemd", Sysctl: files(list), Values: map[string]Reading{}, SysctlConf: &confdir.File{Path: "/" + conf.path, Regular: true, Text: conf.text}}
		var extra []entry
		if rapid.IntRange(0, 3).Draw(t, "credential") == 0 {
			extra = append(extra, entry{path: "run/credentials/sysctl.extra", kind: "text", text: oracleText(t)})
			s.AddFile(confdir.File{Path: extraPath, Regular: true, Text: extra[0].text})
		}
		if err := r.clear("etc", "run", "usr/local", "usr/lib/sysctl.d", "dev"); err != nil {
			t.Fatal(err)
		}
		if err := r.put("dev/null", ""); err != nil {
			t.Fatal(err)
		}
		if err := writeAll(r, slices.Concat(list, extra, []entry{conf})); err != nil {
			t.Fatal(err)
		}
		for _, k := range oracleKeys {
			if err := r.put("proc/sys/"+k, untouched); err != nil {
				t.Fatal(err)
			}
			s.Values["/proc/sys/"+k] = Reading{Text: untouched}
		}
		_, said, status, err := r.run(program)
		if err != nil {
			t.Fatal(err)
		}
		p := Predict(s)
		for _, name := range oracleKeys {
			k, ok := keyAt(name)
			if !ok {
				t.Fatalf("%s is no key", name)
			}
			data, err := os.ReadFile(r.path("proc/sys/" + name))
			if err != nil {
				t.Fatal(err)
			}
			// A plain file is not cut by a shorter value that is written over it.
			got, _, _ := strings.Cut(string(data), "\n")
			o := p.KeyAsSet(k)
			want := untouched
			if o.Known {
				want = o.Value
			}
			if got != want || !o.Known && o.Reason == Unread {
				t.Fatalf("%s: systemd-sysctl leaves %q, Predict says %q (%+v)\n%s%s", k, got, want, o, show(slices.Concat(list, extra, []entry{conf})), said)
			}
		}
		if failures := p.Failures(); (status != 0) != (len(failures) > 0) {
			t.Fatalf("systemd-sysctl exits %d, Predict expects the failures %q\n%s%s", status, failures, show(slices.Concat(list, extra, []entry{conf})), said)
		}
	})
}
