# Writes to each file that an argument names one line of standard input that begins with "=", with one write(2). Its words, if it fails, are the kernel's. A line "-"
# writes nothing. All files are read before and afterwards: if $1 is not empty and they read otherwise before, nothing is written; if they read otherwise than $2
# afterwards, the script fails, and values.sh tells of each. White space does not count in $1 and $2.
before=$1
after=$2
shift 2
refused=
look() {
	found=$(grep -H '' "$@" /dev/null 2>/dev/null)
	set -f
	set -- $found
	set +f
	words=$*
}
if [ -n "$before" ]; then
	look "$@"
	if [ "$words" != "$before" ]; then
		rec stale
		exit 1
	fi
fi
for f; do
	IFS= read -r value
	case $value in
	=*)
		rec write
		cat >"$f" <<VALUE || {
${value#=}
VALUE
			rec refused
			refused=yes
		}
		;;
	esac
done
look "$@"
if [ -z "$refused" ] && [ "$words" = "$after" ]; then
	rec values
	printf '%s\n' "$found"
	exit 0
fi
