package host_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// Guards that the report goes by what this boot has shown: a value that it set is proven, another value on top of a
// line that it applied was changed since, and a line that is newer than the boot was not applied. Our own line is not
// said to be shadowed, and nothing refuted is repeated as a prediction.
func TestReportGoesByEvidence(t *testing.T) {
	b := newBench(t)
	b.WriteFile("/usr/lib/sysctl.d/50-vendor.conf", "vm.dirty_ratio = 30\n")
	b.WriteFile("/etc/sysctl.d/60-site.conf", "vm.swappiness = 10\nkernel.panic = 5\nvm.dirty_ratio = 21\n"+
		"net.netfilter.nf_conntrack_tcp_be_liberal = 1\n")
	b.Reboot()
	b.Sh("sysctl -w kernel.panic=7 vm.dirty_ratio=30")
	b.WriteFile("/etc/sysctl.d/70-new.conf", "kernel.sysrq = 1\n")
	b.Sh("sysctl -w kernel.sysrq=0")
	for _, tt := range []struct {
		key    string
		reason boot.Reason
		source string
		proven bool
	}{
		{key: "vm.swappiness", source: "/etc/sysctl.d/60-site.conf:1", proven: true},
		{key: "kernel.panic", reason: boot.ChangedSinceBoot, source: "/etc/sysctl.d/60-site.conf:2"},
		{key: "vm.dirty_ratio", reason: boot.ChangedSinceBoot, source: "/etc/sysctl.d/60-site.conf:3"},
		{key: "kernel.sysrq", reason: boot.NotApplied, source: "/etc/sysctl.d/70-new.conf:1"},
	} {
		_, k := comesBack(t, b, tt.key)
		if k.Holds != (tt.reason == "") || k.Reason != tt.reason || k.Source != tt.source || (k.ProvenAt != "") != tt.proven {
			t.Errorf("%s holds %v for %q by %s, proven at %q: %s", tt.key, k.Holds, k.Reason, k.Source, k.ProvenAt, k.Detail)
		}
		if tt.reason == boot.ChangedSinceBoot && k.Boot != nil {
			t.Errorf("%s: the report repeats %s, which the boot did not leave", tt.key, *k.Boot)
		}
	}
	_, k := comesBack(t, b, "net.netfilter.nf_conntrack_tcp_be_liberal")
	said := false
	for _, n := range k.Notes {
		said = said || strings.Contains(n.Detail, "In this boot systemd-sysctl could not write net.netfilter")
	}
	if !said {
		t.Errorf("the report does not say that the boot could not write the key: %+v", k)
	}
}

// Guards that our own line is not blamed for a value that another line sets and ours overrules.
func TestOwnLineIsNotShadowed(t *testing.T) {
	b := newBench(t)
	b.WriteFile("/usr/lib/sysctl.d/50-vendor.conf", "vm.swappiness = 30\n")
	k, err := sysctl.ParseKey("vm.swappiness")
	must(t, err)
	_, err = b.host.SetSysctl(t.Context(), host.Sysctl{Key: k, Value: "10", Persist: true, FileName: k.DropInName(),
		Instance: "0123456789abcdef"}, nil, nil)
	must(t, err)
	b.Sh("sysctl -w vm.swappiness=30")
	_, r := comesBack(t, b, "vm.swappiness")
	if r.Holds || r.Reason != boot.NotApplied || !strings.HasPrefix(r.Source, "/etc/sysctl.d/"+k.DropInName()) {
		t.Errorf("%+v", r)
	}
}

