// Package sysctl knows one kernel parameter: its key, how the kernel understands its values, and the grammar of sysctl.d. Pure: it does no I/O.
package sysctl

import (
	"cmp"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Key names one sysctl. Two keys are equal (==) if they name the same file below /proc/sys, however they were spelled. The zero Key names nothing.
type Key struct {
	path string // below /proc/sys, with slashes; ParseKey made it
}

// KeyError is what ParseKey returns for a string that is no key.
type KeyError struct {
	// Input is the string.
	Input string
	// Problem is what is wrong with it, such as "it is empty".
	Problem string
}

func (e *KeyError) Error() string {
	return fmt.Sprintf("%q is not a sysctl key: %s. Write it with dots or with slashes, as in net.ipv4.ip_forward or net/ipv4/ip_forward.", e.Input, e.Problem)
}

// maxFileName leaves room below NAME_MAX, 255 bytes, for the suffix of a temporary file.
const maxFileName = 235

// ParseKey reads a key in either spelling. As in sysctl.d(5) the first separator decides: if it is a slash, slashes separate and dots are characters;
// if it is a dot, dots separate and a slash stands for a dot. The error is a *KeyError.
func ParseKey(s string) (Key, error) {
	k, problem := parseKey(s)
	if problem != "" {
		return Key{}, &KeyError{Input: s, Problem: problem}
	}
	return k, nil
}

func parseKey(s string) (k Key, problem string) {
	if s == "" {
		return Key{}, "it is empty"
	}
	if !utf8.ValidString(s) {
		return Key{}, "it is not UTF-8 text"
	}
	for _, r := range s {
		switch {
		case unicode.IsSpace(r):
			return Key{}, "it holds white space or a line break"
		case !unicode.IsPrint(r):
			return Key{}, "it holds a control character"
		case r == '=':
			return Key{}, "it holds '='; the value goes elsewhere"
		case strings.ContainsRune(`*?[]\`, r):
			return Key{}, fmt.Sprintf("it holds %q, and patterns are not allowed", r)
		}
	}
	if strings.ContainsRune("-#;", rune(s[0])) {
		return Key{}, fmt.Sprintf("it begins with %q, which means something else in a sysctl.d file", s[0])
	}
	if strings.HasPrefix(s, "/proc/sys/") {
		return Key{}, "it is a path; leave out /proc/sys/"
	}
	k = Key{path: swap(s)}
	parts := strings.Split(k.path, "/")
	switch {
	case parts[0] == "":
		return Key{}, "it begins with a separator"
	case parts[len(parts)-1] == "":
		return Key{}, "it ends with a separator"
	}
	for _, part := range parts {
		switch part {
		case "":
			return Key{}, "two separators follow one another"
		case ".", "..":
			return Key{}, fmt.Sprintf("a part of it is %q, which would leave its directory", part)
		}
	}
	switch {
	case len(parts) == 1:
		return Key{}, "it has one part only, and every key lies in a directory such as net or vm"
	case len(k.DropInName()) > maxFileName:
		return Key{}, "it is too long for a file name"
	}
	return k, ""
}

// swap turns a key from sysctl.d's spelling into a path, and a path into sysctl.d's dotted spelling: if the first separator is a dot, dots and slashes
// change places, else nothing does.
func swap(s string) string {
	if i := strings.IndexAny(s, "./"); i < 0 || s[i] == '/' {
		return s
	}
	return exchange(s)
}

var exchange = strings.NewReplacer(".", "/", "/", ".").Replace

// String is the canonical spelling: dots, and a dot inside a part written as a slash, as in net.ipv4.conf.eth0/100.forwarding. ParseKey reads it back.
func (k Key) String() string { return exchange(k.path) }

// Path is the file that holds the running value, such as /proc/sys/net/ipv4/conf/eth0.100/forwarding.
func (k Key) Path() string { return "/proc/sys/" + k.path }

// DropInName is the file name that is the key's own in sysctl.d: 90-terraform-KEY.conf, or 85-terraform-KEY.conf for a key
// that others follow, so that their files are read after it and have the last word. Slashes are percent-encoded, so that
// no two keys share a name.
func (k Key) DropInName() string {
	order := "90"
	if rank(k) < rankAll {
		order = "85"
	}
	return order + "-terraform-" + escapeName(k.String()) + ".conf"
}

var escapeName = strings.NewReplacer("%", "%25", "/", "%2F").Replace

// Compare orders keys as they are to be written, in a file and to the kernel: each before those that follow it, and
// otherwise by name. Of switches that follow each other the shorter path comes first, so net.ipv4.ip_forward comes before
// net.ipv4.conf.all.forwarding.
func Compare(a, b Key) int {
	r := cmp.Compare(rank(a), rank(b))
	if r == 0 && rank(a) < rankAll {
		r = cmp.Compare(strings.Count(a.path, "/"), strings.Count(b.path, "/"))
	}
	return cmp.Or(r, strings.Compare(a.path, b.path))
}
