# Unloads the modules that arguments name, and no others, whatever their order. One that is gone, or goes meanwhile, needs nothing: so it can be run again where its
# reply was lost.
rec quiet
n=$#
while [ "$n" -gt 1 ]; do
	n=$((n - 1))
	for m; do [ ! -e "/sys/module/$m" ] || rmmod "$m"; done
done
rec rmmod
for m; do
	if [ -e "/sys/module/$m" ]; then
		rmmod "$m" || [ ! -e "/sys/module/$m" ] || rec failed
	fi
done
:
