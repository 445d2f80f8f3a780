//! Probes of what the container shows of the machine: mounts, keys, the kernel's files, devices.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};

use super::change;
use super::probes::{COVERED, GIVEN, MASKED, Target};
use crate::mountinfo::{self, Mount};

/// How far below the mount of a hierarchy cgroups are tried.
const CGROUP_DEPTH: usize = 3;

fn mounts() -> Vec<Mount> {
    mountinfo::load().unwrap_or_default()
}

/// Permissions of a key that only who possesses it sees (keyctl_setperm(3)). Before the caller has set
/// them, whoever has its user id does.
const POSSESSORS_ALONE: &str = "3f000000";

/// Keys of the caller's session (keyrings(7)).
pub(super) fn keys(target: &Target) -> Vec<String> {
    let list = fs::read_to_string("/proc/keys").unwrap_or_default();
    let is_callers = |line: &&str| line.contains(&target.key) && line.contains(POSSESSORS_ALONE);
    list.lines().filter(is_callers).map(str::to_owned).collect()
}

/// Mode, owner, times and attributes of every file of the host that is mounted or a standard stream:
/// the null device that masks, above all.
pub(super) fn metadata(target: &Target) -> Vec<String> {
    let devices = fs::read_dir("/dev").into_iter().flatten().flatten().map(|entry| entry.path());
    let streams = (0..=2).map(|fd| PathBuf::from(format!("/proc/self/fd/{fd}")));
    let places = mounts().into_iter().map(|mount| mount.point).chain(devices).chain(streams);
    let mut changed = Vec::new();
    for path in places.filter(|path| target.is_hosts(path)) {
        let done = change(&path).into_iter().filter(|(_, outcome)| outcome.is_ok());
        changed.extend(done.map(|(call, _)| format!("{call} {}", path.display())));
    }
    changed
}

/// The host's directory that was given for reading, written to through every mount that shows it.
pub(super) fn write(target: &Target) -> Vec<String> {
    let points = mounts().into_iter().map(|mount| mount.point.join("marker"));
    points.filter(|path| target.is_hosts(path) && writes(path)).map(|path| shown(&path)).collect()
}

fn writes(path: &Path) -> bool {
    OpenOptions::new().write(true).open(path).is_ok()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// A mount that is read-only on the host, made writable (mount_namespaces(7)): that is put back.
pub(super) fn remount(_: &Target) -> Vec<String> {
    let is_readonly = |mount: &&Mount| {
        mount.point == Path::new(GIVEN) && flags(mount).contains(MountFlags::RDONLY)
    };
    let mut changed = Vec::new();
    for mount in mounts().iter().filter(is_readonly) {
        let put = |flags| mount_remount(&mount.point, MountFlags::BIND | flags, c"").is_ok();
        if put(MountFlags::empty()) {
            let put_back = if put(flags(mount)) { "" } else { ", and not put back" };
            changed.push(format!("{}{put_back}", mount.point.display()));
        }
    }
    changed
}

/// What its options say.
fn flags(mount: &Mount) -> MountFlags {
    let flag = |option| match option {
        "ro" => MountFlags::RDONLY,
        "nosuid" => MountFlags::NOSUID,
        "nodev" => MountFlags::NODEV,
        "noexec" => MountFlags::NOEXEC,
        _ => MountFlags::empty(),
    };
    mount.options.split(',').map(flag).collect()
}

/// What a mount of the host covers in a directory that was given with all that is mounted on it.
pub(super) fn uncover(target: &Target) -> Vec<String> {
    let _ = unmount(COVERED, UnmountFlags::DETACH);
    let path = format!("{COVERED}/secret");
    target.is_marker(&path).then_some(path).into_iter().collect()
}

/// Files of the kernel with which the host is changed, opened for writing.
pub(super) fn kernel_files(_: &Target) -> Vec<String> {
    const FILES: [&str; 5] = [
        "sys/kernel/core_pattern",
        "sys/kernel/modprobe",
        "sys/vm/drop_caches",
        "sysrq-trigger",
        "sys/kernel/panic",
    ];
    let views = mounts().into_iter().filter(|mount| mount.filesystem == "proc");
    let files = views.flat_map(|mount| FILES.map(|file| mount.point.join(file)));
    let others = ["/sys/kernel/mm/transparent_hugepage/enabled", "/sys/power/state"];
    files
        .chain(others.map(PathBuf::from))
        .filter(|path| writes(path))
        .map(|path| shown(&path))
        .collect()
}

/// Files of cgroups with which limits are left or programs of the host are started.
pub(super) fn cgroups(_: &Target) -> Vec<String> {
    let mut found = Vec::new();
    search(Path::new("/sys/fs/cgroup"), CGROUP_DEPTH, &mut found);
    found
}

fn search(directory: &Path, depth: usize, found: &mut Vec<String>) {
    for name in ["cgroup.procs", "release_agent", "memory.max", "devices.allow"] {
        let path = directory.join(name);
        found.extend(writes(&path).then(|| shown(&path)));
    }
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    for entry in below.filter(|_| depth > 0) {
        search(&entry.path(), depth - 1, found);
    }
}

/// What the config masks, in every procfs that is mounted.
pub(super) fn masked(_: &Target) -> Vec<String> {
    let name = Path::new(MASKED).strip_prefix("/proc").unwrap_or(Path::new(MASKED));
    let views = mounts().into_iter().filter(|mount| mount.filesystem == "proc");
    let files = views.filter(|mount| mount.point.is_dir()).map(|mount| mount.point.join(name));
    let shows = |path: &PathBuf| fs::read(path).is_ok_and(|content| !content.is_empty());
    files.filter(shows).map(|path| shown(&path)).collect()
}

/// A procfs of a new user namespace, without masks (fs/namespace.c, `mount_too_revealing`).
pub(super) fn another_procfs(_: &Target) -> Vec<String> {
    let mut command = Command::new("/bin/unshare");
    let script = "mount -t proc none /proc && head -c 9 /proc/version";
    command.args(["-mrpf", "sh", "-c", script]);
    let shown = command.output().map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&shown).into_owned();
    Some(text).filter(|text| !text.is_empty()).into_iter().collect()
}

/// The kernel's log, by a node that the program makes itself.
pub(super) fn device(_: &Target) -> Vec<String> {
    let path = CString::from(c"/dev/hostile-kmsg");
    let _ = mknodat(CWD, &path, FileType::CharacterDevice, Mode::RUSR, makedev(1, 11));
    let opened = fs::File::open("/dev/hostile-kmsg").map(|_| shown(Path::new("/dev/hostile-kmsg")));
    let _ = fs::remove_file("/dev/hostile-kmsg");
    opened.into_iter().collect()
}
