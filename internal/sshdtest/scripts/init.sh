# Runs as the first process of a host once its root file system is there. Starts sshd or dropbear, takes in orphans, and ends, and all with it, when standard input does.
exec 4<&0 </dev/null
cat <&4 &
end=$!
{
	if [ -e /run/dropbear ]; then
		"$(command -v dropbear)" -F -E -p 22 -r /run/dropbear
	else
		"$(command -v sshd)" -D -e
	fi
	echo "host: sshd ended with status $?" >&2
} 4<&- &
exec 4<&-
wait "$end"
