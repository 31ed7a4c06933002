package sshdtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cgroups are the directories of a container's own cgroup, one in each hierarchy in which systemd keeps units (cgroups(7)). Two containers in one cgroup would make
// cgroups of the same names below it, and each systemd take the other's services for its own.
type cgroups []string

// newCgroups makes cgroups of this name below those of a process, and puts it there. What it returns has to be removed, also with an error.
func newCgroups(name string, pid int) (made cgroups, err error) {
	above, err := systemdCgroups(pid)
	if err != nil {
		return nil, err
	}
	for _, dir := range above {
		dir = filepath.Join(dir, name)
		made = append(made, dir)
		// A test that was killed may have left one: the name is ours, since the link of that name is.
		if err := (cgroups{dir}).remove(); err != nil {
			return made, err
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			return made, err
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			return made, err
		}
	}
	return made, nil
}

// systemdCgroups are the directories of a process's cgroups in the unified hierarchy and in systemd's own one of version 1, as far as they are mounted.
func systemdCgroups(pid int) ([]string, error) {
	memberships, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var dirs []string
	for line := range strings.Lines(string(memberships)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 || f[1] != "" && f[1] != "name=systemd" {
			continue
		}
		for mount := range strings.Lines(string(mounts)) {
			before, after, _ := strings.Cut(mount, " - ")
			point, what := strings.Fields(before), strings.Fields(after)
			if len(point) < 5 || len(what) < 3 {
				continue
			}
			unified := f[1] == "" && what[0] == "cgroup2"
			named := f[1] != "" && what[0] == "cgroup" && strings.HasSuffix(what[2], ","+f[1])
			below, ok := strings.CutPrefix(f[2], strings.TrimSuffix(point[3], "/"))
			if (unified || named) && ok && (below == "" || below[0] == '/') {
				dirs = append(dirs, filepath.Join(point[4], below))
				break
			}
		}
	}
	return dirs, nil
}

// remove takes the cgroups away, with all that was made below them. It is for after the container's last process.
func (c cgroups) remove() error {
	var failed error
	for _, top := range c {
		var dirs []string // each before those below it
		if err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return err
		}); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, err)
		}
		for i := len(dirs) - 1; i >= 0; i-- {
			failed = errors.Join(failed, removeCgroup(dirs[i]))
		}
	}
	return failed
}

// removeCgroup waits a moment for processes that have ended and are not yet taken off the cgroup.
func removeCgroup(dir string) error {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := os.Remove(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil || !errors.Is(err, syscall.EBUSY) || time.Now().After(end) {
			return err
		}
	}
}
