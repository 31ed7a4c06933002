//go:build vm

package host

// Random configurations, a real boot each, and the prediction beside what the kernel then holds.

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fromEnvironment is a number that the environment may give.
func fromEnvironment(t *testing.T, name string, otherwise int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: want a number", name, s)
	}
	return n
}

// Guards the prediction against reality: VM_BOOTS random configurations (20), a real boot each, and no key, module or
// unit that is not as predicted. Configuration n comes from the seed VM_SEED + n, so VM_BOOTS=1 repeats one. Where CI
// is set the seed is the same every time, so that a red gate is about the change.
func TestVMRandomBoots(t *testing.T) {
	otherwise := int(time.Now().Unix())
	if os.Getenv("CI") != "" {
		otherwise = 1
	}
	boots, seed := fromEnvironment(t, "VM_BOOTS", 20), fromEnvironment(t, "VM_SEED", otherwise)
	t.Logf("VM_SEED=%d VM_BOOTS=%d", seed, boots)
	var mu sync.Mutex
	var all bootFigures
	t.Run("machines", func(t *testing.T) {
		const machines = 2
		for part := range min(machines, boots) {
			t.Run(strconv.Itoa(part+1), func(t *testing.T) {
				t.Parallel()
				b := newBench(t, "")
				var f bootFigures
				for i := part; i < boots; i += machines {
					t.Run(fmt.Sprintf("VM_SEED=%d", seed+i), func(t *testing.T) { b.check(t, randomFiles(seed+i), &f) })
				}
				mu.Lock()
				defer mu.Unlock()
				all.add(f)
			})
		}
	})
	t.Logf(
		"%d boots: %d keys, %d modules and %d units compared, %d modules left open by the prediction, %d mismatches "+
			"(VM_SEED=%d)",
		all.boots, all.keys, all.modules, all.units, all.open, all.mismatches, seed)
	if all.boots != boots {
		t.Errorf("%d boots of %d", all.boots, boots)
	}
	if boots >= 20 && (all.keys == 0 || all.units == 0 || all.modules <= all.open) {
		t.Error("the prediction leaves too much open for this to tell anything")
	}
}

func (f *bootFigures) add(g bootFigures) {
	f.boots += g.boots
	f.keys += g.keys
	f.modules += g.modules
	f.units += g.units
	f.open += g.open
	f.mismatches += g.mismatches
}

// lot draws from what a seed gives.
type lot struct{ *rand.Rand }

func (l lot) oneIn(n int) bool { return l.IntN(n) == 0 }

func pick[T any](l lot, from []T) T { return from[l.IntN(len(from))] }

// randomFiles is the configuration of a seed. /run has none of its files: a boot begins with it empty.
func randomFiles(seed int) bootFiles {
	l := lot{rand.New(rand.NewPCG(uint64(seed), 0))}
	files := bootFiles{}
	for _, family := range []struct {
		name string
		most int
		line func(lot) string
	}{{"sysctl.d", 6, sysctlLine}, {"modules-load.d", 3, loadLine}, {"modprobe.d", 3, modprobeLine}} {
		for range l.IntN(family.most + 1) {
			root := pick(l, []string{"/etc/", "/etc/", "/usr/local/lib/", "/usr/lib/"})
			name := pick(
				l,
				[]string{
					"10-a.conf", "20-b.conf", "9-a.conf", "99-z.conf", "Z.conf", "_u.conf", "k8s.conf", "a-b.conf", "noext",
					".hidden.conf",
				})
			if l.oneIn(8) {
				files[root+family.name+"/"+name] = os.DevNull
				continue
			}
			lines := []string{}
			for range l.IntN(6) {
				lines = append(lines, family.line(l))
			}
			files[root+family.name+"/"+name] = strings.Join(lines, "\n")
		}
	}
	return files
}

