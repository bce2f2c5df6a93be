#!/bin/bash
# Makes a machine fit for the tests, as root: installs what they need, and makes two ordinary users, one with subordinate ids and one without.
#
#   provision.sh               install, and make the users
#   provision.sh --test DIR    the same, then run `make test` in a copy of the checkout DIR as each of them
#
# For Debian 12 and 13, Ubuntu 24.04 and Fedora. .ci/run and the Vagrantfile both come here.
set -euo pipefail

USER_SUBUID=cairn-sub     # has a range in /etc/subuid
USER_PLAIN=cairn-plain    # has none
CACHE=/var/cache/cairn-tests
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

install_packages() {
	if command -v apt-get >/dev/null; then
		export DEBIAN_FRONTEND=noninteractive
		apt-get update -qq
		# --no-install-recommends keeps docker.io and podman from changing how the machine's network works.
		apt-get install -y -qq --no-install-recommends \
			attr bash bzip2 ca-certificates curl debian-archive-keyring docker.io docker-registry gcc git jq libc6-dev libcap2-bin make mmdebstrap \
			openssh-client passt passwd podman procps runc skopeo slirp4netns tar tmux uidmap umoci util-linux xz-utils \
			busybox-static crun bsdutils golang-github-containers-common ${EXTRA_PACKAGES:-}
	elif command -v dnf >/dev/null; then
		dnf install -y -q attr bash busybox bzip2 ca-certificates debootstrap docker-distribution gcc git jq libcap make mmdebstrap moby-engine \
			openssh-clients passt slirp4netns podman procps-ng runc shadow-utils skopeo tar tmux umoci util-linux util-linux-script xz golang ${EXTRA_PACKAGES:-} ||
			dnf install -y -q --skip-unavailable attr bash busybox bzip2 gcc git jq libcap make moby-engine podman shadow-utils skopeo tar umoci util-linux xz golang
	else
		echo "provision: neither apt-get nor dnf here" >&2
		return 1
	fi
}

# install_go makes sure of a go command that can fetch the toolchain that go.mod asks for (1.21 or newer can).
install_go() {
	export PATH=$PATH:/usr/local/go/bin
	if command -v go >/dev/null && [ "$(go env GOVERSION | sed 's/go1\.\([0-9]*\).*/\1/')" -ge 21 ]; then
		return
	fi
	local candidate
	candidate=$(apt-cache policy golang-go | sed -n 's/.*Candidate: 2:1\.\([0-9]*\).*/\1/p')
	if [ "${candidate:-0}" -ge 21 ]; then
		apt-get install -y -qq --no-install-recommends golang-go
		return
	fi
	# Debian 12's own is too old; its backports have one that isn't.
	local mirror suite
	suite=$(. /etc/os-release && echo "$VERSION_CODENAME")-backports
	mirror=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1)
	[ -n "$mirror" ] || mirror=$(sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p' /etc/apt/sources.list | head -n 1)
	echo "deb $mirror $suite main" >/etc/apt/sources.list.d/cairn-backports.list
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends -t "$suite" golang-go
}

make_users() {
	local user
	for user in $USER_SUBUID $USER_PLAIN; do
		id "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$user"
	done
	if ! grep -q "^$USER_SUBUID:" /etc/subuid; then
		usermod --add-subuids 1200000-1265535 --add-subgids 1200000-1265535 $USER_SUBUID
	fi
	sed -i "/^$USER_PLAIN:/d" /etc/subuid /etc/subgid
}

# allow_userns lets the tests' programs make user namespaces where AppArmor reserves that (Ubuntu 24.04): the profile that docs/kernel.md tells users to write.
allow_userns() {
	[ "$(cat /proc/sys/kernel/apparmor_restrict_unprivileged_userns 2>/dev/null || echo 0)" = 1 ] || return 0
	cat >/etc/apparmor.d/cairn-tests <<-'EOF'
	abi <abi/4.0>,
	include <tunables/global>
	profile cairn-tests /{home/*/cairn/cairn,var/tmp/cairn-e2e-*/bin/*,tmp/go-build*/**,usr/bin/unshare} flags=(unconfined) {
	  userns,
	}
	EOF
	apparmor_parser -r /etc/apparmor.d/cairn-tests
}

# make_debian_root keeps a Debian root file system where every user's tests find it.
make_debian_root() {
	local tar=$CACHE/debian-bookworm-minbase.tar
	mkdir -p $CACHE
	[ -s "$tar" ] && return
	"$here/debian-root.sh" "$tar.partial"
	mv "$tar.partial" "$tar"
	chmod 644 "$tar"
}

# checkout USER DIR copies a checkout, as it is, to the user's home, owned by the user.
checkout() {
	local home
	home=$(getent passwd "$1" | cut -d: -f6)
	rm -rf "$home/cairn"
	mkdir "$home/cairn"
	tar -C "$2" --exclude=./.git --exclude=./cairn --exclude=./.vagrant -cf - . | tar -C "$home/cairn" -xf -
	chown -R "$1:" "$home/cairn"
}

# as USER COMMAND... runs a command in the user's checkout, with a clean environment but for Go's settings and the tests' own.
as() {
	local user=$1 home
	shift
	home=$(getent passwd "$user" | cut -d: -f6)
	local keep=() name
	for name in ${!CAIRN_@} DOCKER_HOST GOFLAGS GOPROXY GOSUMDB GONOSUMDB GONOSUMCHECK GOTOOLCHAIN GOMODCACHE HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy SSL_CERT_FILE; do
		[ -n "${!name+set}" ] && keep+=("$name=${!name}")
	done
	# runuser and not su: no login session and no terminal, which is how CI systems run things.
	runuser -u "$user" -- env -i -C "$home/cairn" HOME="$home" USER="$user" LOGNAME="$user" LANG=C.UTF-8 \
		PATH="/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin" "${keep[@]}" "$@" </dev/null
}

provision() {
	install_packages
	install_go
	make_users
	allow_userns
	make_debian_root
}

[ "${BASH_SOURCE[0]}" = "$0" ] || return 0
provision
if [ "${1:-}" = --test ]; then
	status=0
	for user in $USER_SUBUID $USER_PLAIN; do
		checkout "$user" "$2"
		if [ "$user" = $USER_PLAIN ]; then export CAIRN_NO_SUBUID=1; fi
		echo "== make test as $user"
		as "$user" make test || status=1
	done
	exit $status
fi
