# Unloads the module $1. One that is gone, or goes meanwhile, needs nothing: so it can be run again where its reply was lost.
rec modprobe
if [ -e "/sys/module/$1" ]; then
	modprobe -r "$1" || [ ! -e "/sys/module/$1" ] || rec failed
fi
