# Prints the modules that the name or alias $1 stands for.
rec modprobe
modprobe -R "$1" || rec failed
:
