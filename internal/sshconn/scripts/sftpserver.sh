# Prints where the SFTP server is: it has another place in each distribution (Debian, Fedora, Arch and SUSE, Alpine).
for f in /usr/lib/openssh/sftp-server /usr/libexec/openssh/sftp-server /usr/lib/ssh/sftp-server /usr/libexec/sftp-server; do
	if [ -x "$f" ]; then
		rec path
		printf '%s' "$f"
		exit 0
	fi
done
exit 1
