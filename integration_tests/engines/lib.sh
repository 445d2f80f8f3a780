# What the checks of every engine share: source it, do not run it.
# shellcheck shell=bash
#
# An engine's file defines `prepare` (installs the runtime $runtime, starts the engine, makes the image),
# `clean` (removes every container), `nothing_is_left` (fails and says what there still is), a function check_NAME for
# each check, and ends with `main "$@"`. It is run in the machine of hack/vm, whose engine is used by nobody else:
#
#   integration_tests/engines/ENGINE RUNTIME [CHECK...]     aril is given as the path of its binary
#
# A check runs in a shell of its own, in which every command that fails ends it; it has three minutes. For each a line
# is printed: ok, FAILED or skipped, its name and time, and why.

# In a check's own shell the name comes second.
runtime=${1##*/}
[ "$1" != --one ] || runtime=$2
work=/root/engine-checks

# fail MESSAGE : the check has failed.
fail() {
	echo "$*" >&2
	exit 1
}

# skip REASON : the check cannot be made here.
skip() {
	echo "$*" >&2
	exit 77
}

# same GOT EXPECTED WHAT
same() {
	[ "$1" = "$2" ] || fail "$3: is '$1', not '$2'"
}

# one_of GOT 'EXPECTED EXPECTED...' WHAT
one_of() {
	[[ " $2 " == *" $1 "* ]] || fail "$3: is '$1', none of '$2'"
}

# has TEXT PART WHAT
has() {
	[[ $1 == *"$2"* ]] || fail "$3: '$1' has no '$2'"
}

# has_not TEXT PART WHAT
has_not() {
	[[ $1 != *"$2"* ]] || fail "$3: '$1' has '$2'"
}

# status_of COMMAND... : its exit status; its output goes to where the check's goes.
status_of() {
	local status=0
	"$@" >&2 || status=$?
	echo "$status"
}

# fails COMMAND... : it must, and its output is printed.
fails() {
	if "$@" 2>&1; then fail "$* has succeeded"; fi
}

# soon COMMAND... : it succeeds within twenty seconds.
soon() {
	local tries
	for ((tries = 0; tries < 100; tries++)); do
		if "$@" >/dev/null 2>&1; then return 0; fi
		sleep 0.2
	done
	fail "not within 20 s: $*"
}

# is COMMAND EXPECTED : what the command line prints, for `soon`.
is() {
	[ "$(eval "$1")" = "$2" ]
}

# in_terminal COMMAND... : runs it with a terminal, and prints what it writes there.
in_terminal() {
	script --quiet --return --command "$(printf '%q ' "$@")" /dev/null </dev/null | tr -d '\r'
}

# cgroup_of_process PID : its directory, below /sys/fs/cgroup.
cgroup_of_process() {
	echo "/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$1/cgroup")"
}

# make_root DIRECTORY : a root filesystem of busybox, and two files that are no programs.
make_root() {
	mkdir -p "$1"/{bin,dev,etc,proc,root,sys,tmp,var}
	cp /bin/busybox "$1/bin/busybox"
	chroot "$1" /bin/busybox --install -s /bin
	echo 'root:x:0:0:root:/root:/bin/sh' >"$1/etc/passwd"
	echo 'root:x:0:' >"$1/etc/group"
	echo 'not a program' >"$1/etc/data"
	chmod 1777 "$1/tmp"
}

# make_archive ROOT FILE : an image with that root filesystem, localhost/myapp:1.0, for engines that build none.
make_archive() {
	printf 'FROM scratch\nCOPY . /\nENV PATH=/bin\nCMD %s\n' "$(jq --null-input --compact-output --arg program "$program" '["sh", "-c", $program]')" |
		podman build --quiet --tag localhost/myapp:1.0 --file - "$1"
	podman save --format oci-archive --output "$2" localhost/myapp:1.0
}

# What the image runs where a check names no command. It ends by SIGTERM.
program='trap "exit 0" TERM; while :; do sleep 0.2; done'

run_check() {
	local name=$1 status=0 began=${EPOCHREALTIME/./} why
	timeout --kill-after 5 180 bash -euo pipefail -- "$0" --one "$runtime" "check_$name" >"$work/output" 2>&1 </dev/null || status=$?
	if [ "$status" = 0 ]; then
		timeout --kill-after 5 60 bash -euo pipefail -- "$0" --one "$runtime" left >"$work/output" 2>&1 </dev/null || status=$?
	else
		timeout --kill-after 5 60 bash -euo pipefail -- "$0" --one "$runtime" clean >/dev/null 2>&1 </dev/null || true
	fi
	why=$(tail -n 1 "$work/output" | tr -d '\r')
	name+=" ($(((${EPOCHREALTIME/./} - began) / 1000)) ms)"
	case $status in
	0) echo "ok $name" ;;
	77) echo "skipped $name: $why" ;;
	124) echo "FAILED $name: not done in time; $why" ;;
	*)
		echo "FAILED $name: $why"
		sed 's/^/    /' "$work/output" >&2
		;;
	esac
}

# propagates_to_the_host RUN... : what a container mounts below a shared volume; RUN is the engine's `run`.
propagates_to_the_host() {
	mkdir -p "$work/shared"
	mount -t tmpfs shared "$work/shared"
	mount --make-shared "$work/shared"
	"$@" --privileged --volume "$work/shared:/data:rshared" myapp \
		sh -c 'mkdir /data/sub && mount -t tmpfs later /data/sub && touch /data/sub/file'
	ls "$work/shared/sub/file"
	umount --recursive "$work/shared"
}

# left : removes every container, and fails if something stays.
left() {
	clean
	nothing_is_left
}

main() {
	local name names=()
	if [ "$1" = --one ]; then
		"$3"
		return
	fi
	mkdir -p "$work"
	if [ -x "$1" ]; then install -m 755 "$1" /usr/local/bin/; fi
	shift
	[ $# -gt 0 ] || mapfile -t names < <(compgen -A function check_)
	set -- "${@/#/check_}" "${names[@]}"
	prepare
	for name; do run_check "${name#check_}"; done
}
