# Prints every file of the three families, /etc/sysctl.conf, /etc/modules, the credential sysctl.extra and the modules that are there. Sets $keys to the paths that
# sysctl files name, and $names to the modules that modules-load.d files and lines of modprobe.d about aliases and soft dependencies do. Programs are what a snapshot costs a host, so one counts and one prints the bytes of all
# files. Where a file cannot be read, or $single is set, each is read by itself. Where there are many interfaces, a pattern for all of them stands for the keys of "all" and
# "default", which each interface has too.
dirs='/etc /run /usr/local/lib /usr/lib /lib'
if [ -L /lib ]; then dirs='/etc /run /usr/local/lib /usr/lib'; fi
links=
extra=
for d in /run/credentials/@system /etc/credstore /run/credstore /usr/local/lib/credstore /usr/lib/credstore; do
	if [ -f "$d/sysctl.extra" ]; then
		extra=$d/sysctl.extra
		break
	fi
done
files() {
	set --
	for d in $dirs; do
		for f in "$d"/sysctl.d/*.conf "$d"/modules-load.d/*.conf "$d"/modprobe.d/*.conf; do
			[ -e "$f" ] || [ -L "$f" ] || continue
			rec file
			printf '%s' "$f"
			if [ -L "$f" ]; then
				case $f in
				*[!A-Za-z0-9._@/-]*)
					rec link
					readlink "$f"
					;;
				*) links="$links $f" ;; # boot.sh says where they point
				esac
			fi
			if [ -f "$f" ]; then
				rec regular
				set -- "$@" "$f"
			elif [ -d "$f" ] || [ ! -e "$f" ]; then
				rec broken
				cat "$f"
			fi
		done
	done
	for f in /etc/sysctl.conf /etc/modules $extra; do
		[ -f "$f" ] || continue
		rec file
		printf '%s' "$f"
		rec regular
		set -- "$@" "$f"
	done
	[ $# -gt 0 ] || return 0
	if [ -z "${single:-}" ] && sizes=$(wc -c "$@" 2>/dev/null); then
		rec sizes
		printf '%s\n' "$sizes"
		rec texts
		cat "$@" || rec torn
		return 0
	fi
	for f; do
		rec read
		printf '%s' "$f"
		rec text
		cat "$f" || rec unread
	done
}
files
found=$(
	set -- /proc/sys/net/ipv4/conf/*
	wide=
	[ $# -le 64 ] || wide=yes
	set --
	for f in /etc/modprobe.d/*.conf /run/modprobe.d/*.conf /usr/local/lib/modprobe.d/*.conf /usr/lib/modprobe.d/*.conf /lib/modprobe.d/*.conf; do
		[ ! -f "$f" ] || set -- "$@" "$f"
	done
	set -f
	# A backslash joins lines, for read as for kmod: what may be the rest of a line counts too.
	[ $# -eq 0 ] || grep -ahE '^[[:blank:]]*(alias|softdep)[[:blank:]]|^[[:blank:]]*[A-Za-z0-9_:-]+([[:blank:]]+[A-Za-z0-9_:-]+)*[[:blank:]]*\\?$' "$@" 2>/dev/null |
		while read command rest || [ -n "$command" ]; do
			case $command in
			alias | softdep) ;;
			*) continue ;;
			esac
			for word in $rest; do
				case $word in
				*[!A-Za-z0-9_-]*) ;;
				*) printf 'modules:%s\n' "$word" ;;
				esac
			done
		done
	set +f
	set --
	for f in $extra /etc/sysctl.conf /etc/sysctl.d/*.conf /run/sysctl.d/*.conf /usr/local/lib/sysctl.d/*.conf /usr/lib/sysctl.d/*.conf \
		/etc/modules-load.d/*.conf /run/modules-load.d/*.conf /usr/local/lib/modules-load.d/*.conf /usr/lib/modules-load.d/*.conf /lib/modules-load.d/*.conf; do
		[ ! -f "$f" ] || set -- "$@" "$f"
	done
	[ $# -gt 0 ] || exit 0
	# Comments go, unless something in them ends the line for systemd.
	lines=$(grep -ahE '=|^[[:blank:]]*-|^[[:blank:]]*[A-Za-z0-9_-]{1,64}[[:blank:]]*$|[^[:print:][:blank:]]' "$@" 2>/dev/null | tr '\r\000' '\n\n')
	set -f
	IFS='
'
	for line in $lines; do
		line=${line#"${line%%[! 	]*}"}
		case $line in
		'' | '#'* | ';'* | /* | =*) continue ;;
		*=* | -*) ;;
		*)
			line=${line%"${line##*[! 	]}"}
			case $line in
			*[!A-Za-z0-9_-]*) ;;
			*) printf 'modules:%s\n' "$line" ;;
			esac
			continue
			;;
		esac
		key=${line%%[ 	=]*}
		key=${key#-}
		case $key in
		'' | '#'* | ';'* | /* | *..*) continue ;;
		esac
		path=
		case ${key%%/*} in
		*.*)
			while :; do
				case $key in
				*[./]*) ;;
				*) break ;;
				esac
				word=${key%%[./]*}
				if [ "${key%%.*}" = "$word" ]; then path=$path$word/; else path=$path$word.; fi
				key=${key#*[./]}
			done
			;;
		esac
		case $wide$path$key in
		yesnet/ipv[46]/*/'*'/*)
			key=$path$key
			path=${key%%'*'*}
			printf '/proc/sys/%s\n' "${path}all${key#"$path"?}" "${path}default${key#"$path"?}"
			;;
		*) printf '/proc/sys/%s\n' "$path$key" ;;
		esac
	done
)
# What a pattern stands for is named here.
keys=
names=
for word in $found; do
	case $word in
	modules:*) names="$names ${word#modules:}" ;;
	*) keys="$keys $word" ;;
	esac
done
rec absent
for key in $keys; do [ -e "$key" ] || printf '%s\n' "$key"; done
rec sysmodules
for f in /sys/module/*; do printf '%s\n' "${f##*/}"; done
