package hosttest

import (
	"slices"
	"strings"
	"time"
)

// orderings are what systemd 252 says that the two early units start after, as `systemctl show -p After` prints it.
var orderings = map[string]string{
	"systemd-modules-load.service": "systemd-journald.socket system.slice",
	"systemd-sysctl.service":       "systemd-journald.socket system.slice systemd-modules-load.service",
}

// systemctl knows `show -p Id,LoadState,ActiveState,Result,After -- UNIT...`: properties in systemd's own order, an empty line between two units.
func systemctl(p *process, args []string) int {
	if slices.Equal(args, []string{"show", "-p", "ExecMainStartTimestampMonotonic", "systemd-sysctl.service"}) {
		p.printf("ExecMainStartTimestampMonotonic=%d\n", sysctlAfter.Microseconds())
		return 0
	}
	const properties = "Id,LoadState,ActiveState,Result,After"
	if len(args) < 5 || !slices.Equal(args[:4], []string{"show", "-p", properties, "--"}) {
		return p.unknownFlag(strings.Join(args, " "), "systemctl")
	}
	return p.atomic(func(p *process) int {
		for i, unit := range args[4:] {
			if i > 0 {
				p.printf("\n")
			}
			after, known := orderings[unit]
			switch {
			case p.m.masked(unit):
				p.printf("Result=success\nId=%s\nAfter=\nLoadState=masked\nActiveState=inactive\n", unit)
			case !known:
				p.printf("Result=success\nId=%s\nAfter=\nLoadState=not-found\nActiveState=inactive\n", unit)
			case slices.Contains(p.m.failedUnits, unit):
				p.printf("Result=exit-code\nId=%s\nAfter=%s\nLoadState=loaded\nActiveState=failed\n", unit, after)
			default:
				p.printf("Result=success\nId=%s\nAfter=%s\nLoadState=loaded\nActiveState=active\n", unit, after)
			}
		}
		return 0
	})
}

// sysctlAfter is how long after the kernel systemd-sysctl.service starts.
const sysctlAfter = 5 * time.Second

// journalctl knows how to print all that the two early units logged in this boot, without times.
func journalctl(p *process, args []string) int {
	if strings.Join(args, " ") != "-b -q --no-pager -o cat -n 200 -t systemd-sysctl -t systemd-modules-load" {
		return p.unknownFlag(strings.Join(args, " "), "journalctl")
	}
	return p.atomic(func(p *process) int {
		for _, line := range p.m.journal {
			p.printf("%s\n", line)
		}
		return 0
	})
}

// masked says whether a unit's file in /etc is a link to /dev/null or empty (systemd.unit(5)). Callers hold the mutex.
func (m *machine) masked(unit string) bool {
	const dir = "/etc/systemd/system/"
	_, err := m.find(rootCred, dir+unit, true)
	return err == nil && m.text(dir+unit) == ""
}
