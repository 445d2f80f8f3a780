# Shared by the scripts beside it: source it, do not run it.
# shellcheck shell=bash

# Installs Debian packages that are missing: `need COMMAND PACKAGE`.
need() {
	command -v "$1" >/dev/null && return
	echo "installing $2, for $1" >&2
	if [ -z "${apt_updated:-}" ]; then
		apt-get update -qq
		apt_updated=yes
	fi
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null
}

# Builds the release binary and prints its path.
build_release() {
	cargo build --release --quiet --package aril
	release_binary
}

# The path of the release binary.
release_binary() {
	local host
	host=$(rustc -vV | sed -n 's/^host: //p')
	echo "${CARGO_TARGET_DIR:-$PWD/target}/$host/release/aril"
}
