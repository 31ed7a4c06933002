package boot

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
	"github.com/host-provider/terraform-provider-host/internal/writer"
)

var update = flag.Bool("update", false, "rewrite the want section of every case in testdata")

// parseCase reads a case: the files of a host, and sections that say what else it is.
//
//	host   kernel RELEASE, init NAME, systemd VERSION, kmod VERSION, cmdline WORDS, looked-for MODULES,
//	       loaded MODULES, in-sys-module MODULES,
//	       builtin MODULES, read-only, others-read-only, no-modules, off SERVICES, modules-first,
//	       runlevels LEVEL/SERVICES, enabled UNITS, writer FILE:LINE BY ORDER PATTERN [VALUE]
//	dep/RELEASE, alias/RELEASE, softdep/RELEASE, builtin/RELEASE   files of /lib/modules/RELEASE
//	links, unread, entries   PATH TARGET; PATH WORDS, for a file that root could read; PATH WORDS, for what nobody can
//	proc   KEY VALUE, or KEY alone for one that is not there
//	ask    KEY = VALUE, module NAME, keys, modules or failures, a line each; want answers each
func parseCase(t *testing.T, a *txtar.Archive) (s *Snapshot, ask []string, want string) {
	t.Helper()
	s = &Snapshot{Kernel: "6.1.0-1", Init: "systemd", Values: map[string]Reading{}, LookedFor: map[string]bool{}}
	text, links, unread, entries := map[string]string{}, map[string]string{}, map[string]string{}, map[string]string{}
	releases := map[string]map[string]string{}
	pairs := func(data []byte, into map[string]string) {
		for line := range strings.Lines(string(data)) {
			name, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			into["/"+name] = rest
		}
	}
	for _, f := range a.Files {
		data := string(f.Data)
		section, release, isTree := strings.Cut(f.Name, "/")
		switch {
		case f.Name == "host":
			parseHost(t, s, data)
		case f.Name == "links":
			pairs(f.Data, links)
		case f.Name == "unread":
			pairs(f.Data, unread)
		case f.Name == "entries":
			pairs(f.Data, entries)
		case f.Name == "proc":
			for line := range strings.Lines(data) {
				name, value, there := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
				k, err := sysctl.ParseKey(name)
				if err != nil {
					t.Fatal(err)
				}
				s.Values[k.Path()] = Reading{Text: value, Absent: !there}
			}
		case f.Name == "ask":
			ask = strings.Split(strings.TrimSpace(data), "\n")
		case f.Name == "want":
			want = data
		case isTree && slices.Contains([]string{"dep", "alias", "softdep", "builtin"}, section):
			if releases[release] == nil {
				releases[release] = map[string]string{}
			}
			releases[release][section] = data
		default:
			text["/"+f.Name] = data
		}
	}
	for release, files := range releases {
		s.Trees = append(s.Trees, ParseTree(release, files["dep"], files["alias"], files["softdep"], files["builtin"]))
	}
	for p, data := range text {
		s.AddFile(confdir.File{Path: p, Text: data, Regular: true})
	}
	for p, target := range links {
		data, ok := text[path.Join(path.Dir(p), target)]
		s.AddFile(confdir.File{Path: p, Target: target, Text: data, Regular: ok})
	}
	for p, why := range unread {
		s.AddFile(confdir.File{Path: p, Unread: why, Regular: true})
	}
	for p, why := range entries {
		s.AddFile(confdir.File{Path: p, Unread: why})
	}
	return s, ask, want
}

