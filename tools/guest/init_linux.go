package guest

// Inside of the guest: what its init needs.

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mark begins each line that is meant for the program outside, among what the kernel prints.
const mark = "guest: "

// atEnd is the last of those lines.
const atEnd = "end"

// note begins a line for the person who waits.
const note = "# "

// Note prints a line for the person who waits.
func Note(format string, args ...any) { Say(note+format, args...) }

// Say prints a line for the program outside.
func Say(format string, args ...any) { fmt.Printf("\n"+mark+format+"\n", args...) }

// runInside runs the init and powers the guest off.
func runInside(inside func() error) {
	err := unix.Mount("proc", "/proc", "proc", 0, "")
	if err == nil {
		err = inside()
	}
	if err != nil {
		fmt.Println("init:", err)
	} else {
		Say(atEnd)
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// Modules returns the names of the modules that the guest has, in the order to load them.
func Modules() ([]string, error) {
	list, err := os.ReadFile("/list")
	return strings.Fields(string(list)), err
}

// Load loads a module with parameters, which may be empty.
func Load(name, parameters string) error {
	f, err := os.Open("/m/" + name)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), parameters, 0)
}

// Devices returns the names of the network interfaces, each of which has keys of its own.
func Devices() (map[string]bool, error) {
	text, err := os.ReadFile("/proc/net/dev")
	found := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			found[strings.TrimSpace(name)] = true
		}
	}
	return found, err
}

// Keys returns the paths of all files below /proc/sys, from there.
func Keys() (map[string]bool, error) {
	found := map[string]bool{}
	err := filepath.WalkDir("/proc/sys", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() {
			found[strings.TrimPrefix(path, "/proc/sys/")] = true
		}
		return nil
	})
	return found, err
}
