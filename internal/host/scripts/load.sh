# Loads a module: standard input has its name and then parameters as name=value, a line each.
rec modprobe
(
	set --
	while IFS= read -r word; do set -- "$@" "$word"; done
	modprobe "$@"
) || rec failed
