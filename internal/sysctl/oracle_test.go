//go:build oracle && linux

package sysctl

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestEffectiveOracle guards the cases of testdata/boot themselves: the real systemd-sysctl, in a root directory with plain files for /proc/sys, must leave
// what they want. It needs root, for chroot(2), and systemd-sysctl 252 or later:
//
//	go test -tags oracle -run Oracle ./internal/sysctl
func TestEffectiveOracle(t *testing.T) {
	root := oracleRoot(t)
	for _, c := range bootCases(t) {
		t.Run(c.name, func(t *testing.T) { askOracle(t, root, c) })
	}
}

// TestEffectiveRandomOracle guards what no one thought of: files made of few names, keys, patterns and values at random, so that they meet in every way, must
// mean to Effective what they mean to systemd-sysctl.
func TestEffectiveRandomOracle(t *testing.T) {
	root := oracleRoot(t)
	for seed := range uint64(300) {
		c := randomCase(t, rand.New(rand.NewPCG(seed, 0)))
		for i := range c.want {
			a, ok := Effective(c.files(), c.want[i].key)
			c.want[i].set, c.want[i].value = ok, a.Value
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) { askOracle(t, root, c) })
	}
}

func randomCase(t *testing.T, random *rand.Rand) bootCase {
	t.Helper()
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	c := bootCase{text: map[string]string{}, links: map[string]string{}}
	for range 1 + random.IntN(5) {
		file := pick("/etc", "/run", "/usr/local/lib", "/usr/lib") + "/sysctl.d/" + pick("10", "9", "Z", "a", "a-b", "a.b") + pick(".conf", ".conf", ".conf", "")
		if random.IntN(8) == 0 {
			delete(c.text, file)
			c.links[file] = pick("/dev/null", "nowhere", "10.conf")
			continue
		}
		delete(c.links, file)
		text := ""
		for range random.IntN(7) {
			text += pick("", "", "", "-", "- ", " ", "#", ";", "--", "/") +
				pick("n.c.e0.x", "n/c/e0/x", "n.c.*.x", "n/c/*/x", "n.c.e?.x", "n.c.[!a]0.x", "n.c.e0/1.x", "n/c/e0.1/x", "n.c.e0.1.x", "n.*.x", "*.*.*.*",
					"n.c.e*/1.x", "n..c.e0.x.", "") +
				pick(" = ", "=", "\t=\t", " = ", "=", "") + pick("1", "2", "3", "1 ", "2 # c", "a=b", "", "9999999999") +
				pick("\n", "\n", "\r\n", "\n\r", "\r", "\x00", "\n\n", "\\\n")
		}
		c.text[file] = text
	}
	for _, key := range []string{"n.c.e0.x", "n.c.a0.x", "n.c.e0/1.x", "n.c.e0.1.x", "n.c.x"} {
		c.want = append(c.want, bootWant{key: mustKey(t, key)})
	}
	return c
}

const oracleProgram = "/usr/lib/systemd/systemd-sysctl"

// oracleRoot makes a root directory with systemd-sysctl and its libraries.
func oracleRoot(t *testing.T) string {
	t.Helper()
	libraries, err := exec.CommandContext(t.Context(), "ldd", oracleProgram).Output()
	if err != nil {
		t.Fatalf("ldd %s: %v", oracleProgram, err)
	}
	root := t.TempDir()
	for _, file := range append(regexp.MustCompile(`/\S+`).FindAllString(string(libraries), -1), oracleProgram) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(root, file), string(data))
	}
	return root
}

// askOracle runs systemd-sysctl on a case's files and compares what it leaves with what the case wants.
func askOracle(t *testing.T, root string, c bootCase) {
	t.Helper()
	// Longer than any value, so that a plain file shows where a shorter one, written over it, ends.
	untouched := strings.Repeat("untouched ", 20)
	for _, dir := range []string{"etc", "run", "usr/local", "usr/lib/sysctl.d", "proc"} {
		if err := os.RemoveAll(filepath.Join(root, dir)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range c.want {
		put(t, filepath.Join(root, want.key.Path()), untouched)
	}
	for p, text := range c.text {
		put(t, filepath.Join(root, p), text)
	}
	for p, target := range c.links {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, p)), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(root, p)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), oracleProgram)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	// That it fails to set some key is a case's own matter; the values say what was done.
	said, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	for _, want := range c.want {
		data, err := os.ReadFile(filepath.Join(root, want.key.Path()))
		if err != nil {
			t.Fatal(err)
		}
		got, _, set := strings.Cut(string(data), "\n")
		if set != want.set || set && got != want.value {
			t.Errorf("systemd-sysctl left %q (set %v) in %s, want %q (set %v)\n%q %q\n%s", got, set, want.key, want.value, want.set, c.text, c.links, said)
		}
	}
}

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}
