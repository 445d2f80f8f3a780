//! The root filesystem: default mounts, devices, links, masks.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use anyhow::ensure;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::json;

use super::{Test, cases, same};
use crate::config;
use crate::container::Container;
use crate::removal::remove_tree;
use crate::skip::Skip;
use crate::view::{Layout, layout};

cases!("rootfs":
    default_mounts, root_is_the_images, root_is_read_only, root_can_be_writable, old_root_is_gone,
    masked_files, masked_directories, masks_are_read_only, masks_of_missing_paths, masks_through_links,
    readonly_paths, readonly_paths_of_missing_paths, readonly_paths_keep_attributes, readonly_paths_with_mounts_below, default_devices,
    devices_without_mount_on_dev, devices_that_are_there_already, no_devices_on_a_bound_dev,
    default_links, no_links_over_files, no_other_devices, more_devices, device_modes,
    a_device_in_the_way, devices_outside_of_dev, shared_memory, message_queues, terminals,
    cgroup_mount, cgroup_mount_is_the_containers, cgroup_mount_without_cgroup_namespace,
    cgroup_mount_can_be_writable, sys_of_the_host, empty_image,
);

/// The line of a mount point in a mountinfo.
fn line(mountinfo: &str, path: &str) -> anyhow::Result<String> {
    let line = mountinfo.lines().find(|line| line.split(' ').nth(4) == Some(path));
    let line = line.ok_or_else(|| anyhow::anyhow!("{path} is not mounted: {mountinfo}"))?;
    Ok(line.to_owned())
}

fn default_mounts(container: &mut Container) -> Test {
    let output = container.run_script("cat /proc/self/mountinfo")?.success()?.stdout;
    for (path, words) in [
        ("/", &[" ro,"][..]),
        ("/proc", &[" rw,", " - proc "]),
        ("/dev", &[" rw,nosuid - tmpfs ", "size=65536k", "mode=755"]),
        ("/dev/pts", &["rw,nosuid,noexec,", " - devpts ", "ptmxmode=666", "mode=620", "gid=5"]),
        ("/dev/shm", &["rw,nosuid,nodev,noexec,", " - tmpfs ", "size=65536k"]),
        ("/dev/mqueue", &["rw,nosuid,nodev,noexec,", " - mqueue "]),
        ("/sys", &["ro,nosuid,nodev,noexec,", " - sysfs "]),
        ("/sys/fs/cgroup", &["nosuid,nodev,noexec"]),
    ] {
        let line = line(&output, path)?;
        for word in words {
            ensure!(line.contains(word), "{path} has no {word:?}: {line}");
        }
    }
    Ok(())
}

fn root_is_the_images(container: &mut Container) -> Test {
    fs::write(container.rootfs().join("only-here"), "")?;
    let output = container.run_script("ls -a /; ls -d /..")?.success()?;
    ensure!(output.lines().contains(&"only-here"), "{output:?}");
    ensure!(!output.stdout.contains("config.json"), "{output:?}");
    Ok(())
}

fn root_is_read_only(container: &mut Container) -> Test {
    let output = container.run_script("touch /x; echo $?; touch /tmp/x; echo $?")?;
    same!(output.lines(), ["1", "1"]);
    ensure!(output.stderr.contains("Read-only"), "{}", output.stderr);
    Ok(())
}

fn root_can_be_writable(container: &mut Container) -> Test {
    container.set("/root/readonly", json!(false));
    container.run_script("echo y > /x")?.success()?;
    same!(fs::read_to_string(container.rootfs().join("x"))?, "y\n");
    Ok(())
}

/// No mount of the host can be seen, and there is no way up to it.
fn old_root_is_gone(container: &mut Container) -> Test {
    let script = "cut -d' ' -f5 /proc/self/mountinfo; ls -a /../..";
    let output = container.run_script(script)?.success()?;
    let known = ["/", "/proc", "/dev", "/sys"];
    for path in output.lines().into_iter().filter(|path| path.starts_with('/')) {
        let below = known.iter().any(|top| path.starts_with(&format!("{top}/")));
        ensure!(known.contains(&path) || (below && !path.contains("container-test")), "{path}");
    }
    Ok(())
}

/// The files and directories of the default list that this kernel has.
fn masked(container: &Container, directories: bool) -> Vec<String> {
    let paths = container.config["linux"]["maskedPaths"].as_array().into_iter().flatten();
    let paths = paths.filter_map(|path| path.as_str().map(str::to_owned));
    let wanted = |path: &String| fs::metadata(path).is_ok_and(|file| file.is_dir() == directories);
    paths.filter(wanted).collect()
}

