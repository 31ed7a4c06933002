# Unloads the module $1.
rec modprobe
modprobe -r "$1" || rec failed
:
