//! Calls of mount that open and init share: all on file descriptors, none on a path in the
//! container.

mod remount;
mod tree;

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, bail};
use libsyscall::mount::{MountAttributes, set_attributes};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags, fstat, statx};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

pub(crate) use remount::Remounter;
pub(crate) use tree::{Change, Tree, change_attached};

use crate::plan::{Attributes, Parameter};

/// Attaches the detached mount `mount` on `target`.
pub(crate) fn attach(mount: impl AsFd, target: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, c"", flags)
}

/// The type of the file behind a handle.
pub(crate) fn file_type(fd: impl AsFd) -> Result<FileType, Errno> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode))
}

/// The number of the mount that `fd` is in, as in /proc/self/mountinfo.
pub(crate) fn mount_id(fd: impl AsFd) -> anyhow::Result<u64> {
    let status = statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).context("statx")?;
    Ok(status.stx_mnt_id)
}

/// A handle on a directory that is not reached by a symbolic link.
///
/// # Errors
/// `path` is missing, a link or another file.
pub(crate) fn open_directory_itself(path: &Path) -> anyhow::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty()).context("open")?;
    match file_type(&directory).context("fstat")? {
        FileType::Directory => Ok(directory),
        FileType::Symlink => bail!("is a symbolic link; give the directory itself"),
        _ => bail!("is not a directory"),
    }
}

/// A private copy of the mount at `path`.
pub(crate) fn detach(path: &Path, more: OpenTreeFlags) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, path, flags | more)
}

pub(crate) fn clone_tree(place: impl AsFd, more: OpenTreeFlags) -> anyhow::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | more;
    open_tree(place, c"", flags).context("open_tree")
}

/// Makes a filesystem instance and its detached mount.
pub(crate) fn new_filesystem(
    fstype: &CStr,
    source: Option<&CStr>,
    parameters: &[Parameter],
    attributes: Attributes,
) -> anyhow::Result<OwnedFd> {
    make_filesystem(&open_filesystem(fstype)?, fstype, source, parameters, attributes)
}

/// What a filesystem is to be made of. It belongs to the namespaces of this process, whoever makes it.
pub(crate) fn open_filesystem(fstype: &CStr) -> anyhow::Result<OwnedFd> {
    fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC)
        .with_context(|| format!("filesystem type {fstype:?}: fsopen"))
}

/// Makes the instance of an opened filesystem, and its detached mount.
pub(crate) fn make_filesystem(
    context: &OwnedFd,
    fstype: &CStr,
    source: Option<&CStr>,
    parameters: &[Parameter],
    attributes: Attributes,
) -> anyhow::Result<OwnedFd> {
    if let Some(source) = source {
        let set = fsconfig_set_string(context, c"source", source);
        explained(context, set, format!("source {source:?}"))?;
    }
    configure(context, parameters)?;
    explained(context, fsconfig_create(context), format!("create {fstype:?}"))?;
    let flags = MountAttrFlags::from_bits_retain(attributes.set as u32);
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, flags).context("fsmount")
}

pub(crate) fn configure(context: &OwnedFd, parameters: &[Parameter]) -> anyhow::Result<()> {
    for Parameter { key, value } in parameters {
        let (set, what) = match value {
            Some(value) => (
                fsconfig_set_string(context, key, value),
                format!(
                    "option {}={}{}",
                    key.to_string_lossy(),
                    value.to_string_lossy(),
                    origin(key)
                ),
            ),
            None => (fsconfig_set_flag(context, key), format!("option {}", key.to_string_lossy())),
        };
        explained(context, set, what)?;
    }
    Ok(())
}

/// Where an option may come from that the mount's own do not name.
fn origin(key: &CStr) -> &'static str {
    if key == c"context" { " (linux.mountLabel, or the mount's own label)" } else { "" }
}

pub(crate) fn explained(
    context: &OwnedFd,
    result: Result<(), Errno>,
    what: String,
) -> anyhow::Result<()> {
    result.with_context(|| format!("{what}{}: fsconfig", kernel_message(context)))
}

/// What the kernel says in its own words (fsopen(2): messages are read from the context).
fn kernel_message(context: &OwnedFd) -> String {
    let mut buffer = [0; 256];
    match rustix::io::read(context, &mut buffer) {
        Ok(length) => {
            let text =
                String::from_utf8_lossy(buffer.get(2..length).unwrap_or_default()).into_owned();
            format!(" ({})", text.trim())
        }
        Err(_) => String::new(),
    }
}

/// Maps the ids of a detached mount, and with `recursive` of those below.
pub(crate) fn map_ids(tree: &Tree, namespace: &OwnedFd, recursive: bool) -> anyhow::Result<()> {
    let change =
        MountAttributes { user_namespace: Some(namespace.as_fd()), ..MountAttributes::default() };
    set_attributes(tree.as_fd(), &change, recursive).context(
        "map ids: mount_setattr (EINVAL: the filesystem does not support it, or its ids are mapped \
         already)",
    )
}
