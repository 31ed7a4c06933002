package provider_test

import (
	"strings"
	"testing"
)

// Guards that the name of a file on the host reaches the terminal only in a form that does nothing there: in the plan of a
// value that this file decides, and in the error of its apply.
func TestAccControlCharactersOfTheHostReachNoTerminal(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	m.WriteFile("/etc/sysctl.d/99-\x1b]0;title\a\u202e.conf", "vm.swappiness = 60\n")
	w := newWorkspace(t, required+config(m, swappiness))
	for _, command := range [][]string{{"plan"}, {"apply", "-auto-approve"}} {
		out, _ := w.try(command...)
		if strings.ContainsAny(out, "\x1b\a\u202e") {
			t.Errorf("%s prints control characters: %q", command[0], out)
		}
		if !strings.Contains(out, `99-\x1b]0;title\x07\u202e.conf`) {
			t.Errorf("%s does not name the file:\n%q", command[0], out)
		}
	}
}
