# Runs as a hook of mmdebstrap when the packages of a container are in the root file system $1. Adds accounts, the network and what a boot need not do.
set -eu
root=$1
chroot "$root" sh -eu <<'END'
for user in ops dev; do
	useradd --create-home --shell /bin/bash "$user"
	usermod --password '*' "$user"
done
rm -f /etc/ssh/ssh_host_*
apt-get clean
rm -rf /var/lib/apt/lists/*
END
echo 'ops ALL=(ALL:ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/ops"
chmod 440 "$root/etc/sudoers.d/ops"
: >"$root/etc/fstab"
: >"$root/etc/machine-id"

# The other end of eth0 is put there from outside, some time after the boot has begun.
cat >"$root/etc/systemd/system/container-network.service" <<'END'
[Unit]
DefaultDependencies=no
After=systemd-sysctl.service
Before=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -euc 'ip link set lo up; until ip link set eth0 up 2>/dev/null; do sleep 0.05; done; ip address add $(cat /etc/container-address) dev eth0'
[Install]
WantedBy=multi-user.target
END
chroot "$root" systemctl -q enable container-network ssh
chroot "$root" systemctl -q mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer getty.target console-getty.service \
	systemd-logind.service systemd-journal-flush.service systemd-update-utmp.service
chroot "$root" systemctl -q set-default multi-user.target
