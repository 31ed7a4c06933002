package oracletest

import (
	"bytes"
	"cmp"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The real programs that apply the files at boot, and those that look at modules.
const (
	ModulesLoad = "/usr/lib/systemd/systemd-modules-load"
	Sysctl      = "/usr/lib/systemd/systemd-sysctl"
	Modprobe    = "/sbin/modprobe"
	Depmod      = "/sbin/depmod"
)

// source is the root file system that the programs come from: ORACLE_ROOT, or the machine's own.
func source() string { return cmp.Or(os.Getenv("ORACLE_ROOT"), "/") }

// Root is a directory that real programs take for /, with plain files for /proc and /sys.
type Root string

// New returns a Root with programs, and the libraries that they need, of the root file system that ORACLE_ROOT names.
// If there is none, they are the machine's own, and the test is skipped if they are not installed.
func New(t *testing.T, programs ...string) Root {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: the real programs are not asked: chroot(2) needs root")
	}
	for _, p := range programs {
		if _, err := follow(source(), p); err != nil && source() == "/" {
			t.Skipf("SKIPPED: the real programs are not asked: %v; on Debian: apt-get install systemd kmod busybox gcc", err)
		}
	}
	r := Root(t.TempDir())
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} { // one directory of each kind, as everywhere since 2020
		if err := os.MkdirAll(r.Path("usr/"+d), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("usr/"+d, r.Path(d)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(r.Put(os.DevNull, ""), r.Clear(realProc)); err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		if err := r.install(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	// systemd loads this one with dlopen(3) from version 257 on, so that the dynamic linker does not list it.
	for _, pattern := range []string{"usr/lib/*/libkmod.so.2", "usr/lib64/libkmod.so.2"} {
		found, err := filepath.Glob(filepath.Join(source(), pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range found {
			if err := r.install(t.Context(), strings.TrimPrefix(file, strings.TrimSuffix(source(), "/"))); err != nil {
				t.Fatal(err)
			}
		}
	}
	return r
}

// install copies a program or a library, and the libraries that it needs, from source to r. Each file has its own name
// there, by which the provider knows versions, and the path that leads to it is a link.
func (r Root) install(ctx context.Context, file string) error {
	needed, err := libraries(ctx, file)
	if err != nil {
		return err
	}
	for _, p := range append(needed, file) {
		real, err := follow(source(), p)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(filepath.Join(source(), real))
		if err != nil {
			return err
		}
		if err := r.Put(real, string(data)); err != nil {
			return err
		}
		if _, err := os.Lstat(r.Path(p)); err == nil {
			continue
		}
		err = errors.Join(os.MkdirAll(filepath.Dir(r.Path(p)), 0o755), os.Symlink(real, r.Path(p)))
		if err != nil {
			return err
		}
	}
	return nil
}

// libraries returns the dynamic linker of a file in source and the libraries that this linker finds for it.
func libraries(ctx context.Context, file string) ([]string, error) {
	real, err := follow(source(), file)
	if err != nil {
		return nil, err
	}
	f, err := elf.Open(filepath.Join(source(), real))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", real, err)
	}
	defer f.Close()
	if needed, err := f.ImportedLibraries(); err != nil || len(needed) == 0 { // a static program
		return nil, err
	}
	linker := linkers[f.Machine]
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			text := make([]byte, p.Filesz)
			if _, err := p.ReadAt(text, 0); err != nil {
				return nil, err
			}
			linker = string(bytes.TrimRight(text, "\x00"))
		}
	}
	cmd := exec.CommandContext(ctx, linker, "--list", real)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: source()}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s --list %s: %w\n%s", linker, real, err, out)
	}
	return append(regexp.MustCompile(`/[^\s:]+`).FindAllString(string(out), -1), linker), nil
}

// linkers are the dynamic linkers for libraries, which name none themselves.
var linkers = map[elf.Machine]string{
	elf.EM_X86_64:  "/lib64/ld-linux-x86-64.so.2",
	elf.EM_AARCH64: "/lib/ld-linux-aarch64.so.1",
}

