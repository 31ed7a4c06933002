package kmod

import (
	"slices"
	"strings"
)

// Owners returns the modules that Owner knows, sorted: what a host's module trees are to be searched for.
func Owners() []string {
	var modules []string
	for line := range strings.Lines(owners) {
		if module, _, ok := strings.Cut(line, "\t"); ok && !strings.HasPrefix(line, "#") {
			modules = append(modules, module)
		}
	}
	for _, d := range perDevice {
		modules = append(modules, d.module)
	}
	slices.Sort(modules)
	return slices.Compact(modules)
}
