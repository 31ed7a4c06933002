// Package guest starts a Linux kernel in QEMU with the program that imports it as its init, and returns what that
// prints: a program then asks the kernel itself what no file says. It needs Linux and qemu-system-x86_64.
package guest

// Outside of the guest: the kernel, its modules, its first file system and the boot.

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cavaliergopher/cpio"
)

// Kernel is an unpacked kernel package (`dpkg -x linux-image-*.deb DIR`): boot/vmlinuz-* and lib/modules/* with
// uncompressed modules.
type Kernel struct {
	// Release is the kernel's release, such as 6.1.0-57-amd64.
	Release string
	image   string
	modules []Module
}

// Main is the whole program: it runs inside if the process is the init of a guest, else outside with the kernel that
// the only argument names, and exits with status 1 after an error. What outside writes to its writer is printed if it
// returns no error.
func Main(inside func() error, outside func(ctx context.Context, k *Kernel, out io.Writer) error) {
	if os.Getpid() == 1 {
		runInside(inside)
		return
	}
	if err := runOutside(outside); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
}

func runOutside(outside func(ctx context.Context, k *Kernel, out io.Writer) error) error {
	if len(os.Args) != 2 {
		return errors.New("want one argument, the directory of an unpacked kernel package")
	}
	k, err := open(os.Args[1])
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := outside(context.Background(), k, &out); err != nil {
		return err
	}
	_, err = out.WriteTo(os.Stdout)
	return err
}

// open reads the symbols of all modules of the kernel package in dir.
func open(dir string) (*Kernel, error) {
	kernels, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return nil, fmt.Errorf("%s/boot has %d files vmlinuz-*, want one", dir, len(kernels))
	}
	k := &Kernel{image: kernels[0], Release: strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-")}
	k.modules, err = moduleFiles(filepath.Join(dir, "lib", "modules", k.Release, "kernel"))
	return k, err
}

// Module is one module of a kernel and what it needs of others.
type Module struct {
	// Name is the module's name, with underscores.
	Name string
	// Sysctls is true if the module registers sysctls.
	Sysctls bool
	path    string
	exports []string
	needs   []string
	// aliases and before are of its own declaration: other names it answers to, and the names it wants loaded first.
	aliases, before []string
}

// moduleFiles reads the symbols of every module below dir.
func moduleFiles(dir string) ([]Module, error) {
	var found []Module
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error { //nolint:gosec // the directory is the caller's own
		switch {
		case err != nil:
			return err
		case strings.HasSuffix(path, ".ko.xz"), strings.HasSuffix(path, ".ko.zst"), strings.HasSuffix(path, ".ko.gz"):
			return fmt.Errorf("%s is compressed: unpack the modules first", path)
		case d.IsDir() || !strings.HasSuffix(path, ".ko"):
			return nil
		}
		m, err := readModule(path)
		found = append(found, m)
		return err
	})
	return found, err
}

