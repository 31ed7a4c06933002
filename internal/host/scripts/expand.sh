# Puts in place of each argument with a "*" the files that it stands for.
for f; do
	shift
	case $f in
	*'*'*)
		for each in $f; do
			[ ! -e "$each" ] || set -- "$@" $f
			break
		done
		;;
	*) set -- "$@" "$f" ;;
	esac
done
