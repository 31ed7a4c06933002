# Prints a sum of the files that decide at boot, by name and content. What it prints stays the same as long as no file of them is added, changed or taken away.
dirs='/etc /run /usr/local/lib /usr/lib /lib'
if [ -L /lib ]; then dirs='/etc /run /usr/local/lib /usr/lib'; fi
(
	set --
	for d in $dirs; do
		for f in "$d"/sysctl.d/*.conf "$d"/modules-load.d/*.conf "$d"/modprobe.d/*.conf; do
			if [ -L "$f" ]; then
				printf 'link %s\n' "$f"
			elif [ -e "$f" ]; then
				printf 'file %s\n' "$f"
			fi
			if [ -f "$f" ]; then set -- "$@" "$f"; fi
		done
	done
	for f in /etc/sysctl.conf /etc/modules; do
		if [ -f "$f" ]; then set -- "$@" "$f"; fi
	done
	for d in /run/credentials/@system /etc/credstore /run/credstore /usr/local/lib/credstore /usr/lib/credstore; do
		if [ -f "$d/sysctl.extra" ]; then
			set -- "$@" "$d/sysctl.extra"
			break
		fi
	done
	[ $# -eq 0 ] || sha256sum "$@"
) | sha256sum
