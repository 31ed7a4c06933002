package oracletest

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Kernel is a fake kernel: plain files of a Root for /proc and /sys, and modules that are no modules. Programs that it
// runs load them as if they were: finit_module(2) is answered by it, and the machine's own kernel loads nothing.
type Kernel struct {
	root    Root
	release string

	mu      sync.Mutex
	loaded  []string
	refused map[string]bool // what module_blacklist= names
	fault   error
}

// fakeModule is a module of the fake kernel, or one that is built in.
type fakeModule struct {
	file, exports, needs string
	info                 []string // lines of its .modinfo
	keys                 []string // paths below /proc/sys that it brings
}

// The last ones have names that the provider knows, with some of the keys that they own.
var modules = []fakeModule{
	{file: "ma", exports: "sa"},
	{file: "mb", exports: "sb", needs: "sa"},
	{file: "m-c", exports: "sc", needs: "sb", info: []string{"alias=al-c", "alias=al_two"}},
	{file: "md", needs: "sc", info: []string{"softdep=pre: me post: mf"}},
	{file: "me", exports: "se"},
	{file: "mf", needs: "se"},
	{file: "mg", info: []string{"alias=al-c", "alias=ma"}},
	{file: "mh", needs: "sa", info: []string{"softdep=pre: al-c bb nosuch"}},
	{file: "nf_conntrack", exports: "sn", keys: []string{"net/netfilter/nf_conntrack_tcp_be_liberal"}},
	{file: "br_netfilter", needs: "sa", keys: []string{"net/bridge/bridge-nf-call-iptables"}},
	{file: "sctp", needs: "sn", info: []string{"softdep=pre: me"}, keys: []string{"net/sctp/rto_min"}},
}

// builtin are the modules that the fake kernel has built in.
var builtin = []string{"bb", "b-2"}

// Modules returns the names of the fake kernel's modules, in canonical spelling.
func Modules() []string {
	var names []string
	for _, m := range modules {
		names = append(names, canonical(m.file))
	}
	for _, m := range builtin {
		names = append(names, canonical(m))
	}
	return names
}

func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// Untouched is what a key of the fake kernel holds before anything writes it.
const Untouched = "untouched"

// Keys returns the keys of the fake kernel, as paths below /proc/sys, those of its modules included.
func Keys() []string {
	keys := slices.Clone(KernelKeys)
	for _, m := range modules {
		keys = append(keys, m.keys...)
	}
	return keys
}

// OtherKeys are keys of the fake kernel that no test sets by name, as paths below /proc/sys. The provider reads them.
var OtherKeys = []string{"kernel/osrelease", "kernel/random/boot_id"}

