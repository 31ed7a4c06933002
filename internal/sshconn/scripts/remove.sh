# Removes the file $2 of the directory $1, and what an interrupted write of it left. Needs save.
rm -f "$1/$2" "$1/.$2.terraform-tmp" || exit 1
if [ -d "$1" ]; then
	rec sync
	save "$1"
fi
