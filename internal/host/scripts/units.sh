# Prints what systemd says of each unit that an argument names: an empty line between two of them.
rec units
systemctl show -p Id,LoadState,ActiveState,Result,After -- "$@" || rec failed
:
