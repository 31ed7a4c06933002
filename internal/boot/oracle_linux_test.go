package boot

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
)

// trees is how many random trees each differential test tries: BOOT_TREES, else 2,000 where CI is set and 200 where it is not. Where CI is set they are the
// same ones every time, so that a red gate is about the change; BOOT_TREES looks for new ones.
func trees(t *testing.T) int {
	t.Helper()
	n := 200
	if os.Getenv("CI") != "" {
		n = 2000
	}
	if s := os.Getenv("BOOT_TREES"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 1 {
			t.Fatalf("BOOT_TREES=%q: want a number of trees, such as 100000", s)
		}
	}
	return n
}

// differential runs check on random trees, half of them in each of two parallel root directories that have these programs and the libraries they need.
// prepare is called once for each.
func differential(t *testing.T, programs []string, prepare func(*testing.T, root), check func(*rapid.T, root)) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: the real programs are not asked: chroot(2) needs root")
	}
	for _, p := range append([]string{"ldd"}, programs...) {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("SKIPPED: the real programs are not asked: %v; on Debian: apt-get install systemd kmod busybox gcc", err)
		}
	}
	if os.Getenv("BOOT_TREES") == "" && os.Getenv("CI") != "" {
		if err := flag.Set("rapid.seed", "1"); err != nil {
			t.Fatal(err)
		}
	}
	const parts = 2
	if err := flag.Set("rapid.checks", strconv.Itoa((trees(t)+parts-1)/parts)); err != nil {
		t.Fatal(err)
	}
	for i := range parts {
		r := newRoot(t, programs...)
		prepare(t, r)
		t.Run(fmt.Sprintf("part %d", i+1), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				for range i { // or the parts would try the same trees
					rapid.Uint64().Draw(rt, "part")
				}
				check(rt, r)
			})
		})
	}
}

// root is a directory that a real program takes for /, with plain files for /proc.
type root string

func newRoot(t *testing.T, programs ...string) root {
	t.Helper()
	r := root(t.TempDir())
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} { // one directory of programs and one of libraries, as everywhere since 2020
		if err := os.MkdirAll(r.path("usr/"+d), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("usr/"+d, r.path(d)); err != nil {
			t.Fatal(err)
		}
	}
	for _, program := range programs {
		real, err := filepath.EvalSymlinks(program)
		if err != nil {
			t.Fatal(err)
		}
		libraries, err := exec.CommandContext(t.Context(), "ldd", real).CombinedOutput()
		if err != nil && !bytes.Contains(libraries, []byte("not a dynamic executable")) {
			t.Fatalf("ldd %s: %v\n%s", real, err, libraries)
		}
		for _, file := range append(regexp.MustCompile(`/\S+`).FindAllString(string(libraries), -1), program) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.put(file, string(data)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return r
}

func (r root) path(p string) string { return filepath.Join(string(r), p) }

func (r root) put(p, text string) error {
	if err := os.MkdirAll(filepath.Dir(r.path(p)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(r.path(p), []byte(text), 0o755)
}

// clear empties directories.
func (r root) clear(dirs ...string) error {
	for _, d := range dirs {
		if err := os.RemoveAll(r.path(d)); err != nil {
			return err
		}
		if err := os.MkdirAll(r.path(d), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// run starts a program in r, where it can load no module into the machine's kernel, and returns what it printed and its exit status.
func (r root) run(args ...string) (stdout, stderr string, status int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // a program that never ends is a finding, with its tree
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.WaitDelay = "/", time.Minute
	cmd.Env = []string{"PATH=/bin:/sbin", "SYSTEMD_LOG_LEVEL=debug", "SYSTEMD_LOG_TARGET=console", "CREDENTIALS_DIRECTORY=/run/credentials"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: string(r)}
	var out, errout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errout
	done := make(chan error)
	go func() {
		// The bounding set is a thread's, and a child has it from the thread that starts it. This thread ends with the goroutine.
		runtime.LockOSThread()
		const drop, sysModule = 24, 16 // PR_CAPBSET_DROP, CAP_SYS_MODULE
		if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, drop, sysModule, 0); errno != 0 {
			done <- fmt.Errorf("drop CAP_SYS_MODULE: %w", errno)
			return
		}
		done <- cmd.Run()
	}()
	err = <-done
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return out.String(), errout.String(), exit.ExitCode(), nil
	}
	return out.String(), errout.String(), 0, err
}

// entry is one generated entry of a directory.
type entry struct {
	path string // without the leading slash
	// kind is text, null, dangling, loop, directory, or link for a link to another entry's text.
	kind   string
	target string
	text   string
}

// write makes the entry below r.
func (e entry) write(r root) error {
	if err := os.MkdirAll(filepath.Dir(r.path(e.path)), 0o755); err != nil {
		return err
	}
	switch e.kind {
	case "text":
		return os.WriteFile(r.path(e.path), []byte(e.text), 0o644)
	case "directory":
		return os.Mkdir(r.path(e.path), 0o755)
	}
	return os.Symlink(e.target, r.path(e.path))
}

// file is the entry as a snapshot has it.
func (e entry) file() confdir.File {
	f := confdir.File{Path: "/" + e.path, Target: e.target}
	switch e.kind {
	case "text", "link":
		f.Regular, f.Text = true, e.text
	case "directory":
		f.Unread = isDirectory
	case "loop":
		f.Unread = linkLoop
	case "dangling":
		f.Unread = "No such file or directory"
	}
	return f
}

var (
	roots     = []string{"etc", "run", "usr/local/lib", "usr/lib"}
	baseNames = []string{
		"10-a.conf", "20-b.conf", "9-a.conf", "99-z.conf", "Z.conf", "_u.conf", "k8s.conf", "n.conf", "a.conf", "a-b.conf",
		".hidden.conf", "c.conf~", "noext", "sp ace.conf", "\xff.conf", "ü.conf", ".conf",
	}
)

// entries draws the entries of one family: up to n, each at its own path, with texts made by text.
func entries(t *rapid.T, family string, n int, conf entry, text func(*rapid.T) string) []entry {
	seen := map[string]bool{}
	var list []entry
	for range rapid.IntRange(1, n).Draw(t, "entries") {
		name := rapid.OneOf(rapid.SampledFrom(baseNames[:6]), rapid.SampledFrom(baseNames)).Draw(t, "name")
		e := entry{path: rapid.SampledFrom(roots).Draw(t, "root") + "/" + family + "/" + name}
		if seen[e.path] {
			continue
		}
		seen[e.path] = true
		switch k := rapid.IntRange(0, 29).Draw(t, "kind"); {
		case k < 21:
			e.kind, e.text = "text", text(t)
		case k < 23:
			e.kind = "text"
		case k < 25:
			e.kind, e.target = "null", "/dev/null"
		case k == 25:
			e.kind, e.target = "dangling", "nowhere"
		case k == 26:
			e.kind, e.target = "loop", name
		case k == 27:
			e.kind = "directory"
		case conf.path == "":
			e.kind, e.text = "text", text(t)
		default:
			e.kind, e.target, e.text = "link", "/"+conf.path, conf.text
		}
		list = append(list, e)
	}
	return list
}

func writeAll(r root, list []entry) error {
	for _, e := range list {
		if err := e.write(r); err != nil {
			return err
		}
	}
	return nil
}

func files(list []entry) []confdir.File {
	var fs []confdir.File
	for _, e := range list {
		// The script that takes a snapshot asks the shell for *.conf, which leaves out the others and hidden names.
		if base := filepath.Base(e.path); filepath.Ext(base) == ".conf" && base[0] != '.' {
			fs = append(fs, e.file())
		}
	}
	return fs
}

func show(list []entry) string {
	var b bytes.Buffer
	for _, e := range list {
		fmt.Fprintf(&b, "%s (%s %s) %q\n", e.path, e.kind, e.target, e.text)
	}
	return b.String()
}
