# Prints the values of all keys and of all module parameters, for readers whose keys no file names: however many they are, they cost one exchange. Where there are
# many interfaces, the keys of each are left out, some hundred apiece.
set -- /proc/sys/net/ipv4/conf/*
each=
[ $# -gt 64 ] || each='/proc/sys/net/ipv[46]/*/*/*'
rec values
grep -H '' /proc/sys/*/* /proc/sys/*/*/* /proc/sys/*/*/*/* /proc/sys/net/ipv[46]/*/all/* /proc/sys/net/ipv[46]/*/default/* $each /sys/module/*/parameters/* \
	/dev/null 2>/dev/null
rec modes
ls -ld /sys/module/*/parameters/* 2>/dev/null
:
