package sysctl

// A value before it is written: checked, and put into a drop-in.

import (
	"fmt"
	"strings"
)

// MaxValue is the longest value in bytes: with its line end it fills a page, and the kernel takes no more in one write(2).
const MaxValue = 4095

// ValueError is what ParseValue returns. It does not hold the value, which may be a secret.
type ValueError struct {
	// Problem is what is wrong with the value, such as "it holds a line break".
	Problem string
}

func (e *ValueError) Error() string {
	return "This is not a value for a sysctl: " + e.Problem + "."
}

// ParseValue returns s without outer blanks, as every program that reads sysctl.d does, or a *ValueError. Whether the kernel takes the value is its own
// business. The empty value is one: it clears a key such as net.ipv4.ip_local_reserved_ports.
func ParseValue(s string) (string, error) {
	s = strings.Trim(s, " \t")
	switch {
	case strings.ContainsAny(s, "\n\r"):
		return "", &ValueError{Problem: "it holds a line break, which would add a line to the sysctl.d file; write one line"}
	case strings.Contains(s, "\x00"):
		return "", &ValueError{Problem: "it holds a NUL byte, which ends a value in the kernel; leave it out"}
	case len(s) > MaxValue:
		return "", &ValueError{Problem: fmt.Sprintf("it has %d bytes, and the kernel takes at most %d in one write; shorten it", len(s), MaxValue)}
	}
	return s, nil
}

// Format returns the text of a drop-in: a comment line for each comment, then "KEY = value" in a spelling that systemd, procps and BusyBox read alike. The value
// must come from ParseValue.
func Format(k Key, value string, comments ...string) string {
	var b strings.Builder
	for _, c := range comments {
		b.WriteString("# " + oneLine(c) + "\n")
	}
	spelling := k.String()
	if strings.Contains(spelling, "/") {
		spelling = k.path
	}
	b.WriteString(strings.TrimRight(spelling+" = "+value, " ") + "\n")
	return b.String()
}

var oneLine = strings.NewReplacer("\n", " ", "\r", " ", "\x00", " ").Replace
