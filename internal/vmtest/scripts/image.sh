# Runs as a hook of mmdebstrap, as root or as root of a user namespace, when the packages are in the root file system $1. Adds a kernel, accounts and units to
# it, turns off the services $2, and leaves an image of its disk, its kernel and an initrd in $1/mnt, another file system, which has host_key, host_key.pub and user_key.pub.
set -eu
root=$1
off=$2
out=$root/mnt

# The kernel as its package has it, without the initramfs-tools that the package depends on.
chroot "$root" sh -eu <<'END'
package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p')
mkdir /tmp/kernel
cd /tmp/kernel
apt-get -q -o APT::Sandbox::User=root download "$package"
dpkg-deb -x ./*.deb .
if [ -d usr/lib/modules ]; then mv usr/lib/modules /usr/lib/modules; else mv lib/modules /usr/lib/modules; fi
release=$(ls /usr/lib/modules)
# What the CPU or the board would have udev load takes long without KVM.
rm -rf "/usr/lib/modules/$release/kernel/arch" "/usr/lib/modules/$release/kernel/sound"
for d in "/usr/lib/modules/$release/kernel/drivers"/*; do
	case ${d##*/} in
	block | net | vhost | virtio) ;;
	*) rm -rf "$d" ;;
	esac
done
depmod "$release"
mv boot/vmlinuz-* /tmp/vmlinuz

# The initrd brings the disk and the network card, which are modules in this kernel.
mkdir -p /tmp/initrd/bin /tmp/initrd/dev /tmp/initrd/proc /tmp/initrd/sys /tmp/initrd/root /tmp/initrd/modules
cp /bin/busybox /tmp/initrd/bin/busybox
insmod=
for m in virtio_pci virtio_blk virtio_net; do
	for file in $(modprobe -S "$release" --show-depends "$m" | sed -n 's/^insmod \([^ ]*\).*/\1/p'); do
		name=${file##*/}
		case $name in # the initrd's insmod takes no compressed module
		*.xz) busybox xzcat "$file" >"/tmp/initrd/modules/${name%.xz}" ;;
		*) cp "$file" /tmp/initrd/modules ;;
		esac
		insmod="$insmod ${name%.xz}"
	done