// sysctlLine is a line of sysctl.d.
func sysctlLine(l lot) string {
	if l.oneIn(8) {
		return pick(l, []string{
			"# vm.swappiness = 1", "; vm.swappiness = 1", "", "vm.swappiness", "no assignment", "= 1",
			"net.ipv4.no_such_key = 1", "-net.ipv4.no_such_key = 1", "vm.swappiness = abc",
			"-vm.swappiness = abc", "net.ipv4.conf.nodev.rp_filter = 1", "vm = 1", "-net.ipv4.conf.*.rp_filter",
			"net.ipv4.tcp_congestion_control = nosuch",
		})
	}
	if l.oneIn(5) {
		key := pick(l, []string{"net.ipv4.conf.*.rp_filter", "net/ipv4/conf/*/rp_filter", "net.ipv4.conf.[ae]*.rp_filter",
			"net.ipv4.tcp_fin_timeou?", "vm.swap*", "net.core.soma*conn",
			"net.netfilter.nf_conntrack_tcp_be_*", "net.sctp.rto_mi[n]"})
		line, value := pick(l, []string{"", "", "", "-"})+key+" = ", pick(l, []string{"0", "1", "2"})
		switch { // a number that the kernel refuses shows only when it is tried (boot.Prediction.Failures)
		case strings.HasPrefix(key, "net.sctp."):
			value = "90" + value
		case strings.HasPrefix(key, "net.netfilter.") && value == "2":
			value = "1"
		}
		return line + value
	}
	k := pick(l, bootKeys)
	key := k.key
	if l.oneIn(3) {
		key = strings.ReplaceAll(key, ".", "/")
	}
	if l.oneIn(8) {
		return "-" + key
	}
	return pick(
		l,
		[]string{
			"", "", "", "-",
			" ",
		}) + key + pick(l, []string{" = ", "=", "\t=  "}) + pick(l, k.values) + pick(l, []string{"", "", " "})
}

// loadLine is a line of modules-load.d.
func loadLine(l lot) string {
	if l.oneIn(5) {
		return pick(
			l,
			[]string{
				"# dummy", "; dummy", "", "nosuchmod", "dummy numdummies=1", "ipv6", "net-pf-2-proto-132", "also_dummy",
				"  overlay  ", "tcp_bbr # c",
			})
	}
	return spelled(l, pick(l, bootModules))
}

// spelled is a module's name in either spelling.
func spelled(l lot, module string) string {
	if l.oneIn(2) {
		return strings.ReplaceAll(module, "_", "-")
	}
	return module
}

// modprobeLine is a line of modprobe.d.
func modprobeLine(l lot) string {
	m, other := spelled(l, pick(l, bootModules)), spelled(l, pick(l, bootModules))
	switch l.IntN(8) {
	case 0, 1:
		return "blacklist " + m
	case 2:
		return "install " + m + " " + pick(l, []string{"/bin/false", "/bin/true", "/bin/false # CIS"})
	case 3:
		return pick(
			l,
			[]string{
				"options nf_conntrack hashsize=4096", "options nf-conntrack nosuch=1", "options dummy numdummies=1",
				"options bonding max_bonds=1 \\\n miimon=100",
			})
	case 4:
		return "softdep " + m + " pre: " + other
	case 5:
		return "softdep " + m + " post: " + other + " nosuchmod"
	case 6:
		return pick(
			l,
			[]string{
				"alias also_dummy dummy", "alias also-dummy overlay", "blacklist also_dummy",
				"alias net-pf-2-proto-132 off_the_tree",
			})
	}
	return pick(
		l,
		[]string{
			"# blacklist dummy", "", "blacklist", "install dummy", "nonsense dummy", "softdep overlay", "options",
			"blacklist br_\\\nnetfilter", "; blacklist overlay",
		})
}

// String is the configuration as one would write it down.
func (files bootFiles) String() string {
	var b strings.Builder
	for _, p := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&b, "%s\n%s\n", p, "\t"+strings.ReplaceAll(files[p], "\n", "\n\t"))
	}
	return b.String()
}