func readModule(path string) (Module, error) {
	m := Module{Name: strings.ReplaceAll(strings.TrimSuffix(filepath.Base(path), ".ko"), "-", "_"), path: path}
	f, err := elf.Open(path)
	if err != nil {
		return m, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	info, err := f.Section(".modinfo").Data()
	if err != nil {
		return m, fmt.Errorf("%s: %w", path, err)
	}
	for field := range strings.SplitSeq(string(info), "\x00") {
		switch name, value, _ := strings.Cut(field, "="); name {
		case "alias":
			m.aliases = append(m.aliases, value)
		case "softdep":
			pre, _, _ := strings.Cut(strings.TrimPrefix(value, "pre:"), "post:")
			m.before = append(m.before, strings.Fields(pre)...)
		}
	}
	symbols, err := f.Symbols()
	if err != nil {
		return m, fmt.Errorf("%s: %w", path, err)
	}
	for _, s := range symbols {
		exported, is := strings.CutPrefix(s.Name, "__ksymtab_")
		switch {
		case is:
			m.exports = append(m.exports, exported)
		case s.Section == elf.SHN_UNDEF && s.Name != "":
			m.needs = append(m.needs, s.Name)
			m.Sysctls = m.Sysctls || strings.Contains(s.Name, "sysctl")
		}
	}
	return m, nil
}

// LoadOrder returns every module that registers sysctls or is named, each after those it needs and asks for.
func (k *Kernel) LoadOrder(names ...string) ([]Module, error) {
	exporter, named := map[string]int{}, map[string][]int{}
	for i, m := range k.modules {
		for _, name := range append(m.aliases, m.Name) {
			named[name] = append(named[name], i)
		}
		for _, s := range m.exports {
			exporter[s] = i
		}
	}
	var order []Module
	state := make([]int, len(k.modules)) // 1 under way, 2 done
	var visit func(i int) error
	visit = func(i int) error {
		m := k.modules[i]
		if state[i] == 1 {
			return fmt.Errorf("%s needs itself", m.Name)
		}
		if state[i] == 2 {
			return nil
		}
		state[i] = 1
		for _, name := range m.before {
			for _, first := range named[name] {
				if state[first] == 0 {
					if err := visit(first); err != nil {
						return err
					}
				}
			}
		}
		for _, s := range m.needs {
			if from, ok := exporter[s]; ok && from != i {
				if err := visit(from); err != nil {
					return err
				}
			}
		}
		state[i] = 2
		order = append(order, m)
		return nil
	}
	// Ciphers come first: some modules ask the kernel for one when they start, and the guest has no modprobe to fetch it.
	for _, wanted := range []func(Module) bool{
		func(m Module) bool { return strings.Contains(m.path, "/kernel/crypto/") },
		func(m Module) bool { return m.Sysctls || slices.Contains(names, m.Name) },
	} {
		for i, m := range k.modules {
			if !wanted(m) {
				continue
			}
			if err := visit(i); err != nil {
				return nil, err
			}
		}
	}
	return order, nil
}

// initramfs packs this program as init, the modules, and a list of them in order.
func initramfs(order []Module) ([]byte, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var buf, list bytes.Buffer
	w := cpio.NewWriter(&buf)
	add := func(name string, mode cpio.FileMode, data []byte) error {
		if err := w.WriteHeader(&cpio.Header{Name: name, Mode: mode, Size: int64(len(data))}); err != nil {
			return err
		}
		_, err := w.Write(data)
		return err
	}
	file := func(name, path string) error {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return add(name, cpio.TypeReg|0o755, data)
	}
	steps := []func() error{
		func() error { return add("proc", cpio.TypeDir|0o755, nil) },
		func() error { return add("m", cpio.TypeDir|0o755, nil) },
		func() error { return file("init", self) },
	}
	for _, m := range order {
		fmt.Fprintln(&list, m.Name)
		steps = append(steps, func() error { return file("m/"+m.Name, m.path) })
	}
	steps = append(steps, func() error { return add("list", cpio.TypeReg|0o644, list.Bytes()) }, w.Close)
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), nil
}

// Boot starts the kernel with these modules in its first file system and returns the lines that the init printed with
// Say. The kernel must have powered itself off before the limit, under emulation too. What it printed with Note goes to
// notes at once.
func (k *Kernel) Boot(
	ctx context.Context, order []Module, limit time.Duration, notes io.Writer,
) (lines []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	image, err := initramfs(order)
	if err != nil {
		return nil, err
	}
	initrd, err := os.CreateTemp("", "guest-*.cpio")
	if err != nil {
		return nil, err
	}
	defer os.Remove(initrd.Name())
	if _, err := initrd.Write(image); err != nil {
		return nil, err
	}
	if err := initrd.Close(); err != nil {
		return nil, err
	}
	for _, accel := range []string{"kvm", "tcg,thread=multi"} { // KVM may be there and not work, as inside some virtual machines
		cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
			"-accel", accel, "-cpu", "max", "-M", "q35,usb=off,smbus=off,sata=off,vmport=off", "-m", "1024", "-nodefaults",
			"-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", k.image, "-initrd", initrd.Name(),
			"-append", "console=ttyS0 quiet panic=-1 loglevel=0 mitigations=off init_on_alloc=0 audit=0")
		if lines, err = listen(cmd, notes); err == nil {
			return lines, nil
		}
	}
	return nil, err
}

// listen runs QEMU and returns the lines that the guest says.
func listen(cmd *exec.Cmd, notes io.Writer) (lines []string, err error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var printed bytes.Buffer
	ended := false
	for scanner := bufio.NewScanner(io.TeeReader(out, &printed)); scanner.Scan(); {
		said, ok := strings.CutPrefix(strings.TrimRight(scanner.Text(), "\r"), mark)
		switch {
		case !ok:
		case said == atEnd:
			ended = true
		case strings.HasPrefix(said, note):
			fmt.Fprintln(notes, strings.TrimPrefix(said, note))
		default:
			lines = append(lines, said)
		}
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("qemu: %w; the guest printed:\n%s", err, printed.Bytes())
	}
	if !ended {
		return nil, fmt.Errorf("the kernel did not come to an end; it printed:\n%s", printed.Bytes())
	}
	return lines, nil
}
