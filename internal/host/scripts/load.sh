# Loads the module $1 and says what became of it.
rec modprobe
modprobe "$1" || rec failed
:
