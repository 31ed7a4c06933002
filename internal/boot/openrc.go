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

// ReadOpenRC sets Off, OpenRC and ModulesFirst. services are the entries of /etc/runlevels, as LEVEL/SERVICE; settings the texts of /etc/conf.d by service, and
// that of /etc/rc.conf by "rc.conf".
func (s *Snapshot) ReadOpenRC(services []string, settings map[string]string) {
	loader, loads := earliest(services, moduleServices)
	applier, applies := earliest(services, sysctlServices)
	s.OpenRC = OpenRC{Modules: loader.name, Sysctl: applier.name}
	if !loads || !applies {
		s.Off = map[string]string{}
	}
	if !loads {
		s.Off["modules"] = "/etc/runlevels"
	}
	if !applies {
		s.Off["sysctl"] = "/etc/runlevels"
	}
	s.ModulesFirst = loads && applies && (loader.level < applier.level ||
		told(applier.name, loader.name, settings, "after", "need", "use", "want") || told(loader.name, applier.name, settings, "before"))
}

// OpenRC names the services that load modules and apply sysctls as a host calls them.
type OpenRC struct{ Modules, Sysctl string }

// service is a service of OpenRC, and when it starts.
type service struct {
	name  string
	level int
}

// earliest is the first of these services to start: levels are run in the order sysinit, boot, and whatever the machine then goes to (openrc(8)).
func earliest(services, wanted []string) (first service, ok bool) {
	first.level = 3
	for _, entry := range services {
		level, name, _ := strings.Cut(entry, "/")
		if !slices.Contains(wanted, name) || level == "shutdown" {
			continue
		}
		at := 2
		if i := slices.Index([]string{"sysinit", "boot"}, level); i >= 0 {
			at = i
		}
		if at < first.level {
			first = service{name, at}
		}
	}
	return first, first.level < 3
}

var assignment = regexp.MustCompile(`(?m)^[ \t]*(?:export[ \t]+)?rc_([A-Za-z0-9_]+)=(?:"([^"]*)"|'([^']*)'|([^ \t\n#;]*))`)

// told says whether a setting of a service, rc_WORD="SERVICE..." in its file of conf.d or rc_NAME_WORD="SERVICE..." there or in rc.conf, names the other service
// (openrc-run(8)).
func told(name, other string, settings map[string]string, words ...string) bool {
	own := strings.ReplaceAll(name, "-", "_") + "_"
	for file, text := range map[string]string{name: settings[name], "rc.conf": settings["rc.conf"]} {
		for _, m := range assignment.FindAllStringSubmatch(text, -1) {
			word, isOwn := strings.CutPrefix(m[1], own)
			if (isOwn || file == name) && slices.Contains(words, word) && slices.Contains(strings.Fields(m[2]+m[3]+m[4]), other) {
				return true
			}
		}
	}
	return false
}
