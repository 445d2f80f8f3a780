//! Device nodes and links: the spec's defaults and `linux.devices`.

use std::path::Path;

use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType};

use super::{ContainerPath, Device, DeviceKind, Link, Mount, MountKind, Violations};

/// The devices every container has (config-linux.md, "Default Devices"). /dev/console comes with
/// the terminal, /dev/ptmx is a link.
const DEFAULTS: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];
/// Permissions where the config gives none.
const DEFAULT_MODE: u32 = 0o666;

/// Links in /dev (runtime-linux.md, "Dev symbolic links"; config-linux.md, "Default Devices").
const LINKS: [(&str, &std::ffi::CStr, Option<&str>); 6] = [
    ("/dev/fd", c"/proc/self/fd", Some("/proc/self/fd")),
    ("/dev/stdin", c"/proc/self/fd/0", Some("/proc/self/fd")),
    ("/dev/stdout", c"/proc/self/fd/1", Some("/proc/self/fd")),
    ("/dev/stderr", c"/proc/self/fd/2", Some("/proc/self/fd")),
    ("/dev/core", c"/proc/kcore", Some("/proc/kcore")),
    ("/dev/ptmx", c"pts/ptmx", Some("/dev/pts/ptmx")),
];

/// Whether the container's /dev is a directory of the host, which is left as it is.
fn host_has_dev(mounts: &[Mount]) -> bool {
    mounts.iter().any(|mount| {
        mount.destination.normalized() == Path::new("/dev")
            && matches!(mount.kind, MountKind::Bind { .. })
    })
}

pub(crate) fn plan(linux: &Linux, mounts: &[Mount], found: &mut Violations) -> Vec<Device> {
    let mut devices: Vec<Device> = Vec::new();
    for (index, device) in linux.devices().iter().flatten().enumerate() {
        let device = plan_one(index, device, found);
        let path = device.path.normalized();
        if devices.iter().any(|other| other.path.normalized() == path) {
            let rule = "a device must not be listed twice";
            let pointer = format!("/linux/devices/{index}/path");
            found.add(&pointer, &device.path, rule, "remove one of the entries");
        }
        devices.push(device);
    }
    if host_has_dev(mounts) {
        return devices;
    }
    let given: Vec<_> = devices.iter().map(|device| device.path.normalized()).collect();
    let defaults =
        DEFAULTS.into_iter().filter(|(path, ..)| given.iter().all(|one| one != Path::new(path)));
    let defaults = defaults.map(|(path, major, minor)| Device {
        path: ContainerPath::new(path).unwrap_or_default(),
        kind: DeviceKind::Character { major, minor },
        mode: DEFAULT_MODE,
        uid: 0,
        gid: 0,
        index: None,
    });
    defaults.chain(devices.iter().cloned()).collect()
}

fn plan_one(index: usize, device: &LinuxDevice, found: &mut Violations) -> Device {
    let pointer = format!("/linux/devices/{index}");
    let mut number = |name: &str, value: i64| {
        u32::try_from(value).unwrap_or_else(|_| {
            let rule = "a device number is not negative and below 2^32";
            found.add(&format!("{pointer}/{name}"), value, rule, "see ls -l of the device");
            0
        })
    };
    let (major, minor) = (number("major", device.major()), number("minor", device.minor()));
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => DeviceKind::Character { major, minor },
        LinuxDeviceType::B => DeviceKind::Block { major, minor },
        LinuxDeviceType::P => DeviceKind::Fifo,
        LinuxDeviceType::A => {
            let rule = "is no type of a device node (config-linux.md, \"Devices\")";
            found.add(&format!("{pointer}/type"), "a", rule, "write c, b, u or p");
            DeviceKind::Fifo
        }
    };
    let section = "config-linux.md, \"Devices\"";
    let path = found.absolute(&format!("{pointer}/path"), device.path(), section);
    // The upper bits are the type, which engines send along.
    let mode = device.file_mode().map_or(DEFAULT_MODE, |mode| mode & 0o7777);
    let (uid, gid) = (device.uid().unwrap_or(0), device.gid().unwrap_or(0));
    Device { path, kind, mode, uid, gid, index: Some(index) }
}

pub(crate) fn links(mounts: &[Mount]) -> Vec<Link> {
    if host_has_dev(mounts) {
        return Vec::new();
    }
    LINKS
        .into_iter()
        .map(|(path, target, only_if)| Link {
            path: ContainerPath::new(path).unwrap_or_default(),
            target: target.to_owned(),
            only_if: only_if.and_then(ContainerPath::new),
        })
        .collect()
}