done
cat >/tmp/initrd/init <<INIT
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
for m in $insmod; do /bin/busybox insmod /modules/\$m 2>/dev/null; done
/bin/busybox mount -t ext4 /dev/vda /root
for word in \$(/bin/busybox cat /proc/cmdline); do
	case \$word in init=*) init=\${word#init=} ;; esac
done
/bin/busybox umount /proc
/bin/busybox mount -o move /dev /root/dev
exec /bin/busybox switch_root /root "\$init"
INIT
chmod 755 /tmp/initrd/init
cd /tmp/initrd
find . | busybox cpio -o -H newc >/tmp/initrd.img 2>/dev/null
rm -rf /tmp/kernel /tmp/initrd
apt-get clean
rm -rf /var/lib/apt/lists/*
END
mv "$root/tmp/vmlinuz" "$root/tmp/initrd.img" "$out"

# Accounts: ops may do all by sudo, dev nothing. Both and root log in with one key.
chroot "$root" sh -eu <<'END'
for user in ops dev; do
	useradd --create-home --shell /bin/bash "$user"
	usermod --password '*' "$user"
done
mkdir -p /root/.ssh /home/ops/.ssh /home/dev/.ssh
END
for home in root home/ops home/dev; do cp "$out/user_key.pub" "$root/$home/.ssh/authorized_keys"; done
chroot "$root" sh -euc 'chown -R ops:ops /home/ops; chown -R dev:dev /home/dev; chmod 700 /root/.ssh /home/*/.ssh'
echo 'ops ALL=(ALL:ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/ops"
chmod 440 "$root/etc/sudoers.d/ops"
rm -f "$root"/etc/ssh/ssh_host_*
cp "$out/host_key" "$root/etc/ssh/ssh_host_ed25519_key"
cp "$out/host_key.pub" "$root/etc/ssh/ssh_host_ed25519_key.pub"
chmod 600 "$root/etc/ssh/ssh_host_ed25519_key"
echo 'UsePAM no' >"$root/etc/ssh/sshd_config.d/vmtest.conf" # without KVM, PAM takes longer than all the rest of a login
# Without -r each connection begins with another start of the program, which is half of a login then.
echo 'SSHD_OPTS=-r' >"$root/etc/default/ssh"
echo vm >"$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 vm\n' >"$root/etc/hosts"
: >"$root/etc/fstab"
: >"$root/etc/machine-id"

# Units: a fixed address, a second sshd by which the tests see the host when they have broken the first, and a word on the serial console when all is up.
cat >"$root/etc/systemd/system/vmtest-network.service" <<'END'
[Unit]
DefaultDependencies=no
After=systemd-sysctl.service
Before=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/ip link set lo up
ExecStart=/bin/ip address add 10.0.2.15/24 dev eth0
ExecStart=/bin/ip link set eth0 up
[Install]
WantedBy=multi-user.target
END
cat >"$root/etc/systemd/system/vmtest-sshd.service" <<'END'
[Unit]
After=vmtest-network.service
[Service]
Type=notify
RuntimeDirectory=sshd
RuntimeDirectoryPreserve=yes
ExecStart=/usr/sbin/sshd -r -D -p 2222 -o PidFile=none -o MaxStartups=100 -o MaxSessions=100
Restart=always
[Install]
WantedBy=multi-user.target
END
cat >"$root/etc/systemd/system/vmtest-ready.service" <<'END'
[Unit]
After=ssh.service vmtest-sshd.service systemd-sysctl.service systemd-modules-load.service systemd-udev-settle.service
Wants=systemd-udev-settle.service
[Service]
Type=oneshot
StandardOutput=tty
TTYPath=/dev/ttyS0
ExecStart=/bin/echo vmtest: ready
[Install]
WantedBy=multi-user.target
END
chroot "$root" systemctl -q enable vmtest-network vmtest-sshd vmtest-ready ssh

# The same for the other inits. OpenRC is started by Debian's sysvinit; BusyBox's init has an inittab of its own, which mounts and starts no more than it must.
cat >"$root/usr/local/sbin/vmtest-up" <<'END'
#!/bin/sh
ip link set lo up
ip address add 10.0.2.15/24 dev eth0
ip link set eth0 up
mkdir -p /run/sshd
/usr/sbin/sshd -r -o PidFile=none
/usr/sbin/sshd -r -p 2222 -o PidFile=none -o MaxStartups=100 -o MaxSessions=100
for port in 22 2222; do until ss -Hltn "sport = :$port" | grep -q .; do sleep 0.1; done; done
echo 'vmtest: ready' >/dev/ttyS0
END
cat >"$root/usr/local/sbin/vmtest-busybox-init" <<'END'
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 run /run
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount --bind /etc/inittab.busybox /etc/inittab
exec busybox init
END
chmod 755 "$root/usr/local/sbin/vmtest-up" "$root/usr/local/sbin/vmtest-busybox-init"
echo '::sysinit:/usr/local/sbin/vmtest-up' >"$root/etc/inittab.busybox"
[ ! -e "$root/etc/inittab" ] || {
	sed -i '/getty/d' "$root/etc/inittab"
	echo 'vm:2:once:/usr/local/sbin/vmtest-up' >>"$root/etc/inittab"
}
for name in agetty bootlogs bootmisc.sh brightness cgroups hostname.sh hwclock.sh killprocs mount-configfs mountnfs.sh mountnfs-bootclean.sh \
	rc.local rmnologin savecache single ssh sudo udev urandom; do
	rm -f "$root/etc/init.d/$name" "$root"/etc/runlevels/*/"$name"
done

# Services that a test may turn on again.
for service in $off; do chroot "$root" systemctl -q disable "$service"; done

# What nothing here needs only makes the boot longer.
chroot "$root" systemctl -q mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
	getty.target getty@tty1.service getty-static.service serial-getty@ttyS0.service systemd-logind.service \
	systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-pstore.service systemd-journal-flush.service \
	systemd-journal-catalog-update.service systemd-ask-password-wall.path systemd-ask-password-console.path systemd-sysusers.service \
	systemd-machine-id-commit.service systemd-remount-fs.service systemd-random-seed.service systemd-binfmt.service kmod-static-nodes.service \
	modprobe@.service dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
	sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount
mkdir -p "$root/etc/systemd/system-generators" "$root/etc/systemd/system/systemd-udev-trigger.service.d"
for g in "$root"/usr/lib/systemd/system-generators/*; do ln -s /dev/null "$root/etc/systemd/system-generators/${g##*/}"; done
cat >"$root/etc/systemd/system/systemd-udev-trigger.service.d/few.conf" <<'END'
[Service]
ExecStart=
ExecStart=udevadm trigger --type=devices --action=add --prioritized-subsystem=net --subsystem-match=net --subsystem-match=block
END
chroot "$root" systemctl -q set-default multi-user.target

# A bind mount leaves out what is mounted below it.
mkdir "$out/root"
mount --bind "$root" "$out/root"
truncate -s 1000M "$out/disk"
mke2fs -q -t ext4 -d "$out/root" "$out/disk"
umount "$out/root"
rmdir "$out/root"
