# Prints the names of the units that are enabled, and every file that is in use at boot and has a line about keys: those
# of units, udev rules, tmpfiles.d, systemd-networkd, ufw, cron, hooks and scripts. sysctl.d is not among them.
writers() {
	set --
	units=' '
	rec enabled
	for link in /etc/systemd/system/*.wants/* /etc/systemd/system/*.requires/* /run/systemd/system/*.wants/* \
		/usr/lib/systemd/system/*.wants/* /usr/lib/systemd/system/*.requires/*; do
		case $link in
		*/sleep.target.* | */suspend*.target.* | */hibernate.target.* | */shutdown.target.* | */reboot.target.* | \
			*/poweroff.target.* | */halt.target.* | */kexec.target.* | */rescue.target.* | */emergency.target.* | \
			*/initrd*.target.*) continue ;;
		esac
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
		found=
		for d in /etc /run /usr/local/lib /usr/lib /lib; do
			at=$d/systemd/system
			case $unit in
			*@?*.service) [ -e "$at/$unit" ] || [ -L "$at/$unit" ] || file=${unit%%@*}@.service ;;
			esac
			if [ -f "$at/$file" ]; then
				found=yes
				set -- "$@" "$at/$file"
				break
			fi
			[ ! -e "$at/$file" ] || break # masked
		done
		[ -n "$found" ] || continue
		for d in /usr/lib /run /etc; do
			for f in "$d/systemd/system/$unit.d"/*.conf; do [ ! -f "$f" ] || set -- "$@" "$f"; done
		done
	done
	unset IFS
	for f in /etc/rc2.d/S*; do
		name=${f##*/S??}
		case $units in
		*" $name.service "*) continue ;;
		esac
		[ -e "/etc/systemd/system/$name.service" ] || [ -e "/usr/lib/systemd/system/$name.service" ] ||
			[ ! -f "/etc/init.d/$name" ] || set -- "$@" "/etc/init.d/$name"
	done
	for f in /etc/tmpfiles.d/*.conf /run/tmpfiles.d/*.conf /usr/lib/tmpfiles.d/*.conf \
		/etc/udev/rules.d/*.rules /run/udev/rules.d/*.rules /usr/lib/udev/rules.d/*.rules \
		/etc/systemd/network/*.network /run/systemd/network/*.network /usr/lib/systemd/network/*.network \
		/etc/crontab /etc/cron.d/* /var/spool/cron/root /var/spool/cron/crontabs/root \
		/etc/network/interfaces /etc/network/interfaces.d/* /etc/wireguard/*.conf; do
		case $f in
		*/99-systemd.rules) continue ;; # it applies sysctl.d
		/etc/cron.d/*.* | /etc/cron.d/*~) continue ;;
		/usr/lib/*)
			name=${f#/usr/lib/}
			if [ -e "/etc/$name" ] || [ -L "/etc/$name" ] || [ -e "/run/$name" ]; then continue; fi
			;;
		esac
		[ ! -f "$f" ] || set -- "$@" "$f"
	done
	for f in /etc/rc.local /etc/rc.d/rc.local /etc/network/if-pre-up.d/* /etc/network/if-up.d/* \
		/etc/NetworkManager/dispatcher.d/* /etc/NetworkManager/dispatcher.d/pre-up.d/* /etc/local.d/*.start; do
		if [ -f "$f" ] && [ -x "$f" ]; then set -- "$@" "$f"; fi
	done
	hits=
	if [ $# -gt 0 ]; then
		hits=$(grep -lsE 'sysctl|SYSCTL|/proc/sys|^IPv[46](Forw|Proxy|AcceptL|Route|Reverse|Privacy|Dup|Hop|MTU)|^Exec[A-Za-z]*=$' "$@" \
			</dev/null 2>/dev/null)
	fi
	applied=
	IFS='
'
	set -f
	for f in $hits; do
		case $f in
		*/systemd-sysctl.service | */systemd-binfmt.service) continue ;; # they apply sysctl.d, or nothing
		esac
		rec writer
		printf '%s' "$f"
		case $f in
		/etc/wireguard/* | /etc/crontab | /etc/cron.d/* | /var/spool/cron/*) # there may be secrets beside
			rec numbered-lines
			grep -nE 'sysctl|/proc/sys' "$f"
			;;
		*)
			rec lines-of
			cat "$f"
			;;
		esac
		while read -r line; do
			case $line in
			'#'*) ;;
			*sysctl*' -'*) applied="$applied$line
" ;;
			esac
		done <"$f"
	done
	unset IFS
	# What `sysctl -p FILE` reads, in any of these lines.
	files=' '
	option=
	for word in $applied; do
		case $word in
		-*[pf] | --load) option=yes && continue ;;
		--load=*) option=yes && word=${word#--load=} ;;
		esac
		word=${word#[\"\']}
		word=${word%%[;\"\'\&|)]*}
		case $option$word in
		yes/*) [ ! -f "$word" ] || case $files in *" $word "*) ;; *) files="$files$word " ;; esac ;;
		esac
		option=
	done
	for f in $files; do
		rec applied-by-command
		printf '%s' "$f"
		rec lines-of
		cat "$f"
	done
	set +f
	ufw=
	enabled=
	if [ -f /etc/ufw/ufw.conf ] && [ -f /etc/default/ufw ]; then
		while IFS='=' read -r name value; do
			value=${value#[\"\']}
			value=${value%[\"\']}
			case $name in
			ENABLED) enabled=$value ;;
			IPT_SYSCTL) ufw=$value ;;
			esac
		done <<UFW
$(cat /etc/default/ufw /etc/ufw/ufw.conf)
UFW
	fi
	case $enabled in
	yes | YES)
		if [ -n "$ufw" ] && [ -f "$ufw" ]; then
			rec applied-by-ufw
			printf '%s' "$ufw"
			rec lines-of
			cat "$ufw"
		fi
		;;
	esac
}
writers
