# Loads a module: standard input has its name and then parameters as name=value, a line each. An install line may start a program that stays, which must not keep the
# lock on the host.
rec modprobe
(
	set --
	while IFS= read -r word; do set -- "$@" "$word"; done
	modprobe "$@" 9>&-
) || rec failed
