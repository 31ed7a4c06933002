package main

// The init of the guest: loads each module and prints what appears in /proc/sys.

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mark begins each line that is meant for the program outside, among what the kernel prints.
const mark = "owners: "

// failedToLoad follows the name of a module that the kernel refuses.
const failedToLoad = " is not loaded"

func inGuest() {
	if err := loadAll(); err != nil {
		fmt.Println("init:", err)
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func loadAll() error {
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	list, err := os.ReadFile("/list")
	if err != nil {
		return err
	}
	before, err := keys()
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(list)) {
		if err := load("/m/" + name); err != nil {
			fmt.Printf("\n%s%s%s\n", mark, name, failedToLoad)
		}
		after, err := keys()
		if err != nil {
			return err
		}
		device, err := devices()
		if err != nil {
			return err
		}
		for key := range after {
			if !before[key] && !slices.ContainsFunc(strings.Split(key, "/"), func(part string) bool { return device[part] }) {
				fmt.Printf("\n%s%s\t%s\n", mark, name, spelled(key))
			}
		}
		before = after
	}
	fmt.Printf("\n%send\n", mark)
	return nil
}

// devices are the names of the network interfaces, each of which has keys of its own.
func devices() (map[string]bool, error) {
	text, err := os.ReadFile("/proc/net/dev")
	found := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			found[strings.TrimSpace(name)] = true
		}
	}
	return found, err
}

// spelled is a path below /proc/sys with dots for slashes, and slashes for dots, as sysctl.d has it.
func spelled(key string) string { return strings.NewReplacer("/", ".", ".", "/").Replace(key) }

// load loads a module without parameters.
func load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), "", 0)
}

// keys are all files below /proc/sys.
func keys() (map[string]bool, error) {
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
