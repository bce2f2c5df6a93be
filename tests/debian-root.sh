#!/bin/sh
# Makes the Debian root file system that the tests use as a base image: debian-root.sh FILE.tar
# As root or, with subordinate ids, as an ordinary user. The apt sources are this machine's, so that apt-get works in RUN as it does outside.
set -eu
out=$1
sources=
for f in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
	if [ -s "$f" ] && grep -q bookworm "$f"; then
		sources=$f
		break
	fi
done
if [ "$(id -u)" = 0 ]; then mode=root; else mode=unshare; fi
TMPDIR=${TMPDIR:-/tmp}
export TMPDIR
exec mmdebstrap --quiet --mode=$mode --format=tar --variant=minbase --include=ca-certificates \
	--aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Check-Date "false"' \
	--aptopt='Acquire::Retries "3"' --aptopt='Acquire::Languages "none"' \
	bookworm "$out" $sources
