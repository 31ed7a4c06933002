package hosttest

import (
	"errors"
	"io/fs"
	"syscall"
)

// strerror is glibc's English phrase for an errno: the words that programs on a Debian host print, whatever system this runs on.
func strerror(err error) string {
	var e syscall.Errno
	if !errors.As(err, &e) {
		return err.Error()
	}
	if s, ok := errnoWords[e]; ok {
		return s
	}
	return e.Error()
}

var errnoWords = map[syscall.Errno]string{
	syscall.EPERM:        "Operation not permitted",
	syscall.ENOENT:       "No such file or directory",
	syscall.EIO:          "Input/output error",
	syscall.EBADF:        "Bad file descriptor",
	syscall.ENOMEM:       "Cannot allocate memory",
	syscall.EACCES:       "Permission denied",
	syscall.EBUSY:        "Device or resource busy",
	syscall.EEXIST:       "File exists",
	syscall.EXDEV:        "Invalid cross-device link",
	syscall.ENODEV:       "No such device",
	syscall.ENOTDIR:      "Not a directory",
	syscall.EISDIR:       "Is a directory",
	syscall.EINVAL:       "Invalid argument",
	syscall.ENOSPC:       "No space left on device",
	syscall.EROFS:        "Read-only file system",
	syscall.EPIPE:        "Broken pipe",
	syscall.ENAMETOOLONG: "File name too long",
	syscall.ENOSYS:       "Function not implemented",
	syscall.ENOTEMPTY:    "Directory not empty",
	syscall.ELOOP:        "Too many levels of symbolic links",
	syscall.EDQUOT:       "Disk quota exceeded",
	errNotSupported:      "Unknown error 524",
}

// errNotSupported is ENOTSUPP, which the kernel keeps to itself but for mistakes, and of which glibc knows no words.
const errNotSupported = syscall.Errno(524)

// shellPathError makes the interpreter print what dash prints for a redirection that fails. It prints Op, Path and Err in this order.
func shellPathError(path string, create bool, err error) *fs.PathError {
	op, words := "sh: 1: cannot open", strerror(err)
	if create {
		op = "sh: 1: cannot create"
	}
	if errors.Is(err, syscall.ENOENT) {
		if words = "No such file"; create {
			words = "Directory nonexistent"
		}
	}
	return &fs.PathError{Op: op, Path: path, Err: errors.New(words)}
}
