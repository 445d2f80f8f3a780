//! Device nodes and links: the spec's defaults and `linux.devices`.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::path::Path;

use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType};

use crate::plan::{ContainerPath, Mount, MountKind, Violations};

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Where it goes.
    pub path: ContainerPath,
    /// What it is.
    pub kind: DeviceKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner inside the container.
    pub uid: u32,
    /// Group inside the container.
    pub gid: u32,
    /// Its place in `linux.devices`; absent for the spec's default devices.
    pub index: Option<usize>,
}

/// The type of a device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// `c` and `u`.
    Character {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// `b`.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// `p`.
    Fifo,
}

/// A symbolic link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where it goes.
    pub path: ContainerPath,
    /// What it holds.
    pub target: CString,
    /// Made only if this path exists in the container when the mounts are done.
    pub only_if: Option<ContainerPath>,
    /// Whether it replaces what the image has there.
    pub replaces: bool,
}

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
/// The largest numbers of a device node (`MINORBITS`, linux/kdev_t.h).
const LARGEST: (u32, u32) = ((1 << 12) - 1, (1 << 20) - 1);

const PTMX: &str = "/dev/ptmx";
/// The device behind every /dev/ptmx.
const PTMX_NUMBERS: DeviceKind = DeviceKind::Character { major: 5, minor: 2 };

/// Links in /dev, what they hold, and what must exist for them (runtime-linux.md, "Dev symbolic
/// links"). /dev/ptmx is there in any case (config-linux.md, "Default Devices").
const LINKS: [(&str, &CStr, Option<&str>); 6] = [
    ("/dev/fd", c"/proc/self/fd", Some("/proc/self")),
    ("/dev/stdin", c"/proc/self/fd/0", Some("/proc/self")),
    ("/dev/stdout", c"/proc/self/fd/1", Some("/proc/self")),
    ("/dev/stderr", c"/proc/self/fd/2", Some("/proc/self")),
    ("/dev/core", c"/proc/kcore", Some("/proc/kcore")),
    (PTMX, c"pts/ptmx", None),
];

/// Where mounts go that a device or link must leave alone: a /dev of the host is complete, and
/// what is mounted on a default device replaces it. What a later mount covers does not count.
struct Taken<'a> {
    mounts: &'a [Mount],
    dev: bool,
}

impl<'a> Taken<'a> {
    fn by(mounts: &'a [Mount]) -> Self {
        let on_dev = top_of(mounts, Path::new("/dev"));
        let dev = on_dev.is_some_and(|mount| matches!(mount.kind, MountKind::Bind { .. }));
        Self { mounts, dev }
    }

    fn leaves(&self, path: &str) -> bool {
        !self.dev && top_of(self.mounts, Path::new(path)).is_none()
    }
}

/// The mount that is seen at `path` itself, if that is not only in one.
fn top_of<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let is_new = |mount: &&Mount| !matches!(mount.kind, MountKind::Remount { .. });
    let covers = |mount: &&Mount| path.starts_with(mount.destination.normalized());
    let last = mounts.iter().filter(is_new).rfind(covers)?;
    (last.destination.normalized() == path).then_some(last)
}

/// The default devices that nothing replaces, then those of the config.
pub(crate) fn plan(linux: &Linux, mounts: &[Mount], found: &mut Violations) -> Vec<Device> {
    let taken = Taken::by(mounts);
    let (mut given, mut paths) = (Vec::new(), HashSet::new());
    for (index, device) in linux.devices().iter().flatten().enumerate() {
        let device = plan_one(index, device, found);
        if !paths.insert(device.path.normalized()) {
            let rule = "a device must not be listed twice";
            let pointer = format!("/linux/devices/{index}/path");
            found.add(&pointer, &device.path, rule, "remove one of the entries");
        }
        given.push(device);
    }
    if taken.leaves(PTMX) {
        leave_ptmx(&mut given, found);
    }
    let wanted = |path: &str| taken.leaves(path) && !paths.contains(Path::new(path));
    let defaults = DEFAULTS.into_iter().filter(|(path, ..)| wanted(path));
    let defaults = defaults.map(|(path, major, minor)| Device {
        path: ContainerPath::new(path).unwrap_or_default(),
        kind: DeviceKind::Character { major, minor },
        mode: DEFAULT_MODE,
        uid: 0,
        gid: 0,
        index: None,
    });
    defaults.chain(given).collect()
}

