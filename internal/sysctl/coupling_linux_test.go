package sysctl

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestCouplingsOfThisKernel guards the part of the table that belongs to a network namespace against the kernel of this
// machine, in a namespace of its own, whose only interface has no address.
func TestCouplingsOfThisKernel(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	own := make(chan bool)
	go func() {
		defer close(own)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and the namespace with the thread
		outside, err := os.Readlink("/proc/thread-self/ns/net")
		if err != nil {
			t.Error(err)
			return
		}
		if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		if inside, err := os.Readlink("/proc/thread-self/ns/net"); err != nil || inside == outside {
			t.Errorf("the namespace is still %s: %v", inside, err)
			return
		}
		checkCouplings(t)
	}()
	<-own
}

func checkCouplings(t *testing.T) {
	checked := 0
	for line := range strings.Lines(couplingTable) {
		fields := strings.Split(strings.ReplaceAll(line, "*", "lo"), "\t")
		ofInterfaces := strings.Contains(fields[0], "/conf/") || strings.Contains(fields[0], "/neigh/lo/")
		if !ofInterfaces && fields[0] != "net/ipv4/ip_forward" || strings.Contains(fields[0], "stable_secret") {
			continue // the others are the whole machine's, or have no value to go back to
		}
		written, other := "/proc/sys/"+fields[0], "/proc/sys/"+fields[1]
		before, err := readValue(written)
		if err != nil {
			continue // not every kernel has every key
		}
		was, err := readValue(other)
		if err != nil {
			continue
		}
		value := before*2 + 2
		if before == 0 || before == 1 {
			value = 1 - before
		}
		if err := os.WriteFile(written, []byte(strconv.Itoa(value)), 0); err != nil {
			t.Logf("%s = %d: %v", fields[0], value, err)
			continue
		}
		checked++
		is, err := readValue(other)
		right := is != was
		switch Effect(fields[2]) {
		case Copies, Zeroes:
			right = is == value
		case Opposes:
			right = (is == 0) == (value != 0)
		}
		if err != nil || !right {
			t.Errorf("%s from %d to %d: %s from %d to %d, and the table says %s",
				fields[0], before, value, fields[1], was, is, fields[2])
		}
		if err := os.WriteFile(written, []byte(strconv.Itoa(before)), 0); err != nil {
			t.Error(err)
		}
	}
	if checked == 0 {
		t.Error("no coupling was checked")
	}
	t.Logf("%d couplings are as in the table", checked)
}

func readValue(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}
