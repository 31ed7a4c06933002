// Package errno knows the words in which programs report the kernel's errors, as glibc and musl spell them.
package errno

import "strings"

// The words of errors, in glibc's spelling.
const (
	NotPermitted     = "Operation not permitted"           // EPERM
	NoEntry          = "No such file or directory"         // ENOENT
	IO               = "Input/output error"                // EIO
	NoMemory         = "Cannot allocate memory"            // ENOMEM
	PermissionDenied = "Permission denied"                 // EACCES
	Busy             = "Device or resource busy"           // EBUSY
	NotDirectory     = "Not a directory"                   // ENOTDIR
	IsDirectory      = "Is a directory"                    // EISDIR
	NoSpace          = "No space left on device"           // ENOSPC
	ReadOnlyFS       = "Read-only file system"             // EROFS
	NameTooLong      = "File name too long"                // ENAMETOOLONG
	LinkLoop         = "Too many levels of symbolic links" // ELOOP
	QuotaExceeded    = "Disk quota exceeded"               // EDQUOT
)

// spellings are the phrases by which an error is recognised in what a program printed. The first that matches decides.
var spellings = []struct{ phrase, word string }{
	{NoSpace, NoSpace},
	{QuotaExceeded, QuotaExceeded},
	{"Quota exceeded", QuotaExceeded}, // musl
	{ReadOnlyFS, ReadOnlyFS},
	{PermissionDenied, PermissionDenied},
	{NotPermitted, NotPermitted},
	{IO, IO},
	{"I/O error", IO}, // musl
	{IsDirectory, IsDirectory},
	{"is a directory", IsDirectory}, // rm of BusyBox
	{NotDirectory, NotDirectory},
	{NameTooLong, NameTooLong},
	{"Filename too long", NameTooLong}, // musl
	{LinkLoop, LinkLoop},
	{"Symbolic link loop", LinkLoop}, // musl
	{Busy, Busy},
	{"Resource busy", Busy}, // musl
	{NoMemory, NoMemory},
	{"Out of memory", NoMemory},        // musl
	{"Directory nonexistent", NoEntry}, // dash
	{"nonexistent directory", NoEntry}, // BusyBox
	{NoEntry, NoEntry},
}

// Find returns the word of the first known error in what a program printed. It returns false if there is none.
func Find(printed string) (word string, ok bool) {
	for _, s := range spellings {
		if strings.Contains(printed, s.phrase) {
			return s.word, true
		}
	}
	return "", false
}

// Reason returns the end of the last line that a program printed, which is the error as the program spelled it.
// For "cat: write error: Invalid argument" it returns "Invalid argument".
func Reason(printed string) string {
	lines := strings.Split(strings.TrimSpace(printed), "\n")
	last := lines[len(lines)-1]
	if i := strings.LastIndex(last, ": "); i >= 0 {
		last = last[i+2:]
	}
	return strings.TrimSpace(last)
}

// ReadOnly reports whether reason says that a file could not be opened for writing.
func ReadOnly(reason string) bool { return reason == PermissionDenied || reason == ReadOnlyFS }

// Forbidden reports whether reason says that the user, or a security module, may not do this.
func Forbidden(reason string) bool { return reason == PermissionDenied || reason == NotPermitted }

// Full reports whether reason says that there is no space left, or that the user has used up a quota.
func Full(reason string) bool { return reason == NoSpace || reason == QuotaExceeded }

// SaysNotFound reports whether modprobe printed that it knows no such module. Modprobe uses no errno for this.
func SaysNotFound(printed string) bool { return strings.Contains(printed, "not found") }

// SaysNotPermitted reports whether a program printed EPERM anywhere.
func SaysNotPermitted(printed string) bool { return strings.Contains(printed, NotPermitted) }