/// Engines list the host's /dev/ptmx for a privileged container, which would be a way to the
/// host's terminals: the link to the container's own has its place.
fn leave_ptmx(devices: &mut Vec<Device>, found: &mut Violations) {
    devices.retain(|device| {
        let is_ptmx = device.path.normalized() == Path::new(PTMX);
        if let (true, Some(index)) = (is_ptmx && device.kind != PTMX_NUMBERS, device.index) {
            let rule = "is a link to pts/ptmx (config-linux.md, \"Default Devices\")";
            let pointer = format!("/linux/devices/{index}/path");
            found.add(&pointer, PTMX, rule, "give the device another path");
        }
        !is_ptmx
    });
}

fn plan_one(index: usize, device: &LinuxDevice, found: &mut Violations) -> Device {
    let pointer = format!("/linux/devices/{index}");
    let path = found.absolute(&format!("{pointer}/path"), device.path(), SECTION);
    Device {
        path,
        kind: kind(device, &pointer, found),
        // The upper bits are the type, which engines send along.
        mode: device.file_mode().map_or(DEFAULT_MODE, |mode| mode & 0o7777),
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        index: Some(index),
    }
}

const SECTION: &str = "config-linux.md, \"Devices\"";

fn kind(device: &LinuxDevice, pointer: &str, found: &mut Violations) -> DeviceKind {
    let mut number = |name: &str, value: i64, largest: u32| {
        u32::try_from(value).ok().filter(|number| *number <= largest).unwrap_or_else(|| {
            let rule = format!("a {name} number is between 0 and {largest}");
            found.add(&format!("{pointer}/{name}"), value, &rule, "see ls -l of the device");
            0
        })
    };
    if device.typ() == LinuxDeviceType::P {
        return DeviceKind::Fifo;
    }
    let major = number("major", device.major(), LARGEST.0);
    let minor = number("minor", device.minor(), LARGEST.1);
    if (device.major(), device.minor()) == (0, 0) {
        let rule = format!("needs its major and minor numbers ({SECTION})");
        found.add(pointer, device.path().display(), &rule, "see ls -l of the device");
    }
    match device.typ() {
        LinuxDeviceType::B => DeviceKind::Block { major, minor },
        LinuxDeviceType::A => {
            let rule = format!("is no type of a device node ({SECTION})");
            found.add(&format!("{pointer}/type"), "a", &rule, "write c, b, u or p");
            DeviceKind::Fifo
        }
        _ => DeviceKind::Character { major, minor },
    }
}

