package kmod

// What the kernel and its installation say of modules.

import (
	"path"
	"strings"
)

// Loaded is a line of /proc/modules (proc_modules(5)).
type Loaded struct {
	// Name is the module's, with '_' for '-'.
	Name string
	// State is Live, Loading or Unloading.
	State string
}

// ParseLoaded reads /proc/modules. Lines that do not have its form are left out.
func ParseLoaded(text string) []Loaded {
	var modules []Loaded
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) >= 5 {
			modules = append(modules, Loaded{Name: f[0], State: f[4]})
		}
	}
	return modules
}

// ParseBuiltin reads modules.builtin, a path such as kernel/net/ipv6/ipv6.ko a line, and returns the names, with '_' for '-'.
func ParseBuiltin(text string) []string {
	var names []string
	for line := range strings.Lines(text) {
		name, _, ok := strings.Cut(path.Base(strings.TrimSpace(line)), ".ko")
		if ok && name != "" {
			names = append(names, Canonical(name))
		}
	}
	return names
}
