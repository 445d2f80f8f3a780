//! A stay in another mount namespace.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, fstat, openat, stat};
use rustix::process::{chroot, fchdir};

use crate::join::enter;
use crate::{Error, Kind};

/// Does `work` in the mount namespace `copy`, a copy of the caller's, and comes back. Root and working directory
/// are the namespace's root meanwhile (setns(2)), and the caller's again afterwards.
///
/// # Errors
/// Those of setns(2), and [`Error::ChangedRoot`] where paths would lead elsewhere in the copy. A caller that
/// gets an error may not be back.
pub fn in_mount_namespace<T>(copy: &OwnedFd, work: impl FnOnce() -> T) -> Result<T, Error> {
    let open = |path, flags| {
        openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())
            .map_err(Error::call("remember the mount namespace, root and working directory: open"))
    };
    let own = open(c"/proc/self/ns/mnt", OFlags::RDONLY)?;
    let (root, directory) = (open(c"/", OFlags::PATH)?, open(c".", OFlags::PATH)?);
    enter(Kind::Mount, copy)?;
    let done = is_root(&root).map(|same| same.then(work));
    enter(Kind::Mount, &own)?;
    fchdir(&root).map_err(Error::call("come back to the root directory: fchdir"))?;
    chroot(c".").map_err(Error::call("come back to the root directory: chroot"))?;
    fchdir(&directory).map_err(Error::call("come back to the working directory: fchdir"))?;
    done?.ok_or(Error::ChangedRoot)
}

/// Whether `root` is what `/` leads to here.
fn is_root(root: &OwnedFd) -> Result<bool, Error> {
    let failed = || Error::call("compare the root directories: stat");
    let (other, own) = (fstat(root).map_err(failed())?, stat(c"/").map_err(failed())?);
    Ok((other.st_dev, other.st_ino) == (own.st_dev, own.st_ino))
}
