package boot

// What OpenRC's runlevels and the settings of its services say about the next boot.

import (
	"regexp"
	"slices"
	"strings"
)

// The services that load modules and apply sysctls, as OpenRC, Alpine and Debian call them.
var (
	moduleServices = []string{"modules", "modules-load", "kmod"}
	sysctlServices = []string{"sysctl", "procps"}
)

// ReadOpenRC sets Off and ModulesFirst. services are the entries of /etc/runlevels, as LEVEL/SERVICE; settings the texts of /etc/conf.d by service.
func (s *Snapshot) ReadOpenRC(services []string, settings map[string]string) {
	modules, loads := firstLevel(services, moduleServices)
	sysctls, applies := firstLevel(services, sysctlServices)
	if !loads || !applies {
		s.Off = map[string]string{}
	}
	if !loads {
		s.Off["modules"] = "/etc/runlevels"
	}
	if !applies {
		s.Off["sysctl"] = "/etc/runlevels"
	}
	s.ModulesFirst = loads && applies && modules < sysctls
	for _, name := range sysctlServices {
		s.ModulesFirst = s.ModulesFirst || names(settings[name], "after|need|use|want", moduleServices)
	}
	for _, name := range moduleServices {
		s.ModulesFirst = s.ModulesFirst || names(settings[name], "before", sysctlServices)
	}
}

// firstLevel is when the first of these services starts: levels are run in the order sysinit, boot, and whatever the machine then goes to (openrc(8)).
func firstLevel(services, wanted []string) (level int, ok bool) {
	level = 3
	for _, entry := range services {
		name, service, _ := strings.Cut(entry, "/")
		if !slices.Contains(wanted, service) || name == "shutdown" {
			continue
		}
		at := 2
		if i := slices.Index([]string{"sysinit", "boot"}, name); i >= 0 {
			at = i
		}
		level = min(level, at)
	}
	return level, level < 3
}

var assignment = regexp.MustCompile(`(?m)^[ \t]*(?:export[ \t]+)?rc_([a-z]+)=(?:"([^"]*)"|'([^']*)'|([^ \t\n#;]*))`)

// names says whether a setting of conf.d, rc_WORD="SERVICE..." with one of these words, names one of these services (openrc-run(8)).
func names(text, words string, services []string) bool {
	for _, m := range assignment.FindAllStringSubmatch(text, -1) {
		named := strings.Fields(m[2] + m[3] + m[4])
		if slices.Contains(strings.Split(words, "|"), m[1]) && slices.ContainsFunc(named, func(w string) bool { return slices.Contains(services, w) }) {
			return true
		}
	}
	return false
}
