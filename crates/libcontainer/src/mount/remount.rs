//! What mount_setattr(2) does, by mount(2), which kernels before 5.12 have.
//!
//! mount(2) takes a path. A mount is named by its descriptor, in the host's procfs, so that no path that an image
//! can change leads anywhere else. What is mounted below it is looked up from it without following a link, and is
//! what the kernel has in its list of mounts, or an error.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, ensure};
use libcgroups::MountLine;
use libsyscall::mount::attribute;
use rustix::fs::{CWD, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstatfs, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount_change, mount_remount};
use rustix::process::{chdir, fchdir};

use super::{Change, mount_id};
use crate::plan::Attributes;

/// `MS_NOSYMFOLLOW` (mount(2), Linux 5.10).
const NOSYMFOLLOW: MountFlags = MountFlags::from_bits_retain(0x100);

/// Changes mounts of this process's mount namespace.
#[derive(Debug)]
pub(crate) struct Remounter {
    /// The host's procfs: that of the container's root is the image's to choose.
    procfs: OwnedFd,
}

impl Remounter {
    /// One for a process whose root is the host's.
    pub(crate) fn open() -> anyhow::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let procfs = openat(CWD, c"/proc", flags, Mode::empty()).context("/proc: open")?;
        let kind = fstatfs(&procfs).context("/proc: fstatfs")?.f_type;
        ensure!(kind == PROC_SUPER_MAGIC, "/proc of the host is no procfs; mount one there");
        Ok(Self { procfs })
    }

    /// Whether what is attached on `place` is carried to other mounts.
    pub(super) fn is_shared(&self, place: BorrowedFd<'_>) -> anyhow::Result<bool> {
        let text = self.list()?;
        Ok(line_of(mount_id(place)?, &MountLine::parse_all(&text)?)?.is_shared)
    }

    /// Changes the attached mount whose root is `mount`.
    pub(super) fn change(&self, mount: BorrowedFd<'_>, change: &Change) -> anyhow::Result<()> {
        if change.propagation != 0 {
            let flags = MountPropagationFlags::from_bits_retain(change.propagation as u32);
            let below = if change.recursive {
                MountPropagationFlags::REC
            } else {
                MountPropagationFlags::empty()
            };
            self.at(mount, |path| mount_change(path, flags | below))?;
        }
        if change.attributes.is_empty() {
            return Ok(());
        }
        let text = self.list()?;
        let mounts = MountLine::parse_all(&text)?;
        let own = line_of(mount_id(mount)?, &mounts)?;
        self.remount(mount, own, change.attributes)?;
        let mut below =
            mounts.iter().filter(|line| change.recursive && is_below(line, own.id, &mounts));
        below.try_for_each(|line| {
            let found = find_below(mount, own, line)
                .with_context(|| format!("what is mounted on {}", line.mount_point.display()))?;
            self.remount(found.as_fd(), line, change.attributes)
        })
    }

    /// Gives a mount, whose line is `line`, other attributes. What is not named stays as it is: a mount of a
    /// user namespace may have locked flags (mount_namespaces(7)).
    fn remount(
        &self,
        mount: BorrowedFd<'_>,
        line: &MountLine<'_>,
        change: Attributes,
    ) -> anyhow::Result<()> {
        let now = attributes_of(line.options);
        let wanted = (now & !change.clear) | change.set;
        if wanted == now {
            return Ok(());
        }
        let flags = MountFlags::BIND | flags_of(wanted);
        self.at(mount, |path| mount_remount(path, flags, c""))
    }

    /// Does `call` with a path of `mount` that leads from the working directory. This is the root afterwards:
    /// nothing of the host may be a container's working directory (CVE-2024-21626).
    fn at(
        &self,
        mount: BorrowedFd<'_>,
        call: impl FnOnce(&std::ffi::CStr) -> Result<(), Errno>,
    ) -> anyhow::Result<()> {
        let path = CString::new(format!("self/fd/{}", mount.as_raw_fd()))?;
        fchdir(&self.procfs).context("fchdir to /proc")?;
        let changed = call(&path).context("mount");
        chdir(c"/").context("chdir to /")?;
        changed
    }

    /// The mounts that there are (proc_pid_mountinfo(5)).
    fn list(&self) -> anyhow::Result<Vec<u8>> {
        let read = || {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let table = openat(&self.procfs, c"self/mountinfo", flags, Mode::empty())?;
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut std::fs::File::from(table), &mut text).map(|_| text)
        };
        read().context("/proc/self/mountinfo")
    }
}

fn line_of<'a>(id: u64, mounts: &'a [MountLine<'a>]) -> anyhow::Result<&'a MountLine<'a>> {
    let found = mounts.iter().find(|line| line.id == id);
    found.with_context(|| format!("mount {id} is not in /proc/self/mountinfo"))
}

