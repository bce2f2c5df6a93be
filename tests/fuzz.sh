#!/bin/sh
# Runs every fuzz target of the module for a while: fuzz.sh [TIME]
set -eu
time=${1:-30s}
cd "$(dirname "$0")/.."
found=0

# only_late tells go's fuzzer that did not stop its workers in time, which it calls a failure, from a finding, which has an input.
only_late() {
	grep -q 'context deadline exceeded' "$1" && ! grep -q -e 'Failing input' -e 'panic' -e 'testdata/fuzz' "$1"
}

for pkg in $(${GO:-go} list ./...); do
	for target in $(${GO:-go} test -buildvcs=false -list '^Fuzz' "$pkg" | grep '^Fuzz' || :); do
		found=$((found + 1))
		printf '%s %s: ' "$pkg" "$target"
		log=$(mktemp)
		if ! ${GO:-go} test -buildvcs=false -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x "$pkg" >"$log" 2>&1 &&
			! only_late "$log"; then
			echo failed
			cat "$log"
			rm -f "$log"
			exit 1
		fi
		sed -n 's/.*execs: \([0-9]*\).*/\1 runs/p' "$log" | tail -n 1
		rm -f "$log"
	done
done
echo "$found fuzz targets held"
test "$found" -gt 0