// Guards what a resource remembers of boots: a value that a boot does not leave is a warning of the plan that names the
// boot and the suspect, the apply mends it, nothing says that it holds until a boot has left it, and a second loss is
// counted. A change by hand in one boot is told from it.
func TestLossAtBootIsRemembered(t *testing.T) {
	b := newBench(t)
	b.WriteFile("/etc/cron.d/tune", "@reboot root sysctl -w vm.swappiness=$SWAPPINESS\n")
	k, err := sysctl.ParseKey("vm.swappiness")
	must(t, err)
	s := host.Sysctl{Key: k, Value: "10", Persist: true, FileName: k.DropInName(), Instance: "0123456789abcdef",
		Boots: &host.Boots{}}
	_, err = b.host.SetSysctl(t.Context(), s, nil, nil)
	must(t, err)
	refresh := func() host.SysctlState {
		t.Helper()
		st, err := b.host.ReadSysctl(t.Context(), s)
		must(t, err)
		return st
	}
	again := func() { // another process
		t.Helper()
		b = bench{b.Host, newHost(t, b.Host, false)}
	}
	mustPlan := func(when string, reason boot.Reason, kind host.Kind, words ...string) {
		t.Helper()
		p, err := b.host.PlanSysctl(t.Context(), s, &s)
		must(t, err)
		if got := p.Keys[k]; got.Holds != (reason == "") || got.Reason != reason {
			t.Errorf("%s: the plan has %+v", when, got)
		}
		found := ""
		for _, w := range p.Warnings {
			if w.Kind == host.KeyOverwritten || w.Kind == host.KeyChanged {
				found += string(w.Kind) + ": " + w.Detail
			}
		}
		if kind == "" != (found == "") || !strings.HasPrefix(found, string(kind)) {
			t.Errorf("%s: the plan warns %q, want %q", when, found, kind)
		}
		for _, word := range words {
			if !strings.Contains(found, word) {
				t.Errorf("%s: the plan warns %q, without %q", when, found, word)
			}
		}
	}
	if st := refresh(); !st.Holds {
		t.Errorf("%+v", st)
	}
	mustPlan("applied", "", "")
	b.Sh("sysctl -w vm.swappiness=33")
	again()
	refresh()
	mustPlan("by hand", "", host.KeyChanged, `is "33" now, although /etc/sysctl.d/`, "since the boot of 20")
	_, err = b.host.SetSysctl(t.Context(), s, &s, nil)
	must(t, err)

	b.Reboot()
	b.Sh("sysctl -w vm.swappiness=1")
	again()
	if st := refresh(); st.Holds || st.Reason != boot.OverwrittenAtBoot || st.Boot != nil {
		t.Errorf("%+v", st)
	}
	mustPlan("lost", boot.OverwrittenAtBoot, host.KeyOverwritten, "the boot of 20", `left vm.swappiness at "1"`,
		"/etc/cron.d/tune:1")
	_, err = b.host.SetSysctl(t.Context(), s, &s, nil)
	must(t, err)
	if st := refresh(); st.Holds || st.Reason != boot.OverwrittenAtBoot || *st.Running != "10" {
		t.Errorf("mended: %+v", st)
	}
	mustPlan("mended", boot.OverwrittenAtBoot, "")
	if _, r := comesBack(t, b, "vm.swappiness"); r.ProvenAt != "" {
		t.Errorf("the value that was mended is proven at %s", r.ProvenAt)
	}

	b.Reboot()
	b.Sh("sysctl -w vm.swappiness=2")
	again()
	refresh()
	mustPlan("lost again", boot.OverwrittenAtBoot, host.KeyOverwritten, `at "2"`, "boot number 2 in a row")
	_, err = b.host.SetSysctl(t.Context(), s, &s, nil)
	must(t, err)
	refresh()

	b.Reboot()
	again()
	if st := refresh(); !st.Holds || st.Reason != "" || *st.Boot != "10" {
		t.Errorf("%+v", st)
	}
	mustPlan("proven", "", "")
}

// Guards that a loss by a line that was known before the boot is told as one of the boot, and forgotten when the line
// is gone: nothing else was refuted.
func TestLossByAKnownWriterGoesWithIt(t *testing.T) {
	b := newBench(t)
	b.WriteFile("/etc/cron.d/tune", "@reboot root sysctl -w vm.swappiness=1\n")
	k, err := sysctl.ParseKey("vm.swappiness")
	must(t, err)
	s := host.Sysctl{Key: k, Value: "10", Persist: true, FileName: k.DropInName(), Instance: "0123456789abcdef",
		Boots: &host.Boots{}}
	_, err = b.host.SetSysctl(t.Context(), s, nil, nil)
	must(t, err)
	b.Reboot()
	b.Sh("sysctl -w vm.swappiness=1")
	b = bench{b.Host, newHost(t, b.Host, false)}
	_, err = b.host.ReadSysctl(t.Context(), s)
	must(t, err)
	p, err := b.host.PlanSysctl(t.Context(), s, &s)
	must(t, err)
	var kinds []host.Kind
	for _, w := range p.Warnings {
		kinds = append(kinds, w.Kind)
	}
	if p.Keys[k].Reason != boot.OtherWriter || !slices.Equal(kinds, []host.Kind{host.KeyContested, host.KeyOverwritten}) ||
		!strings.Contains(p.Warnings[1].Detail, "cron sets vm.swappiness to another value, by /etc/cron.d/tune:1") {
		t.Errorf("%+v with %v", p.Keys[k], p.Warnings)
	}
	b.RemoveFile("/etc/cron.d/tune")
	b = bench{b.Host, newHost(t, b.Host, false)}
	st, err := b.host.ReadSysctl(t.Context(), s)
	must(t, err)
	if !st.Holds || st.Boot == nil || len(s.Boots.Lost) > 0 {
		t.Errorf("%+v, remembered %+v", st, s.Boots)
	}
}

