//go:build vm

package host

// The prediction against the boots of a Debian machine.

import (
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/sshconn"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
	"github.com/host-provider/terraform-provider-host/internal/vmtest"
)

// bootKeys are the keys that configurations set, each with values that the kernel takes.
var bootKeys = []struct {
	key    string
	values []string
}{
	{"vm.swappiness", []string{"11", "22", "010", "0x10"}},
	{"vm.dirty_ratio", []string{"31", "32"}},
	{"net.ipv4.tcp_fin_timeout", []string{"41", "42", "43"}},
	{"net.ipv4.tcp_rmem", []string{"4096 131072 6000000", "4096\t131072  6000001"}},
	{"net.ipv4.conf.all.rp_filter", []string{"0", "1", "2"}},
	{"net.ipv4.conf.default.rp_filter", []string{"0", "1", "2"}},
	{"net.ipv4.conf.eth0.rp_filter", []string{"0", "1", "2"}},
	{"net.ipv4.conf.lo.rp_filter", []string{"0", "1", "2"}},
	{"net.core.somaxconn", []string{"777", "0x400"}},
	{"net.core.default_qdisc", []string{"fq", "fq_codel"}},
	{"net.ipv4.tcp_congestion_control", []string{"bbr", "cubic"}},
	{"kernel.core_pattern", []string{"core.a", "core # b"}},
	{"net.netfilter.nf_conntrack_tcp_be_liberal", []string{"1"}},
	{"net.netfilter.nf_conntrack_max", []string{"5000", "6000"}},
	{"net.bridge.bridge-nf-call-iptables", []string{"0"}},
	{"net.sctp.rto_min", []string{"900"}},
}

var bootModules = []string{
	"nf_conntrack", "br_netfilter", "overlay", "dummy", "sctp", "bonding", "ip_vs", "tcp_bbr", "sch_fq",
}

// bootFiles is a configuration: what stands in files, by path; "/dev/null" is a link to that.
type bootFiles map[string]string

// bench is a machine, the Host that looks at it as the provider does, and what its kernel holds when no file says
// anything.
type bench struct {
	*vmtest.VM
	host     *Host
	defaults map[string]string
	had      bootFiles
}

func newBench(t *testing.T, cmdline string) *bench {
	t.Helper()
	return newBenchOf(t, vmtest.Options{Cmdline: cmdline})
}

func newBenchOf(t *testing.T, options vmtest.Options) *bench {
	t.Helper()
	v, err := vmtest.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	h := process(t, v)
	b := &bench{VM: v, host: h}
	for _, m := range bootModules {
		h.searchFor(m)
	}
	b.defaults = b.values(t)
	return b
}

