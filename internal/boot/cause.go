package boot

// Why something is not as it is meant to be at the next boot: a closed set of reasons, each worded once.

// Cause is what decides about a key or a module at the next boot, and why that is not what is wanted.
type Cause struct {
	// Reason is "" if there is nothing to explain.
	Reason Reason
	// Source is the path:line that decides, or the path of what decides; "" if nothing does.
	Source string
	// Detail explains the Reason in one or two sentences that name files, lines and modules, but no values.
	Detail string
}

// Reason is the kind of a Cause.
type Reason string

// The reasons. Each has a Sentence and a Remedy; the Detail of a Cause names the files and lines.
const (
	// Shadowed: another line, read later or stronger, sets another value.
	Shadowed Reason = "shadowed"
	// Voided: a later line "-KEY" removes the value again.
	Voided Reason = "voided"
	// Masked: the file that would do it is hidden by a file of the same name.
	Masked Reason = "masked"
	// Excluded: only a pattern sets the key, and a line "-KEY" keeps the pattern away from it.
	Excluded Reason = "excluded"
	// Covered: no line names the key, and a pattern sets another value.
	Covered Reason = "covered"
	// Unset: no line sets it.
	Unset Reason = "unset"
	// SysctlConfUnread: only /etc/sysctl.conf sets it, and systemd does not read that file here.
	SysctlConfUnread Reason = "sysctl_conf_unread"
	// NotLoaded: nothing loads the module before systemd-sysctl runs.
	NotLoaded Reason = "module_not_loaded"
	// LoadedNowOnly: something other than modules-load.d has loaded the module now.
	LoadedNowOnly Reason = "module_loaded_by_hand"
	// DenyListed: a blacklist line or the kernel command line blocks the module.
	DenyListed Reason = "module_deny_listed"
	// InstallLine: an install line runs a command in place of loading the module.
	InstallLine Reason = "module_install_line"
	// NotInTree: the kernel that boots next has no such module.
	NotInTree Reason = "module_not_in_tree"
	// KernelPending: the running kernel's modules are gone or a newer kernel is installed, so another kernel boots next.
	KernelPending Reason = "kernel_pending"
	// KeyMissing: the kernel has no such key, and no module is known to bring it.
	KeyMissing Reason = "key_missing"
	// InterfaceLater: the key appears with its network interface, and udev then applies it.
	InterfaceLater Reason = "interface_later"
	// Container: the machine that runs this container decides about the module.
	Container Reason = "container"
	// ReadOnly: /proc/sys cannot be written, as in a container.
	ReadOnly Reason = "proc_sys_read_only"
	// Disagree: systemd-sysctl and `sysctl --system` would leave different values.
	Disagree Reason = "programs_disagree"
	// CommandLine: the kernel command line decides.
	CommandLine Reason = "command_line"
	// UnitFails: a line makes systemd-sysctl.service or systemd-modules-load.service fail.
	UnitFails Reason = "unit_fails"
	// Unread: what decides could not be read.
	Unread Reason = "unread"
	// Volatile: what decides is in /run, which is empty when the machine starts.
	Volatile Reason = "volatile"
	// OtherWriter: something other than what applies sysctl.d writes another value at boot.
	OtherWriter Reason = "other_writer"
	// OtherProgram: a program that is enabled may write another value by its own code.
	OtherProgram Reason = "other_program"
	// ChangedSinceBoot: this boot applied the line, and the key has another value now.
	ChangedSinceBoot Reason = "changed_since_boot"
	// OverwrittenAtBoot: the value was there before the last boot, and was not after it.
	OverwrittenAtBoot Reason = "overwritten_at_boot"
	// NotApplied: the line that decides sets another value than the key has now.
	NotApplied Reason = "not_applied"
	// ServiceOff: the service that applies the files is masked, or in no runlevel.
	ServiceOff Reason = "service_off"
	// InitUncertain: the init system applies files in an order that we cannot be sure of.
	InitUncertain Reason = "init_unknown"
)

// Reasons returns all reasons, in the order in which the documentation lists them.
func Reasons() []Reason {
	return []Reason{
		Shadowed, Voided, Masked, Excluded, Covered, Unset, SysctlConfUnread, CommandLine,
		NotLoaded, LoadedNowOnly, DenyListed, InstallLine, NotInTree, KernelPending, Container,
		KeyMissing, InterfaceLater, ReadOnly, OtherWriter, OtherProgram, ChangedSinceBoot, OverwrittenAtBoot, NotApplied,
		Disagree, UnitFails, Volatile, ServiceOff, Unread, InitUncertain,
	}
}

// Sentence returns what the reason means on any host.
func (r Reason) Sentence() string { return words[r].sentence }

// Remedy returns what to do about it, or "" if r is none of Reasons.
func (r Reason) Remedy() string { return words[r].remedy }

var words = map[Reason]struct{ sentence, remedy string }{
	Shadowed: {
		"Another line of sysctl.d has the last word and sets another value.",
		"Remove that line, or give this file a name that sorts after it, with file_name.",
	},
	Voided: {
		`A later line that begins with "-" and has no value takes this key back.`,
		"Remove that line.",
	},
	Masked: {
		"A file of the same name in a stronger directory hides the file that would do this.",
		"Remove the file that hides it, or give this one another name.",
	},
	Excluded: {
		`Only a pattern sets this key, and a line that begins with "-" and has no value keeps the pattern away from it.`,
		"Set the key by its own name.",
	},
	Covered: {
		"No line names this key, and a pattern sets another value.",
		"Set the key by its own name: that beats every pattern, whatever the order.",
	},
	Unset: {
		"No file sets all of it, so the kernel's own default comes back.",
		"Declare a host_sysctl with persist = true.",
	},
	SysctlConfUnread: {
		"systemd reads only the directories sysctl.d, and on this host none of them has a link to /etc/sysctl.conf.",
		"Move the line to a file in /etc/sysctl.d, or declare a host_sysctl.",
	},
	CommandLine: {
		"The kernel command line decides.",
		"Change the boot loader's configuration, or set the key in sysctl.d, which is applied later.",
	},
	NotLoaded: {
		"Nothing loads the module before systemd-sysctl runs.",
		"Declare a host_kernel_module for it and set module = host_kernel_module.<name>.name.",
	},
	LoadedNowOnly: {
		"The module is loaded now, but no file in modules-load.d loads it at boot. Whatever loaded it may do so " +
			"too late, or not at all.",
		"Declare a host_kernel_module for it and set module = host_kernel_module.<name>.name.",
	},
	DenyListed: {
		"The module is deny-listed, so systemd-modules-load leaves it out without an error.",
		"Remove the blacklist line, or take the module off the kernel command line.",
	},
	InstallLine: {
		"An install line in modprobe.d runs a command in place of loading the module.",
		"Remove the install line.",
	},
	NotInTree: {
		"The kernel that boots next has no such module: it is not built in, and not in its module tree.",
		"Check the name, which differs between kernel versions, or install the package that has the module.",
	},
	KernelPending: {
		"Another kernel than the running one boots next.",
		"Reboot the host, then plan again.",
	},
	KeyMissing: {
		"This kernel has no such key, and no module is known to bring it.",
		"Check the spelling; for a VLAN interface write net.ipv4.conf.eth0/100.forwarding. If a module brings " +
			"the key, declare a host_kernel_module and set module.",
	},
	InterfaceLater: {
		"The network interface is not there yet. udev applies its keys when it appears.",
		"Nothing to do.",
	},
	Container: {
		"The host may load no modules, as a container may not.",
		"Load the module on the machine that runs the container.",
	},
	ReadOnly: {
		"/proc/sys, or all of it but net, cannot be written here, as in a container.",
		"Set the key on the machine that runs the container, or in the container's own configuration.",
	},
	Disagree: {
		"systemd-sysctl, which runs at boot, and sysctl --system leave different values.",
		"Remove one of the two lines.",
	},
	UnitFails: {
		"The line makes its unit fail at boot. What the other lines set is still applied.",
		"Correct or remove the line.",
	},
	Unread: {
		"What decides could not be read, so nothing is promised.",
		"Let the provider become root (sudo = true), and look at the file.",
	},
	Volatile: {
		"What decides is in /run, which is empty when the machine starts: it counts only if something writes it again " +
			"in time.",
		"Put the line into /etc, or declare a resource for it.",
	},
	OtherWriter: {
		"Something other than systemd-sysctl sets the key to another value at boot.",
		"Remove that line, or set there what this host should have.",
	},
	OtherProgram: {
		"A program that is enabled may set the key to another value by its own code.",
		"See whether it does on this host, and have it leave the key alone, or set here what it sets.",
	},
	ChangedSinceBoot: {
		"This boot applied the line, and the key has another value now: somebody or something has changed it since.",
		"If nobody did so by hand, find what writes the key at boot, and let one of the two own it.",
	},
	OverwrittenAtBoot: {
		"The last boot did not leave the value, although the files say that it would.",
		"Find what writes the key at boot, and let one of the two own it. A boot that leaves the value proves that it is " +
			"mended.",
	},
	NotApplied: {
		"The line that decides sets another value than the key has now: nothing has applied it, or something has changed " +
			"the key.",
		"Apply it, with systemctl restart systemd-sysctl or with Terraform, or remove the line.",
	},
	ServiceOff: {
		"The service that would apply it at boot is masked, or in no runlevel.",
		"Let it start: systemctl unmask SERVICE, or with OpenRC rc-update add SERVICE boot.",
	},
	InitUncertain: {
		"The host does not run systemd, and how its own init applies these files is not certain.",
		"Reboot the host once and plan again to see what held.",
	},
}
