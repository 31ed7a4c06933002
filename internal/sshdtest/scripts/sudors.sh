# Downloads Debian's package $2 of the release $1 into the working directory, with package lists of its own, and unpacks it into ./tree.
set -eu
mkdir -p lists/partial archives/partial
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $1 main" >sources
set -- "$2" -q -o Dir::Etc::sourcelist="$PWD/sources" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$PWD/lists" -o Dir::Cache="$PWD" -o APT::Sandbox::User=root \
	-o Acquire::Languages=none
package=$1
shift
apt-get "$@" update
apt-get "$@" download "$package"
dpkg-deb -x ./"$package"_*.deb tree
