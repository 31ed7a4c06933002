# Prints each file under /proc/sys or /sys/module that an argument names, each with whether it is there and could be read, then those of $keys.
for f; do
	rec path
	printf '%s' "$f"
	if [ -e "$f" ]; then
		rec value
		cat "$f" || rec unread
	fi
done
if [ -n "${keys:-}" ]; then
	rec values
	grep -H '' $keys /dev/null 2>/dev/null
fi
:
