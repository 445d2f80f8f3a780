//! The mounts that pivot_root(2) would have taken away, where the container's root covers the host's
//! instead.
//!
//! Nobody comes to them by a path, and they count all the same: who makes a user namespace and in it a
//! mount namespace may mount procfs and sysfs if the mount namespace has one that is wholly visible
//! (fs/namespace.c, `mnt_already_visible`), and the new one has no masks.

use std::io::{Read as _, Seek as _};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use libcgroups::MountLine;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{UnmountFlags, unmount};

use super::root::Root;
use crate::mount::{attach, mount_id, new_filesystem};
use crate::plan::Attributes;

/// How many mounts may lie on one another.
const ROUNDS: usize = 1000;

/// Detaches the host's mounts from the mount namespace, all but the lowest, on which the container's
/// root is. What came from a more privileged mount namespace is locked (mount_namespaces(7)): views of
/// the kernel among it are covered.
pub(super) fn remove(root: &Root) -> anyhow::Result<()> {
    // Opened first: one of them is /proc.
    let table = std::fs::File::open("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
    let lowest = openat(CWD, c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let (lowest, own) = (mount_id(&lowest.context("open /")?)?, mount_id(root)?);
    for _ in 0..ROUNDS {
        let text = read(&table).context("/proc/self/mountinfo")?;
        let mounts = MountLine::parse_all(&text)?;
        // The path / leads to the lowest itself, whatever is on it.
        let is_upper = |mount: &&MountLine<'_>| {
            mount.parent == lowest && mount.id != own && mount.mount_point != Path::new("/")
        };
        // The path leads to the last of those on one another; the others go in the next rounds.
        let detach = |mount: &MountLine<'_>| {
            unmount(&mount.mount_point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok()
        };
        if mounts.iter().filter(is_upper).filter(|mount| detach(mount)).count() == 0 {
            return views(&mounts, own).try_for_each(|view| {
                let place = view.mount_point.display();
                cover(view).with_context(|| format!("cover the host's {place}"))
            });
        }
    }
    bail!("more than {ROUNDS} mounts on one another");
}

/// The list as it is now.
fn read(mut table: &std::fs::File) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    table.rewind()?;
    table.read_to_end(&mut text)?;
    Ok(text)
}

/// The views of the kernel that are wholly visible, but those of the container, whose root is `own`.
fn views<'a>(mounts: &'a [MountLine<'a>], own: u64) -> impl Iterator<Item = &'a MountLine<'a>> {
    mounts.iter().filter(move |mount| {
        matches!(mount.fstype, "proc" | "sysfs")
            && mount.root == Path::new("/")
            && !is_below(mount, own, mounts)
            && !mounts.iter().any(|other| covers(other, mount))
    })
}

/// Whether `mount` is the mount `above`, or on it or one that is.
fn is_below(mount: &MountLine<'_>, above: u64, mounts: &[MountLine<'_>]) -> bool {
    let parent = |mount: &&MountLine<'_>| mounts.iter().find(|other| other.id == mount.parent);
    // A mount table has no cycles, but a text may.
    let mut line = std::iter::successors(Some(mount), parent).take(mounts.len());
    line.any(|mount| mount.id == above)
}

fn covers(other: &MountLine<'_>, mount: &MountLine<'_>) -> bool {
    other.parent == mount.id && other.mount_point == mount.mount_point
}

fn cover(view: &MountLine<'_>) -> anyhow::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = openat(CWD, &view.mount_point, flags, Mode::empty()).context("open")?;
    ensure!(mount_id(&place)? == view.id, "another mount is in the way");
    let attributes = Attributes { set: libsyscall::mount::attribute::RDONLY, clear: 0 };
    let empty = new_filesystem(c"tmpfs", Some(c"tmpfs"), &[], attributes)?;
    attach(&empty, &place).context("attach: move_mount")
}

#[cfg(test)]
mod tests {
    use libcgroups::MountLine;

    #[test]
    fn views_of_the_host() {
        let table = b"\
            2 1 0:1 / / rw - ext4 /dev/sda rw\n\
            3 2 0:2 / /proc rw - proc proc rw\n\
            4 2 0:3 / /sys rw - sysfs sysfs rw\n\
            5 4 0:4 / /sys rw - tmpfs tmpfs rw\n\
            6 2 0:2 /sys /srv/sys ro - proc proc rw\n\
            7 2 0:2 / /srv/\xff rw - proc proc rw\n\
            8 2 0:5 / / rw - overlay overlay rw\n\
            9 8 0:6 / /proc rw - proc proc rw\n\
            10 9 0:6 /sys /proc/sys ro - proc proc rw\n";
        let mounts = MountLine::parse_all(table).unwrap();
        let found: Vec<u64> = super::views(&mounts, 8).map(|view| view.id).collect();
        assert_eq!(found, [3, 7]);
    }
}
