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

# Runs a command in a private mount namespace that shows the cgroup hierarchies of VIEW alone:
# v1, v2, or host for what the machine has. The machine's own mounts are not touched.
in_view() {
	local view=$1
	shift
	case $view in
	host) "$@" ;;
	v2)
		unshare --mount --propagation private -- bash -c '
			mount -t cgroup2 none /sys/fs/cgroup && exec "$@"' in_view "$@"
		;;
	v1)
		unshare --mount --propagation private -- bash -c '
			set -e
			view=$(mktemp -d)
			mount -t tmpfs none "$view"
			for hierarchy in /sys/fs/cgroup/*/; do
				name=$(basename "$hierarchy")
				[ "$(stat -f -c %T "$hierarchy")" = cgroup2fs ] && continue
				mkdir "$view/$name"
				mount --bind "$hierarchy" "$view/$name"
			done
			mount --move "$view" /sys/fs/cgroup
			rmdir "$view"
			exec "$@"' in_view "$@"
		;;
	*) echo "no such view: $view" >&2 && return 1 ;;
	esac
}