// follow returns the path, as seen from inside root, of the file that p leads to.
func follow(root, p string) (string, error) {
	done, rest := "/", strings.TrimPrefix(path.Clean("/"+p), "/")
	for links := 0; rest != ""; {
		part, tail, _ := strings.Cut(rest, "/")
		next := path.Join(done, part)
		target, err := os.Readlink(filepath.Join(root, next))
		switch {
		case errors.Is(err, syscall.EINVAL): // no link
			done, rest = next, tail
			continue
		case err != nil:
			return "", err
		case links == 40:
			return "", &os.PathError{Op: "open", Path: filepath.Join(root, p), Err: syscall.ELOOP}
		case path.IsAbs(target):
			done = "/"
		}
		links++
		rest = strings.TrimPrefix(path.Join(target, tail), "/")
	}
	return done, nil
}

// Version returns the major version that a program of systemd or kmod prints.
func (r Root) Version(program string) (int, error) {
	ran, err := r.Run(Command{Args: []string{program, "--version"}})
	if err != nil {
		return 0, err
	}
	digits := regexp.MustCompile(`^(?:systemd|kmod version) ([0-9]+)`).FindStringSubmatch(ran.Out)
	if digits == nil {
		return 0, fmt.Errorf("%s --version prints %q", program, ran.Out)
	}
	return strconv.Atoi(digits[1])
}

// Path returns the path outside r of a path inside.
func (r Root) Path(p string) string { return filepath.Join(string(r), p) }

// Put writes a file, and makes the directories above it.
func (r Root) Put(p, text string) error {
	if err := os.MkdirAll(filepath.Dir(r.Path(p)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(r.Path(p), []byte(text), 0o755)
}

// Clear makes directories empty.
func (r Root) Clear(dirs ...string) error {
	for _, d := range dirs {
		if err := os.RemoveAll(r.Path(d)); err != nil {
			return err
		}
		if err := os.MkdirAll(r.Path(d), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// mount mounts, in a mount namespace of this thread, what no plain file can stand for: /dev/null, and a real proc to
// which /proc/self/fd leads, because systemd opens files by that name.
func (r Root) mount() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE},
		{os.DevNull, r.Path(os.DevNull), "", unix.MS_BIND},
		{"proc", r.Path(realProc), "proc", 0},
	} {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			return &os.PathError{Op: "mount", Path: m.target, Err: err}
		}
	}
	return nil
}

// realProc is the directory of a root for the proc that /proc/self/fd leads to.
const realProc = "/real-proc"

// Command is a program and what it is given.
type Command struct {
	Args  []string
	Env   []string // besides PATH
	Stdin string
}

// Ran is what a program did. Said is its standard error.
type Ran struct {
	Out, Said string
	Status    int
}

// Run runs a program in r. It cannot load a module into the machine's kernel.
func (r Root) Run(c Command) (Ran, error) {
	return r.run(c, func() error { return nil })
}

// init keeps the process's first thread for the main goroutine. A goroutine that ends while it is locked to that thread
// would not end it, and /proc/self would show the mounts that are meant for one program.
func init() { runtime.LockOSThread() }

// run calls confine on the thread that starts the program, which inherits what confine restricts, and has no other use.
func (r Root) run(c Command, confine func() error) (Ran, error) {
	// A program that never ends is a finding, with its tree.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Dir, cmd.WaitDelay = "/", time.Minute
	cmd.Env = append([]string{"PATH=/usr/bin:/usr/sbin"}, c.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: string(r)}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if c.Stdin != "" {
		cmd.Stdin = strings.NewReader(c.Stdin)
	}
	done := make(chan error)
	go func() {
		// The thread ends with the goroutine.
		runtime.LockOSThread()
		err := r.mount()
		if err == nil {
			err = unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_MODULE, 0, 0, 0)
		}
		if err == nil {
			err = confine()
		}
		if err == nil {
			err = cmd.Run()
		}
		done <- err
	}()
	err := <-done
	ran := Ran{Out: out.String(), Said: said.String()}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		ran.Status, err = exit.ExitCode(), nil
	}
	return ran, err
}
