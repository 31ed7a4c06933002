package boot

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/oracletest"
)

// oracle is a machine for the real programs.
type oracle struct {
	oracletest.Root
	kernel *oracletest.Kernel
	tree   Tree
	// systemd and kmod are the versions of the programs.
	systemd, kmod int
}

func newOracle(t *testing.T, _ int) oracle {
	t.Helper()
	r := oracletest.New(t, oracletest.ModulesLoad, oracletest.Sysctl, oracletest.Modprobe, oracletest.Depmod,
		"/bin/sh", "/bin/true", "/bin/false", "/bin/echo")
	k := oracletest.NewKernel(t, r)
	text := func(name string) string { return k.Tree(t, "modules."+name) }
	o := oracle{Root: r, kernel: k, tree: ParseTree(k.Release(), text("dep"), text("alias"), text("softdep"), text("builtin"))}
	for program, version := range map[string]*int{oracletest.Sysctl: &o.systemd, oracletest.Modprobe: &o.kmod} {
		var err error
		if *version, err = r.Version(program); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// debugging has systemd's programs say what they do, one thing after the other, and shows systemd-sysctl its credential.
var debugging = []string{
	"SYSTEMD_LOG_LEVEL=debug", "SYSTEMD_LOG_TARGET=console", "SYSTEMD_MODULES_LOAD_NUM_THREADS=0",
	"CREDENTIALS_DIRECTORY=/run/credentials",
}

// TestPredictLikeKmod guards the model of modules against the real programs: on random trees systemd-modules-load must ask for the same names in the same
// order and find, deny and try the same modules, an install line's command must end as foretold, and modprobe -n must name the same steps. Nothing is loaded:
// the programs run without CAP_SYS_MODULE. What the kernel makes of a module is in TestBootLikeSystemd of package host.
func TestPredictLikeKmod(t *testing.T) {
	oracletest.Differential(t, newOracle, func(t *rapid.T, o oracle) {
		load := oracletest.Entries(t, "modules-load.d", 4, oracletest.Entry{}, oracletest.LoadText)
		conf := oracletest.Entries(t, "modprobe.d", 4, oracletest.Entry{}, oracletest.ModprobeText)
		// Where a link leads nowhere, kmod 30 decides by memory that it did not set (conf_files_filter_out): mostly what it found of the entry before.
		conf = slices.DeleteFunc(conf, func(e oracletest.Entry) bool { return e.Kind == "dangling" || e.Kind == "loop" })
		cmdline := oracletest.CommandLine(t)
		s := &Snapshot{
			Init: "systemd", Systemd: o.systemd, Kmod: o.kmod, Kernel: o.kernel.Release(), ModulesLoad: filesOf(load),
			Modprobe: filesOf(conf), Cmdline: cmdline, Trees: []Tree{o.tree},
		}
		if err := o.Write(load, conf); err != nil {
			t.Fatal(err)
		}
		if err := o.kernel.Boot(cmdline); err != nil {
			t.Fatal(err)
		}
		plan := Predict(s).modules[0]
		about := cmdline + oracletest.Show(load, conf)

		ran, err := o.Run(oracletest.Command{Args: []string{oracletest.ModulesLoad}, Env: debugging})
		if err != nil {
			t.Fatalf("%v\n%s", err, about)
		}
		got, want := said2steps(ran.Said), plan2steps(plan, o.systemd >= 259)
		if !slices.EqualFunc(got, want, func(got, want string) bool {
			return got == want || got == want+" in vain" || got == want+" with success"
		}) {
			t.Fatalf("systemd-modules-load does\n%q, Predict says\n%q\n%s%s", got, want, about, ran.Said)
		}
		tried := slices.ContainsFunc(want, func(s string) bool { return strings.HasPrefix(s, "try ") })
		if !tried && (ran.Status != 0) != (len(plan.failures) > 0) {
			t.Fatalf("systemd-modules-load exits %d, Predict expects the failures %q\n%s%s", ran.Status, plan.failures, about, ran.Said)
		}

		name := rapid.SampledFrom(oracletest.ModuleNames).Draw(t, "modprobe")
		ran, err = o.Run(oracletest.Command{Args: []string{oracletest.Modprobe, "-n", "-v", "-b", name}})
		if err != nil {
			t.Fatalf("%v\n%s", err, about)
		}
		if want := plannedSteps(plan, name); !maps.Equal(printedSteps(ran.Out, want), want) {
			got := printedSteps(ran.Out, want)
			t.Fatalf("modprobe -n -v -b %s does %v, Predict says %v\n%s%s", name, got, want, about, ran.Said)
		}
	})
}

// said2steps is what systemd-modules-load says it does.
func said2steps(said string) []string {
	var steps []string
	said = strings.ReplaceAll(said, "\n'", "\r'") // a carriage return at the end of a name shows as a line break
	for line := range strings.Lines(said) {
		line = strings.TrimSuffix(line, "\n")
		quoted := ""
		if parts := strings.SplitN(line, "'", 3); len(parts) == 3 {
			quoted = parts[1]
		}
		switch {
		case strings.HasPrefix(line, "Loading module: "):
			steps = append(steps, "ask "+strings.TrimPrefix(line, "Loading module: "))
		case strings.HasPrefix(line, "Failed to find module"):
			steps = append(steps, "find nothing")
		case strings.HasSuffix(line, "is built in"):
			steps = append(steps, "built in "+quoted)
		case strings.HasSuffix(line, "is deny-listed"), strings.Contains(line, "is deny-listed (by "): // from systemd 254 on it names by whom
			steps = append(steps, "deny "+quoted)
		case strings.HasPrefix(line, "Inserted module"):
			steps = append(steps, "try "+quoted+" with success")
		case strings.HasPrefix(line, "Failed to insert module"):
			steps = append(steps, "try "+quoted+" in vain")
		}
	}
	return steps
}

// plan2steps returns what the plan would have it say if no module can be loaded. It leaves out how a try ends if the plan
// does not know. If once is set, systemd asks for each module once, by its canonical name, as from version 259 on.
func plan2steps(p *modulePlan, once bool) []string {
	var steps []string
	asked := map[string]bool{}
	for _, a := range p.asked {
		if once {
			if a.Name = kmod.Canonical(a.Name); asked[a.Name] {
				continue
			}
			asked[a.Name] = true
		}
		steps = append(steps, "ask "+a.Name)
		modules := p.resolve(a.Name)
		if len(modules) == 0 {
			steps = append(steps, "find nothing")
		}
		for _, m := range modules {
			_, denied := p.denied(m)
			switch {
			case p.builtin(m):
				steps = append(steps, "built in "+m)
			case denied:
				steps = append(steps, "deny "+m)
			default:
				steps = append(steps, "try "+m+p.endOfTry(m))
			}
		}
	}
	return steps
}

// endOfTry is how a try of m ends where no module can be loaded, or "" where the plan does not know.
func (p *modulePlan) endOfTry(m string) string {
	d, installs := p.installs(m)
	pre, post := p.softdeps(m)
	switch {
	case !installs, outcome(d.Text) == "false":
		return " in vain"
	case outcome(d.Text) == "true" && len(p.tree.Dep[m])+len(pre)+len(post) == 0:
		return " with success"
	}
	return ""
}

// printedSteps are the lines of modprobe -n -v, less the parameters that it puts behind the command of an install line.
func printedSteps(out string, planned map[string]bool) map[string]bool {
	steps := map[string]bool{}
	for line := range strings.Lines(out) {
		step := strings.TrimSpace(line)
		if command, rest, _ := strings.Cut(step, " "); command == "insmod" {
			file, _, _ := strings.Cut(rest, " ")
			step = "insmod " + moduleOf(filepath.Base(file))
		} else {
			for head := step; head != "" && !planned[step]; {
				head = strings.TrimSpace(head[:max(strings.LastIndexByte(head, ' '), 0)])
				if planned[head] {
					step = head
				}
			}
		}
		steps[step] = true
	}
	return steps
}

// plannedSteps are the same of the plan.
func plannedSteps(p *modulePlan, name string) map[string]bool {
	steps := map[string]bool{}
	for _, m := range p.resolve(name) {
		if _, denied := p.denied(m); denied || p.builtin(m) {
			continue
		}
		b := &probe{plan: p, target: m, visited: map[string]bool{}, tried: func(step string) { steps[strings.TrimSpace(step)] = true }}
		b.module(m, true)
	}
	return steps
}
