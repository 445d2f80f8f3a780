# Shared by the scripts beside it: source it, do not run it.
# shellcheck shell=bash

# Installs a Debian package whose command is missing: `need COMMAND PACKAGE`.
need() {
	command -v "$1" >/dev/null || install_package "$2" "$1"
}

# The same for a file of a package: `need_file FILE PACKAGE`.
need_file() {
	[ -e "$1" ] || install_package "$2" "$1"
}

# What cargo links with.
need_linker() {
	need cc gcc
	need_file /usr/include/stdio.h libc6-dev
}

install_package() {
	echo "installing $1, for $2" >&2
	if [ -z "${apt_updated:-}" ]; then
		apt-get update -qq
		apt_updated=yes
	fi
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >/dev/null
}

# Builds the release binary and prints its path.
build_release() {
	need_linker
	cargo build --release --quiet --package aril
	release_binary
}

# The path of the release binary.
release_binary() {
	local host
	host=$(rustc -vV | sed -n 's/^host: //p')
	echo "${CARGO_TARGET_DIR:-$PWD/target}/$host/release/aril"
}
