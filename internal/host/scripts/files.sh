# Prints the kernel release, every file of the three families, /etc/sysctl.conf, /etc/modules, the credential sysctl.extra and the modules that are there. Sets $keys to the paths that sysctl files name.
rec kernel
uname -r
dirs='/etc /run /usr/local/lib /usr/lib /lib'
if [ -L /lib ]; then dirs='/etc /run /usr/local/lib /usr/lib'; fi
for d in $dirs; do
	for f in "$d"/sysctl.d/*.conf "$d"/modules-load.d/*.conf "$d"/modprobe.d/*.conf; do
		[ -e "$f" ] || [ -L "$f" ] || continue
		rec file
		printf '%s' "$f"
		if [ -L "$f" ]; then
			rec link
			readlink "$f"
		fi
		if [ -f "$f" ]; then
			rec text
			cat "$f" || rec unread
		elif [ -d "$f" ] || [ ! -e "$f" ]; then
			rec broken
			cat "$f"
		fi
	done
done
extra=
for d in /run/credentials/@system /etc/credstore /run/credstore /usr/lib/credstore; do
	if [ -f "$d/sysctl.extra" ]; then
		extra=$d/sysctl.extra
		break
	fi
done
for f in /etc/sysctl.conf /etc/modules $extra; do
	[ -f "$f" ] || continue
	rec file
	printf '%s' "$f"
	rec text
	cat "$f" || rec unread
done
keys=$(for f in $extra /etc/sysctl.conf /etc/sysctl.d/*.conf /run/sysctl.d/*.conf /usr/local/lib/sysctl.d/*.conf /usr/lib/sysctl.d/*.conf; do
	[ -f "$f" ] || continue
	tr '\r\000' '\n\n' <"$f"
	echo
done | grep -E '^[[:blank:]]*(-|[^[:blank:]#;=/].*=)' | sort -u | while IFS=' 	=' read -r key _; do
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
	printf '/proc/sys/%s\n' "$path$key"
done | sort -u)
keys=$(printf '%s\n' $keys | sort -u)
rec absent
for key in $keys; do [ -e "$key" ] || printf '%s\n' "$key"; done
rec modules
cat /proc/modules 2>/dev/null
rec sysmodules
for f in /sys/module/*; do printf '%s\n' "${f##*/}"; done
