#!/bin/sh
# Builds the example image with ./cairn, twice, and runs it. Leaves nothing behind.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cairn=$here/../cairn
work=$(mktemp -d "${TMPDIR:-/var/tmp}/cairn-demo.XXXXXX")
trap 'chmod -R u+rwx "$work" 2>/dev/null || :; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
export CAIRN_ROOT="$work/store"

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n%s\n' "$*"; }

say '$ go build examples/site: a static program, the only thing that the image is made of'
cp -R "$here/site" "$work/site"
(cd "$here/.." &&
	CGO_ENABLED=0 ${GO:-go} build -trimpath -buildvcs=false -ldflags '-s -w' -o "$work/site/site" ./examples/site)

say '$ cairn build -t demo/site examples/site'
"$cairn" build --progress=plain -t demo/site "$work/site"

say '$ cairn build -t demo/site examples/site      (again: every step is CACHED)'
"$cairn" build --progress=plain -t demo/site "$work/site" 2>"$work/second" || { cat "$work/second" >&2; exit 1; }
cat "$work/second" >&2
if [ "$(grep -c 'CACHED' "$work/second")" -lt 5 ]; then
	echo 'demo: the second build should have been cached' >&2
	exit 1
fi

say '$ cairn images'
"$cairn" images

say '$ cairn run --rm demo/site'
"$cairn" run --rm demo/site
