//! A stay in another mount namespace.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, fstat, openat, stat};
use rustix::process::{chroot, fchdir};

use crate::join::enter;
use crate::{Error, Kind};

/// Does `work` in the mount namespace `copy`, and comes back. Root and working directory are the namespace's root meanwhile
/// (setns(2)), and the caller's again afterwards.
///
/// `copied` is the root in the mount namespace of which that is a copy; the caller's own, if it is in that.
///
/// # Errors
/// Those of setns(2), and [`Error::ChangedRoot`] where paths would lead elsewhere in the copy. A caller that
/// gets an error may not be back.
pub fn in_mount_namespace<T>(
    copy: &OwnedFd,
    copied: Option<&OwnedFd>,
    work: impl FnOnce() -> T,
) -> Result<T, Error> {
    let own = open(c"/proc/self/ns/mnt", OFlags::RDONLY)?;
    let (root, directory) = (own_root()?, open(c".", OFlags::PATH)?);
    enter(Kind::Mount, copy)?;
    let done = is_root(copied.unwrap_or(&root)).map(|same| same.then(work));
    enter(Kind::Mount, &own)?;
    fchdir(&root).map_err(Error::call("come back to the root directory: fchdir"))?;
    chroot(c".").map_err(Error::call("come back to the root directory: chroot"))?;
    fchdir(&directory).map_err(Error::call("come back to the working directory: fchdir"))?;
    done?.ok_or(Error::ChangedRoot)
}

/// The root of this process, for [`in_mount_namespace`].
///
/// # Errors
/// Those of open(2).
pub fn own_root() -> Result<OwnedFd, Error> {
    open(c"/", OFlags::PATH)
}

fn open(path: &CStr, flags: OFlags) -> Result<OwnedFd, Error> {
    openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::call("remember the mount namespace, root and working directory: open"))
}

/// Whether `root` is what `/` leads to here.
fn is_root(root: &OwnedFd) -> Result<bool, Error> {
    let failed = || Error::call("compare the root directories: stat");
    let (other, own) = (fstat(root).map_err(failed())?, stat(c"/").map_err(failed())?);
    Ok((other.st_dev, other.st_ino) == (own.st_dev, own.st_ino))
}
