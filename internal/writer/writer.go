// Package writer finds the lines by which something other than systemd-sysctl writes kernel parameters at boot: units,
// tmpfiles.d, udev rules, network files, cron and hooks. Pure: it does no I/O.
package writer

import (
	"path"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// Order is when a writer runs, compared with systemd-sysctl.service.
type Order int

const (
	// Later is a writer that starts when systemd-sysctl has run.
	Later Order = iota
	// Unordered is a writer that nothing orders: either of the two may be the last.
	Unordered
	// Earlier is a writer that has run when systemd-sysctl starts.
	Earlier
)

// Write is a line that writes a key. The Pattern of the assignment is "" if the line writes keys that it does not name,
// as `sysctl -p FILE` does. HasValue is false if the line does not say what it writes.
type Write struct {
	sysctl.Assignment
	// By names what runs the line, such as "ufw.service", "cron" or "tmpfiles.d".
	By string
	// EachInterface is set if a "*" in the pattern stands for network interfaces, so that it is neither all nor default.
	EachInterface bool
	// Order is when it runs.
	Order Order
}

// Matches reports whether the line writes k.
func (w Write) Matches(k sysctl.Key) bool {
	if !w.Assignment.Matches(k) {
		return false
	}
	if !w.EachInterface {
		return true
	}
	patterns, parts := strings.Split(w.Pattern, "/"), strings.Split(strings.TrimPrefix(k.Path(), "/proc/sys/"), "/")
	for i, pattern := range patterns {
		if pattern == "*" && i < len(parts) && (parts[i] == "all" || parts[i] == "default") {
			return false
		}
	}
	return true
}

// File is a file that is in use at boot, and may hold such lines.
type File struct {
	Path, Text string
	// Applier is the unit or the command that sets all keys of the file; "" for a file of another form.
	Applier string
}

// Scan is what a host was searched for.
type Scan struct {
	Files []File
	// Enabled are the names of the units that are enabled, such as docker.service.
	Enabled []string
}

// kind reads the files below one directory, or with one name.
type kind struct {
	// pattern is a pattern of path.Match for the path of the file.
	pattern string
	read    func(s *Scan, f File) []Write
}

// kinds are all places where writers are looked for. The first pattern that matches decides.
var kinds = []kind{
	{"/*/systemd/system/*.d/*.conf", readUnit},
	{"/*/systemd/system/*.service", readUnit},
	{"/usr/lib/systemd/system/*.service", readUnit},
	{"/usr/local/lib/systemd/system/*.service", readUnit},
	{"/*/tmpfiles.d/*.conf", readTmpfiles},
	{"/usr/lib/tmpfiles.d/*.conf", readTmpfiles},
	{"/*/udev/rules.d/*.rules", readRules},
	{"/usr/lib/udev/rules.d/*.rules", readRules},
	{"/*/systemd/network/*.network", readNetwork},
	{"/usr/lib/systemd/network/*.network", readNetwork},
	{"/etc/rc.local", script("rc.local")},
	{"/etc/rc.d/rc.local", script("rc.local")},
	{"/etc/crontab", readCron},
	{"/etc/cron.d/*", readCron},
	{"/var/spool/cron/*", readCron},
	{"/var/spool/cron/*/*", readCron},
	{"/etc/network/interfaces", readInterfaces},
	{"/etc/network/interfaces.d/*", readInterfaces},
	{"/etc/network/if-*.d/*", script("ifupdown")},
	{"/etc/NetworkManager/dispatcher.d/*", script("NetworkManager")},
	{"/etc/NetworkManager/dispatcher.d/*/*", script("NetworkManager")},
	{"/etc/wireguard/*.conf", readWireGuard},
	{"/etc/openvpn/*", script("openvpn")},
	{"/etc/openvpn/*/*", script("openvpn")},
	{"/etc/local.d/*.start", script("local.d")},
	{"/etc/init.d/*", script("init.d")},
}

// Find returns the writes of all files, in the order of the files.
func Find(s Scan) []Write {
	var found []Write
	for _, f := range withoutReset(s.Files) {
		if f.Applier != "" {
			found = append(found, readApplied(&s, f)...)
			continue
		}
		i := slices.IndexFunc(kinds, func(k kind) bool { ok, _ := path.Match(k.pattern, f.Path); return ok })
		if i >= 0 {
			found = append(found, kinds[i].read(&s, f)...)
		}
	}
	return found
}

// script returns a reader of shell scripts that by runs.
func script(by string) func(*Scan, File) []Write {
	return func(_ *Scan, f File) []Write { return writes(by, Later, commands(f.Path, 1, f.Text)) }
}

// writes makes writes of assignments.
func writes(by string, order Order, assignments []sysctl.Assignment) []Write {
	each := slices.Contains([]string{"systemd-networkd.service", "udev", "ifupdown", "NetworkManager"}, by) ||
		strings.HasPrefix(by, "wg-quick@")
	list := make([]Write, len(assignments))
	for i, a := range assignments {
		list[i] = Write{Assignment: a, By: by, Order: order, EachInterface: each}
	}
	return list
}

// lines yields the lines of a text with their numbers, without outer white space, and with those that a backslash
// continues joined to the first.
func lines(text string, yield func(number int, line string)) {
	number, first, joined := 0, 0, ""
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if joined == "" {
			first = number
		}
		if rest, more := strings.CutSuffix(line, `\`); more && !strings.HasPrefix(line, "#") {
			joined += rest + " "
			continue
		}
		yield(first, joined+line)
		joined = ""
	}
	if joined != "" {
		yield(first, joined)
	}
}
