package errno_test

import (
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/errno"
)

// Guards the two ways to read an error: its known word anywhere in the text, and the end of the last line as it is.
func TestWords(t *testing.T) {
	for _, c := range []struct{ printed, found, reason string }{
		{"cat: write error: Invalid argument\n", "", "Invalid argument"},
		{"cat: /proc/sys/a: Permission denied\n", errno.PermissionDenied, errno.PermissionDenied},
		{"mv: can't rename '/etc/a': Quota exceeded", errno.QuotaExceeded, "Quota exceeded"},
		{"cat: /proc/sys/a: I/O error", errno.IO, "I/O error"},
		{"rm: '/etc/a' is a directory", errno.IsDirectory, "'/etc/a' is a directory"},
		{"sh: 1: cannot create /etc/a: Directory nonexistent", errno.NoEntry, "Directory nonexistent"},
		{"sh: can't create /etc/a: nonexistent directory", errno.NoEntry, "nonexistent directory"},
		{"ln: a: Symbolic link loop", errno.LinkLoop, "Symbolic link loop"},
		{"first: Permission denied\nlast: Device or resource busy\n", errno.PermissionDenied, errno.Busy},
		{" \n", "", ""},
		{"", "", ""},
	} {
		found, ok := errno.Find(c.printed)
		if found != c.found || ok != (c.found != "") {
			t.Errorf("Find(%q) = %q, %t, not %q", c.printed, found, ok, c.found)
		}
		if got := errno.Reason(c.printed); got != c.reason {
			t.Errorf("Reason(%q) = %q, not %q", c.printed, got, c.reason)
		}
	}
}

// Guards which errors are of one kind: the advice that follows an error depends on it.
func TestKinds(t *testing.T) {
	for _, c := range []struct {
		reason                    string
		readOnly, forbidden, full bool
	}{
		{errno.PermissionDenied, true, true, false},
		{errno.ReadOnlyFS, true, false, false},
		{errno.NotPermitted, false, true, false},
		{errno.NoSpace, false, false, true},
		{errno.QuotaExceeded, false, false, true},
		{errno.NoEntry, false, false, false},
		{"", false, false, false},
	} {
		if errno.ReadOnly(c.reason) != c.readOnly || errno.Forbidden(c.reason) != c.forbidden ||
			errno.Full(c.reason) != c.full {
			t.Errorf("%q: ReadOnly %t, Forbidden %t, Full %t", c.reason,
				errno.ReadOnly(c.reason), errno.Forbidden(c.reason), errno.Full(c.reason))
		}
	}
}
