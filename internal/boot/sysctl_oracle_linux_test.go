package boot

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/oracletest"
)

// TestPredictLikeSystemdSysctl guards the prediction against the real systemd-sysctl: on random trees both must agree on the value of every key and on
// whether the unit fails. The keys are plain files, so what a kernel refuses, rounds or cuts is not part of it.
func TestPredictLikeSystemdSysctl(t *testing.T) {
	oracletest.Differential(t, newOracle, func(t *rapid.T, o oracle) {
		text := func(t *rapid.T) string { return oracletest.SysctlText(t, oracletest.KernelKeys) }
		conf := oracletest.Entry{Path: "etc/sysctl.conf", Kind: "text", Text: text(t)}
		list := oracletest.Entries(t, "sysctl.d", 7, conf, text)
		s := &Snapshot{
			Init: "systemd", Systemd: o.systemd, Sysctl: filesOf(list), Values: map[string]Reading{},
			SysctlConf: &confdir.File{Path: "/" + conf.Path, Regular: true, Text: conf.Text},
		}
		var extra []oracletest.Entry
		if rapid.IntRange(0, 3).Draw(t, "credential") == 0 {
			extra = append(extra, oracletest.Entry{Path: "run/credentials/sysctl.extra", Kind: "text", Text: text(t)})
			s.AddFile(confdir.File{Path: extraPath, Regular: true, Text: extra[0].Text})
		}
		if err := o.Write(list, extra, []oracletest.Entry{conf}); err != nil {
			t.Fatal(err)
		}
		if err := o.kernel.Boot(""); err != nil {
			t.Fatal(err)
		}
		for _, k := range slices.Concat(oracletest.KernelKeys, oracletest.OtherKeys) {
			s.Values["/proc/sys/"+k] = Reading{Text: oracletest.Untouched}
		}
		ran, err := o.kernel.Run(oracletest.Command{Args: []string{oracletest.Sysctl}, Env: debugging})
		if err != nil {
			t.Fatal(err)
		}
		about := oracletest.Show(slices.Concat(list, extra, []oracletest.Entry{conf})) + ran.Said
		p := Predict(s)
		for _, name := range oracletest.KernelKeys {
			k, ok := keyAt(name)
			if !ok {
				t.Fatalf("%s is no key", name)
			}
			got, _, err := o.kernel.Value(name)
			if err != nil {
				t.Fatal(err)
			}
			o := p.KeyAsSet(k)
			want := oracletest.Untouched
			if o.Known {
				want = o.Value
			}
			if got != want || !o.Known && o.Reason == Unread {
				t.Fatalf("%s: systemd-sysctl leaves %q, Predict says %q (%+v)\n%s", k, got, want, o, about)
			}
		}
		if failures := p.Failures(); (ran.Status != 0) != (len(failures) > 0) {
			t.Fatalf("systemd-sysctl exits %d, Predict expects the failures %q\n%s", ran.Status, failures, about)
		}
	})
}
