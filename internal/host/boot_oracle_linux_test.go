//go:build bootoracle

package host

// The prediction from end to end: the scripts read a machine in its own shell, and what they print is decoded. Then its
// real programs boot it.

import (
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/oracletest"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// oracle is a machine with a fake kernel and the programs of a real one.
type oracle struct {
	oracletest.Root
	kernel *oracletest.Kernel
	shell  oracletest.Command
}

// newOracle returns a machine. Part 0 has GNU's programs and the shell of the root that they come from, part 1 has
// BusyBox for all that the scripts use.
func newOracle(t *testing.T, part int) oracle {
	t.Helper()
	used := []string{"sh", "cat", "grep", "ls", "readlink", "sha256sum", "sort", "tr", "wc"}
	programs := []string{
		oracletest.ModulesLoad, oracletest.Sysctl, oracletest.Modprobe, oracletest.Depmod,
		"/bin/sh", "/bin/echo", "/bin/true", "/bin/false",
	}
	sh := oracletest.Command{Args: []string{"/bin/sh", "-s"}}
	if part == 0 {
		for _, name := range used {
			programs = append(programs, "/usr/bin/"+name)
		}
	} else {
		programs = append(programs, "/bin/busybox")
		sh = oracletest.Command{Args: []string{"/busybox/sh", "-s"}, Env: []string{"PATH=/busybox"}}
	}
	r := oracletest.New(t, programs...)
	if part != 0 {
		if err := os.Mkdir(r.Path("busybox"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range used {
			if err := os.Symlink("/bin/busybox", r.Path("busybox/"+name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return oracle{r, oracletest.NewKernel(t, r), sh}
}

// oracleConn is a session of a shell that runs on an oracle, for scripts only.
type oracleConn struct {
	Conn
	oracle
}

func (c oracleConn) Run(_ context.Context, s shell.Script) (shell.Result, error) {
	const nonce = "0123456789abcdef"
	text, err := shell.Encode(nonce, s)
	if err != nil {
		return shell.Result{}, err
	}
	sh := c.shell
	sh.Stdin = shell.Prologue(nonce) + text
	ran, err := c.oracle.Run(sh)
	if err != nil {
		return shell.Result{}, err
	}
	_, out, found := strings.Cut(ran.Out, string(shell.Ready(nonce)))
	r, n, err := shell.Decode(nonce, []byte(out))
	if err == nil && (!found || n != len(out) || ran.Said != "") {
		err = fmt.Errorf("the shell prints %q and %q", ran.Out, ran.Said)
	}
	return r, err
}

// oracleTree is a random configuration, and what the machine is when it is read.
type oracleTree struct {
	entries []oracletest.Entry
	cmdline string
	loaded  []string // loaded before the boot
	asked   []string // modules that resources name
	all     bool     // a reader asks for all keys
	marked  bool     // mark.sh is tried too
}

func drawOracleTree(t *rapid.T) oracleTree {
	text := func(t *rapid.T) string { return oracletest.SysctlText(t, oracletest.Keys()) }
	var tree oracleTree
	file := func(path, text string) oracletest.Entry {
		e := oracletest.Entry{Path: path, Kind: "text", Text: text}
		tree.entries = append(tree.entries, e)
		return e
	}
	conf, modules := file("etc/sysctl.conf", text(t)), file("etc/modules", oracletest.LoadText(t))
	tree.entries = append(tree.entries, oracletest.Entries(t, "sysctl.d", 5, conf, text)...)
	tree.entries = append(tree.entries, oracletest.Entries(t, "modules-load.d", 3, modules, oracletest.LoadText)...)
	modprobe := oracletest.Entries(t, "modprobe.d", 3, oracletest.Entry{}, oracletest.ModprobeText)
	if slices.ContainsFunc(modprobe, func(e oracletest.Entry) bool { return e.Kind == "directory" }) {
		// Beside a directory, kmod 30 takes a link that leads nowhere for one too, or not, by the order in which it finds
		// them.
		modprobe = slices.DeleteFunc(modprobe, func(e oracletest.Entry) bool {
			return e.Kind == "dangling" || e.Kind == "loop"
		})
	}
	tree.entries = append(tree.entries, modprobe...)
	if rapid.IntRange(0, 3).Draw(t, "credential") == 0 {
		stores := []string{"run/credentials/@system", "etc/credstore", "run/credstore", "usr/lib/credstore"}
		file(rapid.SampledFrom(stores).Draw(t, "store")+"/sysctl.extra", text(t))
	}
	tree.cmdline = oracletest.CommandLine(t, "module_blacklist=%s", "sysctl.vm.swappiness=7",
		"sysctl.net.sctp.rto_min=7")
	some := rapid.SliceOfNDistinct(rapid.SampledFrom(oracletest.Modules()), 0, 4, rapid.ID[string])
	tree.loaded, tree.asked = some.Draw(t, "loaded"), some.Draw(t, "asked")
	tree.all, tree.marked = rapid.Bool().Draw(t, "all"), rapid.IntRange(0, 3).Draw(t, "marked") == 0
	return tree
}

func (tree oracleTree) String() string {
	return fmt.Sprintf("%s\nloaded %q, asked %q, all keys: %v\n%s", tree.cmdline, tree.loaded, tree.asked, tree.all,
		oracletest.Show(tree.entries))
}

// write makes the tree and starts the machine that a provider then looks at.
func (o oracle) write(t judge, tree oracleTree) {
	err := o.Write(tree.entries)
	if err == nil {
		err = os.MkdirAll(o.Path("run/systemd/system"), 0o755)
	}
	for _, e := range tree.entries {
		if path.Base(e.Path) == "sysctl.extra" && err == nil { // what systemd does with LoadCredential=
			err = o.Put("run/credentials/systemd-sysctl.service/sysctl.extra", e.Text)
		}
	}
	if err == nil {
		err = o.kernel.Boot(tree.cmdline)
	}
	for _, m := range tree.loaded {
		if err == nil {
			err = o.kernel.Load(m)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// read returns the snapshot that the provider takes of the machine.
func (o oracle) read(t judge, tree oracleTree) *boot.Snapshot {
	h, err := NewFleet(func(string) (Conn, error) { return oracleConn{oracle: o}, nil }).Host("oracle")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range tree.asked {
		h.searchFor(m)
	}
	var paths []string
	for _, key := range oracletest.Keys() {
		paths = append(paths, "/proc/sys/"+key)
	}
	s, err := h.takeSnapshot(t.Context(), h.snapshotScript(paths, tree.all))
	if err != nil {
		t.Fatalf("%v\n%s", err, tree)
	}
	if mark, ok := markOf(s); ok && tree.marked {
		r, err := h.conn.Run(t.Context(), shell.Script{Text: markScript})
		if got := strings.TrimSpace(r.Records[0].Body); err != nil || got != mark {
			t.Fatalf("mark.sh prints %q, the snapshot's mark is %q (%v)\n%s", got, mark, err, tree)
		}
	}
	return s
}

// units are those that apply the files at boot, in their order.
var units = []string{"systemd-modules-load.service", "systemd-sysctl.service"}

// boots starts the machine, and its kernel anew, and returns which units fail and what they said.
func (o oracle) boots(t judge, tree oracleTree) (failed map[string]bool, said string) {
	if err := o.kernel.Boot(tree.cmdline); err != nil {
		t.Fatal(err)
	}
	failed = map[string]bool{}
	for i, program := range []string{oracletest.ModulesLoad, oracletest.Sysctl} {
		ran, err := o.kernel.Run(oracletest.Command{Args: []string{program}, Env: []string{
			"SYSTEMD_LOG_LEVEL=debug", "SYSTEMD_LOG_TARGET=console",
			"CREDENTIALS_DIRECTORY=/run/credentials/systemd-sysctl.service",
		}})
		if err != nil {
			t.Fatalf("%s: %v\n%s", program, err, tree)
		}
		failed[units[i]] = ran.Status != 0
		said += ran.Said
	}
	return failed, said
}

// judge is a test of a random tree, or of one that is written down.
type judge interface {
	Context() context.Context
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// bootComparison counts what was compared with a prediction.
type bootComparison struct{ compared, open atomic.Int64 }

// try fails t unless the machine, with this tree, boots as predicted.
func (c *bootComparison) try(t judge, o oracle, tree oracleTree) {
	o.write(t, tree)
	p := boot.Predict(o.read(t, tree))
	failed, said := o.boots(t, tree)
	wrong := func(format string, args ...any) {
		t.Fatalf(format+"\n%s%s", append(args, tree, said)...)
	}
	certain := c.modules(o, p, tree, wrong)
	c.keys(o, p, wrong)
	for unit, failed := range failed {
		predicted := slices.ContainsFunc(p.Failures(), func(u boot.UnitFailure) bool { return u.Unit == unit })
		if failed != predicted && (predicted || certain || unit != units[0]) {
			wrong("%s: failed is %v, predicted %v: %+v", unit, failed, predicted, p.Failures())
		}
	}
}

// modules compares the modules, and returns whether the prediction is certain of each that a file or the command line
// asks for.
func (c *bootComparison) modules(o oracle, p *boot.Prediction, tree oracleTree, wrong func(string, ...any)) bool {
	certain := true
	for _, name := range p.Modules() {
		for _, m := range append(p.Resolve(name), name) { // of several modules, one that is not loaded makes all certain
			certain = certain && p.Module(m).Known
		}
	}
	for _, name := range slices.Concat(tree.asked, p.Modules()) {
		m := p.Module(name)
		if !m.Known {
			c.open.Add(1)
			continue
		}
		c.compared.Add(1)
		real := p.Resolve(name)
		if len(real) == 0 {
			real = []string{kmod.Canonical(name)}
		}
		there := !slices.ContainsFunc(real, func(m string) bool { return !o.kernel.Has(m) })
		if m.LoadedAtBoot != there {
			wrong("%s, which is %q: loaded is %v, predicted %+v", name, real, there, m)
		}
	}
	return certain
}

func (c *bootComparison) keys(o oracle, p *boot.Prediction, wrong func(string, ...any)) {
	for _, name := range oracletest.Keys() {
		k, err := sysctl.ParseKey(name)
		if err != nil {
			wrong("%v", err)
		}
		got, there, err := o.kernel.Value(name)
		if err != nil {
			wrong("%v", err)
		}
		predicted := p.KeyAsSet(k)
		owner, owned := kmod.Owner(k)
		switch {
		case predicted.Known:
			if !there || got != predicted.Value {
				wrong("%s reads %q (there: %v), predicted %+v", k, got, there, predicted)
			}
		case owned && !p.Module(owner).Known:
			c.open.Add(1)
			continue
		case predicted.Reason == boot.Unread, there && got != oracletest.Untouched:
			wrong("%s reads %q, predicted %+v", k, got, predicted)
		}
		c.compared.Add(1)
	}
}

// Guards the promise of every plan and report from end to end: on random trees of files the machine's own shell runs
// the scripts that the provider sends, its real programs then boot it on a fake kernel that takes modules, and what
// is there afterwards is as predicted. What a kernel refuses or changes by itself is not part of it.
func TestBootLikeSystemd(t *testing.T) {
	var c bootComparison
	t.Run("trees", func(t *testing.T) {
		oracletest.Differential(t, newOracle, func(t *rapid.T, o oracle) { c.try(t, o, drawOracleTree(t)) })
	})
	t.Logf("%d keys and modules compared, %d left open by the prediction", c.compared.Load(), c.open.Load())
	if c.compared.Load() < 4*c.open.Load() {
		t.Error("the prediction leaves too much open for this to tell anything")
	}
}

// Guards small trees on which versions of systemd and kmod differ, or on which a prediction was wrong once, so that
// each version is asked about each of them however the random trees fall out.
func TestBootLikeSystemdCases(t *testing.T) {
	o := newOracle(t, 0)
	text := func(path, text string) oracletest.Entry {
		return oracletest.Entry{Path: path, Kind: "text", Text: text}
	}
	link := func(path, target string) oracletest.Entry {
		return oracletest.Entry{Path: path, Kind: "dangling", Target: target}
	}
	directory := func(path string) oracletest.Entry { return oracletest.Entry{Path: path, Kind: "directory"} }
	for _, test := range []struct {
		name, cmdline string
		entries       []oracletest.Entry
	}{
		{"a comment that begins with a semicolon", "", []oracletest.Entry{text("etc/sysctl.d/a.conf", "; a note\n")}},
		{"one whose text looks like an assignment", "", []oracletest.Entry{
			text("etc/sysctl.d/a.conf", "; vm.swappiness = 7\n"),
		}},
		{"a line that is no assignment in the credential", "", []oracletest.Entry{
			text("run/credentials/@system/sysctl.extra", "not a line\n"),
		}},
		{"a key in the credential", "", []oracletest.Entry{text("etc/credstore/sysctl.extra", "vm.swappiness=7\n")}},
		{"classes in a pattern", "", []oracletest.Entry{
			text("etc/sysctl.d/a.conf", "net/ipv4/conf/[[:alpha:]]*/rp_filter=2\n"),
		}},
		{"braces in a pattern", "", []oracletest.Entry{
			text("etc/sysctl.d/a.conf", "{net,x}*.ipv4.conf.eth0.forwarding=2\n"),
		}},
		{"a blank after the dash", "", []oracletest.Entry{text("etc/sysctl.d/a.conf", "- vm.swappiness = 2\n")}},
		{"a dot for a directory in a pattern", "", []oracletest.Entry{
			text("etc/sysctl.d/a.conf", "*/./swappiness=2\n"),
		}},
		{"the parent of the root", "", []oracletest.Entry{text("etc/sysctl.d/a.conf", "/../vm/swappiness=2\n")}},
		{"a pattern that matches a directory of no key that is asked for", "", []oracletest.Entry{
			text("etc/sysctl.d/a.conf", "kernel.*=2\n"),
		}},
		{"a link to itself over a file of sysctl.d", "", []oracletest.Entry{
			link("etc/sysctl.d/a.conf", "a.conf"), text("usr/lib/sysctl.d/a.conf", "vm.swappiness=2\n"),
		}},
		{"a dangling link over a file of sysctl.d", "", []oracletest.Entry{
			link("etc/sysctl.d/a.conf", "nowhere"), text("usr/lib/sysctl.d/a.conf", "vm.swappiness=2\n"),
		}},
		{"a directory over a file of sysctl.d", "", []oracletest.Entry{
			directory("etc/sysctl.d/a.conf"), text("usr/lib/sysctl.d/a.conf", "vm.swappiness=2\n"),
		}},
		{"a link to itself over a file of modules-load.d", "", []oracletest.Entry{
			link("etc/modules-load.d/a.conf", "a.conf"), text("usr/lib/modules-load.d/a.conf", "ma\n"),
		}},
		{"a dangling link over a file of modules-load.d", "", []oracletest.Entry{
			link("etc/modules-load.d/a.conf", "nowhere"), text("usr/lib/modules-load.d/a.conf", "ma\n"),
		}},
		{"a directory over a file of modules-load.d", "", []oracletest.Entry{
			directory("etc/modules-load.d/a.conf"), text("usr/lib/modules-load.d/a.conf", "ma\n"),
		}},
		{"a link to itself over a file of modprobe.d", "", []oracletest.Entry{
			link("etc/modprobe.d/a.conf", "a.conf"), text("usr/lib/modprobe.d/a.conf", "blacklist ma\n"),
			text("etc/modules-load.d/a.conf", "ma\n"),
		}},
		{"a dangling link over a file of modprobe.d", "", []oracletest.Entry{
			link("etc/modprobe.d/a.conf", "nowhere"), text("usr/lib/modprobe.d/a.conf", "blacklist ma\n"),
			text("etc/modules-load.d/a.conf", "ma\n"),
		}},
		{"a file of modprobe.d with the old suffix", "", []oracletest.Entry{
			text("etc/modprobe.d/a.alias", "blacklist ma\n"), text("etc/modules-load.d/a.conf", "ma\n"),
		}},
		{"a module that the kernel refuses", "module_blacklist=ma", []oracletest.Entry{
			text("etc/modules-load.d/a.conf", "ma\n"),
		}},
		{"one that another module needs", "module_blacklist=ma", []oracletest.Entry{
			text("etc/modules-load.d/a.conf", "mb\n"),
		}},
		{"lists of refused modules, of which the last counts", "module_blacklist=ma module_blacklist=mb", []oracletest.Entry{
			text("etc/modules-load.d/a.conf", "ma\n"),
		}},
		{"an install line beside a soft dependency of the tree", "", []oracletest.Entry{
			text("etc/modprobe.d/a.conf", "install sctp /bin/false\n"), text("etc/modules-load.d/a.conf", "sctp\n"),
		}},
		{"an install line beside a soft dependency of modprobe.d", "", []oracletest.Entry{
			text("etc/modprobe.d/a.conf", "install ma /bin/false\nsoftdep ma pre: mg\n"),
			text("etc/modules-load.d/a.conf", "ma\n"),
		}},
		{"an alias of the tree as a soft dependency", "", []oracletest.Entry{text("etc/modules-load.d/a.conf", "mh\n")}},
		{"a soft dependency that needs a module which is kept out", "", []oracletest.Entry{
			text("etc/modules-load.d/a.conf", "mh\n"), text("etc/modprobe.d/a.conf", "install mb /bin/false\n"),
		}},
		{"a module that is asked for in vain, and then needed", "", []oracletest.Entry{
			text("etc/modules-load.d/a.conf", "ma\nmb\n"), text("etc/modprobe.d/a.conf", "blacklist ma\ninstall ma /bin/true\n"),
		}},
		{"a name that is asked for in vain, and then an alias for it", "", []oracletest.Entry{
			text("etc/modules-load.d/a.conf", "nosuch\nvirt\n"), text("etc/modprobe.d/a.conf", "alias virt nosuch\n"),
		}},
		{"a command that nobody knows before what a soft dependency loads", "", []oracletest.Entry{
			text("etc/modules-load.d/a.conf", "md\n"), text("etc/modprobe.d/a.conf", "install m_c /bin/echo x\n"),
		}},
		{"a needed module that a command replaces, before a command that fails", "", []oracletest.Entry{
			text("etc/modules-load.d/a.conf", "mb\n"),
			text("etc/modprobe.d/a.conf", "install ma /bin/true\ninstall mb /bin/false\n"),
		}},
		{"a command that nobody knows and fails", "", []oracletest.Entry{
			text("etc/modules-load.d/a.conf", "ma\n"), text("etc/modprobe.d/a.conf", "install ma /bin/echo x; false\n"),
		}},
		{"one for what an alias stands for", "", []oracletest.Entry{
			text("etc/modules-load.d/a.conf", "al_two\n"), text("etc/modprobe.d/a.conf", "install m-c /bin/echo x; false\n"),
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var c bootComparison
			c.try(t, o, oracleTree{entries: test.entries, cmdline: test.cmdline, asked: oracletest.Modules()})
		})
	}
}
