package fault

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestExcerptIsOneShortLineWithoutSecrets(t *testing.T) {
	got := Excerpt("Hi\x1b[31m \xff\n\tpass=hunter22 "+strings.Repeat("é", 300), "", "hunter22")
	if !utf8.ValidString(got) || strings.ContainsAny(got, "\n\t\x1b") || strings.Contains(got, "hunter22") ||
		len(got) > excerptLen+3 || !strings.HasPrefix(got, "Hi [31m ? pass=*** é") {
		t.Errorf("got %q", got)
	}
}

func TestReasonIsTheKernelsWordsInAnyShell(t *testing.T) {
	for said, want := range map[string]string{
		"cat: write error: No space left on device\n":             "No space left on device",
		"sh: 9: cannot create /etc/x: Read-only file system":      "Read-only file system",
		"/bin/sh: line 9: /etc/x: Permission denied":              "Permission denied",
		"sh: 9: cannot create /etc/none/x: Directory nonexistent": "No such file or directory",
		"sh: can't create /etc/none/x: nonexistent directory":     "No such file or directory",
		"mv: can't rename 'a': Resource busy":                     "Device or resource busy",
		"sync: error syncing '/etc/x': I/O error":                 "Input/output error",
		"rm: '/etc/x' is a directory":                             "Is a directory",
		"mv: cannot move 'a' to 'b': Operation not permitted":     "Operation not permitted",
		"something\nnobody foresaw":                               "something nobody foresaw",
		"":                                                        "no reason was given",
	} {
		if got := Reason(said); got != want {
			t.Errorf("%q: %q, want %q", said, got, want)
		}
	}
}

// Guards that only a host which does not answer counts as not reached: unreachable = "warn" must not hide a host whose
// key has changed or that refuses.
func TestNotReached(t *testing.T) {
	want := map[Kind]bool{Unreachable: true, Lost: true, Hung: true}
	for kind := Misconfigured; kind <= Locked; kind++ {
		if err := fmt.Errorf("reading it: %w", &Error{Kind: kind}); NotReached(err) != want[kind] {
			t.Errorf("NotReached of %q is %v", (&Error{Kind: kind}).Summary(), !want[kind])
		}
	}
	if NotReached(&Error{Kind: Unreachable, Final: true}) {
		t.Error("a host that can never be reached this way counts as not reached")
	}
}
