package main

// The init of the guest: writes each key and compares all others.

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/host-provider/terraform-provider-host/tools/guest"
)

// kept are parts of paths whose keys are not written: a value may stop the guest, hide what it prints, or cannot be
// taken back.
var kept = []string{
	"panic", "sysrq", "modules_disabled", "kexec_", "unprivileged_bpf_disabled", "ptrace_scope", "tainted", "warn_limit",
	"oops_limit", "printk_delay", "usermodehelper/", "drop_caches", "compact_memory", "route/flush",
	"binfmt_misc/register", "nf_hooks_lwtunnel", "max_map_count", "threads-max", "ctrl-alt-del", "stack_tracer_enabled",
	"stats_clear", "cad_pid", "nr_open", "file-max", "_next_id", "poweroff", "dev/i915/", "hung_task", "user_events",
}

// stableAddress is an address in the kernel's own spelling: the same one written again would be no change, and yet
// reset others.
const stableAddress = "2001:0db8:0000:0000:0000:0000:0000:0001"

// words are the candidates for keys that hold no numbers.
var words = map[string][]string{
	"net/ipv4/tcp_congestion_control":          {"bbr", "reno"},
	"net/ipv4/tcp_allowed_congestion_control":  {"cubic", "reno cubic"},
	"net/core/default_qdisc":                   {"pfifo_fast", "fq"},
	"net/ipv6/conf/all/stable_secret":          {stableAddress},
	"net/ipv6/conf/default/stable_secret":      {stableAddress},
	"net/ipv6/conf/" + bare + "/stable_secret": {stableAddress},
	"kernel/watchdog_cpumask":                  {"0"},
}

// key is a file below /proc/sys that can be written.
type key struct {
	path string
	file int
	// base is the value to go back to, now the value that was read last.
	base, now []byte
	// restless is true if the value changes by itself.
	restless bool
}

// bench is all keys.
type bench struct {
	keys  []*key
	buf   []byte
	pass  int
	wrote map[string]bool
}

func inside() error {
	started := time.Now()
	if err := prepare(); err != nil {
		return err
	}
	guest.Note("modules are loaded after %s", time.Since(started).Round(time.Second))
	b := &bench{buf: make([]byte, 256), wrote: map[string]bool{}}
	if err := b.open(); err != nil {
		return err
	}
	b.idle(10)
	for b.pass = 1; b.pass <= 2; b.pass++ {
		if b.pass == 2 {
			b.flip()
			b.idle(10)
		}
		for _, k := range b.keys {
			if writes(k.path) && (b.pass == 1 || flips(k.path)) {
				b.try(k)
			}
		}
		guest.Note("pass %d of %d keys ended after %s", b.pass, len(b.keys), time.Since(started).Round(time.Second))
	}
	guest.Note("%d keys took a write", len(b.wrote))
	return nil
}

// prepare loads the modules and makes the interfaces.
func prepare() error {
	var limit unix.Rlimit
	limit.Cur, limit.Max = 1<<16, 1<<16
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	modules, err := guest.Modules()
	if err != nil {
		return err
	}
	for _, name := range modules {
		parameters := ""
		if name == "dummy" {
			parameters = "numdummies=2"
		}
		if err := guest.Load(name, parameters); err != nil && !errors.Is(err, fs.ErrExist) {
			guest.Note("%s is not loaded: %v", name, err)
		}
	}
	return errors.Join(up(loopback, [4]byte{127, 0, 0, 1}), up(addressed, [4]byte{192, 0, 2, 1}))
}

// up gives an interface an address and switches it on.
func up(name string, address [4]byte) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := request.SetInet4Addr(address[:]); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCSIFADDR, request); err != nil {
		return fmt.Errorf("address of %s: %w", name, err)
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, request)
}

// open opens every key that can be written, without the interfaces that the table does not need.
func (b *bench) open() error {
	paths, err := guest.Keys()
	if err != nil {
		return err
	}
	devices, err := guest.Devices()
	if err != nil {
		return err
	}
	for _, name := range []string{bare, addressed, loopback} {
		delete(devices, name)
	}
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		info, err := os.Stat("/proc/sys/" + path)
		if err != nil || info.Mode()&0o200 == 0 || info.Mode()&0o400 == 0 || unread(path) {
			continue
		}
		if slices.ContainsFunc(strings.Split(path, "/"), func(part string) bool { return devices[part] }) {
			continue
		}
		f, err := unix.Open("/proc/sys/"+path, unix.O_RDWR, 0)
		if err != nil {
			guest.Note("%s: %v", path, err)
			continue
		}
		k := &key{path: path, file: f}
		k.base = bytes.Clone(b.read(k))
		b.keys = append(b.keys, k)
	}
	// A key of an interface that was written no longer follows the default, so those come last.
	slices.SortStableFunc(b.keys, func(x, y *key) int { return rank(x.path) - rank(y.path) })
	return nil
}

func rank(path string) int {
	if strings.Contains(path, "/"+bare+"/") {
		return 1
	}
	return 0
}

// unread reports whether a key is not read either: reading it does something, or it changes whenever a process starts.
func unread(path string) bool { return path == "vm/stat_refresh" || path == "kernel/ns_last_pid" }

// writes reports whether a key is to be written.
func writes(path string) bool {
	if strings.Contains(path, "/"+addressed+"/") || strings.Contains(path, "/"+loopback+"/") {
		return false
	}
	return !slices.ContainsFunc(kept, func(part string) bool { return strings.Contains(path, part) })
}

