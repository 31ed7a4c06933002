# Makes the file or directory $1 outlive a power cut. An old `sync` that takes no file syncs everything; one that met an I/O error must not be asked again.
save() {
	words=$(sync "$1" 2>&1) && return
	case $words in
	*'nput/output error'* | *'I/O error'* | *'No space'* | *uota*)
		printf '%s\n' "$words"
		return 1
		;;
	esac
	sync
}
