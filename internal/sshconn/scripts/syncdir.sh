# Makes what was renamed in the directory $1 outlive a power cut. Needs save.
rec sync
save "$1"
