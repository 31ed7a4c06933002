package hostkey

import (
	"os"
	"path/filepath"
	"testing"
)

// The copies without bad lines are of use only while they are read.
func TestNoCopyOfKnownHostsIsLeft(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	file := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(file, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := readKnownHosts([]string{file})
	if err != nil || len(k.bad) != 1 {
		t.Fatalf("got %+v, %v", k, err)
	}
	if left, _ := os.ReadDir(tmp); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
