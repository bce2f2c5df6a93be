#!/bin/bash
# Runs a command in a fresh Debian root file system, as root: fresh.sh DIR [COMMAND...]
# The checkout is at /src in there. Without a command it provisions (tests/provision.sh), which shows that the script needs nothing that this machine happens to have.
set -euo pipefail
root=$1
shift
[ $# -gt 0 ] || set -- bash /src/tests/provision.sh
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ ! -e "$root/etc" ]; then
	mkdir -p "$root"
	"$here/debian-root.sh" "$root.tar"
	tar -C "$root" -xpf "$root.tar"
	rm "$root.tar"
fi
mkdir -p "$root/src"
tar -C "$here/.." --exclude=./.git --exclude=./cairn -cf - . | tar -C "$root/src" -xf -
exec unshare --mount --pid --fork --kill-child bash -euc '
	root=$1; shift
	mount --make-rprivate /
	mount -t proc proc "$root/proc"
	mount --rbind /sys "$root/sys"
	mount --rbind /dev "$root/dev"
	cp -L /etc/resolv.conf "$root/etc/resolv.conf"
	exec chroot "$root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
		GOPROXY="${GOPROXY:-}" GOSUMDB="${GOSUMDB:-}" "$@"
' bash "$root" "$@"
