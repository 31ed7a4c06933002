//go:build oracle

package boot

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/oracletest"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// TestLineOracle guards the cases of testdata/lines themselves: the real systemd-sysctl, in a root directory with plain
// files for /proc/sys, must leave what they want. It needs root, for chroot(2), and systemd-sysctl 252 or later:
//
//	go test -tags oracle -run Oracle ./internal/boot
func TestLineOracle(t *testing.T) {
	r := oracletest.New(t, oracletest.Sysctl)
	for _, c := range lineCases(t) {
		t.Run(c.name, func(t *testing.T) { askOracle(t, r, c) })
	}
}

// TestLineRandomOracle guards what no one thought of: files made of few names, keys, patterns and values at random, so
// that they meet in every way, must mean to the prediction what they mean to systemd-sysctl.
func TestLineRandomOracle(t *testing.T) {
	r := oracletest.New(t, oracletest.Sysctl)
	version, err := r.Version(oracletest.Sysctl)
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(300) {
		c := randomCase(t, rand.New(rand.NewPCG(seed, 0)))
		s := c.snapshot()
		s.Systemd = version
		p := Predict(s)
		for i := range c.want {
			l, ok := p.Line(c.want[i].key)
			c.want[i].set, c.want[i].value = ok, l.Value
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) { askOracle(t, r, c) })
	}
}

func randomCase(t *testing.T, random *rand.Rand) lineCase {
	t.Helper()
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	c := lineCase{text: map[string]string{}, links: map[string]string{}}
	for range 1 + random.IntN(5) {
		file := pick("/etc", "/run", "/usr/local/lib", "/usr/lib") + "/sysctl.d/" +
			pick("10", "9", "Z", "a", "a-b", "a.b") + pick(".conf", ".conf", ".conf", "")
		if random.IntN(8) == 0 {
			delete(c.text, file)
			c.links[file] = pick("/dev/null", "nowhere", "10.conf")
			continue
		}
		delete(c.links, file)
		text := ""
		for range random.IntN(7) {
			text += pick("", "", "", "-", "- ", " ", "#", ";", "--", "/") +
				pick("n.c.e0.x", "n/c/e0/x", "n.c.*.x", "n/c/*/x", "n.c.e?.x", "n.c.[!a]0.x", "n.c.e0/1.x",
					"n/c/e0.1/x", "n.c.e0.1.x", "n.*.x", "*.*.*.*", "n.c.e*/1.x", "n..c.e0.x.", "") +
				pick(" = ", "=", "\t=\t", " = ", "=", "") + pick("1", "2", "3", "1 ", "2 # c", "a=b", "", "9999999999") +
				pick("\n", "\n", "\r\n", "\n\r", "\r", "\x00", "\n\n", "\\\n")
		}
		c.text[file] = text
	}
	for _, key := range []string{"n.c.e0.x", "n.c.a0.x", "n.c.e0/1.x", "n.c.e0.1.x", "n.c.x"} {
		k, err := sysctl.ParseKey(key)
		if err != nil {
			t.Fatal(err)
		}
		c.want = append(c.want, lineWant{key: k})
	}
	return c
}

// askOracle runs systemd-sysctl on a case's files and compares what it leaves with what the case wants.
func askOracle(t *testing.T, r oracletest.Root, c lineCase) {
	t.Helper()
	// Longer than any value, so that a plain file shows where a shorter one, written over it, ends.
	untouched := strings.Repeat("untouched ", 20)
	if err := r.Clear("etc", "run", "usr/local", "usr/lib/sysctl.d", "proc"); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, want := range c.want {
		files[want.key.Path()] = untouched
	}
	maps.Copy(files, c.text)
	for p, text := range files {
		if err := r.Put(p, text); err != nil {
			t.Fatal(err)
		}
	}
	for p, target := range c.links {
		if err := os.MkdirAll(filepath.Dir(r.Path(p)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, r.Path(p)); err != nil {
			t.Fatal(err)
		}
	}
	// That it fails to set some key is a case's own matter; the values say what was done.
	ran, err := r.Run(oracletest.Command{Args: []string{oracletest.Sysctl}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range c.want {
		data, err := os.ReadFile(r.Path(want.key.Path()))
		if err != nil {
			t.Fatal(err)
		}
		got, _, set := strings.Cut(string(data), "\n")
		if set != want.set || set && got != want.value {
			t.Errorf("systemd-sysctl left %q (set %v) in %s, want %q (set %v)\n%q %q\n%s",
				got, set, want.key, want.value, want.set, c.text, c.links, ran.Said)
		}
	}
}
