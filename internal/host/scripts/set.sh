# Writes to each file that an argument names one line of standard input that begins with "=", with one write(2). Its words, if it fails, are the kernel's. A line "-"
# writes nothing. values.sh then reads all files back.
for f; do
	IFS= read -r value
	rec write
	case $value in
	=*)
		cat >"$f" <<VALUE || rec refused
${value#=}
VALUE
		;;
	esac
done
