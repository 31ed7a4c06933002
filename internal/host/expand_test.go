package host

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/shell"
)

// Guards that a pattern among the arguments stands for the files that it matches, in every shell, and all else for
// itself, whatever its characters.
func TestExpandScriptInEveryShell(t *testing.T) {
	for _, argv := range shells(t) {
		dir := t.TempDir()
		for _, name := range []string{"eth0", "eth1"} {
			if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name, "forwarding"), []byte("1\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		odd := filepath.Join(dir, "it's[a]")
		r := inShell(t, argv, shell.Script{
			Name: "snapshot", Text: expandScript + valuesScript,
			Args: []string{filepath.Join(dir, "*", "forwarding"), odd, filepath.Join(dir, "*", "none")},
		})
		got := values(r)
		want := map[string]boot.Reading{
			filepath.Join(dir, "eth0", "forwarding"): {Text: "1"}, filepath.Join(dir, "eth1", "forwarding"): {Text: "1"},
			odd: {Absent: true},
		}
		for path, reading := range want {
			if got[path] != reading {
				t.Errorf("%v: %s is %+v, not %+v", argv, path, got[path], reading)
			}
		}
		var paths []string
		for path := range got {
			paths = append(paths, path)
		}
		if slices.Sort(paths); len(paths) != len(want) {
			t.Errorf("%v: it read %q", argv, paths)
		}
	}
}