fn masked_files(container: &mut Container) -> Test {
    let files = masked(container, false);
    ensure!(!files.is_empty(), "nothing to mask");
    for file in files {
        let script = format!("stat -c '%F %t:%T' {file}; wc -c < {file}");
        let output = container.run_script(&script)?.success()?;
        same!(output.lines(), ["character special file 1:3", "0"]);
    }
    Ok(())
}

fn masked_directories(container: &mut Container) -> Test {
    container.push("/linux/maskedPaths", json!("/etc"));
    let mut directories = masked(container, true);
    directories.push("/etc".to_owned());
    for directory in directories {
        same!(container.run_script(&format!("ls -A {directory}"))?.success()?.stdout, "");
    }
    Ok(())
}

fn masks_are_read_only(container: &mut Container) -> Test {
    container.set("/root/readonly", json!(false));
    container.push("/linux/maskedPaths", json!("/etc"));
    let output = container.run_script("touch /etc/x")?;
    ensure!(output.code != 0 && output.stderr.contains("Read-only"), "{output:?}");
    ensure!(!container.rootfs().join("etc/x").exists(), "it is in the image");
    Ok(())
}

fn masks_of_missing_paths(container: &mut Container) -> Test {
    for path in ["/nowhere", "/no/where"] {
        container.push("/linux/maskedPaths", json!(path));
    }
    container.run()?.success()?;
    Ok(())
}

fn masks_through_links(container: &mut Container) -> Test {
    fs::write(container.victim.join("file"), "the host's\n")?;
    fs::write(container.rootfs().join("etc/secret"), "secret\n")?;
    symlink("/etc/secret", container.rootfs().join("link"))?;
    symlink(container.victim.join("file"), container.rootfs().join("outside"))?;
    container.push("/linux/maskedPaths", json!("/link"));
    container.push("/linux/maskedPaths", json!("/outside"));
    same!(container.run_script("cat /etc/secret")?.success()?.stdout, "");
    same!(fs::read_to_string(container.victim.join("file"))?, "the host's\n");
    Ok(())
}