func parseHost(t *testing.T, s *Snapshot, data string) {
	t.Helper()
	set := func(words string) map[string]bool {
		m := map[string]bool{}
		for w := range strings.FieldsSeq(words) {
			m[kmod.Canonical(w)] = true
		}
		return m
	}
	for line := range strings.Lines(data) {
		word, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch word {
		case "kernel":
			s.Kernel = rest
		case "init":
			s.Init = rest
		case "cmdline":
			s.Cmdline = rest + "\n"
		case "looked-for":
			s.LookedFor = set(rest)
		case "loaded":
			s.LoadedNow, s.SysModules = set(rest), set(rest)
		case "in-sys-module":
			s.SysModules = set(rest)
		case "builtin":
			s.Builtin = set(rest)
		case "no-trees":
			s.Trees = []Tree{}
		case "off":
			s.Off = map[string]string{}
			for _, service := range strings.Fields(rest) {
				s.Off[service] = "/etc/" + service
			}
		case "runlevels":
			s.ReadOpenRC(strings.Fields(rest), nil)
		case "modules-first":
			s.OpenRC.ModulesFirst = true
		case "read-only":
			s.ProcSysReadOnly, s.OthersReadOnly = true, true
		case "others-read-only":
			s.OthersReadOnly = true
		case "no-modules":
			s.NoModules = true
		case "systemd":
			s.Systemd, _ = strconv.Atoi(rest)
		case "kmod":
			s.Kmod, _ = strconv.Atoi(rest)
		case "enabled":
			s.Enabled = strings.Fields(rest)
		case "writer":
			s.Writes = append(s.Writes, parseWriter(t, rest))
		default:
			t.Fatalf("host: unknown word %q", word)
		}
	}
}

// parseWriter reads FILE:LINE BY ORDER PATTERN [VALUE].
func parseWriter(t *testing.T, text string) writer.Write {
	t.Helper()
	words := strings.SplitN(text, " ", 5)
	if len(words) < 4 {
		t.Fatalf("writer: %q", text)
	}
	file, line, _ := strings.Cut(words[0], ":")
	n, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	at := confdir.Position{File: file, Line: n}
	w := writer.Write{By: words[1], Assignment: sysctl.Assignment{Pattern: words[3], At: at}}
	w.Order = writer.Order(slices.Index([]string{"later", "unordered", "earlier"}, words[2]))
	if len(words) == 5 {
		w.Value, w.HasValue = words[4], true
	}
	return w
}

// answer is what a prediction says, in the words of a want section.
func answer(t *testing.T, p *Prediction, ask string) string {
	t.Helper()
	var b strings.Builder
	detail := func(c Cause, notes []Cause) {
		if c.Reason != "" {
			fmt.Fprintf(&b, "\t%s: %s\n", c.Reason, c.Detail)
		}
		for _, n := range notes {
			fmt.Fprintf(&b, "\tnote %s: %s\n", n.Reason, n.Detail)
		}
	}
	name, isModule := strings.CutPrefix(ask, "module ")
	switch {
	case ask == "keys":
		for _, k := range p.Keys() {
			fmt.Fprintf(&b, "%s\n", k)
		}
	case ask == "modules":
		fmt.Fprintf(&b, "%q\n", p.Modules())
	case ask == "failures":
		for _, f := range p.Failures() {
			fmt.Fprintf(&b, "%s fails by %s: %s\n", f.Unit, f.Source, f.Detail)
		}
		if len(p.Failures()) == 0 {
			b.WriteString("no unit fails\n")
		}
	case isModule:
		o := p.Module(name)
		state := "unknown"
		switch {
		case o.Builtin:
			state = "built in"
		case o.Known && o.LoadedAtBoot:
			state = "loaded"
		case o.Known:
			state = "not loaded"
		}
		fmt.Fprintf(&b, "%s: %s%s\n", ask, state, by(o.Source))
		detail(o.Cause, o.Notes)
	default:
		name, want, ok := strings.Cut(ask, " =")
		k, err := sysctl.ParseKey(name)
		if err != nil || !ok {
			t.Fatalf("ask: %q: %v", ask, err)
		}
		o := p.Key(k, strings.TrimSpace(want))
		state := "unknown"
		switch {
		case o.Holds:
			state = "holds"
		case o.Known:
			state = strconv.Quote(o.Value) + " in its place"
		}
		fmt.Fprintf(&b, "%s: %s%s\n", ask, state, by(o.Source))
		if len(o.Shadows) > 0 {
			fmt.Fprintf(&b, "\tshadows %s\n", strings.Join(o.Shadows, ", "))
		}
		detail(o.Cause, o.Notes)
	}
	return b.String()
}

func by(source string) string {
	if source == "" {
		return ""
	}
	return ", by " + source
}

