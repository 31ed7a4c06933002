package writer

// The other files whose lines write keys: tmpfiles.d, udev rules, ufw, cron, ifupdown and WireGuard.

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// readTmpfiles reads a file of tmpfiles.d(5). systemd-tmpfiles-setup.service has no order with systemd-sysctl.service.
func readTmpfiles(_ *Scan, f File) []Write {
	var found []sysctl.Assignment
	lines(f.Text, func(n int, line string) {
		words := unitWords(line)
		if len(words) < 2 || !strings.HasPrefix(words[1].text, "/proc/sys/") {
			return
		}
		// f without + writes only a file that does not exist.
		if kind := strings.TrimRight(words[0].text, "!-=~^$?"); !slices.Contains([]string{"w", "w+", "f+", "F"}, kind) {
			return
		}
		var text string
		if len(words) > 6 {
			rest := make([]string, 0, len(words)-6)
			for _, w := range words[6:] {
				rest = append(rest, w.text)
			}
			text = strings.TrimSpace(strings.Join(rest, " "))
		}
		a := assign(strings.TrimPrefix(words[1].text, "/proc/sys/"), plainly(text))
		a.At = confdir.Position{File: f.Path, Line: n}
		found = append(found, a)
	})
	return writes("tmpfiles.d", Unordered, found)
}

var (
	ruleSysctl = regexp.MustCompile(`SYSCTL\{([^}]+)\}\+?=([^"]*)"((?:[^"\\]|\\.)*)"`)
	ruleRun    = regexp.MustCompile(`RUN(?:\{program\})?\+?:?=e?"((?:[^"\\]|\\.)*)"`)
)

// readRules reads a file of udev rules. udev has no order with systemd-sysctl.service.
func readRules(_ *Scan, f File) []Write {
	var found []sysctl.Assignment
	lines(f.Text, func(n int, line string) {
		if strings.HasPrefix(line, "#") {
			return
		}
		for _, m := range ruleSysctl.FindAllStringSubmatch(line, -1) {
			if strings.HasPrefix(m[2], "=") { // "==" asks
				continue
			}
			a := assign(pathOf(m[1]), plainly(m[3]))
			a.At = confdir.Position{File: f.Path, Line: n}
			found = append(found, a)
		}
		for _, m := range ruleRun.FindAllStringSubmatch(line, -1) {
			found = append(found, execLine(f.Path, n, strings.ReplaceAll(m[1], `\"`, `"`))...)
		}
	})
	return writes("udev", Unordered, found)
}

// readApplied reads a file of keys and values that a unit or a command applies. ufw.service, if it is enabled, has no
// order with systemd-sysctl.service in all versions.
func readApplied(s *Scan, f File) []Write {
	order := Later
	if strings.HasSuffix(f.Applier, ".service") {
		if order = Unordered; !slices.Contains(s.Enabled, f.Applier) {
			return nil
		}
	}
	assignments, _ := sysctl.ParseFile(f.Path, f.Text)
	noValue := func(a sysctl.Assignment) bool { return !a.HasValue }
	return writes(f.Applier, order, slices.DeleteFunc(assignments, noValue))
}

// readCron reads a file of cron. In /etc each line names the user.
func readCron(_ *Scan, f File) []Write {
	var found []sysctl.Assignment
	lines(f.Text, func(n int, line string) {
		if strings.HasPrefix(line, "#") {
			return
		}
		skip := 5
		if strings.HasPrefix(line, "@") {
			skip = 1
		}
		if strings.HasPrefix(f.Path, "/etc/") {
			skip++
		}
		for range skip {
			line = strings.TrimLeft(line, " \t")
			line = line[max(0, strings.IndexAny(line, " \t")):]
		}
		found = append(found, command(f.Path, n, line, 0)...)
	})
	return writes("cron", Later, found)
}

// readInterfaces reads interfaces(5) of ifupdown.
func readInterfaces(_ *Scan, f File) []Write {
	var found []sysctl.Assignment
	lines(f.Text, func(n int, line string) {
		i := strings.IndexAny(line, " \t")
		if i > 0 && slices.Contains([]string{"up", "pre-up", "post-up"}, line[:i]) {
			found = append(found, command(f.Path, n, line[i:], 0)...)
		}
	})
	return writes("ifupdown", Later, found)
}

// readWireGuard reads a file of wg-quick(8), if the interface comes up at boot.
func readWireGuard(s *Scan, f File) []Write {
	unit := "wg-quick@" + strings.TrimSuffix(path.Base(f.Path), ".conf") + ".service"
	if !slices.Contains(s.Enabled, unit) {
		return nil
	}
	var found []sysctl.Assignment
	lines(f.Text, func(n int, line string) {
		option, text, _ := strings.Cut(line, "=")
		if slices.Contains([]string{"PreUp", "PostUp"}, strings.TrimSpace(option)) {
			found = append(found, command(f.Path, n, strings.TrimSpace(text), 0)...)
		}
	})
	return writes(unit, Later, found)
}
