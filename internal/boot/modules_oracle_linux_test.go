package boot

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/host-provider/terraform-provider-host/internal/kmod"
)

// oracleModules are the modules of the fake kernel: what each exports, what it needs of others, and its .modinfo.
var oracleModules = []struct {
	file, exports, needs string
	info                 []string
}{
	{"ma", "sa", "", nil},
	{"mb", "sb", "sa", nil},
	{"m-c", "sc", "sb", []string{"alias=al-c", "alias=al_two"}},
	{"md", "", "sc", []string{"softdep=pre: me post: mf"}},
	{"me", "se", "", nil},
	{"mf", "", "se", nil},
	{"mg", "", "", []string{"alias=al-c", "alias=ma"}},
	{"mh", "", "sa", []string{"softdep=pre: al-c bb nosuch"}},
}

var (
	oracleModuleNames = []string{"ma", "mb", "m-c", "m_c", "md", "me", "mf", "mg", "mh", "bb", "b-2", "al-c", "al_c", "al_two", "nosuch", "virt", "conf-alias"}
	oracleModuleGlobs = []string{"m*", "m[a-c]", "m?c", "conf*", "[mb]b", "vir*", "m[-_]c"}
	oracleCommands    = []string{"/bin/true", "/bin/false", "/bin/echo x", "/bin/echo modprobe --ignore-install ma", ":", "/bin/false # CIS",
		"/bin/true\t# CIS", "/bin/echo /bin/false", "# nothing", "/sbin/true", `"/bin/true # CIS"`, "/bin/false&&/bin/true", "/bin/true||/bin/false"}
)

