# Prints what this boot of the host has shown: when the kernel started, when systemd-sysctl.service started, when
# sysctl.d and each file that an argument names changed, and what the units that apply the files logged.
rec booted
grep '^btime ' /proc/stat
rec changed
stat -L -c '%Z %n' /etc/sysctl.d /run/sysctl.d /usr/local/lib/sysctl.d /usr/lib/sysctl.d "$@" 2>/dev/null
if [ -d /run/systemd/system ]; then
	rec applied
	systemctl show -p ExecMainStartTimestampMonotonic systemd-sysctl.service
	rec said
	journalctl -b -q --no-pager -o cat -n 200 -t systemd-sysctl -t systemd-modules-load 2>/dev/null
fi
:
