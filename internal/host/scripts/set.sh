# Writes standard input to the file $1 with one write(2), and reads it back. Its words, if it fails, are the kernel's.
rec write
cat >"$1" || rec refused
rec value
cat "$1" || rec unread
:
