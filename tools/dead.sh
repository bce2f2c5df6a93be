#!/bin/sh
# Fails if something in the module is used by nothing but tests: functions that no main reaches (deadcode of
# golang.org/x/tools), and names that nothing mentions and fields that nothing sets (tools/unused).
#
# tools/dead.allow lists what may stay, one name a line, with a reason behind #. A name there that is in use fails, too,
# unless its reason begins with "until".
set -eu
cd "$(dirname "$0")/.."
go=${GO:-go}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

$go -C tools build -o "$dir" ./unused golang.org/x/tools/cmd/deadcode
export GOOS=linux GOARCH=amd64 # one answer on every machine: some functions are there for one architecture alone
line='{{printf "%s.%s: nothing reaches this function (%s)\n" $.Path .Name .Position}}'
"$dir/deadcode" -f "{{range .Funcs}}$line{{end}}" ./... >"$dir/found"
"$dir/unused" >>"$dir/found"
sed "s|^$($go list -m)[/.]||; s|($PWD/|(|" "$dir/found" | sort | awk -F ': ' '
	FILENAME == "tools/dead.allow" {
		line = $0
		sub(/ *#.*/, "", line)
		if (line != "") { allowed[line] = 0; passing[line] = $0 ~ /# until / }
		next
	}
	$1 in allowed { allowed[$1]++; next }
	!seen[$1]++ { print "unused: " $0; failed = 1 }
	END {
		for (name in allowed)
			if (!allowed[name] && !passing[name]) { print "tools/dead.allow: " name " is in use or gone"; failed = 1 }
		exit failed
	}' tools/dead.allow -
