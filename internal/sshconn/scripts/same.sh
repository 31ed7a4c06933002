# Succeeds when the file $2 of the directory $1 holds standard input. The dots keep newlines at the end, which $() would drop.
want=$(
	cat
	echo .
)
have=$(
	cat "$1/$2"
	echo .
)
[ "$have" = "$want" ]
