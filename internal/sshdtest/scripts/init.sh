# Runs as the first process of a host once its root file system is there. Starts sshd, takes in orphans, and ends, and all with it, when standard input does.
exec 4<&0 </dev/null
cat <&4 &
end=$!
{
	"$(command -v sshd)" -D -e
	echo "host: sshd ended with status $?" >&2
} 4<&- &
exec 4<&-
wait "$end"
