# Prints of each file under /proc/sys or /sys/module that an argument names whether it is there, what it holds or why it cannot be read, and of a module's parameter
# its mode; and what those of $keys hold. One grep reads all: a program a file would be slow. A file that gives grep no line is empty or an error that it hides.
rec absent
for f; do [ -e "$f" ] || printf '%s\n' "$f"; done
# A file that is named twice would seem to have twice its lines. To look for each name among all is fast where they are few.
more=
n=0
for f in ${keys:-}; do
	n=$((n + 1))
	[ "$n" -le 200 ] || break
	case " $*$more " in
	*" $f "*) ;;
	*) more="$more $f" ;;
	esac
done
rec values
if [ "$n" -le 200 ]; then
	[ -z "$*$more" ] || grep -H '' "$@" $more /dev/null 2>/dev/null
else
	[ $# -eq 0 ] || grep -H '' "$@" /dev/null 2>/dev/null
	rec values
	grep -H '' $(printf '%s\n' $keys | sort -u) /dev/null 2>/dev/null
fi
if [ $# -gt 0 ]; then
	odd=$(grep -L '' "$@" 2>&1)
	rec unread-values
	printf '%s\n' "$odd"
	for f in $odd; do
		case $f in
		*: | [!/]*) continue ;;
		esac
		rec path
		printf '%s' "$f"
		rec value
		cat "$f" || rec unread-value
	done
fi
rec modes
for f; do
	shift
	case $f in
	*/parameters/*) set -- "$@" "$f" ;;
	esac
done
[ $# -eq 0 ] || ls -ld "$@" 2>/dev/null
:
