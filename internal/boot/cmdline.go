package boot

import (
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// commandLine is what the kernel command line sets (kernel-parameters.txt, kernel-command-line(7), modprobe.d(5)).
type commandLine struct {
	// sysctls are the values of sysctl.KEY=VALUE by path below /proc/sys; the kernel writes them before init starts.
	sysctls map[string]string
	// load are the names of modules_load=, which systemd-modules-load loads before those of files.
	load []string
	// deny are the modules of modprobe.blacklist=, which is like a blacklist line. refuse are those of
	// module_blacklist=, which the kernel never loads.
	deny, refuse map[string]bool
	// masked are the units of systemd.mask=, which do not start (kernel-command-line(7)).
	masked []string
	// noModules reports whether sysctl.kernel.modules_disabled makes the kernel refuse all modules before init starts.
	noModules bool
}

// kernelAliases are parameters older than sysctl.KEY= (fs/proc/proc_sysctl.c).
var kernelAliases = map[string]string{
	"hardlockup_all_cpu_backtrace": "kernel/hardlockup_all_cpu_backtrace",
	"hung_task_panic":              "kernel/hung_task_panic",
	"numa_zonelist_order":          "vm/numa_zonelist_order",
	"softlockup_all_cpu_backtrace": "kernel/softlockup_all_cpu_backtrace",
}

// parseCommandLine parses /proc/cmdline. What follows "--" is for init alone.
func parseCommandLine(text string) commandLine {
	c := commandLine{sysctls: map[string]string{}, deny: map[string]bool{}, refuse: map[string]bool{}}
	forInit := false
	for _, parameter := range parameters(text) {
		forInit = forInit || parameter == "--"
		name, value, _ := strings.Cut(parameter, "=")
		if path := bootSysctl(name); path != "" && value != "" && !forInit {
			c.sysctls[path] = value
			continue
		}
		names := strings.Split(value, ",")
		switch {
		case name == "modprobe.blacklist":
			add(c.deny, names)
		case kmod.Same(name, "module_blacklist") && !forInit:
			c.refuse = map[string]bool{} // the last one counts
			add(c.refuse, names)
		case name == "systemd.mask":
			c.masked = append(c.masked, value)
		case kmod.Same(name, "modules_load"):
			for _, n := range names {
				if n != "" && !slices.Contains(c.load, n) {
					c.load = append(c.load, n)
				}
			}
		}
	}
	if k, ok := keyAt("kernel/modules_disabled"); ok {
		c.noModules = sysctl.OneWay(k, c.sysctls["kernel/modules_disabled"])
	}
	return c
}

// bootSysctl returns the path below /proc/sys that a parameter of this name sets, or "" if it sets none.
func bootSysctl(name string) string {
	key, ok := strings.CutPrefix(name, "sysctl.")
	if !ok {
		if key, ok = strings.CutPrefix(name, "sysctl/"); !ok {
			return kernelAliases[name]
		}
	}
	return strings.ReplaceAll(key, ".", "/")
}

// add adds names as they are: kmod and the kernel compare them byte by byte with a module's own name, so that one with
// '-' blocks nothing.
func add(set map[string]bool, names []string) {
	for _, n := range names {
		if n != "" {
			set[n] = true
		}
	}
}

// parameters splits a command line at white space. Double quotes hold a parameter together, and are no part of it
// (lib/cmdline.c).
func parameters(text string) []string {
	var list []string
	var word strings.Builder
	quoted, some := false, false
	end := func() {
		if some {
			list = append(list, word.String())
		}
		word.Reset()
		some = false
	}
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"':
			quoted, some = !quoted, true
		case !quoted && strings.IndexByte(" \t\r\n\v\f", c) >= 0:
			end()
		default:
			word.WriteByte(c)
			some = true
		}
	}
	end()
	return list
}