fn readonly_paths(container: &mut Container) -> Test {
    config::allow_capabilities(&mut container.config, &["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
    container.set("/root/readonly", json!(false));
    fs::write(container.rootfs().join("etc/file"), "")?;
    container.push("/linux/readonlyPaths", json!("/home"));
    container.push("/linux/readonlyPaths", json!("/etc/file"));
    for path in ["/proc/sys/kernel/domainname", "/home/x", "/etc/file"] {
        let output = container.run_script(&format!("echo x > {path}"))?;
        ensure!(output.code != 0 && output.stderr.contains("Read-only"), "{path}: {output:?}");
    }
    container.run_script("echo x > /etc/other")?.success()?;
    Ok(())
}

fn readonly_paths_of_missing_paths(container: &mut Container) -> Test {
    for path in ["/nowhere", "/no/where"] {
        container.push("/linux/readonlyPaths", json!(path));
    }
    container.run()?.success()?;
    Ok(())
}

/// What is mounted below a read-only path is read-only too.
fn readonly_paths_with_mounts_below(container: &mut Container) -> Test {
    container.set("/root/readonly", json!(false));
    fs::create_dir_all(container.rootfs().join("data/inner"))?;
    container.mount(json!({ "destination": "/data/inner", "type": "tmpfs", "source": "tmpfs" }));
    container.push("/linux/readonlyPaths", json!("/data"));
    let output = container.run_script("touch /data/x /data/inner/x; ls /data/inner")?;
    same!((output.code, output.stdout.as_str()), (0, ""));
    Ok(())
}

fn readonly_paths_keep_attributes(container: &mut Container) -> Test {
    container.set("/mounts/0/options", json!(["nosuid", "noexec", "nodev"]));
    let output = container.run_script("cat /proc/self/mountinfo")?.success()?.stdout;
    ensure!(line(&output, "/proc/sys")?.contains(" ro,nosuid,nodev,noexec,"), "{output}");
    Ok(())
}

const DEVICES: [&str; 6] = [
    "null 1:3 666 0:0",
    "zero 1:5 666 0:0",
    "full 1:7 666 0:0",
    "random 1:8 666 0:0",
    "urandom 1:9 666 0:0",
    "tty 5:0 666 0:0",
];
const LIST_DEVICES: &str = "cd /dev; stat -c '%n %t:%T %a %u:%g' null zero full random urandom tty";

fn default_devices(container: &mut Container) -> Test {
    let script = format!("{LIST_DEVICES}; head -c 4 zero | wc -c; head -c 3 urandom | wc -c");
    let output = container.run_script(&script)?.success()?;
    same!(output.lines(), [&DEVICES[..], &["4", "3"]].concat());
    let output =
        container.run_script("echo x > /dev/null && cat /dev/null && echo x > /dev/full")?;
    ensure!(output.stderr.contains("No space left"), "{output:?}");
    Ok(())
}

fn devices_without_mount_on_dev(container: &mut Container) -> Test {
    config::without_dev(&mut container.config);
    same!(container.run_script(LIST_DEVICES)?.success()?.lines(), DEVICES);
    ensure!(container.rootfs().join("dev/null").exists(), "not in the image");
    Ok(())
}

fn devices_that_are_there_already(container: &mut Container) -> Test {
    config::without_dev(&mut container.config);
    for _ in 0..2 {
        same!(container.run_script(LIST_DEVICES)?.success()?.lines(), DEVICES);
    }
    Ok(())
}

fn no_devices_on_a_bound_dev(container: &mut Container) -> Test {
    config::without_dev(&mut container.config);
    let source = container.victim.clone();
    let mode = Mode::from_raw_mode(0o666);
    mknodat(CWD, source.join("null"), FileType::CharacterDevice, mode, makedev(1, 3))?;
    container.mount(json!({ "destination": "/dev", "source": source, "options": ["bind"] }));
    container.run_script("true")?.success()?;
    ensure!(!source.join("zero").exists(), "devices are made on the host");
    Ok(())
}

fn default_links(container: &mut Container) -> Test {
    let script = "cd /dev; for name in fd stdin stdout stderr ptmx; do readlink $name; done";
    let output = container.run_script(script)?.success()?;
    let links =
        ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2", "pts/ptmx"];
    same!(output.lines(), links);
    Ok(())
}

/// What the image has in their place stays.
fn no_links_over_files(container: &mut Container) -> Test {
    config::without_dev(&mut container.config);
    fs::write(container.rootfs().join("dev/stdin"), "the image's\n")?;
    container.run_script("true")?.success()?;
    same!(fs::read_to_string(container.rootfs().join("dev/stdin"))?, "the image's\n");
    Ok(())
}

fn no_other_devices(container: &mut Container) -> Test {
    let output = container.run_script("ls /dev")?.success()?;
    let expected = [
        "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
        "stdout", "tty", "urandom", "zero",
    ];
    let unknown: Vec<_> =
        output.lines().into_iter().filter(|name| !expected.contains(name)).collect();
    same!(unknown, <[&str; 0]>::default());
    Ok(())
}

fn more_devices(container: &mut Container) -> Test {
    container.set(
        "/linux/devices",
        json!([
            { "path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 5, "gid": 6 },
            { "path": "/dev/deep/er/block", "type": "b", "major": 7, "minor": 99, "fileMode": 0o600 },
            { "path": "/dev/also", "type": "u", "major": 1, "minor": 5, "fileMode": 0o600 },
            { "path": "/dev/pipe", "type": "p", "fileMode": 0o622 },
        ]),
    );
    let script = "cd /dev; stat -c '%n %F %t:%T %a %u:%g' mine deep/er/block also pipe";
    let output = container.run_script(script)?.success()?;
    same!(
        output.lines(),
        [
            "mine character special file 1:3 640 5:6",
            "deep/er/block block special file 7:63 600 0:0",
            "also character special file 1:5 600 0:0",
            "pipe fifo 0:0 622 0:0",
        ]
    );
    Ok(())
}

/// A mode is what it says, whatever the umask; none is 0666, and a default device can be had otherwise.
fn device_modes(container: &mut Container) -> Test {
    container.set("/process/user/umask", json!(0o077));
    container.set(
        "/linux/devices",
        json!([
            { "path": "/dev/mine", "type": "c", "major": 1, "minor": 3 },
            { "path": "/dev/full", "type": "c", "major": 1, "minor": 7, "fileMode": 0o600, "uid": 9 },
        ]),
    );
    let output = container.run_script("cd /dev; stat -c '%n %a %u' mine full zero")?.success()?;
    same!(output.lines(), ["mine 666 0", "full 600 9", "zero 666 0"]);
    Ok(())
}

/// A file that is there and is not the device must be an error.
fn a_device_in_the_way(container: &mut Container) -> Test {
    config::without_dev(&mut container.config);
    let device = json!({ "path": "/dev/mine", "type": "c", "major": 1, "minor": 3 });
    container.set("/linux/devices", json!([device]));
    let mode = Mode::from_raw_mode(0o666);
    for name in ["mine", "null"] {
        let place = container.rootfs().join("dev").join(name);
        let others = [
            (FileType::RegularFile, 0),
            (FileType::CharacterDevice, makedev(1, 5)),
            (FileType::BlockDevice, makedev(1, 3)),
            (FileType::Fifo, 0),
        ];
        for (file_type, number) in others {
            // What comes before the one in the way is made.
            let _ = fs::remove_file(&place);
            mknodat(CWD, &place, file_type, mode, number)?;
            container.create_refused(&[&format!("/dev/{name}"), "another file"])?;
        }
        fs::remove_file(&place)?;
    }
    Ok(())
}

fn devices_outside_of_dev(container: &mut Container) -> Test {
    let device =
        json!({ "path": "/lib/device", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600 });
    container.set("/linux/devices", json!([device]));
    same!(container.run_script("stat -c %t:%T /lib/device")?.success()?.words(), ["1:3"]);
    Ok(())
}

fn shared_memory(container: &mut Container) -> Test {
    let script = "stat -c %a /dev/shm; df -k /dev/shm | tail -1 | awk '{ print $2 }'";
    same!(container.run_script(script)?.success()?.words(), ["1777", "65536"]);
    Ok(())
}

fn message_queues(container: &mut Container) -> Test {
    container
        .run_script("touch /dev/mqueue/queue && grep -q QSIZE /dev/mqueue/queue")?
        .success()?;
    Ok(())
}

/// A new instance: no terminal of the host is seen, and the first one is 0.
fn terminals(container: &mut Container) -> Test {
    let output = container.run_script("ls /dev/pts; stat -c %a /dev/pts/ptmx")?.success()?;
    same!(output.words(), ["ptmx", "666"]);
    Ok(())
}

fn cgroup_mount(container: &mut Container) -> Test {
    let script = "for d in /sys/fs/cgroup/*/; do touch $d/x 2> /dev/null && echo $d; done; \
                  mkdir /sys/fs/cgroup/x || grep -c ' /sys/fs/cgroup' /proc/self/mountinfo";
    let output = container.run_script(script)?.success()?;
    ensure!(output.words().len() == 1, "cgroups are writable: {output:?}");
    Ok(())
}

/// With a cgroup namespace of its own the container is at the root of every hierarchy it sees.
fn cgroup_mount_is_the_containers(container: &mut Container) -> Test {
    let script = "cut -d: -f3 /proc/self/cgroup | sort -u; \
                  find /sys/fs/cgroup/ -name cgroup.procs -exec cat {} + | sort -un | tail -1";
    let output = container.run_script(script)?.success()?;
    same!(output.lines()[0], "/");
    // Only the container's own processes have numbers in its PID namespace; 0 is another's.
    let last: u32 = output.lines().last().copied().unwrap_or_default().parse()?;
    ensure!((1..20).contains(&last), "{output:?}");
    Ok(())
}

fn cgroup_mount_without_cgroup_namespace(container: &mut Container) -> Test {
    if layout()? == Layout::V2 {
        let reason = "a cgroup2 mount shows what its cgroup namespace has, as in runc and crun";
        return Err(Skip(reason.to_owned()).into());
    }
    config::namespace(&mut container.config, "cgroup", None);
    let script = "find /sys/fs/cgroup/ -name cgroup.procs -exec cat {} + | sort -un | head -1";
    let output = container.run_script(script)?.success()?;
    ensure!(output.words() == ["1"], "processes of others are seen: {output:?}");
    Ok(())
}

fn cgroup_mount_can_be_writable(container: &mut Container) -> Test {
    if layout()? == Layout::Hybrid {
        return Err(Skip("only where all hierarchies are of one version".to_owned()).into());
    }
    container.set("/mounts/6/options", json!(["nosuid", "noexec", "nodev"]));
    let script = "cd /sys/fs/cgroup; [ -e cgroup.procs ] || cd pids; mkdir sub && rmdir sub && pwd";
    container.run_script(script)?.success()?;
    Ok(())
}

fn sys_of_the_host(container: &mut Container) -> Test {
    config::namespace(&mut container.config, "network", None);
    container.run_script("ls /sys/class/net/lo/ifindex")?.success()?;
    Ok(())
}

/// Nothing but the program: mount points are made.
fn empty_image(container: &mut Container) -> Test {
    let rootfs = container.rootfs();
    let busybox = fs::read(rootfs.join("bin/busybox"))?;
    remove_tree(&rootfs)?;
    fs::create_dir(&rootfs)?;
    fs::write(rootfs.join("busybox"), busybox)?;
    fs::set_permissions(rootfs.join("busybox"), fs::Permissions::from_mode(0o755))?;
    container.set("/process/args", json!(["/busybox", "ls", "/"]));
    same!(container.run()?.success()?.words(), ["busybox", "dev", "proc", "sys"]);
    Ok(())
}
