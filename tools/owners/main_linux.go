// Command owners prints which kernel module owns which sysctl, as a real kernel has it: the table internal/kmod/owners.tsv.
//
//	go run ./owners DIR >../internal/kmod/owners.tsv
//
// DIR holds an unpacked kernel package (`dpkg -x linux-image-*.deb DIR`): boot/vmlinuz-* and lib/modules/* with uncompressed modules. The kernel is started in
// QEMU with this program as its init, which loads every module that registers sysctls, one after the other, and looks after each what has appeared. It needs
// Linux and qemu-system-x86_64.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cavaliergopher/cpio"
)

// bootTime is how long the kernel may take to load everything, under emulation too.
const bootTime = 10 * time.Minute

func main() {
	if os.Getpid() == 1 {
		inGuest()
		return
	}
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "owners:", err)
		os.Exit(1)
	}
}

// run finds the modules, starts the kernel and prints the table.
func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("want one argument, the directory of an unpacked kernel package")
	}
	kernels, err := filepath.Glob(filepath.Join(args[0], "boot", "vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return fmt.Errorf("%s/boot has %d files vmlinuz-*, want one", args[0], len(kernels))
	}
	release := strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-")
	tree := filepath.Join(args[0], "lib", "modules", release)
	files, err := moduleFiles(filepath.Join(tree, "kernel"))
	if err != nil {
		return err
	}
	order, err := loadOrder(files)
	if err != nil {
		return err
	}
	image, err := initramfs(order)
	if err != nil {
		return err
	}
	table, err := boot(ctx, kernels[0], image)
	if err != nil {
		return err
	}
	for _, m := range order {
		if m.sysctls && slices.Contains(table, m.name+failedToLoad) {
			return fmt.Errorf("the kernel does not load %s, so its keys are not known", m.name)
		}
	}
	_, err = fmt.Fprint(out, format(release, table))
	return err
}

// module is one file of the tree and what it needs of others.
type module struct {
	name, path string
	sysctls    bool
	exports    []string
	needs      []string
	// aliases and before are of its own declaration: other names it answers to, and the names it wants loaded first.
	aliases, before []string
}

// moduleFiles reads the symbols of every module below dir.
func moduleFiles(dir string) ([]module, error) {
	var found []module
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

func readModule(path string) (module, error) {
	m := module{name: strings.ReplaceAll(strings.TrimSuffix(filepath.Base(path), ".ko"), "-", "_"), path: path}
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
			m.sysctls = m.sysctls || strings.Contains(s.Name, "sysctl")
		}
	}
	return m, nil
}

// loadOrder is every module that registers sysctls, each after those it needs and asks for.
func loadOrder(all []module) ([]module, error) {
	exporter, named := map[string]int{}, map[string][]int{}
	for i, m := range all {
		for _, name := range append(m.aliases, m.name) {
			named[name] = append(named[name], i)
		}
		for _, s := range m.exports {
			exporter[s] = i
		}
	}
	var order []module
	state := make([]int, len(all)) // 1 under way, 2 done
	var visit func(i int) error
	visit = func(i int) error {
		if state[i] == 1 {
			return fmt.Errorf("%s needs itself", all[i].name)
		}
		if state[i] == 2 {
			return nil
		}
		state[i] = 1
		for _, name := range all[i].before {
			for _, first := range named[name] {
				if state[first] == 0 {
					if err := visit(first); err != nil {
						return err
					}
				}
			}
		}
		for _, s := range all[i].needs {
			if from, ok := exporter[s]; ok && from != i {
				if err := visit(from); err != nil {
					return err
				}
			}
		}
		state[i] = 2
		order = append(order, all[i])
		return nil
	}
	// Ciphers come first: some modules ask the kernel for one when they start, and the guest has no modprobe to fetch it.
	for _, wanted := range []func(module) bool{
		func(m module) bool { return strings.Contains(m.path, "/kernel/crypto/") },
		func(m module) bool { return m.sysctls },
	} {
		for i, m := range all {
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
func initramfs(order []module) ([]byte, error) {
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
		fmt.Fprintln(&list, m.name)
		steps = append(steps, func() error { return file("m/"+m.name, m.path) })
	}
	steps = append(steps, func() error { return add("list", cpio.TypeReg|0o644, list.Bytes()) }, w.Close)
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), nil
}

// boot starts the kernel and returns what its init printed: a module, a tab and a key a line.
func boot(ctx context.Context, kernel string, image []byte) (lines []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	initrd, err := os.CreateTemp("", "owners-*.cpio")
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
	var out []byte
	for _, accel := range []string{"kvm", "tcg,thread=multi"} { // KVM may be there and not work, as inside some virtual machines
		cmd := exec.CommandContext(ctx, "qemu-system-x86_64", //nolint:gosec // no shell reads the arguments
			"-accel", accel, "-cpu", "max", "-M", "q35,usb=off,smbus=off,sata=off,vmport=off", "-m", "1024", "-nodefaults",
			"-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", kernel, "-initrd", initrd.Name(),
			"-append", "console=ttyS0 quiet panic=-1 loglevel=0")
		if out, err = cmd.Output(); err == nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("qemu: %w", err)
	}
	ended := false
	for scanner := bufio.NewScanner(bytes.NewReader(out)); scanner.Scan(); {
		line := strings.TrimRight(scanner.Text(), "\r")
		if said, ok := strings.CutPrefix(line, mark); ok {
			ended = ended || said == "end"
			lines = append(lines, said)
		}
	}
	if !ended {
		return nil, fmt.Errorf("the kernel did not come to an end; it printed:\n%s", out)
	}
	return lines, nil
}

// format is the table: a comment that says where it is from, then a line a key.
func format(release string, said []string) string {
	owner := map[string]string{}
	modules := map[string]bool{}
	for _, line := range said {
		if name, key, ok := strings.Cut(line, "\t"); ok {
			owner[key], modules[name] = name, true
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Kernel %s; keys of %d modules\n", release, len(modules))
	for _, key := range slices.SortedFunc(maps.Keys(owner), func(a, b string) int { return cmp.Or(cmp.Compare(owner[a], owner[b]), cmp.Compare(a, b)) }) {
		fmt.Fprintf(&b, "%s\t%s\n", owner[key], key)
	}
	return b.String()
}
