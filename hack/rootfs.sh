# shellcheck shell=bash
# Root filesystems for containers.

# make_busybox_rootfs DIRECTORY : Debian's static busybox with a link for each of its programs.
make_busybox_rootfs() {
    local rootfs=$1 program
    mkdir -p "$rootfs"/{bin,dev,etc,proc,root,sys,tmp,usr/bin,var}
    chmod 1777 "$rootfs/tmp"
    cp "$(command -v busybox)" "$rootfs/bin/busybox"
    for program in $("$rootfs/bin/busybox" --list); do
        [[ -e $rootfs/bin/$program ]] || ln -s busybox "$rootfs/bin/$program"
    done
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$rootfs/etc/passwd"
    printf 'root:x:0:\ntty:x:5:\nnogroup:x:65534:\n' >"$rootfs/etc/group"
}
