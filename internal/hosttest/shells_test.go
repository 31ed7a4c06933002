package hosttest

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/shell"
)

// realShells are the shells of this machine that can check the simulated one; there is always a sh.
func realShells() map[string][]string {
	all := map[string][]string{}
	for _, argv := range [][]string{{"sh", "-s"}, {"dash", "-s"}, {"bash", "-s"}, {"busybox", "sh", "-s"}} {
		if path, err := exec.LookPath(argv[0]); err == nil {
			all[argv[0]] = append([]string{path}, argv[1:]...)
		}
	}
	return all
}

// runReal runs scripts in a session of a real shell.
func runReal(t *testing.T, argv []string, scripts []shell.Script) []shell.Result {
	t.Helper()
	text := shell.Prologue(nonce)
	for _, s := range scripts {
		enc, err := shell.Encode(nonce, s)
		if err != nil {
			t.Fatal(err)
		}
		text += enc
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	_, rest, ok := strings.Cut(string(out), string(shell.Ready(nonce)))
	if err != nil || !ok {
		t.Fatalf("%v: %v: %.300q", argv, err, out)
	}
	var all []shell.Result
	seen := []byte(rest)
	for range scripts {
		r, n, err := shell.Decode(nonce, seen)
		if err != nil || n == 0 {
			t.Fatalf("%v: %v: %.300q", argv, err, seen)
		}
		all, seen = append(all, r), seen[n:]
	}
	return all
}

// Guards the interpreter against the shells it stands for: constructs that the provider's scripts are made of mean the same in both.
func TestTheShellMeansWhatRealShellsMean(t *testing.T) {
	var scripts []shell.Script
	for _, text := range []string{
		`echo one; echo two >&2; false`,
		`for f; do printf '<%s>' "$f"; done; echo " $# $*"`,
		`x='a  b'; echo $x "$x" '$x' "\$x" a\ b`,
		`v=aXbXc; echo ${v#*X} ${v##*X} ${v%X*} ${v%%X*} "${v#"a"}" ${nope:-d} "${nope-}" ${v:+set}`,
		`path=/a/b.conf; echo "${path##*/}" "${path%/*}"`,
		`while IFS=' 	=' read -r key _ || [ -n "$key" ]; do printf '[%s]\n' "$key"; done`,
		`while IFS= read -r line; do printf '{%s}\n' "$line"; done`,
		`for k in -k '#c' ';c' a..b /x a.b 'net.ipv4'; do case $k in '' | '#'* | ';'* | /* | *..*) echo "no $k" ;; -*) echo "dash ${k#-}" ;; *[./]*) echo "dot $k" ;; esac; done`,
		`f() { echo "$1-$#"; return 3; }; f a b; echo $?; f || echo failed; ! f x`,
		`(exit 4); echo $?; { echo grouped; } | cat; echo $(echo sub; echo st) "$(printf 'a\n\n')"`,
		`n=0; while :; do n=$((n + 1)); [ $n -ge 3 ] && break; [ $n = 2 ] && continue; echo $n; done; echo $((n * 2 + 1))`,
		`cat <<E
$1 ${1} \$1 $(echo sub)
E
cat <<'E'
$1 \ $(no)
E`,
		`set -- "$@" 'x y'; shift; echo "$#:$1"; set --; echo "$#"`,
		`printf '%s\n' "$1" 'a\tb'; printf '%d %5s|%-5s|%%\n' 7 ab cd; printf 'x%sy\n' 1 2; printf '\101\n'; printf '%s'; printf '%b\n' 'a\tb'`,
		`echo -n no newline; echo`,
		`printf '%d %d %d|' 010 -0x10 '' 2>/dev/null; for n in 0b11 0o17; do printf '%d|' $n 2>/dev/null || echo "$n refused"; done`,
		`a=1 env | grep '^a='; b=2; env | grep '^b=' || echo unexported; export b; env | grep '^b='`,
		`g() { h=1; local i=2; echo "$i"; }; g; echo "$h${i-}"`,
		`umask 027; umask; (umask 077; umask); umask`,
		`if [ -z "" ] && [ a != b ] && [ 1 -lt 2 ] && ! [ -e /nonexistent ]; then echo yes; elif false; then echo never; else echo no; fi`,
		`command -v nosuchprogram || echo none`,
		`x=$(false) || echo failed; y=$(exit 3); echo $?`,
		`echo a >/dev/null; echo b 2>/dev/null; cat </dev/null; : >/dev/null && echo fine`,
		`unset x; echo "${x-unset}"; x=; echo "${x-unset}" "${x:-empty}"`,
		`true && echo and || echo or; false && echo and || echo or`,
		`set -u; (echo "$nope"; echo not reached) 2>/dev/null; echo "now ok"`,
		`exit 5`,
		`echo "quote ' in \" double" 'and $(no)' "\\"`,
		`IFS=,; set -- a,b; echo $*; x=1,2; for i in $x; do echo "$i"; done`,
		`printf 'a b\nc d\n' | while read -r x y; do echo "$y$x"; done`,
		`case abc in a?c) echo one ;; esac; case 'a]' in *[]]) echo two ;; esac; case x in [!a-w]) echo three ;; esac`,
		`p='a*'; for x in ab '*' 'a"' b\ c; do case $x in "$p") echo quoted ;; $p) echo "pattern $x" ;; \*) echo star ;; 'b c') echo "$?" ;; esac; done`,
		`for x in 1 2 3 4; do case "$x" in 1) continue ;; 3) break ;; esac; echo "$x"; done; false; case z in y) ;; esac; echo $?`,
		`k=net.ipv4/x; while :; do case $k in *[./]*) ;; *) break ;; esac; echo "${k%%[./]*}"; k=${k#*[./]}; done; case ${k%x} in '') echo none ;; esac`,
		`printf 'a\rb\000c\n\n' | tr '\r\000' '\n\n'`,
		`exec cat`,
	} {
		scripts = append(scripts, shell.Script{Name: text, Text: text, Args: []string{"first arg", "it's"}, Stdin: "k = 1\n-net/x.y=2\n\tlast line \\n"})
	}
	h := start(t, Options{})
	sim, err := openSession(t, dial(t, h), "/bin/sh -s").run(scripts...)
	if err != nil {
		t.Fatal(err)
	}
	for name, argv := range realShells() {
		for i, real := range runReal(t, argv, scripts) {
			got, want := sim[i], real
			if got.Records[0].Body != want.Records[0].Body || (got.Status == 0) != (want.Status == 0) {
				t.Errorf("%s: %s\nsimulated: %d %q\nreal:      %d %q", name, scripts[i].Text, got.Status, got.Records[0].Body, want.Status, want.Records[0].Body)
			}
		}
	}
}

// absolute finds the paths in the provider's scripts that a test moves below a directory of its own.
var absolute = regexp.MustCompile(`([ '"])/(etc|run|usr|lib|proc|sys)\b`)

// complaint is a line whose words differ from shell to shell.
var complaint = regexp.MustCompile(`(?m)^.*(cannot create|can't create|No such file|nonexistent|Is a directory).*\n`)

// Guards that the provider's scripts leave the same records and the same files in the simulated host as under real shells, on a tree of ordinary files.
func TestTheProvidersScriptsRunAsUnderRealShells(t *testing.T) {
	script := func(names ...string) string {
		var text string
		for _, name := range names {
			b, err := os.ReadFile(filepath.FromSlash("../" + name))
			if err != nil {
				t.Fatal(err)
			}
			text += string(b) + "\n"
		}
		return text
	}
	files := map[string]string{
		"/etc/sysctl.conf":                "# none\n",
		"/etc/sysctl.d/10-a.conf":         "net.ipv4.conf.eth0/100.forwarding = 1\n-vm.swappiness=1\n# c\n; c\n\n a..b = 1\nbad\\name = 2\nvm/swappiness = 3",
		"/etc/sysctl.d/not-a-conf":        "x\n",
		"/etc/sysctl.d/20-cr.conf":        "vm.a = 1\rvm.b=2\x00\x01.c = 3\n - vm.d\n=5\n#vm.e=1\n -\t-vm.f = 1\n\tvm.g\t=1",
		"/etc/sysctl.d/30-odd.conf":       "-vm.h\nkernel.modules:x = 1\n",
		"/usr/lib/sysctl.d/20.conf":       "net.ipv4.conf.*.rp_filter = 1\nkernel.nope=1\n",
		"/etc/modules-load.d/x.conf":      "nf_conntrack\n",
		"/run/modprobe.d/y.conf":          "options x y=\"1 2\"\n",
		"/proc/modules":                   "nf_conntrack 1 0 - Live 0x0\n",
		"/proc/sys/vm/swappiness":         "60\n",
		"/proc/sys/net/ipv4/tcp_rmem":     "1\t2\t3\n",
		"/sys/module/nf_conntrack/x":      "",
		"/proc/sys/net/ipv4/conf/a/rp_f":  "",
		"/etc/modprobe.d/with space.conf": "blacklist a\n",
	}
	for name, argv := range realShells() {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			h := start(t, Options{})
			for path, text := range files {
				h.WriteFile(root+path, text)
				if err := os.MkdirAll(filepath.Dir(root+path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(root+path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for path, target := range map[string]string{"/etc/sysctl.d/99-s.conf": "../sysctl.conf", "/etc/sysctl.d/50-gone.conf": "/nonexistent", "/lib": "usr/lib"} {
				if out, status := h.Sh("ln -s " + target + " " + root + path); status != 0 {
					t.Fatal(out)
				}
				if err := os.Symlink(target, root+path); err != nil {
					t.Fatal(err)
				}
			}
			conn, set := "sshconn/scripts/", script("host/scripts/set.sh", "host/scripts/values.sh")+"exit 1\n"
			dir := root + "/etc/sysctl.d"
			scripts := []shell.Script{
				{Name: "snapshot", Text: script("host/scripts/files.sh", "host/scripts/values.sh", "host/scripts/all.sh"),
					Args: []string{root + "/proc/sys/vm/swappiness", root + "/proc/sys/nope", root + "/proc/sys/net/ipv4/tcp_rmem"}},
				{Name: "snapshot, each file by itself", Text: "single=yes\n" + script("host/scripts/files.sh"), Args: []string{root + "/proc/sys/nope"}},
				{Name: "mark", Text: script("host/scripts/mark.sh")},
				{Name: "set", Text: set, Args: []string{"", root + "/proc/sys/vm/swappiness:10", root + "/proc/sys/vm/swappiness"}, Stdin: "=10"},
				{Name: "set it from what it was", Text: set,
					Args: []string{root + "/proc/sys/vm/swappiness:10", root + "/proc/sys/vm/swappiness:20", root + "/proc/sys/vm/swappiness"}, Stdin: "=20"},
				{Name: "set it from what it was not", Text: set,
					Args: []string{root + "/proc/sys/vm/swappiness:10", root + "/proc/sys/vm/swappiness:30", root + "/proc/sys/vm/swappiness"}, Stdin: "=30"},
				{Name: "set what then reads otherwise", Text: set, Args: []string{"", "x:1", root + "/proc/sys/vm/swappiness"}, Stdin: "=40"},
				{Name: "set what is not there", Text: set, Args: []string{"", "", root + "/proc/sys/no/where"}, Stdin: "=10"},
				{Name: "set a directory", Text: set, Args: []string{"", "", root + "/proc/sys/net"}, Stdin: "=10"},
				{Name: "write", Text: script(conn+"save.sh", conn+"write.sh"), Args: []string{dir, "90-new.conf"}, Stdin: "a = $b `c`\nEOF\n"},
				{Name: "write again", Text: script(conn+"save.sh", conn+"write.sh"), Args: []string{dir, "90-new.conf"}, Stdin: "other"},
				{Name: "write into a new directory", Text: script(conn+"save.sh", conn+"write.sh"), Args: []string{root + "/etc/new/dir", "x.conf"}, Stdin: "x"},
				{Name: "write onto a directory", Text: script(conn+"save.sh", conn+"write.sh"), Args: []string{root + "/etc", "sysctl.d"}, Stdin: "x"},
				{Name: "write below a file", Text: script(conn+"save.sh", conn+"write.sh"), Args: []string{root + "/etc/sysctl.conf", "x"}, Stdin: "x"},
				{Name: "sync", Text: script(conn+"save.sh", conn+"syncdir.sh"), Args: []string{dir}},
				{Name: "remove", Text: script(conn+"save.sh", conn+"remove.sh"), Args: []string{dir, "10-a.conf"}},
				{Name: "remove what is not there", Text: script(conn+"save.sh", conn+"remove.sh"), Args: []string{root + "/etc/none", "x"}},
			}
			for i := range scripts {
				scripts[i].Text = absolute.ReplaceAllString(scripts[i].Text, "${1}"+root+"/$2")
			}
			sim, err := openSession(t, dial(t, h), "/bin/sh -s").run(scripts...)
			if err != nil {
				t.Fatal(err)
			}
			for i, real := range runReal(t, argv, scripts) {
				if got, want := records(sim[i]), records(real); got != want {
					t.Errorf("%s\nsimulated:\n%sreal:\n%s", scripts[i].Name, got, want)
				}
			}
			if got, want := simTree(t, h, root), realTree(t, root); !slices.Equal(got, want) {
				t.Errorf("files\nsimulated: %q\nreal:      %q", got, want)
			}
		})
	}
}

// records spells a result without what must differ: the words of failed redirections, and the width of columns.
func records(r shell.Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "ok: %v\n", r.Status == 0)
	for _, rec := range r.Records {
		body := complaint.ReplaceAllString(rec.Body, "")
		if rec.Head == "sizes" { // in columns, for some
			body = strings.Join(strings.Fields(body), " ")
		}
		fmt.Fprintf(&b, "%s: %q\n", rec.Head, body)
	}
	return b.String()
}

func realTree(t *testing.T, root string) (all []string) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			all = append(all, fmt.Sprintf("%s %v %q", path, info.Mode(), b))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func simTree(t *testing.T, h *Host, dir string) (all []string) {
	infos, err := h.m.list(rootCred, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range infos {
		path := dir + "/" + i.name
		switch {
		case i.mode.IsDir():
			all = append(all, simTree(t, h, path)...)
		case i.mode.IsRegular():
			all = append(all, fmt.Sprintf("%s %v %q", path, i.mode, h.mustRead(t, path)))
		}
	}
	return all
}

// Guards that nothing which is not simulated passes quietly: it fails, and the host says what it was.
// A connection may end anywhere in what is sent: no shell runs a part of it, least of all with a part of its data.
func TestAPartOfAScriptRunsNothing(t *testing.T) {
	for name, argv := range realShells() {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x.conf")
			for _, stdin := range []string{"", "first = 1\nsecond = 2\n"} {
				text, err := shell.Encode(nonce, shell.Script{Text: `cat >"$1"`, Args: []string{file}, Stdin: stdin})
				if err != nil {
					t.Fatal(err)
				}
				for n := range len(strings.TrimSpace(text)) {
					cmd := exec.Command(argv[0], argv[1:]...)
					cmd.Stdin = strings.NewReader(shell.Prologue(nonce) + text[:n])
					_ = cmd.Run() // it fails of the syntax
					if got, err := os.ReadFile(file); err == nil {
						t.Fatalf("of %q it wrote %q", text[:n], got)
					}
				}
			}
		})
	}
}

func TestWhatIsNotSimulatedIsLoud(t *testing.T) {
	for _, c := range []struct{ script, unknown string }{
		{"reboot", "reboot"},
		{"awk 1 /etc/x", "awk 1 /etc/x"},
		{"PATH=/usr/bin modprobe tun", "modprobe tun"},
		{"cat -n /etc/modules", "cat -n"},
		{"grep -P x /etc/modules", "grep -P"},
		{"modprobe --first-time tun", "modprobe --first-time"},
		{"sysctl -a", "sysctl -a"},
		{"sudo -u ops true", "sudo -u"},
		{"chmod u+x /etc/modules", "chmod u+x"},
		{"[[ a = a ]]", "[[ a = a ]]"},
		{"source /etc/x", "source /etc/x"},
		{"ulimit -n 1", "ulimit -n 1"},
		{"stat -c %z /etc", "stat -c %z"},
		{"iptables -N x", "iptables -N x"},
		{"env nosuch", "nosuch"},
		{"modinfo tun", "modinfo -F"},
	} {
		h, err := Start(Options{})
		if err != nil {
			t.Fatal(err)
		}
		out, status := h.Sh(c.script)
		if got := h.Unknown(); status == 0 || len(got) != 1 || got[0] != c.unknown {
			t.Errorf("%s: status %d, %q, unknown %q; want %q", c.script, status, out, got, c.unknown)
		}
		h.Close()
	}
	h, err := Start(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	s := openSession(t, dial(t, h), "/bin/sh -s")
	if _, err := s.in.Write([]byte("cat\necho after\n")); err != nil {
		t.Fatal(err)
	}
	if err := s.more(); err != nil || len(h.Unknown()) != 1 {
		t.Errorf("a command that reads the shell's own input: %v, unknown %q", err, h.Unknown())
	}
	for _, bad := range []string{"if true; fi", "a=(1 2)", "echo 'open", "cat <<E"} {
		if _, status := h.Sh(bad); status == 0 {
			t.Errorf("%q is taken for POSIX shell", bad)
		}
	}
}
