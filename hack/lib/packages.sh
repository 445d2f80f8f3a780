# shellcheck shell=bash
# Debian packages: install what is missing, or unpack without installing.

# need COMMAND=PACKAGE... : installs the packages whose command is not there yet.
need() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
}

# install_packages PACKAGE... : from Debian's registry, quietly; all output on failure.
install_packages() {
    local log
    if ((EUID != 0)); then
        echo "these Debian packages are missing and only root can install them: $*" >&2
        return 1
    fi
    log=$(mktemp)
    if ! apt_install "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get install --yes --no-install-recommends "$@" ||
        { apt-get update && apt-get install --yes --no-install-recommends "$@"; }
}

# unpack_packages DIRECTORY PACKAGE... : the packages' files below DIRECTORY. Nothing is installed, so
# no maintainer script runs: an engine's would start its daemon.
unpack_packages() {
    local directory=$1 package archives
    shift
    archives=$(mktemp -d)
    chmod 0755 "$archives"
    (cd "$archives" && { apt-get download "$@" || { apt-get update && apt-get download "$@"; }; }) >/dev/null 2>&1
    for package in "$archives"/*.deb; do
        dpkg-deb --extract "$package" "$directory"
    done
    rm -rf "$archives"
}