/// The links that nothing replaces.
pub(crate) fn links(mounts: &[Mount]) -> Vec<Link> {
    let taken = Taken::by(mounts);
    let wanted = LINKS.into_iter().filter(|(path, ..)| taken.leaves(path));
    wanted
        .map(|(path, target, only_if)| Link {
            path: ContainerPath::new(path).unwrap_or_default(),
            target: target.to_owned(),
            only_if: only_if.and_then(ContainerPath::new),
            replaces: path == PTMX,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::Linux;
    use serde_json::{Value, json};

    use super::{ContainerPath, DeviceKind, Mount, MountKind, Violations, links, plan};
    use crate::plan::{Attributes, FromBelow, SourceLink};

    fn mount(destination: &str, kind: MountKind) -> Mount {
        Mount {
            index: Some(0),
            destination: ContainerPath::new(destination).unwrap(),
            kind,
            attributes: Attributes::default(),
            recursive_attributes: Attributes::default(),
            propagation: Vec::new(),
            ids: None,
            onto_link: false,
            from_below: FromBelow::default(),
        }
    }

    fn bind(destination: &str) -> Mount {
        let (source, link) = ("/host".into(), SourceLink::Follow);
        mount(destination, MountKind::Bind { source, inside: None, recursive: true, link })
    }

    /// The paths of the devices and of the links.
    fn made(devices: Value, mounts: &[Mount]) -> (Vec<String>, Vec<String>) {
        let linux: Linux = serde_json::from_value(json!({ "devices": devices })).unwrap();
        let mut found = Violations::default();
        let devices = plan(&linux, mounts, &mut found);
        assert!(found.all.is_empty(), "{:?}", found.all);
        let devices = devices.iter().map(|device| device.path.to_string()).collect();
        (devices, links(mounts).iter().map(|link| link.path.to_string()).collect())
    }

    #[test]
    fn a_tmpfs_gets_the_default_devices_and_links() {
        let (devices, links) = made(json!([]), &[mount("/dev", MountKind::Cgroup)]);
        let expected =
            ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];
        assert_eq!(devices, expected);
        let expected =
            ["/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/core", "/dev/ptmx"];
        assert_eq!(links, expected);
    }

    #[test]
    fn a_dev_of_the_host_is_left_as_it_is() {
        let fuse = json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]);
        let (devices, links) = made(fuse, &[bind("/dev/")]);
        assert_eq!((devices, links), (vec!["/dev/fuse".to_owned()], Vec::new()));
    }

    #[test]
    fn what_is_mounted_on_a_default_device_replaces_it() {
        let (devices, links) = made(json!([]), &[bind("/dev/random"), bind("/dev//ptmx")]);
        assert!(!devices.contains(&"/dev/random".to_owned()) && devices.len() == 5);
        assert!(!links.contains(&"/dev/ptmx".to_owned()) && links.len() == 5);
    }

    #[test]
    fn what_a_later_mount_covers_replaces_nothing() {
        let tmpfs = || mount("/dev", MountKind::Cgroup);
        for mounts in [
            vec![bind("/dev/null"), bind("/dev/ptmx"), tmpfs()],
            vec![bind("/dev"), tmpfs()],
            vec![tmpfs(), mount("/dev/null", MountKind::Remount { parameters: Vec::new() })],
        ] {
            let (devices, links) = made(json!([]), &mounts);
            assert_eq!((devices.len(), links.len()), (6, 6), "{mounts:?}");
        }
        assert_eq!(made(json!([]), &[tmpfs(), bind("/dev")]), (Vec::new(), Vec::new()));
        let (devices, _) = made(json!([]), &[bind("/dev/null"), bind("/dev/null")]);
        assert_eq!(devices.len(), 5);
    }

    #[test]
    fn a_device_of_the_config_replaces_the_default() {
        let tty = json!([{"path": "/dev/./tty", "type": "c", "major": 5, "minor": 0}]);
        let (devices, _) = made(tty, &[]);
        assert_eq!(devices.len(), 6);
        assert_eq!(devices.last().map(String::as_str), Some("/dev/./tty"));
    }

    #[test]
    fn the_link_takes_the_place_of_the_ptmx_of_the_host() {
        let ptmx = json!([{"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2}]);
        assert_eq!(made(ptmx.clone(), &[]).0.len(), 6);
        assert_eq!(made(ptmx, &[bind("/dev")]).0, ["/dev/ptmx"]);
    }

    #[test]
    fn a_mode_has_no_type_and_a_fifo_no_numbers() {
        let devices = json!([
            {"path": "/dev/x", "type": "b", "major": 8, "minor": 1, "fileMode": 0o060_640},
            {"path": "/dev/y", "type": "p", "major": -1, "minor": 7}
        ]);
        let linux: Linux = serde_json::from_value(json!({ "devices": devices })).unwrap();
        let planned = plan(&linux, &[], &mut Violations::default());
        let [.., block, fifo] = planned.as_slice() else { panic!("{planned:?}") };
        assert_eq!((block.mode, block.kind), (0o640, DeviceKind::Block { major: 8, minor: 1 }));
        assert_eq!((fifo.mode, fifo.kind), (0o666, DeviceKind::Fifo));
    }
}
