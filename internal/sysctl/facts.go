package sysctl

// Keys that are not like others: triggers, one-way switches, values that do harm, secrets.

import (
	"slices"
)

// WriteOnly says whether k is a trigger: writing to it does something, and no value can be read back.
func WriteOnly(k Key) bool {
	switch k.path {
	case "fs/binfmt_misc/register", "net/ipv4/route/flush", "net/ipv6/route/flush", "vm/compact_memory", "vm/drop_caches", "vm/stat_refresh":
		return true
	}
	return false
}

// oneWay lists the keys with values that the kernel gives up only at a reboot: those in only or, where that is nil, all but those in free.
var oneWay = [...]struct {
	path       string
	only, free []string
}{
	{path: "kernel/kexec_load_disabled", only: []string{"1"}},
	{path: "kernel/kexec_load_limit_panic", free: []string{"-1"}},
	{path: "kernel/kexec_load_limit_reboot", free: []string{"-1"}},
	{path: "kernel/modules_disabled", only: []string{"1"}},
	{path: "kernel/tainted", free: []string{"0"}},
	{path: "kernel/unprivileged_bpf_disabled", only: []string{"1"}},
	{path: "kernel/yama/ptrace_scope", only: []string{"3"}},
}

// OneWay says whether the kernel, once k has this value, refuses to take it back before the next reboot.
func OneWay(k Key, value string) bool {
	for _, o := range oneWay {
		if o.path != k.path {
			continue
		}
		is := func(v string) bool { return Equal(k, v, value) }
		return slices.ContainsFunc(o.only, is) || o.only == nil && !slices.ContainsFunc(o.free, is)
	}
	return false
}

// leastOpenFiles is the hard limit of open files that systemd gives to each service (DefaultLimitNOFILE=, systemd-system.conf(5)).
const leastOpenFiles = 524288

// Dangerous says what harm a value does that the kernel takes without a word; "" if none is known. The kernel reads
// only the first field of the value, and a value that it refuses does no harm.
func Dangerous(k Key, value string) (harm string) {
	if k.path != "fs/nr_open" {
		return ""
	}
	numbers := fields(value)
	if len(numbers) == 0 {
		return ""
	}
	if n, ok := parseNumber(numbers[0]); ok && !n.negative && n.magnitude < leastOpenFiles {
		return "systemd gives each service a limit of 524288 open files, and below that it can start no service any more, " +
			"ssh logins included."
	}
	return ""
}

// Secret says whether the values of k are secrets: no log and no error may show them.
func Secret(k Key) bool { return formOf(k) == formFastopen || formOf(k) == formAddress }
