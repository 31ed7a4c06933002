package boot

// What OpenRC's runlevels and the settings of its services say about the next boot.

import (
	"cmp"
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
	// A service that is only after another one, and does not need it, does not wait for a later level.
	s.ModulesFirst = loads && applies && (loader.level < applier.level || told(applier.name, loader.name, settings, "need") ||
		loader.level == applier.level && (told(applier.name, loader.name, settings, "after", "use", "want") || told(loader.name, applier.name, settings, "before")))
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

var assignment = regexp.MustCompile(`(?m)^[ \t]*(?:export[ \t]+)?(rc_[A-Za-z0-9_]+)=(?:"([^"]*)"|'([^']*)'|([^ \t\n#;]*))`)

// told says whether a setting of a service names the other one: rc_WORD="SERVICE..." in its file of conf.d, or rc_NAME_WORD="SERVICE..." there or in rc.conf, which
// goes before. The last of several counts, and rc.conf is read after conf.d (openrc-run(8), rc-functions.sh).
func told(name, other string, settings map[string]string, words ...string) bool {
	own := "rc_" + strings.ReplaceAll(name, "-", "_") + "_"
	values := map[string]string{}
	for _, m := range assignment.FindAllStringSubmatch(settings[name]+"\n"+settings["rc.conf"], -1) {
		values[m[1]] = m[2] + m[3] + m[4]
	}
	return slices.ContainsFunc(words, func(word string) bool {
		return slices.Contains(strings.Fields(cmp.Or(values[own+word], values["rc_"+word])), other)
	})
}