// NewKernel returns a fake kernel whose modules are in r. r must have depmod; it has the release of the machine's
// kernel, because programs ask for that with uname(2).
func NewKernel(t *testing.T, r Root) *Kernel {
	t.Helper()
	var uname unix.Utsname
	if err := unix.Uname(&uname); err != nil {
		t.Fatal(err)
	}
	k := &Kernel{root: r, release: unix.ByteSliceToString(uname.Release[:])}
	var list strings.Builder
	for _, m := range builtin {
		list.WriteString("kernel/" + m + ".ko\n")
	}
	for name, text := range map[string]string{
		"modules.builtin": list.String(), "modules.order": "", "modules.builtin.modinfo": "",
	} {
		if err := r.Put(k.dir()+name, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(r.Path(k.dir()+"kernel"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, m := range modules {
		m.assemble(t, r.Path(k.dir()+"kernel/"+m.file+".ko"))
	}
	if ran, err := r.Run(Command{Args: []string{Depmod, k.release}}); err != nil || ran.Status != 0 {
		t.Fatalf("depmod: %v\n%s", err, ran.Said)
	}
	return k
}

// assemble makes an object file that depmod and libkmod take for the module.
func (m fakeModule) assemble(t *testing.T, file string) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, ".section .modinfo,\"a\"\n.asciz \"name=%s\"\n", canonical(m.file))
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
	cmd := exec.CommandContext(t.Context(), "gcc", "-c", "-x", "assembler", "-", "-o", file)
	cmd.Stdin = strings.NewReader(b.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
}

func (k *Kernel) dir() string { return "usr/lib/modules/" + k.release + "/" }

// Release returns the kernel's uname -r.
func (k *Kernel) Release() string { return k.release }

// Tree returns the text of a file of the kernel's module tree, such as modules.dep.
func (k *Kernel) Tree(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(k.root.Path(k.dir() + name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Boot starts the kernel anew with this command line: it has no modules, and the keys are Untouched but for those that
// sysctl.KEY=VALUE sets.
func (k *Kernel) Boot(cmdline string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.loaded, k.refused, k.fault = nil, map[string]bool{}, nil
	if err := k.root.Clear("proc", "sys/module", "proc/self/ns"); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"cmdline": cmdline, "modules": "", "mounts": "proc /proc proc rw,nosuid,nodev,noexec,relatime 0 0\n",
		"1/status": "Name:\tsystemd\nCapBnd:\t000001ffffffffff\n", "self/uid_map": "         0          0 4294967295\n",
		"sys/kernel/osrelease": k.release + "\n", "sys/kernel/random/boot_id": "1d4e6b1a-4e1f-4a52-9a0a-4f0c8a9f1a11\n",
	} {
		if err := k.root.Put("proc/"+name, text); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{
		"ns/mnt": "mnt:[4026531841]", "ns/net": "net:[4026531840]", "fd": realProc + "/self/fd",
	} {
		if err := os.Symlink(target, k.root.Path("proc/self/"+name)); err != nil {
			return err
		}
	}
	for _, m := range builtin {
		if err := os.Mkdir(k.root.Path("sys/module/"+canonical(m)), 0o755); err != nil {
			return err
		}
	}
	for _, key := range KernelKeys {
		if err := k.Set(key, Untouched); err != nil {
			return err
		}
	}
	for word := range strings.FieldsSeq(cmdline) {
		name, value, _ := strings.Cut(word, "=")
		if name == "module_blacklist" { // a parameter that is a string keeps what it was given last
			k.refused = map[string]bool{}
			for name := range strings.SplitSeq(value, ",") {
				k.refused[name] = true
			}
		}
		if key, ok := strings.CutPrefix(name, "sysctl."); ok {
			key = strings.ReplaceAll(key, ".", "/")
			if _, err := os.Stat(k.root.Path("proc/sys/" + key)); err != nil {
				continue // what a module brings is not there yet
			}
			if err := k.Set(key, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// Set writes a key.
func (k *Kernel) Set(key, value string) error { return k.root.Put("proc/sys/"+key, value+"\n") }

// Value returns what a key holds; there is false if it does not exist.
func (k *Kernel) Value(key string) (value string, there bool, err error) {
	data, err := os.ReadFile(k.root.Path("proc/sys/" + key))
	if os.IsNotExist(err) {
		return "", false, nil
	}
	// A plain file is not cut by a shorter value that is written over it.
	value, _, _ = strings.Cut(string(data), "\n")
	return value, true, err
}

// Has reports whether a module is there, loaded or built in.
func (k *Kernel) Has(module string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Contains(k.loaded, module) ||
		slices.ContainsFunc(builtin, func(name string) bool { return canonical(name) == module })
}

// Load loads a module as a driver or somebody with modprobe would, with the modules that it needs.
func (k *Kernel) Load(module string) error {
	for _, m := range modules {
		if canonical(m.file) != module {
			continue
		}
		for _, other := range modules {
			if m.needs != "" && other.exports == m.needs {
				if err := k.Load(canonical(other.file)); err != nil {
					return err
				}
			}
		}
		if errno := k.insert(m.file); errno != 0 && errno != unix.EEXIST && errno != unix.EPERM {
			return errno
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.fault
}

// insert does what the kernel does when it is given the file of a module.
func (k *Kernel) insert(file string) unix.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	name := canonical(file)
	i := slices.IndexFunc(modules, func(m fakeModule) bool { return m.file == file })
	switch {
	case i < 0:
		k.fault = fmt.Errorf("%s is none of the fake kernel's modules", file)
		return unix.ENOEXEC
	case k.refused[name]:
		return unix.EPERM
	case slices.Contains(k.loaded, name):
		return unix.EEXIST
	}
	m := modules[i]
	if m.needs != "" && !slices.ContainsFunc(modules, func(other fakeModule) bool {
		return other.exports == m.needs && slices.Contains(k.loaded, canonical(other.file))
	}) {
		return unix.ENOENT // an unknown symbol
	}
	k.loaded = append(k.loaded, name)
	if err := k.show(m); err != nil {
		k.fault = err
		return unix.EIO
	}
	return 0
}

// show makes the files that tell of a module that has just been loaded.
func (k *Kernel) show(m fakeModule) error {
	if err := k.root.Put("sys/module/"+canonical(m.file)+"/initstate", "live\n"); err != nil {
		return err
	}
	var list strings.Builder
	for _, name := range slices.Backward(k.loaded) {
		fmt.Fprintf(&list, "%s 16384 0 - Live 0x0000000000000000\n", name)
	}
	for _, key := range m.keys {
		if err := k.Set(key, Untouched); err != nil {
			return err
		}
	}
	return k.root.Put("proc/modules", list.String())
}

// Run runs a program on this kernel.
func (k *Kernel) Run(c Command) (Ran, error) {
	ended, end, err := os.Pipe()
	if err != nil {
		return Ran{}, err
	}
	defer ended.Close()
	var serving sync.WaitGroup
	ran, err := k.root.run(c, func() error {
		listener, err := listen(unix.SYS_FINIT_MODULE, unix.SYS_INIT_MODULE, unix.SYS_DELETE_MODULE)
		if err == nil {
			serving.Go(func() { k.serve(listener, int(ended.Fd())) })
		}
		return err
	})
	end.Close()
	serving.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		err = k.fault
	}
	return ran, err
}

// listen has the system calls of this thread, and of the programs that it starts, wait for an answer, and returns the
// descriptor at which they do (seccomp_unotify(2)).
func listen(calls ...uint32) (fd int, err error) {
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}} // the number of the system call
	for i, call := range calls {
		filter = append(filter, unix.SockFilter{
			Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jt: uint8(len(calls) - i),
		})
	}
	filter = append(filter,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	r, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER,
		uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return -1, fmt.Errorf("seccomp: %w", errno)
	}
	return int(r), nil
}

// The structures of seccomp_unotify(2).
type (
	notification struct {
		id         uint64
		pid, flags uint32
		call       int32
		arch       uint32
		ip         uint64
		args       [6]uint64
	}
	response struct {
		id    uint64
		value int64
		error int32
		flags uint32
	}
)

// serve answers system calls until the other end of the pipe ended is closed.
func (k *Kernel) serve(listener, ended int) {
	defer unix.Close(listener)
	for {
		ready := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}, {Fd: int32(ended)}}
		if _, err := unix.Poll(ready, -1); err != nil {
			continue // interrupted
		}
		if ready[1].Revents != 0 {
			return
		}
		if ready[0].Revents&unix.POLLIN == 0 {
			continue
		}
		var n notification
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_RECV,
			uintptr(unsafe.Pointer(&n))); errno != 0 {
			continue // it has ended meanwhile
		}
		answer := response{id: n.id, error: -int32(k.answer(n))}
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SEND,
			uintptr(unsafe.Pointer(&answer)))
	}
}

// answer does what a system call asks for.
func (k *Kernel) answer(n notification) unix.Errno {
	if n.call != unix.SYS_FINIT_MODULE {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.fault = fmt.Errorf("system call %d is not one that the fake kernel answers", n.call)
		return unix.ENOSYS
	}
	file, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", n.pid, int32(n.args[0])))
	if err != nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.fault = err
		return unix.EBADF
	}
	return k.insert(strings.TrimSuffix(path.Base(file), ".ko"))
}
