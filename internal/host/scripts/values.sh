# Prints each file under /proc/sys or /sys/module that an argument names, each with whether it is there, could be read, and its mode, then those of $keys.
for f; do
	rec path
	printf '%s' "$f"
	if [ -e "$f" ]; then
		rec value
		cat "$f" || rec unread-value
		rec mode
		ls -ld "$f"
	fi
done
if [ -n "${keys:-}" ]; then
	rec values
	grep -H '' $keys /dev/null 2>/dev/null
fi
:
