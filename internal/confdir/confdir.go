// Package confdir says which files of a *.d family count, in what order, and which are masked: the rule that sysctl.d, modules-load.d and modprobe.d
// share, with how their lines and patterns read. Pure: it does no I/O.
package confdir

import (
	"cmp"
	"path"
	"slices"
	"strings"
)

// File is one entry of a family's directories, as a host has it.
type File struct {
	// Path is absolute, such as /etc/sysctl.d/10-a.conf.
	Path string
	// Target is where a symbolic link points; "" for anything else.
	Target string
	// Text is the content, "" where there is none.
	Text string
	// Unread is why the content could not be read; "" if it could.
	Unread string
	// Regular is false for whatever has no content of its own: /dev/null, a directory, a dangling link.
	Regular bool
}

// roots are the directories above a family's, strongest first (systemd's CONF_PATHS; kmod's list is a part of it).
var roots = [...]string{"/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"}

// Order returns the files of one family that count, first read to last: by basename, byte by byte, whatever the directory. Of files with the same
// basename only the one in the strongest directory is there, and none at all if that one is empty, a link to /dev/null or no regular file. A file that
// could not be read counts: its Unread is set.
//
// Entries that no program reads are left out: hidden names, names without .conf, and paths outside the family's directories.
func Order(files []File) []File {
	found := slices.DeleteFunc(slices.Clone(files), func(f File) bool { return rank(f.Path) == len(roots) })
	slices.SortStableFunc(found, func(a, b File) int {
		return cmp.Or(cmp.Compare(path.Base(a.Path), path.Base(b.Path)), cmp.Compare(rank(a.Path), rank(b.Path)))
	})
	winners := slices.CompactFunc(found, func(a, b File) bool { return path.Base(a.Path) == path.Base(b.Path) })
	return slices.DeleteFunc(winners, func(f File) bool { return !f.Regular || f.Text == "" && f.Unread == "" })
}

// rank is the place of a file's root in roots, or len(roots) for a path that is no file of a family.
func rank(p string) int {
	dir, name := path.Split(p)
	root, family := path.Split(path.Clean(dir))
	if !strings.HasSuffix(name, ".conf") || strings.HasPrefix(name, ".") || !strings.HasSuffix(family, ".d") {
		return len(roots)
	}
	if i := slices.Index(roots[:], path.Clean(root)); i >= 0 {
		return i
	}
	return len(roots)
}