/// Whether `mount` is on the mount `above`, or on one that is.
fn is_below(mount: &MountLine<'_>, above: u64, mounts: &[MountLine<'_>]) -> bool {
    let parent = |mount: &&MountLine<'_>| mounts.iter().find(|other| other.id == mount.parent);
    // A mount table has no cycles, but a text may.
    let line = std::iter::successors(Some(mount), parent).take(mounts.len());
    line.skip(1).any(|mount| mount.id == above)
}

/// The root of the mount `line`, which is below `own`, whose root is `mount`.
///
/// # Errors
/// Its path leads to another mount, as where one covers it, or somebody renames meanwhile. Only
/// mount_setattr(2) reaches it then.
fn find_below(
    mount: BorrowedFd<'_>,
    own: &MountLine<'_>,
    line: &MountLine<'_>,
) -> anyhow::Result<OwnedFd> {
    let path = line.mount_point.strip_prefix(&own.mount_point).unwrap_or(Path::new("."));
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let found = openat2(mount, path, flags, Mode::empty(), resolve);
    match found {
        Ok(found) if mount_id(&found)? == line.id => Ok(found),
        _ => Err(Errno::NOSYS).context("it is covered: mount_setattr"),
    }
}

/// The names of attributes in /proc/self/mountinfo; the rest is what there is without them.
const NAMES: [(&str, u64, MountFlags); 8] = [
    ("ro", attribute::RDONLY, MountFlags::RDONLY),
    ("nosuid", attribute::NOSUID, MountFlags::NOSUID),
    ("nodev", attribute::NODEV, MountFlags::NODEV),
    ("noexec", attribute::NOEXEC, MountFlags::NOEXEC),
    ("noatime", attribute::NOATIME, MountFlags::NOATIME),
    ("nodiratime", attribute::NODIRATIME, MountFlags::NODIRATIME),
    ("nosymfollow", attribute::NOSYMFOLLOW, NOSYMFOLLOW),
    // Of the field of access times; not shown, but what there is if the others are not.
    ("strictatime", attribute::STRICTATIME, MountFlags::STRICTATIME),
];

/// The attributes that the options of a mount say.
fn attributes_of(options: &str) -> u64 {
    let has = |name| options.split(',').any(|option| option == name);
    let named = NAMES.iter().filter(|(name, ..)| has(*name)).fold(0, |all, (_, bit, _)| all | bit);
    let strict = named & attribute::ATIME == 0 && !has("relatime");
    named | if strict { attribute::STRICTATIME } else { attribute::RELATIME }
}

/// The flags of mount(2) for attributes. Without one of access times it would leave these as they are.
fn flags_of(attributes: u64) -> MountFlags {
    let named = NAMES.iter().filter(|(_, bit, _)| attributes & bit == *bit);
    let flags = named.fold(MountFlags::empty(), |all, (.., flag)| all | *flag);
    let relative = attributes & attribute::ATIME == attribute::RELATIME;
    flags | if relative { MountFlags::RELATIME } else { MountFlags::empty() }
}

#[cfg(test)]
mod tests {
    use libcgroups::MountLine;
    use libsyscall::mount::attribute;
    use rustix::mount::MountFlags;

    use super::{attributes_of, flags_of, is_below};

    #[test]
    fn options_are_attributes_and_flags() {
        for (options, attributes, flags) in [
            ("rw,relatime", 0, MountFlags::RELATIME),
            ("rw", attribute::STRICTATIME, MountFlags::STRICTATIME),
            ("ro,noatime", attribute::RDONLY | attribute::NOATIME, {
                MountFlags::RDONLY | MountFlags::NOATIME
            }),
            ("rw,nosuid,nodev,noexec,nodiratime,relatime,nosymfollow", 0x20_008e, {
                MountFlags::NOSUID
                    | MountFlags::NODEV
                    | MountFlags::NOEXEC
                    | MountFlags::NODIRATIME
                    | MountFlags::RELATIME
                    | super::NOSYMFOLLOW
            }),
        ] {
            assert_eq!((attributes_of(options), flags_of(attributes)), (attributes, flags));
        }
    }

    #[test]
    fn mounts_below() {
        let table = b"\
            2 1 0:1 / / rw - ext4 /dev/sda rw\n\
            3 2 0:2 / /a rw shared:1 - tmpfs tmpfs rw\n\
            4 3 0:3 / /a/b rw master:1 - tmpfs tmpfs rw\n\
            5 2 0:4 / /c rw - tmpfs tmpfs rw\n\
            6 4 0:5 / /a/b rw - tmpfs tmpfs rw\n";
        let mounts = MountLine::parse_all(table).unwrap();
        let below = |above| -> Vec<u64> {
            let lines = mounts.iter().filter(|line| is_below(line, above, &mounts));
            lines.map(|line| line.id).collect()
        };
        assert_eq!((below(3), below(5)), (vec![4, 6], vec![]));
        let shared: Vec<_> = mounts.iter().map(|line| line.is_shared).collect();
        assert_eq!(shared, [false, true, false, false, false]);
    }
}
