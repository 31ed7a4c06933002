# Loads a module: arguments are its name and then parameters as name=value.
rec modprobe
modprobe "$@" || rec failed
:
