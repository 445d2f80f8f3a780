# Shared by the scripts beside it: source it, do not run it.
# shellcheck shell=bash

# Where this file is, for shells that are started by it.
library=$(readlink -f "${BASH_SOURCE[0]}")

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
	update_packages
	install_packages "$1"
}

update_packages() {
	[ -z "${apt_updated:-}" ] || return 0
	apt-get update -qq
	apt_updated=yes
}

# More options for apt, while a toolchain is looked for.
apt_options=()

install_packages() {
	DEBIAN_FRONTEND=noninteractive apt-get "${apt_options[@]}" install -y -qq --no-install-recommends "$@" >/dev/null
}

# The toolchain that builds this, and what it links with: the one that is installed, or Debian's, if it has one
# that is new enough. Says in one sentence what to do otherwise.
need_toolchain() {
	local oldest have
	oldest=$(oldest_rust)
	if command -v cargo >/dev/null && command -v rustc >/dev/null; then
		have=$(rustc --version 2>/dev/null | cut -d ' ' -f 2)
		if ! is_at_least "${have:-0}" "$oldest"; then
			echo "Rust $oldest or later is needed, and rustc is ${have:-without a toolchain}: update it (rustup update," \
				"or take Debian's away and run this again)." >&2
			return 1
		fi
	else
		install_toolchain "$oldest"
	fi
	need_linker
	# Cargo before 1.91 does not know the target "host-tuple" of .cargo/config.toml.
	export CARGO_BUILD_TARGET=${CARGO_BUILD_TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
}

oldest_rust() {
	sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$(dirname "$library")/../Cargo.toml"
}

# is_at_least VERSION OLDEST
is_at_least() {
	[ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

# install_toolchain OLDEST : Debian 12 has a new one as rustc-web, for its browsers; Debian 13 in its backports.
install_toolchain() {
	local sources release
	if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
		echo "cargo is missing: install Rust $1 or later from https://rustup.rs and run this again." >&2
		return 1
	fi
	update_packages
	if is_at_least "$(candidate rustc-web)" "$1"; then
		install_packages rustc-web cargo-web
	elif is_at_least "$(candidate rustc)" "$1"; then
		install_packages rustc cargo
	else
		# For this once: the machine's own sources stay as they are.
		sources=$(mktemp -d) release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
		cp -r /etc/apt/sources.list.d/. "$sources"
		echo "deb $(mirror "$release") $release-backports main" >"$sources/backports-for-rust.list"
		release+=-backports
		apt_options=(-o "Dir::Etc::sourceparts=$sources")
		apt-get "${apt_options[@]}" update -qq 2>/dev/null || true
		apt_options+=(--target-release "$release")
		if is_at_least "$(candidate rustc)" "$1"; then install_packages rustc cargo; fi
		apt_options=()
		remove_tree "$sources"
	fi
	if ! command -v cargo >/dev/null; then
		echo "cargo is missing, and this Debian has none of $1 or later: install it from https://rustup.rs and run this again." >&2
		return 1
	fi
	# Crates are fetched over TLS.
	need_file /etc/ssl/certs/ca-certificates.crt ca-certificates
}

# mirror RELEASE : where this machine has its packages of that release from.
mirror() {
	apt-get indextargets --format '$(CODENAME) $(REPO_URI)' | awk -v release="$1" '$1 == release { print $2; exit }'
}

# candidate PACKAGE : the version of it that would be installed, or 0.
candidate() {
	local version
	version=$(apt-cache "${apt_options[@]}" policy "$1" | sed -n 's/^  Candidate: \([0-9.]*\).*/\1/p')
	echo "${version:-0}"
}

# Builds the release binary and prints its path.
build_release() {
	need_toolchain && cargo build --release --quiet --package aril || return
	release_binary
}

# Builds the program of the container tests and prints its path.
build_container_tests() {
	need_toolchain && cargo build --quiet --package integration_tests || return
	echo "$(target_directory)/debug/integration_tests"
}

# The path of the release binary.
release_binary() {
	echo "$(target_directory)/release/aril"
}

# find_crun DIRECTORY : crun, which raises a limit for BPF that kernels since 5.11 do not need. Where root may not, it
# goes on all the same, by a wrapper in DIRECTORY.
find_crun() {
	local crun
	crun=$(command -v crun)
	# CAP_SYS_RESOURCE is number 24.
	if [ "$(ulimit -H -l)" != unlimited ] && ! ((0x$(awk '$1 == "CapEff:" { print $2 }' /proc/self/status) >> 24 & 1)); then
		need_linker
		mkdir -p "$1"
		cc -shared -fPIC -O -o "$1/memlock.so" hack/comparison/memlock.c
		printf '#!/bin/sh\nLD_PRELOAD="%s" exec "%s" "$@"\n' "$1/memlock.so" "$crun" >"$1/crun"
		chmod +x "$1/crun"
		crun=$1/crun
	fi
	echo "$crun"
}

target_directory() {
	echo "${CARGO_TARGET_DIR:-$PWD/target}/${CARGO_BUILD_TARGET:-$(rustc -vV | sed -n 's/^host: //p')}"
}

# in_own_namespaces COMMAND... : runs it where it can neither change nor kill what is outside: in a pid
# namespace, and in a mount namespace with a /proc and a /dev of its own. Its first process, which reaps, is
# the shell; all that the command leaves ends with it.
in_own_namespaces() {
	# shellcheck disable=SC2016 # expanded by the shell inside
	unshare --mount --propagation private --pid --fork --kill-child --mount-proc bash -euo pipefail -c '
		source "$0"
		make_own_devices
		status=0
		"$@" || status=$?
		exit "$status"' "$library" "$@"
}

# Mounts a /dev with nodes of its own on the machine's, in a mount namespace of the caller's own: a mode or
# an owner that changes there changes for nobody else.
make_own_devices() {
	local node
	mount -t tmpfs -o nosuid,mode=755 tmpfs /dev
	for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
		mknod --mode=666 "/dev/${node%%:*}" c "$(cut -d: -f2 <<<"$node")" "${node##*:}"
	done
	mkdir /dev/pts /dev/shm /dev/mqueue
	mount -t devpts -o newinstance,nosuid,noexec,mode=620,ptmxmode=666,gid=5 devpts /dev/pts
	mount -t tmpfs -o nosuid,nodev,noexec,mode=1777 tmpfs /dev/shm
	ln -s pts/ptmx /dev/ptmx
	ln -s /proc/self/fd /dev/fd
	ln -s /proc/self/fd/0 /dev/stdin
	ln -s /proc/self/fd/1 /dev/stdout
	ln -s /proc/self/fd/2 /dev/stderr
	# The caller may have given the machine's own /dev/null.
	if [ -c /dev/stdin ] && [ ! -t 0 ]; then exec </dev/null; fi
	if [ -c /dev/stdout ] && [ ! -t 1 ]; then exec >/dev/null; fi
	if [ -c /dev/stderr ] && [ ! -t 2 ]; then exec 2>/dev/null; fi
}

# remove_tree DIRECTORY... : removes it, and nothing that is mounted in it: everything that is mounted at or
# below is detached first. If a mount stays, its name is the error, and nothing is removed.
remove_tree() {
	local directory mount
	for directory; do
		[ -d "$directory" ] || continue
		directory=$(realpath -- "$directory")
		# Read anew each time: mounts lie on one another, and detaching one takes those on it along.
		while mount=$(last_mount_below "$directory") && [ -n "$mount" ]; do
			if ! umount --lazy --no-canonicalize -- "${mount%.}"; then
				echo "$directory is not removed: ${mount%.} is mounted" >&2
				return 1
			fi
		done
		rm -rf --one-file-system -- "$directory"
	done
}

# last_mount_below DIRECTORY : the innermost mount point at or below it, and a dot, which keeps a newline at
# its end; nothing if there is none.
last_mount_below() {
	local point last=
	while read -r _ _ _ _ point _; do
		# A space, tab, newline or backslash is written as its number, \040.
		printf -v point '%b.' "${point//\\/\\0}"
		[[ ${point%.} != "$1" && $point != "$1"/* ]] || last=$point
	done </proc/self/mountinfo
	printf '%s' "$last"
}
