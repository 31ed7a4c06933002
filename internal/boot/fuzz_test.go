package boot

import (
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// FuzzPredict guards that nothing in a host's files makes a prediction panic, and that a promise always names the line it rests on.
func FuzzPredict(f *testing.F) {
	f.Add("vm.swappiness = 1\n-vm.*\nnet.ipv4.conf.*.rp_filter=2\n", "= 1\n..=2\n", "nf_conntrack\n", "softdep a pre: b\nsoftdep b pre: a\nalias a b\nalias b a\n",
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
			if o.Known && (o.Source == "" || !p.Key(k, o.Value).Holds) || !o.Known && (o.Reason == "" || o.Detail == "" || o.Holds) {
				t.Errorf("%s: %+v", k, o)
			}
			_ = p.Key(k, second)
		}
		for _, m := range append(p.Modules(), name) {
			o := p.Module(m)
			if o.Known && o.Loaded && !o.Builtin && o.Source == "" || !(o.Known && o.Loaded) && (o.Reason == "" || o.Detail == "") {
				t.Errorf("%s: %+v", m, o)
			}
		}
	})
}
