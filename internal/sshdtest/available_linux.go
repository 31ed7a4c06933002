package sshdtest

import (
	"errors"
	"os"
	"slices"
	"strings"
)

// needed are the commands a host is made of and the Debian package of each.
var needed = [][2]string{
	{"sshd", "openssh-server"}, {"sudo", "sudo"}, {"doas", "opendoas"}, {"ip", "iproute2"}, {"mount", "mount"}, {"modprobe", "kmod"}, {"busybox", "busybox"},
	{"chpasswd", "passwd"}, {"nsenter", "util-linux"}, {"setpriv", "util-linux"}, {"pivot_root", "util-linux"}, {"tar", "tar"}, {"sed", "sed"},
	{"dropbear", "dropbear-bin"},
}

var errNotRoot = errors.New("this process is not root's")

const runAsRoot = "Run it as root."

// Available is nil where hosts can be started, else an *Error that says why not. It starts one to find out.
func Available() error {
	what := "real hosts cannot be started here"
	if os.Getuid() != 0 {
		return &Error{What: what, Err: errNotRoot, Next: runAsRoot}
	}
	var commands, packages []string
	for _, n := range needed {
		if _, err := program(n[0]); err != nil {
			commands, packages = append(commands, n[0]), append(packages, n[1])
		}
	}
	if len(commands) > 0 {
		err := errors.New("missing commands: " + strings.Join(commands, ", "))
		return &Error{What: what, Err: err, Next: "On Debian: apt-get install " + strings.Join(slices.Compact(packages), " ")}
	}
	h, err := start(Options{})
	if err != nil {
		return &Error{What: what, Err: err, Next: "In a container it needs all capabilities and devices (docker run --privileged)."}
	}
	return h.Close()
}
