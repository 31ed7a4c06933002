# Prints the names of the units that are enabled, and every file that is in use at boot and has a line about keys: those
# of units, udev rules, tmpfiles.d, systemd-networkd, ufw, cron, hooks and scripts. sysctl.d is not among them.
writers() {
	set --
	units=' '
	rec enabled
	for link in /etc/systemd/system/*.wants/* /etc/systemd/system/*.requires/* /run/systemd/system/*.wants/* \
		/usr/lib/systemd/system/*.wants/* /usr/lib/systemd/system/*.requires/*; do
		unit=${link##*/}
		case $unit in
		*[!A-Za-z0-9@._\\:-]*) continue ;;
		esac
		case $units in
		*" $unit "*) continue ;;
		esac
		units="$units$unit "
		printf '%s\n' "$unit"
	done
	IFS=' '
	for unit in $units; do
		file=$unit
		case $unit in
		*.timer) unit=${unit%.timer}.service file=$unit ;;
		*.service) ;;
		*) continue ;;
		esac
		for d in /etc /run /usr/local/lib /usr/lib /lib; do
			at=$d/systemd/system
			case $unit in
			*@?*.service) [ -e "$at/$unit" ] || [ -L "$at/$unit" ] || file=${unit%%@*}@.service ;;
			esac
			if [ -f "$at/$file" ]; then
				set -- "$@" "$at/$file"
				break
			fi
			[ ! -e "$at/$file" ] || break # masked
		done
		for d in /etc /run; do
			[ ! -d "$d/systemd/system/$unit.d" ] || set -- "$@" "$d/systemd/system/$unit.d"/*.conf
		done
	done
	unset IFS
	for f in /etc/rc2.d/S*; do
		name=${f##*/S??}
		case $units in
		*" $name.service "*) continue ;;
		esac
		[ -e "/etc/systemd/system/$name.service" ] || [ -e "/usr/lib/systemd/system/$name.service" ] || set -- "$@" "/etc/init.d/$name"
	done
	ufw=
	if [ -f /etc/ufw/ufw.conf ] && [ -f /etc/default/ufw ]; then
		while IFS='=' read -r name value; do
			[ "$name" != IPT_SYSCTL ] || ufw=$value
		done </etc/default/ufw
	fi
	IFS='
'
	set -f
	for f in $(
		set +f
		grep -lsE 'sysctl|SYSCTL|/proc/sys|^IPv[46](Forw|Proxy|AcceptL|Route|Reverse|Privacy|Dup|Hop|MTU)' "$@" /etc/tmpfiles.d/*.conf /run/tmpfiles.d/*.conf /usr/lib/tmpfiles.d/*.conf \
			/etc/udev/rules.d/*.rules /run/udev/rules.d/*.rules /usr/lib/udev/rules.d/*.rules \
			/etc/systemd/network/*.network /run/systemd/network/*.network /usr/lib/systemd/network/*.network \
			/etc/rc.local /etc/rc.d/rc.local /etc/crontab /etc/cron.d/* /var/spool/cron/root /var/spool/cron/crontabs/root \
			/etc/network/interfaces /etc/network/interfaces.d/* /etc/network/if-pre-up.d/* /etc/network/if-up.d/* \
			/etc/NetworkManager/dispatcher.d/* /etc/NetworkManager/dispatcher.d/pre-up.d/* /etc/wireguard/*.conf \
			/etc/openvpn/* /etc/openvpn/*/* /etc/local.d/*.start </dev/null 2>/dev/null
		[ -z "$ufw" ] || printf '%s\n' "$ufw"
	); do
		[ -f "$f" ] || continue
		case $f in
		*/systemd-sysctl.service | */systemd-binfmt.service | */99-systemd.rules) continue ;; # they apply sysctl.d, or nothing
		/usr/lib/tmpfiles.d/* | /usr/lib/udev/rules.d/* | /usr/lib/systemd/network/*)
			name=${f#/usr/lib/}
			if [ -e "/etc/$name" ] || [ -L "/etc/$name" ] || [ -e "/run/$name" ]; then continue; fi
			;;
		/etc/rc.local | /etc/rc.d/rc.local | /etc/network/if-*.d/* | /etc/NetworkManager/dispatcher.d/*) [ -x "$f" ] || continue ;;
		esac
		if [ "$f" = "$ufw" ]; then rec ufw; else rec writer; fi
		printf '%s' "$f"
		rec lines-of
		cat "$f"
	done
	set +f
	unset IFS
}
writers
