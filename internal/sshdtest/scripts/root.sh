# Runs as the first process of a host. Makes the host's root file system over the machine's, unpacks the tar archive on descriptor 3 into it, brings the
# network up, and becomes `setpriv --bounding-set CAPS -- /bin/sh -c NEXT`. Arguments: CAPS, NEXT, and "busybox" where /bin/sh is to be that. Once eth0 is
# there, standard input has a line with the host's name and its address with prefix length.
set -eu
caps=$1 next=$2 shell=$3

mount --make-rprivate /
mount -t tmpfs -o mode=755 host /tmp
mkdir /tmp/upper /tmp/work /tmp/root
mount -t overlay -o lowerdir=/,upperdir=/tmp/upper,workdir=/tmp/work host /tmp/root
cd /tmp/root
mkdir -p dev home lib/modules proc root run sys tmp

# Nothing of whoever works on the machine, and no module that could be loaded.
mount -t tmpfs -o mode=700 host root
mount -t tmpfs -o mode=755 host home
mount -t tmpfs -o mode=755 host run
mount -t tmpfs -o mode=1777 host tmp
mount -t tmpfs -o ro host lib/modules

mount -t tmpfs -o mode=755 host dev
cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 host dev/pts
mount -t tmpfs -o mode=1777 host dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr

# Of the kernel's own files only those of the host's network namespace may change: the others are the machine's.
mount -t sysfs -o ro host sys
mount -t proc host proc
read -r name address
printf '%s\n' "$name" >proc/sys/kernel/hostname
for f in bus fs irq acpi scsi sysrq-trigger; do
	[ ! -e "proc/$f" ] || mount -o bind,ro "proc/$f" "proc/$f"
done
mount --bind proc/sys/net proc/sys/net
mount --rbind proc/sys proc/sys
mount -o remount,bind,ro proc/sys

mkdir run/machine
pivot_root . run/machine
cd /
umount -l /run/machine
rmdir /run/machine

# The distribution's settings stay, the machine's administrator's go.
rm -rf /etc/sysctl.conf /etc/modules /etc/sysctl.d/* /etc/modules-load.d/* /etc/modprobe.d/* /etc/sudoers.d/* /etc/ssh/ssh_host_* /etc/update-motd.d/*
tar -x --numeric-owner -C / <&3
exec 3<&-
# PAM waits two seconds after a wrong password, which guards nothing here.
for f in /etc/pam.d/common-auth /etc/pam.d/system-auth /etc/pam.d/password-auth; do
	[ ! -e "$f" ] || sed -i 's/pam_unix\.so/pam_unix.so nodelay/' "$f"
done
if [ -e /run/passwords ]; then
	chpasswd -c SHA512 -s 1000 </run/passwords
	rm /run/passwords
fi
if [ -e /run/no-sftp ]; then
	rm -f /run/no-sftp /usr/lib/sftp-server /usr/lib/openssh/sftp-server /usr/lib/ssh/sftp-server /usr/libexec/sftp-server \
		/usr/libexec/openssh/sftp-server
fi
ip -batch - <<END
address add $address dev eth0
link set eth0 up
link set lo up
END
mkdir -p /run/sshd
if [ -e /run/dropbear ]; then
	dropbearconvert openssh dropbear /etc/ssh/ssh_host_ed25519_key /run/dropbear 2>/dev/null
fi
setpriv=$(command -v setpriv)
if [ "$shell" = busybox ]; then
	busybox --install -s /usr/local/bin
	busybox=$(command -v busybox)
	ln -sf "$busybox" /bin/sh
	# A session's PATH may leave out /usr/local, as dropbear's does.
	for f in /usr/local/bin/*; do
		for there in /bin /sbin /usr/bin /usr/sbin; do
			case ${f##*/} in
			busybox | setpriv) ;;
			*) [ ! -e "$there/${f##*/}" ] || ln -sf "$busybox" "$there/${f##*/}" ;;
			esac
		done
	done
fi
exec "$setpriv" --bounding-set "$caps" -- /bin/sh -c "$next"
