// Package kmod knows kernel modules: their names and parameters, the grammars of modules-load.d and modprobe.d, which module owns a sysctl, and what the
// kernel says of its modules. Pure: it does no I/O.
package kmod

import (
	"fmt"
	"strings"
)

// NameError is what ParseName returns for a string that names no module.
type NameError struct {
	// Input is the string.
	Input string
	// Problem is what is wrong with it, such as "it is empty".
	Problem string
}

func (e *NameError) Error() string {
	return fmt.Sprintf("%q is not the name of a kernel module: %s. Write it as lsmod or modprobe does, as in nf_conntrack.", e.Input, e.Problem)
}

// maxName keeps file names made from a module's name far below NAME_MAX; the kernel's own limit for a module is 55 bytes, for an alias there is none.
const maxName = 200

// ParseName checks the name or alias of a module, such as nf_conntrack, br-netfilter or net-pf-10, and returns it as it is. The error is a *NameError.
func ParseName(s string) (string, error) {
	problem := ""
	switch {
	case s == "":
		problem = "it is empty"
	case s[0] == '-':
		problem = "it begins with '-', which modprobe takes for an option"
	case strings.Contains(s, "/") || strings.HasSuffix(s, ".ko"):
		problem = "it is a file; leave out the directory and .ko"
	case strings.ContainsAny(s, " \t"):
		problem = "it holds white space, and a module's parameters do not stand behind its name"
	case len(s) > maxName:
		problem = fmt.Sprintf("it has more than %d characters", maxName)
	case !isName(s):
		problem = "it may hold only letters, digits, '_' and '-'"
	}
	if problem != "" {
		return "", &NameError{Input: s, Problem: problem}
	}
	return s, nil
}

// isName says whether s has the form of a module's, or a parameter's, name.
func isName(s string) bool {
	return s != "" && s[0] != '-' && strings.Trim(s, nameBytes) == "" // Trim leaves nothing only where every byte is one of the set
}

const nameBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

// Canonical is a module's name as /proc/modules and /sys/module show it: with '_' for '-'.
func Canonical(s string) string { return strings.ReplaceAll(s, "-", "_") }

// Same says whether two names are one module's: '-' and '_' are the same.
func Same(a, b string) bool { return Canonical(a) == Canonical(b) }
