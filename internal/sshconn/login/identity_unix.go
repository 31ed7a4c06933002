//go:build !windows

package login

import (
	"os"
	"syscall"
)

// openToOthers reports whether a file of the user's own is open to others. A private key in such a file does not count
// for ssh.
func openToOthers(file string) bool {
	info, err := os.Stat(file)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Getuid() && info.Mode().Perm()&0o077 != 0
}
