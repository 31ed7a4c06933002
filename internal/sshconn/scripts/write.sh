# Puts standard input into the file $2 of the directory $1, mode 0644, by way of a temporary file: a reader sees the old or the whole new content. Needs save.
# A failure after `rec sync` leaves the new content in place, without the promise that it lasts.
tmp=$1/.$2.terraform-tmp
made=
if [ -d "$1/$2" ]; then
	echo 'Is a directory'
	exit 1
fi
if [ ! -d "$1" ]; then
	if [ ! -d "${1%/*}" ]; then made=many; else made=one; fi
	mkdir -p "$1" || exit 1
fi
if [ -e "$tmp" ] || [ -L "$tmp" ]; then rm -f "$tmp" || exit 1; fi
if cat >"$tmp" && chmod 0644 "$tmp" && save "$tmp" && mv -f "$tmp" "$1/$2"; then
	rec sync
	case $made in
	many) sync ;;
	one) save "$1" && save "${1%/*}" ;;
	*) save "$1" ;;
	esac
else
	rm -f "$tmp"
	exit 1
fi
