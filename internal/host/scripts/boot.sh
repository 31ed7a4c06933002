# Prints which modules $1 has it search for, what tells this machine from others, where $links point, and what else decides at boot: the kernel command line, the init system and what it makes of its services, whether /proc/sys is read-only, what the first
# process may do, whether root is the machine's, and of each kernel's module tree the lines about the modules that $names and the command line name, about those
# that the extended regular expression $1 matches, and about what any of them stands for or may load. Takes $1 away.
rec searched
printf '%s' "$1"
rec proc
grep -aH '' /proc/sys/kernel/osrelease /proc/sys/kernel/random/boot_id /proc/cmdline /proc/modules /proc/1/status /proc/self/uid_map 2>/dev/null
rec namespaces
ls -ld /proc/self/ns/mnt /proc/self/ns/net $links 2>/dev/null
rec init
if [ -d /run/systemd/system ]; then printf systemd; elif [ -d /run/openrc ]; then printf openrc; fi
if [ -d /run/systemd/system ]; then
	rec versions # of systemd and kmod, by the names of their libraries
	for f in /usr/lib/systemd/libsystemd-shared-*.so /usr/lib/*/systemd/libsystemd-shared-*.so /usr/lib64/systemd/libsystemd-shared-*.so \
		/usr/lib/libkmod.so.2.* /usr/lib/*/libkmod.so.2.* /usr/lib64/libkmod.so.2.*; do
		[ ! -e "$f" ] || printf '%s\n' "${f##*/}"
	done
	rec off
	for unit in systemd-modules-load.service systemd-sysctl.service; do
		for f in "/etc/systemd/system.control/$unit" "/etc/systemd/system/$unit"; do
			if [ -e "$f" ] && ! [ -s "$f" ]; then printf '%s %s\n' "$unit" "$f"; fi
		done
	done
elif [ -d /run/openrc ]; then
	rec runlevels
	for f in /etc/runlevels/*/*; do printf '%s\n' "${f#/etc/runlevels/}"; done
	for f in rc.conf conf.d/modules conf.d/modules-load conf.d/kmod conf.d/sysctl conf.d/procps; do
		[ -f "/etc/$f" ] || continue
		rec service
		printf '%s' "${f#conf.d/}"
		rec settings
		cat "/etc/$f"
	done
fi
readonly=
others=
mounts=$(grep -E ' /proc(/sys(/net)?)? ' /proc/mounts 2>/dev/null)
while read -r _ at _ options _; do
	case $at in
	/proc | /proc/sys | /proc/sys/net)
		case $options in
		ro | ro,*) readonly=yes ;;
		*) readonly= ;;
		esac
		[ "$at" = /proc/sys/net ] || others=$readonly
		;;
	esac
done <<MOUNTS
$mounts
MOUNTS
[ -z "$readonly" ] || rec readonly
[ -z "$others" ] || rec readonly-others
words=
{ read -r words </proc/cmdline; } 2>/dev/null
for word in $words; do
	case $word in
	modules_load=* | modules-load=* | '"modules_load='* | '"modules-load='*)
		list=${word#*=},
		while [ -n "$list" ]; do
			name=${list%%,*}
			name=${name#\"}
			name=${name%\"}
			case $name in
			*[!A-Za-z0-9_-]*) ;;
			*) names="$names $name" ;;
			esac
			list=${list#*,}
		done
		;;
	esac
done
if [ -f /etc/modules ] && ! [ -d /run/systemd/system ]; then
	names="$names $(grep -E '^[[:blank:]]*[A-Za-z0-9_-]' /etc/modules | while read -r name _; do
		name=${name%%#*}
		case $name in
		*[!A-Za-z0-9_-]*) ;;
		*) printf '%s\n' "$name" ;;
		esac
	done)"
fi
any=$1
shift
# Sets $pattern to what matches $1 in each spelling.
spellings() {
	name=$1
	pattern=
	while :; do
		case $name in
		*[-_]*) ;;
		*) break ;;
		esac
		pattern="$pattern${name%%[-_]*}[-_]"
		name=${name#*[-_]}
	done
	pattern=$pattern$name
}
set -f
for name in $names $(set +f; grep -hs '^softdep ' /lib/modules/*/modules.softdep); do
	case $name in
	softdep | *[!A-Za-z0-9_-]*) continue ;;
	esac
	spellings "$name"
	any="$any|$pattern"
done
set +f
rec trees
for d in /lib/modules/*; do
	[ -f "$d/modules.dep" ] || continue
	rec tree
	printf '%s' "${d##*/}"
	rec lines
	lines=$(grep -hE "(^|/)($any)[.]ko[^/:]*:|^alias ($any) |^softdep |^[^:[:blank:]]*[.]ko$" "$d/modules.dep" "$d/modules.alias" "$d/modules.softdep" "$d/modules.builtin" 2>/dev/null)
	printf '%s\n' "$lines"
	# What an alias stands for was not searched for by its name.
	real=
	while read -r word _ name; do
		[ "$word" = alias ] || continue
		spellings "$name"
		real="$real|$pattern"
	done <<LINES
$lines
LINES
	[ -z "$real" ] || grep -hE "(^|/)(${real#|})[.]ko[^/:]*:" "$d/modules.dep"
done
