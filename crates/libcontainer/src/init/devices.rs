//! Device nodes and the links beside them.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context as _, bail};
use nix::sys::stat::{FchmodatFlags, fchmodat};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, StatxAttributes, StatxFlags, Uid, chownat, fstat, makedev,
    mknodat, statat, statx, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::failure::from_nix;
use super::root::{Root, Target};
use crate::error::Property;
use crate::files::Files;
use crate::mount::Tree;
use crate::plan::{Device, DeviceKind, Link, Plan};

/// Makes all devices and links.
pub(crate) fn make_all(plan: &Plan, root: &Root, files: &mut Files) -> anyhow::Result<()> {
    for (position, device) in plan.devices.iter().enumerate() {
        let node = files.devices.get_mut(position).and_then(Option::take);
        make(device, node, root).with_context(|| match device.index {
            Some(index) => Property::new(
                format!("/linux/devices/{index}"),
                format!("linux.devices[{index}] {}", device.path),
            ),
            None => Property::new("/linux/devices", format!("default device {}", device.path)),
        })?;
    }
    plan.links
        .iter()
        .try_for_each(|link| make_link(link, root).with_context(|| format!("link {}", link.path)))
}

/// The step of an error.
const BIND: &str = "bind the host's device: move_mount";

fn make(device: &Device, node: Option<Tree>, root: &Root) -> anyhow::Result<()> {
    if let Some(mut node) = node {
        let place = root.ensure(&device.path, Target::File)?;
        return node.attach(&place, root.remounter(), |_| BIND.to_owned());
    }
    let (parent, name) = root.parent(&device.path)?;
    let (file_type, number) = kind_and_number(device.kind);
    let mode = Mode::from_raw_mode(device.mode);
    match mknodat(parent.as_fd(), &name, file_type, mode, number) {
        Ok(()) if (device.uid, device.gid) == (0, 0) => return Ok(()),
        Ok(()) => {}
        Err(Errno::EXIST) => return check_existing(device, &parent, &name),
        Err(errno) => return Err(errno).context("mknod"),
    }
    let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
    chownat(parent.as_fd(), &name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .context("chown")?;
    if device.mode & CLEARED_BY_CHOWN == 0 {
        return Ok(());
    }
    let mode = nix::sys::stat::Mode::from_bits_truncate(device.mode);
    fchmodat(parent.as_fd(), name.as_c_str(), mode, FchmodatFlags::NoFollowSymlink)
        .map_err(from_nix)
        .context("chmod")
}

/// The set-user-ID and set-group-ID bits (chown(2)).
const CLEARED_BY_CHOWN: u32 = 0o6000;

/// A file that is there already must be the device asked for (config-linux.md, "Devices"). What is mounted
/// there takes a default device's place, by whatever name it was mounted.
fn check_existing(device: &Device, parent: &OwnedFd, name: &std::ffi::CStr) -> anyhow::Result<()> {
    if device.index.is_none() && is_mounted(parent, name)? {
        return Ok(());
    }
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).context("stat")?;
    let (file_type, number) = kind_and_number(device.kind);
    let same_number = file_type == FileType::Fifo || stat.st_rdev == number;
    if FileType::from_raw_mode(stat.st_mode) == file_type && same_number {
        return Ok(());
    }
    bail!("there is another file already; remove it from the image or mount a tmpfs on /dev")
}

fn kind_and_number(kind: DeviceKind) -> (FileType, u64) {
    match kind {
        DeviceKind::Character { major, minor } => {
            (FileType::CharacterDevice, makedev(major, minor))
        }
        DeviceKind::Block { major, minor } => (FileType::BlockDevice, makedev(major, minor)),
        DeviceKind::Fifo => (FileType::Fifo, 0),
    }
}

/// Whether a mount is at `name`.
fn is_mounted(parent: &OwnedFd, name: &std::ffi::CStr) -> anyhow::Result<bool> {
    let status = statx(parent, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
    Ok(status.context("statx")?.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn make_link(link: &Link, root: &Root) -> anyhow::Result<()> {
    // /proc/self leads nowhere for who makes a container in a pid namespace that it is not in itself.
    let condition = link.only_if.as_ref().map(|path| root.find_without_links(path));
    if let Some(Err(Errno::NOENT | Errno::NOTDIR)) = condition {
        return Ok(());
    }
    let (parent, name) = root.parent(&link.path)?;
    match symlinkat(&link.target, parent.as_fd(), &name) {
        Err(Errno::EXIST) if link.replaces && !is_taken(&parent, &name)? => {}
        Err(Errno::EXIST) => return Ok(()),
        result => return result.context("symlink"),
    }
    unlinkat(parent.as_fd(), &name, AtFlags::empty()).context("replace: unlink")?;
    symlinkat(&link.target, parent.as_fd(), &name).context("symlink")
}

/// Whether what is at `name` must stay: it is mounted there, or of the host, whose /dev a link of the image
/// has led a mount to.
fn is_taken(parent: &OwnedFd, name: &std::ffi::CStr) -> anyhow::Result<bool> {
    let own = fstat(parent).context("fstat")?;
    let is_host = rustix::fs::stat(c"/dev")
        .is_ok_and(|host| (host.st_dev, host.st_ino) == (own.st_dev, own.st_ino));
    Ok(is_host || is_mounted(parent, name)?)
}

/// Whether `fd` is the character device `major:minor`.
pub(crate) fn is_character_device(fd: impl AsFd, major: u32, minor: u32) -> bool {
    fstat(fd).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == makedev(major, minor)
    })
}
