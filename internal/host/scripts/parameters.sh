# Prints the parameters that the module $1 declares, a line each: "name:description".
rec modinfo
modinfo -F parm "$1" || rec failed
:
