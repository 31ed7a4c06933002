# Prints the values of all keys, for readers whose keys no file names: however many they are, they cost one exchange. Where there are many interfaces, the keys of each
# are left out, some hundred apiece.
set -- /proc/sys/net/ipv4/conf/*
each=
if [ $# -le 64 ]; then
	each='/proc/sys/net/ipv[46]/*/*/*'
	rec all-keys
fi
rec values
grep -H '' /proc/sys/*/* /proc/sys/*/*/* /proc/sys/*/*/*/* /proc/sys/net/ipv[46]/*/all/* /proc/sys/net/ipv[46]/*/default/* $each /dev/null 2>/dev/null
:
