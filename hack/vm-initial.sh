# Shared by hack/vm-image and hack/vm-kernel: source it, do not run it.
# shellcheck shell=bash

# The first process before systemd: it finds the disk, and that of the modules, where these are apart from it.
first_process() {
	cat <<'INIT'
#!/bin/busybox sh
busybox() { /bin/busybox "$@"; }
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devices /dev
for module in $(busybox cat /modules/order); do busybox insmod "/modules/$module"; done
find_disk() {
	tries=0
	while [ ! -b "$1" ] && [ "$tries" -lt 500 ]; do busybox usleep 10000; tries=$((tries + 1)); done
}
find_disk /dev/vda
busybox mount -t ext4 -o noatime /dev/vda /root
if [ -e /modules/apart ]; then
	find_disk /dev/vdb
	busybox mount -t ext4 -o ro /dev/vdb /root/usr/lib/modules
fi
for directory in dev proc sys; do busybox mount -o move "/$directory" "/root/$directory"; done
exec busybox switch_root /root /sbin/init
INIT
}

# copy_module FROM DIRECTORY : a module as the kernel takes it, and its name in the order.
copy_module() {
	local name
	name=$(basename "${1%.xz}")
	case $1 in
	*.xz) xz -dc "$1" >"$2/$name" ;;
	*) cp "$1" "$2/$name" ;;
	esac
	echo "$name" >>"$2/order"
}

# make_initial ROOT INITIAL VERSION : an archive with the modules of ROOT that find the disk, the working tree and
# the host, each after what it depends on.
make_initial() {
	local root=$1 initial=$2 version=$3 module
	mkdir -p "$initial"/{bin,dev,modules,proc,root,sys}
	cp "$(command -v busybox)" "$initial/bin/busybox"
	for module in virtio_pci virtio_blk virtio_console virtio-rng ext4 9pnet_virtio 9p autofs4; do
		modprobe --dirname "$root" --set-version "$version" --show-depends "$module" 2>/dev/null || true
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r module; do
		copy_module "$module" "$initial/modules"
	done
	first_process >"$initial/init"
	chmod 755 "$initial/init"
	(cd "$initial" && find . | busybox cpio --quiet -o -H newc)
}
