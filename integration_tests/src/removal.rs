//! Removing directories in which a runtime may have left mounts: never what is mounted there.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, unlinkat};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use crate::mountinfo;

/// How many mounts may lie on and in one directory.
const MOST: usize = 1000;

/// The mount points at and below a path that has no links in it, the innermost last.
pub(crate) fn mounts_below(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let points = mountinfo::load()?.into_iter().map(|mount| mount.point);
    Ok(points.filter(|point| point.starts_with(path)).collect())
}

/// Detaches all that is mounted at and below a path, until nothing is left.
///
/// # Errors
/// Names a mount that stays.
pub(crate) fn detach_below(path: &Path) -> anyhow::Result<()> {
    let Ok(path) = fs::canonicalize(path) else { return Ok(()) };
    // One after the other and read anew each time: mounts lie on one another, and detaching one
    // takes those on it along.
    for _ in 0..MOST {
        let Some(mount) = mounts_below(&path)?.pop() else { return Ok(()) };
        unmount(&mount, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .with_context(|| format!("a mount cannot be removed: {}", mount.display()))?;
    }
    bail!("{} mounts at {} are not all of them", MOST, path.display())
}

/// Removes a directory and what is in it, after everything that is mounted there has been detached.
///
/// # Errors
/// Names a mount that stays. Nothing is removed then.
pub(crate) fn remove_tree(path: &Path) -> anyhow::Result<()> {
    detach_below(path)?;
    remove_without_crossing(path)
}

/// Removes a directory and what is in it. A mount that it comes across ends it.
pub(crate) fn remove_without_crossing(path: &Path) -> anyhow::Result<()> {
    let (parent, name) = path.parent().zip(path.file_name()).context("not below a directory")?;
    let parent = openat2(CWD, parent, DIRECTORY, Mode::empty(), ResolveFlags::empty())
        .with_context(|| parent.display().to_string())?;
    remove_directory(parent.as_fd(), name).with_context(|| format!("remove {}", path.display()))
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn remove_directory(parent: BorrowedFd<'_>, name: &OsStr) -> anyhow::Result<()> {
    let directory = open_below(parent, name)?;
    // All names before the first is removed: what readdir(3) gives of a directory that changes is
    // not said.
    let entries = Dir::read_from(&directory)?.collect::<Result<Vec<_>, Errno>>()?;
    for entry in entries {
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        if kind(&directory, &entry)? == FileType::Directory {
            remove_directory(directory.as_fd(), name)?;
        } else {
            unlinkat(&directory, name, AtFlags::empty()).with_context(|| format!("{name:?}"))?;
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR).with_context(|| format!("{name:?}"))
}

/// A directory, but not through a link and not one that is mounted there, be it of the same
/// filesystem.
fn open_below(parent: BorrowedFd<'_>, name: &OsStr) -> anyhow::Result<OwnedFd> {
    let flags = DIRECTORY | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    let opened = openat2(parent, name, flags, Mode::empty(), resolve);
    ensure!(!matches!(opened, Err(Errno::XDEV)), "{name:?} is mounted");
    opened.with_context(|| format!("{name:?}"))
}

fn kind(directory: &OwnedFd, entry: &rustix::fs::DirEntry) -> anyhow::Result<FileType> {
    if entry.file_type() != FileType::Unknown {
        return Ok(entry.file_type());
    }
    let status = rustix::fs::statat(directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(status.st_mode))
}
