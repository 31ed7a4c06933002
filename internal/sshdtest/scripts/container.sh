# Runs as the first process of a PID, a mount and a network namespace. Boots a container whose root file system is the tree $1 with the tar archive on descriptor 3
# unpacked over it, in memory, and boots it again whenever it powered itself off. Ends, and all with it, when standard input does.
set -eu
exec 4<&0 </dev/null
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 container /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" container /mnt/root
tar -x --numeric-owner -C /mnt/root <&3
exec 3<&-
cat <&4 &
end=$!
{
	while systemd-nspawn --quiet --directory=/mnt/root --boot --register=no --keep-unit --private-network --link-journal=no --resolv-conf=off --timezone=off \
		--console=pipe --machine=container; do :; done
	echo "host: the container ended with status $?" >&2
} 4<&- &
exec 4<&-
wait "$end"