// read returns what the key holds until the next call.
func (b *bench) read(k *key) []byte {
	n, err := unix.Pread(k.file, b.buf, 0)
	if err != nil {
		return []byte("(" + err.Error() + ")")
	}
	return bytes.TrimRight(b.buf[:n], "\n")
}

func (b *bench) write(k *key, value string) error {
	_, err := unix.Pwrite(k.file, []byte(value), 0)
	return err
}

// idle finds the keys that change by themselves, and takes what the others hold as the value to go back to.
func (b *bench) idle(times int) {
	for i := range times {
		for _, k := range b.keys {
			if now := b.read(k); i > 0 && !k.restless && !bytes.Equal(now, k.base) {
				k.restless = true
				guest.Note("%s changes by itself", k.path)
			} else if i == 0 {
				k.base = bytes.Clone(now)
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// flip gives every key of the network and of memory another value, so that a reset to a default shows.
func (b *bench) flip() {
	for _, k := range b.keys {
		if !flips(k.path) || !writes(k.path) && !strings.Contains(k.path, "/conf/") {
			continue
		}
		n, err := strconv.ParseInt(string(k.base), 10, 64)
		switch {
		case err != nil || strings.Contains(k.path, "disable_ipv6"):
		case n == 0 || n == 1:
			if b.write(k, strconv.FormatInt(1-n, 10)) != nil {
				_ = b.write(k, "100000")
			}
		case strings.HasPrefix(k.path, "net/"):
			_ = b.write(k, strconv.FormatInt(n+1, 10))
		}
	}
}

// flips reports whether a key takes part in the second pass.
func flips(path string) bool {
	return strings.HasPrefix(path, "net/") || strings.HasPrefix(path, "vm/")
}

// candidates are the values to write to a key.
func candidates(k *key) []string {
	if w, ok := words[k.path]; ok {
		return w
	}
	var list []string
	fields := strings.Fields(string(k.base))
	same := func(n int64) func(int64) int64 { return func(int64) int64 { return n } }
	for _, step := range []func(n int64) int64{
		func(n int64) int64 { return n + 1 }, func(n int64) int64 { return n * 2 },
		same(0), same(1), same(0), same(2), same(100_000),
	} {
		var next []string
		for _, f := range fields {
			n, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				return nil
			}
			next = append(next, strconv.FormatInt(step(n), 10))
		}
		list = append(list, strings.Join(next, " "))
	}
	if len(fields) > 1 || len(list) > 0 && string(k.base) != "0" {
		list = slices.Delete(list, 4, 5)
	}
	if strings.Contains(k.path, "nr_hugepages") {
		list = list[:len(list)-1] // they would be made
	}
	return list
}

// try writes each candidate to k, then k's own value again, and prints the other keys that change.
func (b *bench) try(k *key) {
	before := string(b.read(k))
	for _, value := range candidates(k) {
		if value == before || b.write(k, value) != nil {
			continue
		}
		after := string(b.read(k))
		if after == before {
			continue
		}
		b.wrote[k.path] = true
		changed := b.changed(k)
		for _, other := range changed {
			b.say(k, before, after, other, string(other.base), string(other.now))
		}
		if before = after; len(changed) > 0 {
			b.back(k, before, changed)
			before = string(b.read(k))
		}
	}
	if before != string(k.base) {
		b.back(k, before, nil)
	}
}

// back writes k's own value, which is a write too: it may change what others hold since the first one, which changed
// some.
func (b *bench) back(k *key, before string, changed []*key) {
	left := map[*key]string{}
	for _, other := range changed {
		left[other] = string(other.now)
	}
	_ = b.write(k, string(k.base))
	after := string(b.read(k))
	apart := b.changed(k)
	for _, other := range apart {
		if _, ok := left[other]; !ok {
			b.say(k, before, after, other, string(other.base), string(other.now))
		}
	}
	for other, was := range left {
		if is := string(b.read(other)); is != was {
			b.say(k, before, after, other, was, is)
		}
	}
	if len(apart) > 0 || after != string(k.base) {
		b.restore(k, apart)
	}
}

func (b *bench) say(k *key, before, after string, other *key, was, is string) {
	guest.Say("%s", observation{k.path, before, after, other.path, was, is})
}

// changed returns the keys other than k that do not hold their values, which are then in now.
func (b *bench) changed(k *key) (changed []*key) {
	for _, other := range b.keys {
		if other == k || other.restless {
			continue
		}
		if now := b.read(other); !bytes.Equal(now, other.base) {
			other.now = bytes.Clone(now)
			changed = append(changed, other)
		}
	}
	return changed
}

// restore writes k's own value and those of the keys that have changed; what cannot be restored is how it is from now
// on.
func (b *bench) restore(k *key, changed []*key) {
	for range 3 {
		_ = b.write(k, string(k.base))
		for _, other := range changed {
			if !bytes.Equal(b.read(other), other.base) {
				_ = b.write(other, string(other.base))
			}
		}
		if changed = b.changed(k); len(changed) == 0 && bytes.Equal(b.read(k), k.base) {
			return
		}
	}
	for _, other := range append(changed, k) {
		now := b.read(other)
		if !bytes.Equal(now, other.base) {
			guest.Note("after %s, %s stays %q instead of %q", k.path, other.path, now, other.base)
			other.base = bytes.Clone(now)
		}
	}
}