// makeTree builds the fake kernel's modules below r, with depmod, and returns what a snapshot has of them.
func makeTree(t *testing.T, r root, release string) Tree {
	t.Helper()
	dir := "usr/lib/modules/" + release
	builtin := "kernel/bb.ko\nkernel/b-2.ko\n"
	for name, text := range map[string]string{"modules.builtin": builtin, "modules.order": "", "modules.builtin.modinfo": ""} {
		if err := r.put(dir+"/"+name, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(r.path(dir+"/kernel"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, m := range oracleModules {
		var b strings.Builder
		fmt.Fprintf(&b, ".section .modinfo,\"a\"\n.asciz \"name=%s\"\n", kmod.Canonical(m.file))
		for _, line := range m.info {
			fmt.Fprintf(&b, ".asciz %q\n", line)
		}
		b.WriteString(".section __ksymtab_strings,\"a\"\n")
		if m.exports != "" {
			fmt.Fprintf(&b, ".asciz %q\n", m.exports)
		}
		b.WriteString(".section .data\n")
		if m.needs != "" {
			fmt.Fprintf(&b, ".quad %s\n", m.needs)
		}
		cmd := exec.CommandContext(t.Context(), "gcc", "-c", "-x", "assembler", "-", "-o", r.path(dir+"/kernel/"+m.file+".ko"))
		cmd.Stdin = strings.NewReader(b.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("gcc: %v\n%s", err, out)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "depmod", "-b", string(r), release).CombinedOutput(); err != nil {
		t.Fatalf("depmod: %v\n%s", err, out)
	}
	text := func(name string) string {
		data, err := os.ReadFile(r.path(dir + "/" + name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	return ParseTree(release, text("modules.dep"), text("modules.alias"), text("modules.softdep"), text("modules.builtin"))
}

func oracleModprobeText(t *rapid.T) string {
	var b strings.Builder
	name := func() string {
		return rapid.OneOf(rapid.SampledFrom(oracleModuleNames), rapid.SampledFrom(oracleModuleNames), rapid.SampledFrom(oracleModuleGlobs)).Draw(t, "name")
	}
	plain := func() string { return rapid.SampledFrom(oracleModuleNames).Draw(t, "plain") }
	for range rapid.IntRange(1, 3).Draw(t, "lines") {
		switch rapid.IntRange(0, 8).Draw(t, "command") {
		case 0, 1:
			b.WriteString("blacklist " + name())
		case 2:
			b.WriteString("alias " + rapid.SampledFrom([]string{"conf-alias", "conf_alias", "conf*", "ma", "nosuch", "al-c"}).Draw(t, "alias") + " " + plain())
		case 3, 4:
			b.WriteString("install " + name() + " " + rapid.SampledFrom(oracleCommands).Draw(t, "run"))
		case 5:
			b.WriteString("softdep " + name() + " pre: " + plain() + rapid.SampledFrom([]string{"", " post: mg", " " + plain()}).Draw(t, "more"))
		case 6:
			b.WriteString(rapid.SampledFrom([]string{"# blacklist ma", " #x", "", "nonsense ma", "blacklist", "alias ma", "install ma", "options ma p=1", "remove virt /bin/true", "softdep ma"}).Draw(t, "junk"))
		case 7:
			b.WriteString("\tblacklist\t" + plain() + "  # c")
		default:
			b.WriteString("install \\\n" + plain() + " \\\n" + rapid.SampledFrom(oracleCommands).Draw(t, "run"))
		}
		b.WriteString(rapid.SampledFrom([]string{"\n", "\n", "\n", "\r\n", "\n\n", ""}).Draw(t, "end"))
	}
	return b.String()
}

func oracleLoadText(t *rapid.T) string {
	var b strings.Builder
	for range rapid.IntRange(1, 4).Draw(t, "lines") {
		line := rapid.SampledFrom(oracleModuleNames).Draw(t, "name")
		switch rapid.IntRange(0, 9).Draw(t, "form") {
		case 0:
			line = rapid.SampledFrom([]string{"# ma", "; ma", "", "ma p=1", "ma # c", "\tmb ", "m*", "\xff\xfe", "-ma"}).Draw(t, "odd")
		case 1:
			line = " " + line + "\t"
		}
		b.WriteString(line + rapid.SampledFrom([]string{"\n", "\n", "\n", "\r\n", "\r", "\x00", ""}).Draw(t, "end"))
	}
	return b.String()
}

func oracleCommandLine(t *rapid.T) string {
	var words []string
	for range rapid.IntRange(0, 3).Draw(t, "words") {
		list := rapid.SampledFrom(oracleModuleNames).Draw(t, "first") + rapid.SampledFrom([]string{"", ",", ",mb", ",m-c,nosuch"}).Draw(t, "rest")
		form := rapid.SampledFrom([]string{"modprobe.blacklist=%s", "modules_load=%s", "modules-load=%s", "rd.modules_load=%s", "quiet", "ma.p=1", `modules_load="%s"`, "xmodules_load=%s"})
		word := form.Draw(t, "word")
		if strings.Contains(word, "%s") {
			word = fmt.Sprintf(word, list)
		}
		words = append(words, word)
	}
	return strings.Join(words, " ") + "\n"
}

// TestPredictLikeKmod guards the model of modules against the real programs: on random trees systemd-modules-load must ask for the same names in the same
// order and find, deny and try the same modules, an install line's command must end as foretold, and modprobe -n must name the same steps. Nothing is loaded:
// the modules are no modules, and the programs run without CAP_SYS_MODULE. What the kernel itself refuses is not part of it.
func TestPredictLikeKmod(t *testing.T) {
	const systemd, modprobe, busybox = "/usr/lib/systemd/systemd-modules-load", "/sbin/modprobe", "/bin/busybox"
	var uname syscall.Utsname
	if err := syscall.Uname(&uname); err != nil {
		t.Fatal(err)
	}
	var release []byte
	for _, c := range uname.Release {
		if c == 0 {
			break
		}
		release = append(release, byte(c))
	}
	fixed := map[root]Tree{}
	prepare := func(t *testing.T, r root) {
		for _, program := range []string{"sh", "true", "false", "echo"} {
			if err := os.Symlink("busybox", r.path("bin/"+program)); err != nil {
				t.Fatal(err)
			}
		}
		fixed[r] = makeTree(t, r, string(release))
	}
	differential(t, []string{systemd, modprobe, busybox}, prepare, func(t *rapid.T, r root) {
		load := entries(t, "modules-load.d", 4, entry{}, oracleLoadText)
		conf := entries(t, "modprobe.d", 4, entry{}, oracleModprobeText)
		// Where a link leads nowhere, kmod 30 decides by memory that it did not set (conf_files_filter_out): mostly what it found of the entry before.
		conf = slices.DeleteFunc(conf, func(e entry) bool { return e.kind == "dangling" || e.kind == "loop" })
		cmdline := oracleCommandLine(t)
		s := &Snapshot{Init: "systemd", Kernel: string(release), ModulesLoad: files(load), Modprobe: files(conf), Cmdline: cmdline, Trees: []Tree{fixed[r]}}
		if err := r.clear("etc", "run", "usr/local/lib", "usr/lib/modules-load.d", "usr/lib/modprobe.d", "dev", "sys/module"); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"dev/null": "", "proc/cmdline": cmdline} {
			if err := r.put(name, text); err != nil {
				t.Fatal(err)
			}
		}
		if err := writeAll(r, append(slices.Clone(load), conf...)); err != nil {
			t.Fatal(err)
		}
		plan := Predict(s).modules[0]
		about := cmdline + show(load) + show(conf)

		_, said, status, err := r.run(systemd)
		if err != nil {
			t.Fatalf("%v\n%s", err, about)
		}
		got, want := said2steps(said), plan2steps(plan)
		if !slices.EqualFunc(got, want, func(got, want string) bool {
			return got == want || got == want+" in vain" || got == want+" with success"
		}) {
			t.Fatalf("systemd-modules-load does\n%q, Predict says\n%q\n%s%s", got, want, about, said)
		}
		tried := slices.ContainsFunc(want, func(s string) bool { return strings.HasPrefix(s, "try ") })
		if !tried && (status != 0) != (len(plan.failures) > 0) {
			t.Fatalf("systemd-modules-load exits %d, Predict expects the failures %q\n%s%s", status, plan.failures, about, said)
		}

		name := rapid.SampledFrom(oracleModuleNames).Draw(t, "modprobe")
		out, said, _, err := r.run(modprobe, "-n", "-v", "-b", name)
		if err != nil {
			t.Fatalf("%v\n%s", err, about)
		}
		if want := plannedSteps(plan, name); !maps.Equal(printedSteps(out, want), want) {
			got := printedSteps(out, want)
			t.Fatalf("modprobe -n -v -b %s does %v, Predict says %v\n%s%s", name, got, want, about, said)
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
		case strings.HasSuffix(line, "is deny-listed"):
			steps = append(steps, "deny "+quoted)
		case strings.HasPrefix(line, "Inserted module"):
			steps = append(steps, "try "+quoted+" with success")
		case strings.HasPrefix(line, "Failed to insert module"):
			steps = append(steps, "try "+quoted+" in vain")
		}
	}
	return steps
}

// plan2steps is what the plan would have it say where no module can be loaded; how a try ends is left out where the plan does not know.
func plan2steps(p *modulePlan) []string {
	var steps []string
	for _, a := range p.asked {
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