// Guards what is no loss by a boot: an interface that is not there yet, a value that was mended or left by a boot
// before the next refresh, and a first look at a host. And that a loss which an apply meets first is remembered all the
// same.
func TestLossesThatAreNone(t *testing.T) {
	key := func(name string) sysctl.Key {
		k, err := sysctl.ParseKey(name)
		must(t, err)
		return k
	}
	start := func(name string) (b bench, s host.Sysctl) {
		b = newBench(t)
		k := key(name)
		s = host.Sysctl{Key: k, Value: "2", Persist: true, FileName: k.DropInName(), Instance: "0123456789abcdef",
			Boots: &host.Boots{}}
		_, err := b.host.SetSysctl(t.Context(), s, nil, nil)
		must(t, err)
		return b, s
	}
	again := func(b bench) bench { return bench{b.Host, newHost(t, b.Host, false)} }

	b, s := start("net.ipv4.conf.wg0.rp_filter")
	b.Reboot()
	b = again(b)
	st, err := b.host.ReadSysctl(t.Context(), s)
	must(t, err)
	if !st.Holds || len(s.Boots.Lost) > 0 {
		t.Errorf("an interface that is not there yet: %+v, %+v", st, s.Boots)
	}

	b, s = start("vm.swappiness")
	b.Reboot()
	b.Sh("sysctl -w vm.swappiness=1")
	b = again(b)
	_, err = b.host.SetSysctl(t.Context(), s, &s, nil) // without a refresh before it
	must(t, err)
	if s.Boots.Lost["vm.swappiness"].Times != 1 {
		t.Errorf("a loss that the apply met first: %+v", s.Boots)
	}
	b.Reboot()
	b = again(b)
	_, err = b.host.SetSysctl(t.Context(), s, &s, nil)
	must(t, err)
	if len(s.Boots.Lost) > 0 {
		t.Errorf("a boot that left the value: %+v", s.Boots)
	}

	b, s = start("vm.swappiness")
	b.Sh("sysctl -w vm.swappiness=1")
	s.Boots = &host.Boots{}
	b = again(b)
	_, err = b.host.ReadSysctl(t.Context(), s)
	must(t, err)
	p, err := b.host.PlanSysctl(t.Context(), s, &s)
	must(t, err)
	for _, w := range p.Warnings {
		if w.Kind == host.KeyChanged || w.Kind == host.KeyOverwritten {
			t.Errorf("a first look, at a file newer than the boot: %s", w.Detail)
		}
	}
}

// Guards that a line which another one overruled until that was removed is no evidence, and neither is one whose key
// systemd-sysctl could not write: nothing has changed the value since.
func TestWhatIsNoEvidence(t *testing.T) {
	for name, after := range map[string]string{
		"vm.swappiness": "rm /etc/sysctl.d/70-other.conf",
		"net.netfilter.nf_conntrack_tcp_be_liberal": "modprobe nf_conntrack; echo nf_conntrack >/etc/modules-load.d/a.conf",
	} {
		b := newBench(t)
		b.WriteFile("/etc/sysctl.d/60-site.conf", "vm.swappiness = 10\nnet.netfilter.nf_conntrack_tcp_be_liberal = 1\n")
		b.WriteFile("/etc/sysctl.d/70-other.conf", "vm.swappiness = 33\n")
		b.Reboot()
		b.Sh(after)
		if _, k := comesBack(t, b, name); k.Reason != boot.NotApplied || k.Boot == nil {
			t.Errorf("%s: %q, %s", name, k.Reason, k.Detail)
		}
	}
}
