# Writes to each file that an argument names one line of standard input, with one write(2). Its words, if it fails, are the kernel's. values.sh then reads all back.
for f; do
	IFS= read -r value
	rec write
	cat >"$f" <<VALUE || rec refused
$value
VALUE
done
