# Runs "$@" and kills it when standard input ends: so that it does not outlive whoever started this.
"$@" </dev/null &
child=$!
exec >/dev/null 2>&1 3>&- 4>&-
read -r _
kill -KILL "$child"
wait "$child"