// TestPredict guards every decision about the next boot, its source and its words. Each case of testdata is a host's
// files and what becomes of them.
func TestPredict(t *testing.T) {
	cases, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases in testdata: %v", err)
	}
	for _, file := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s, ask, want := parseCase(t, archive)
			p := Predict(s)
			var got strings.Builder
			for _, a := range ask {
				got.WriteString(answer(t, p, a))
			}
			if *update {
				rewriteWant(t, file, archive, got.String())
				return
			}
			if got.String() != want {
				t.Errorf("%s\ngot:\n%s\nwant:\n%s", archive.Comment, got.String(), want)
			}
		})
	}
}

func rewriteWant(t *testing.T, file string, a *txtar.Archive, want string) {
	t.Helper()
	a.Files = append(sectionsWithout(a.Files, "want"), txtar.File{Name: "want", Data: []byte(want)})
	if err := os.WriteFile(file, txtar.Format(a), 0o600); err != nil {
		t.Fatal(err)
	}
}

func sectionsWithout(files []txtar.File, name string) []txtar.File {
	var rest []txtar.File
	for _, f := range files {
		if f.Name != name {
			rest = append(rest, f)
		}
	}
	return rest
}

// Guards that the outcome of an install line's command is known only where no shell could take it otherwise.
func TestOutcomeOfAnInstallCommand(t *testing.T) {
	for command, want := range map[string]string{
		"/bin/false":                 "false",
		" /usr/bin/false\t":          "false",
		"/sbin/false":                "false", // where there is none, that fails too
		"false # CIS":                "false",
		"/bin/true":                  "true",
		"true\t#":                    "true",
		":":                          "true",
		"# nothing":                  "true",
		"#/bin/false":                "true",
		"":                           "true",
		"/sbin/true":                 "",
		"/bin/true\r":                "",
		"/bin/false\u00a0":           "",
		"/bin/true#":                 "",
		`"/bin/true # CIS"`:          "",
		"/bin/false&&/bin/true":      "",
		"/bin/true||/bin/false":      "",
		"x=/bin/false":               "",
		"/opt/true":                  "",
		"/bin/echo /bin/false":       "",
		"/bin/false; exec /bin/true": "",
	} {
		if got := outcome(command); got != want {
			t.Errorf("%q is known as %q, not %q", command, got, want)
		}
	}
}

// TestReasonsHaveWords guards that no reason reaches a user without its words.
func TestReasonsHaveWords(t *testing.T) {
	seen := map[Reason]bool{}
	for _, r := range Reasons() {
		if r.Sentence() == "" || r.Remedy() == "" || seen[r] {
			t.Errorf("%s: sentence %q, remedy %q, listed before: %v", r, r.Sentence(), r.Remedy(), seen[r])
		}
		seen[r] = true
	}
	if len(seen) != len(words) {
		t.Errorf("%d reasons are listed, %d have words", len(seen), len(words))
	}
}

// TestPredictHugeFile guards what a file of 10 MB does: systemd reads lines up to 1 MiB, and stops at a longer one.
func TestPredictHugeFile(t *testing.T) {
	k, err := sysctl.ParseKey("vm.swappiness")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, text string
		want       string
		fails      bool
	}{
		{"many lines", strings.Repeat("# "+strings.Repeat("x", 997)+"\n", 10_000) + "vm.swappiness = 2\n", "2", false},
		{
			"many assignments",
			strings.Repeat("vm.dirty_ratio = 1\nvm.dirty_ratio = 2\n", 250_000) + "vm.swappiness = 2\n", "2", false,
		},
		{"the longest line", "vm.swappiness = 2\n#" + strings.Repeat("x", maxLine-2) + "\nvm.swappiness = 3\n", "3", false},
		{"a longer line", "vm.swappiness = 2\n#" + strings.Repeat("x", maxLine-1) + "\nvm.swappiness = 3\n", "2", true},
		{"no line end", "vm.swappiness = 2\n" + strings.Repeat("x", 10<<20), "2", true},
		{"zeros", "vm.swappiness = 2\n" + string(bytes.Repeat([]byte{0}, 10<<20)), "2", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := confdir.File{Path: "/etc/sysctl.d/x.conf", Regular: true, Text: tt.text}
			p := Predict(&Snapshot{Init: "systemd", Sysctl: []confdir.File{f}})
			if o := p.Key(k, tt.want); !o.Holds || (len(p.Failures()) > 0) != tt.fails {
				t.Errorf("got %+v, failures %v; want %s, failure %v", o, p.Failures(), tt.want, tt.fails)
			}
		})
	}
}
