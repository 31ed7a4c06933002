//go:build unix

package route

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// checkOwn fails if others can write a file: what it says is run. As on Debian, a group may that is the user's alone.
func checkOwn(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	const remedy = "and does not count, as for ssh (chown and chmod go-w)"
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch mode := info.Mode().Perm(); {
	case !ok:
		return nil
	case stat.Uid != 0 && int(stat.Uid) != os.Getuid():
		return fmt.Errorf("%s belongs to the user with the id %d %s", name, stat.Uid, remedy)
	case mode&0o002 != 0 || mode&0o020 != 0 && !privateGroup(stat.Gid):
		return fmt.Errorf("%s can be written by other users %s", name, remedy)
	}
	return nil
}

// privateGroup says whether a group is that of the user alone, by its name.
func privateGroup(id uint32) bool {
	u, err := user.Current()
	if err != nil {
		return false
	}
	g, err := user.LookupGroupId(strconv.FormatUint(uint64(id), 10))
	return err == nil && g.Name == u.Username
}
