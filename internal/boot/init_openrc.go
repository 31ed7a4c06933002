package boot

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// openRC has versions that apply the files in different orders: Alpine's goes through the directories one after the
// other, and others run `sysctl --system`. Certain is what both leave.
type openRC struct{ s *Snapshot }

// programs reads the files as systemd's do, and /etc/modules too.
func (openRC) programs() programs {
	by := systemd{s: &Snapshot{}}.programs()
	by.etcModules, by.order, by.units = kmod.ParseModules, OrderByVersion, nil
	return by
}

func (i openRC) modulesOff() Cause {
	if by := i.s.Off["modules"]; by != "" {
		return serviceOff(by, "The OpenRC service modules is in no runlevel of %s, "+
			"so nothing loads the modules of modules-load.d at boot.", by)
	}
	return Cause{}
}

func (i openRC) sysctlsOff(sysctl.Key) Cause {
	if by := i.s.Off["sysctl"]; by != "" {
		return serviceOff(by, "The OpenRC service sysctl is in no runlevel of %s, so nothing applies sysctl.d at boot.", by)
	}
	return Cause{}
}

// module keeps what every version of the service modules does: none reads /usr/local or the kernel command line for
// certain.
func (openRC) module(m ModulePrediction) ModulePrediction {
	everyVersionReads := m.Source != fromCommandLine && !strings.HasPrefix(m.Source, "/usr/local/")
	if anyInit(m) || m.Reason == NotInTree || m.LoadedAtBoot && everyVersionReads {
		return m
	}
	return ModulePrediction{Notes: m.Notes, Cause: Cause{InitUncertain, m.Source,
		"The host starts with OpenRC, whose versions apply modules-load.d in different ways."}}
}

// late has a Reason unless OpenRC is told to start its service sysctl after modules.
func (i openRC) late(m ModulePrediction) Cause {
	if i.s.OpenRC.ModulesFirst || m.Builtin {
		return Cause{}
	}
	return Cause{InitUncertain, m.Source, fmt.Sprintf("OpenRC starts its services %[1]s and %[2]s in no fixed order, "+
		"unless /etc/conf.d/%[2]s says rc_after=\"%[1]s\".", i.s.OpenRC.Modules, i.s.OpenRC.Sysctl)}
}

// key has a Reason unless each known order of the files leaves the value.
func (i openRC) key(j *judgement) Cause {
	if f := anyUnread(i.s); f != "" {
		return Cause{Reason: Unread, Detail: f + " could not be read, and OpenRC may read it last."}
	}
	if j.lines.option.IsGlob() {
		return Cause{Reason: InitUncertain,
			Detail: "The host starts with OpenRC, whose versions apply sysctl.d in different ways."}
	}
	const orders = "The host starts with OpenRC, whose versions read the files in different orders, and "
	plan := j.p.sysctls
	for _, w := range leaders(j.k) {
		if a, ok := plan.alpine(w); ok {
			return Cause{Reason: InitUncertain, Detail: fmt.Sprintf(orders+"%s sets %s, which changes %s.", a.At, w, j.k)}
		}
	}
	a, ok := plan.procps(j.k)
	b, alpine := plan.alpine(j.k)
	if ok && alpine && sysctl.Equal(j.k, a.Value, j.Value) && sysctl.Equal(j.k, b.Value, j.Value) {
		return Cause{}
	}
	return Cause{Reason: InitUncertain, Detail: fmt.Sprintf(orders+"these do not agree on %s.", j.k)}
}

func (openRC) failures(*Prediction) []UnitFailure { return nil }

// anyUnread returns a file of any rank that could not be read; "" if there is none.
func anyUnread(s *Snapshot) string {
	for _, f := range s.Sysctl {
		if f.Regular && f.Unread != "" {
			return f.Path
		}
	}
	if f := s.SysctlConf; f != nil && f.Unread != "" {
		return f.Path
	}
	return ""
}

// alpineOrder returns the assignments in the order of Alpine's /etc/init.d/sysctl: directory after directory, masked
// files too, and /etc/sysctl.conf last.
func alpineOrder(s *Snapshot, lines map[string]sysctlLines) (all []sysctl.Assignment) {
	for _, root := range []string{"/run", "/etc", "/usr/local/lib", "/usr/lib", "/lib"} {
		elsewhere := func(f confdir.File) bool { return path.Dir(path.Dir(f.Path)) != root }
		for _, f := range confdir.Order(slices.DeleteFunc(slices.Clone(s.Sysctl), elsewhere)) {
			all = append(all, lines[f.Path].all...)
		}
	}
	if f := s.SysctlConf; f != nil {
		all = append(all, lines[f.Path].all...)
	}
	return all
}

// alpine returns the line that decides about k in alpineOrder: the last one that matches.
func (p *sysctlPlan) alpine(k sysctl.Key) (a sysctl.Assignment, ok bool) {
	for _, line := range slices.Backward(p.alpineOrder) {
		if line.HasValue && line.Matches(k) {
			return line, true
		}
	}
	return sysctl.Assignment{}, false
}

// The services that load modules and apply sysctls, as OpenRC, Alpine and Debian call them.
var (
	moduleServices = []string{"modules", "modules-load", "kmod"}
	sysctlServices = []string{"sysctl", "procps"}
)

// OpenRC is what a host's runlevels and settings of services make of the two services.
type OpenRC struct {
	// Modules and Sysctl are what the host calls them; "" if no runlevel has the service.
	Modules, Sysctl string
	// ModulesFirst reports whether OpenRC is told to start the second after the first.
	ModulesFirst bool
}

// ReadOpenRC sets Off and OpenRC. services are the entries of /etc/runlevels, as LEVEL/SERVICE. settings are the texts
// of /etc/conf.d by service, and that of /etc/rc.conf by "rc.conf".
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
	s.OpenRC.ModulesFirst = loads && applies && (loader.level < applier.level ||
		told(applier.name, loader.name, settings, "need") ||
		loader.level == applier.level && (told(applier.name, loader.name, settings, "after", "use", "want") ||
			told(loader.name, applier.name, settings, "before")))
}

// service is a service of OpenRC, and when it starts.
type service struct {
	name  string
	level int
}

// earliest returns the first of these services to start. OpenRC runs the levels sysinit, boot, and then the one that
// the machine goes to (openrc(8)).
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

var assignment = regexp.MustCompile(
	`(?m)^[ \t]*(?:export[ \t]+)?(rc_[A-Za-z0-9_]+)=(?:"([^"]*)"|'([^']*)'|([^ \t\n#;]*))`)

// told reports whether a setting of a service names the other one: rc_WORD="SERVICE..." in its file of conf.d, or
// rc_NAME_WORD="SERVICE..." there or in rc.conf, which wins. The last of several counts, and rc.conf is read after
// conf.d (openrc-run(8), rc-functions.sh).
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
