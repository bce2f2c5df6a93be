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
# The machine's certificates, which may have a proxy's among them.
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/host-certificates.crt" 2>/dev/null || :
rm -f "$root/etc/resolv.conf"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
# pivot_root and not chroot: the kernel refuses user namespaces to processes whose root directory was changed by chroot.
exec unshare --mount --pid --ipc --uts --fork --kill-child bash -euc '
	root=$1; shift
	mount --make-rprivate /
	mount --bind "$root" "$root"
	cd "$root"
	mount -t proc proc proc
	mount --rbind /sys sys
	mount --rbind /dev dev
	mkdir -p .old
	pivot_root . .old
	umount -l /.old
	cd /
	exec env -i PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
		SSL_CERT_FILE=/etc/host-certificates.crt "$@"
' bash "$root" "$@"