// process returns the machine as a process of the provider sees it that has just begun.
func process(t *testing.T, v *vmtest.VM) *Host {
	t.Helper()
	pool := sshconn.NewPool(sshconn.Config{
		Defaults:       route.Settings{Login: route.Login{PrivateKey: v.PrivateKey(), HostKey: v.HostKey()}},
		ConnectTimeout: time.Minute, Timeout: time.Minute,
	})
	t.Cleanup(pool.Close)
	h, err := NewFleet(func(name string) (Conn, error) { return pool.Conn(name) }).Host(v.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// values is what the bootKeys read, by key; one that is not there is left out.
func (b *bench) values(t *testing.T) map[string]string {
	t.Helper()
	paths := []string{}
	for _, k := range bootKeys {
		paths = append(paths, pathOf(t, k.key))
	}
	out, _ := b.Sh("udevadm settle; grep -H '' " + strings.Join(paths, " ") + " 2>/dev/null")
	all := map[string]string{}
	for line := range strings.Lines(out) {
		p, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		all[p] = value
	}
	return all
}

func pathOf(t *testing.T, key string) string {
	t.Helper()
	k, err := sysctl.ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return k.Path()
}

// configure replaces the configuration from before.
func (b *bench) configure(t *testing.T, files bootFiles) {
	t.Helper()
	var script strings.Builder
	// What Debian itself has there stays: it is moved aside once, and comes back where a configuration does not cover it.
	for p := range b.had {
		fmt.Fprintf(&script, "rm -f %[1]s; [ ! -e %[1]s.debian ] && [ ! -L %[1]s.debian ] || mv %[1]s.debian %[1]s\n", p)
	}
	for p, text := range files {
		fmt.Fprintf(&script, "mkdir -p %[2]s; [ ! -e %[1]s ] && [ ! -L %[1]s ] || mv %[1]s %[1]s.debian\n", p, path.Dir(p))
		if text == os.DevNull {
			fmt.Fprintf(&script, "ln -s /dev/null %s\n", p)
		} else {
			fmt.Fprintf(&script, "cat >%s <<'END OF FILE'\n%s\nEND OF FILE\n", p, text)
		}
	}
	if out, status := b.Sh("set -e\n" + script.String() + "sync"); status != 0 {
		t.Fatal(out)
	}
	b.had = files
}

// predict is the prediction from what the provider sees of the machine now.
func (b *bench) predict(ctx context.Context, t *testing.T) *boot.Prediction {
	t.Helper()
	paths := []string{}
	for _, k := range bootKeys {
		paths = append(paths, pathOf(t, k.key))
	}
	s, err := b.host.fresh(ctx, paths...)
	if err != nil {
		t.Fatal(err)
	}
	return boot.Predict(s)
}

// bootFigures count what was compared.
type bootFigures struct{ boots, keys, modules, units, open, mismatches int }

// check boots the machine and compares what it holds with the prediction.
func (b *bench) check(t *testing.T, files bootFiles, f *bootFigures) (values map[string]string,
	loaded map[string]bool) {
	t.Helper()
	b.configure(t, files)
	p := b.predict(t.Context(), t)
	if err := b.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.host.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	values, loaded = b.values(t), map[string]bool{}
	out, _ := b.Sh("cat /proc/modules")
	for _, l := range kmod.ParseLoaded(out) {
		loaded[l.Name] = true
	}
	f.boots++
	wrong := func(format string, args ...any) {
		f.mismatches++
		t.Errorf(format, args...)
	}
	b.compareKeys(t, p, values, f, wrong)
	for _, name := range bootModules {
		o := p.Module(name)
		// The kernel may load these when a value is written, after the moment that is predicted.
		byValue := name == "tcp_bbr" || name == "sch_fq"
		switch {
		case !o.Known || byValue && !o.LoadedAtBoot:
			f.open++
		default:
			f.modules++
			if o.LoadedAtBoot != (loaded[name] || o.Builtin) {
				wrong("%s: loaded is %v, predicted %+v", name, loaded[name], o)
			}
		}
	}
	failed, _ := b.Sh("systemctl list-units --failed --plain --no-legend | cut -d' ' -f1")
	for _, unit := range []string{"systemd-sysctl.service", "systemd-modules-load.service"} {
		f.units++
		predicted := slices.ContainsFunc(p.Failures(), func(u boot.UnitFailure) bool { return u.Unit == unit })
		if happened := slices.Contains(strings.Fields(failed), unit); happened != predicted {
			wrong("%s: failed is %v, predicted %v: %+v", unit, happened, predicted, p.Failures())
		}
	}
	if t.Failed() {
		said, _ := b.Sh("journalctl -b -t systemd-sysctl -t systemd-modules-load --no-pager -o cat")
		t.Logf("files:\n%s\n%s", files, said)
	}
	return values, loaded
}

func (b *bench) compareKeys(t *testing.T, p *boot.Prediction, values map[string]string, f *bootFigures,
	wrong func(string, ...any)) {
	t.Helper()
	for _, bk := range bootKeys {
		k, err := sysctl.ParseKey(bk.key)
		if err != nil {
			t.Fatal(err)
		}
		got, there := values[k.Path()]
		o := p.KeyAsSet(k)
		switch {
		case o.Holds:
			f.keys++
			if !there || !sysctl.Equal(k, got, o.Value) {
				wrong("%s reads %q, predicted %+v", k, got, o)
			}
		case slices.Contains([]boot.Reason{boot.Unset, boot.Voided, boot.Excluded, boot.Masked}, o.Reason) || there:
			// Nothing sets it, or not in time: it reads what the kernel makes of it, if its module is there at all.
			f.keys++
			def, known := b.defaults[k.Path()]
			// An interface without an address, as eth0 is at that moment, takes what is written to default, except where its own
			// key was written.
			if below, ok := strings.CutPrefix(k.Path(), "/proc/sys/net/ipv4/conf/eth0/"); ok {
				def, known = values["/proc/sys/net/ipv4/conf/default/"+below]
			}
			if there && known && !sysctl.Equal(k, got, def) {
				wrong("%s reads %q, not the kernel's own %q; predicted %+v", k, got, def, o)
			}
			if there && !known && slices.ContainsFunc(bk.values, func(v string) bool { return sysctl.Equal(k, got, v) }) {
				wrong("%s reads %q, predicted %+v", k, got, o)
			}
		default:
			f.keys++ // it is not there, as a key is whose module is kept out
		}
	}
}

// Guards the cases that people meet: modules that are kept out in each of the ways there are, and drop-ins that fight.
// Here the outcome is written down too, so that neither the prediction nor the machine decides alone.
func TestVMKeptOutAndFighting(t *testing.T) {
	b := newBench(t, "")
	var f bootFigures
	values, loaded := b.check(t, bootFiles{
		"/etc/modprobe.d/site.conf": "blacklist dummy\ninstall sctp /bin/false\noptions nf_conntrack " +
			"hashsize=4096",
		"/etc/modules-load.d/site.conf":       "dummy\nsctp\noverlay\nnf-conntrack",
		"/usr/lib/modules-load.d/vendor.conf": "bonding",
		"/etc/modules-load.d/vendor.conf":     os.DevNull,
		"/etc/sysctl.d/10-a.conf": "vm.swappiness = 11\nvm.dirty_ratio = 32\nnet.ipv4.tcp_fin_timeout = " +
			"41\nnet.netfilter.nf_conntrack_max = 5000",
		"/usr/lib/sysctl.d/05-early.conf": "vm.dirty_ratio = 31",
		"/usr/lib/sysctl.d/20-b.conf":     "vm.swappiness = 22",
		"/etc/sysctl.d/99-z.conf":         "net.ipv4.tcp_fin_timeout = 42\nnet.sctp.rto_min = 900",
		"/etc/sysctl.d/k8s.conf": "net.ipv4.tcp_fin_timeout = 43\nnet.ipv4.conf.*.rp_filter = " +
			"2\n-net.ipv4.conf.all.rp_filter",
		"/etc/sysctl.d/50-default-of-nothing.conf": "",
	}, &f)
	want := map[string]bool{"dummy": false, "sctp": false, "overlay": true, "nf_conntrack": true, "bonding": false}
	for name := range want {
		if loaded[name] != want[name] {
			t.Errorf("%s: loaded is %v", name, loaded[name])
		}
	}
	for key, value := range map[string]string{
		"vm.swappiness": "22", "vm.dirty_ratio": "32", "net.ipv4.tcp_fin_timeout": "43",
		"net.netfilter.nf_conntrack_max": "5000", "net.ipv4.conf.eth0.rp_filter": "2",
		"net.ipv4.conf.all.rp_filter": b.defaults[pathOf(t, "net.ipv4.conf.all.rp_filter")],
	} {
		if got := values[pathOf(t, key)]; got != value {
			t.Errorf("%s reads %q, not %q", key, got, value)
		}
	}
	if got, _ := b.Sh("cat /sys/module/nf_conntrack/parameters/hashsize"); got != "4096\n" {
		t.Errorf("hashsize is %s", got)
	}
}
