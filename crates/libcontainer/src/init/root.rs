//! The container's root as a file descriptor: the only way init reaches a path in the container.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, UnmountFlags, mount_change, move_mount, unmount,
};

use super::failure::from_nix;
use super::host_mounts;
use super::walk::{End, walk};
use crate::mount::{Remounter, Tree, attach, new_filesystem, open_directory_itself};
use crate::plan::{Attributes, ContainerPath};

/// Permissions of directories that the runtime makes on the way to a mount point.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);
/// Only a handle: the file itself is not opened.
pub(super) const PATH: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// The root directory of a container.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
    /// The directory looked up last, since devices come many to one.
    last_parent: std::cell::RefCell<Option<(ContainerPath, std::rc::Rc<OwnedFd>)>>,
    /// What changes attached mounts where the kernel lacks mount_setattr(2).
    remounter: Option<Remounter>,
}

/// What happens at a symbolic link on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Links {
    /// It is followed, below the root.
    Followed,
    /// The look-up fails, with `ELOOP`.
    Refused,
}

impl Links {
    const fn resolve_flags(self) -> ResolveFlags {
        ResolveFlags::IN_ROOT.union(match self {
            Self::Followed => ResolveFlags::NO_MAGICLINKS,
            Self::Refused => ResolveFlags::NO_SYMLINKS,
        })
    }
}

/// What a mount point must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Directory,
    File,
}

/// A place in the container for a mount.
#[derive(Debug)]
pub(crate) struct Place {
    /// A handle on it.
    pub file: OwnedFd,
    /// Whether it was made for this.
    pub is_new: bool,
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Root {
    /// Takes the root of the detached mount `tree` and attaches it at `path`, the host's path of
    /// the root filesystem, where createContainer hooks look for it.
    ///
    /// Before, no mount event may reach the host any more (mount_namespaces(7)): a shared parent
    /// would carry every mount of the container there.
    pub(crate) fn attach(mut tree: Tree, path: &Path) -> anyhow::Result<Self> {
        make_private()?;
        let context = || format!("attach at {}", path.display());
        // The same directory, seen from this mount namespace.
        let place = open_directory_itself(path).with_context(context)?;
        let (here, there) = (fstat(&place).context("fstat")?, fstat(&tree).context("fstat")?);
        ensure!(
            (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino),
            "root.path {}: another directory has taken its place meanwhile",
            path.display()
        );
        // Its propagation was to be set; if it could not be, the kernel lacks the call.
        let remounter = tree.is_unfinished().then(Remounter::open).transpose()?;
        tree.attach(&place, remounter.as_ref(), |_| "move_mount".to_owned())
            .with_context(context)?;
        Ok(Self { remounter, ..Self::new(tree.into_file()) })
    }

    /// Makes the process's root a directory in which nothing is, in a mount namespace of its own with nothing
    /// else: neither `..` nor who joins it comes to the host. `place` is any directory there is.
    pub(crate) fn leave_for_nowhere(place: &Path) -> anyhow::Result<()> {
        unshare(CloneFlags::CLONE_NEWNS).map_err(from_nix).context("unshare")?;
        make_private()?;
        let readonly = Attributes { set: libsyscall::mount::attribute::RDONLY, clear: 0 };
        let nowhere = Self::new(new_filesystem(c"tmpfs", Some(c"tmpfs"), &[], readonly)?);
        attach(&nowhere, open_directory_itself(place)?).context("move_mount")?;
        nowhere.pivot()
    }

    /// The process's own root.
    pub(crate) fn own() -> anyhow::Result<Self> {
        let flags = PATH | OFlags::DIRECTORY;
        let directory = openat(rustix::fs::CWD, c"/", flags, Mode::empty());
        Ok(Self::new(directory.context("open /")?))
    }

    /// A directory that is a container's root.
    pub(crate) const fn new(fd: OwnedFd) -> Self {
        Self { fd, last_parent: std::cell::RefCell::new(None), remounter: None }
    }

    /// Makes this root the root of the process and of its mount namespace, and lets go of the
    /// host's.
    ///
    /// The second `.` is the place below which the old root ends: on top of the new one, where
    /// the umount finds it (pivot_root(2), "pivot_root(".", ".")").
    pub(crate) fn pivot(&self) -> anyhow::Result<()> {
        rustix::process::fchdir(&self.fd).context("fchdir to the root filesystem")?;
        rustix::process::pivot_root(c".", c".").context("pivot_root")?;
        unmount(c".", UnmountFlags::DETACH).context("detach the host's root: umount")?;
        rustix::process::chdir(c"/").context("chdir to /")
    }

    /// The same where pivot_root(2) cannot be used, as on the initial ramfs: the root covers the
    /// host's, which stays below without what was mounted there. Who joins the mount namespace gets the
    /// upper one (setns(2)).
    pub(crate) fn cover(&self) -> anyhow::Result<()> {
        move_mount(&self.fd, c"", rustix::fs::CWD, c"/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .context("move the root filesystem to /: move_mount")?;
        host_mounts::remove(self).context("remove the host's mounts")?;
        self.enter()
    }

    /// Makes this root the root of the process alone.
    pub(crate) fn enter(&self) -> anyhow::Result<()> {
        rustix::process::fchdir(&self.fd).context("fchdir to the root filesystem")?;
        rustix::process::chroot(c".").context("chroot")
    }

    /// Opens `path` below the root; links in the container are resolved in the container, magic
    /// links not at all.
    pub(crate) fn open(&self, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.look_up(path, flags, Links::Followed)
    }

    /// A handle on `path`. A `..` in it takes back the component before it, also where that is missing.
    pub(crate) fn find(&self, path: &ContainerPath) -> Result<OwnedFd, Errno> {
        match self.open(path.as_c_str(), PATH) {
            Err(Errno::NOENT) if path.has_parent_component() => {}
            result => return result,
        }
        match walk(self.as_fd(), path.as_path(), Links::Followed)? {
            End::There(file) => Ok(file),
            End::Missing { .. } => Err(Errno::NOENT),
        }
    }

    /// A handle on `path`, or `ELOOP` where a symbolic link is on the way.
    pub(crate) fn find_without_links(&self, path: &ContainerPath) -> Result<OwnedFd, Errno> {
        self.look_up(path.as_c_str(), PATH, Links::Refused)
    }

    fn look_up(&self, path: &CStr, flags: OFlags, links: Links) -> Result<OwnedFd, Errno> {
        let (flags, resolve) = (flags | OFlags::CLOEXEC, links.resolve_flags());
        settled(|| openat2(&self.fd, path, flags, Mode::empty(), resolve))
    }

    /// The place `path`, which is made, with its parents, if it is missing.
    pub(crate) fn ensure(&self, path: &ContainerPath, target: Target) -> anyhow::Result<Place> {
        self.look_up_or_make(path, target, Links::Followed)
    }

    /// As [`Self::ensure`], but never through a symbolic link, whether one is there or comes meanwhile.
    pub(crate) fn ensure_without_links(
        &self,
        path: &ContainerPath,
        target: Target,
    ) -> anyhow::Result<Place> {
        self.look_up_or_make(path, target, Links::Refused)
    }

    fn look_up_or_make(
        &self,
        path: &ContainerPath,
        target: Target,
        links: Links,
    ) -> anyhow::Result<Place> {
        match self.look_up(path.as_c_str(), PATH, links) {
            Err(Errno::NOENT) => {}
            result => return opened(result),
        }
        let end = walk(self.as_fd(), path.as_path(), links).map_err(unresolved);
        match end.with_context(|| format!("make {path}"))? {
            End::There(file) => Ok(Place { file, is_new: false }),
            End::Missing { directory, names } => {
                let file = self.make(directory, &names, target)?;
                Ok(Place { file, is_new: true })
            }
        }
    }

    /// As [`Self::ensure`], but a symbolic link at `path` is what is meant, and not followed.
    pub(crate) fn ensure_itself(
        &self,
        path: &ContainerPath,
        target: Target,
    ) -> anyhow::Result<Place> {
        match self.open(path.as_c_str(), PATH | OFlags::NOFOLLOW) {
            Err(Errno::NOENT) => self.ensure(path, target),
            result => opened(result),
        }
    }

    /// The directory of `path`, made if it is missing, and the last component.
    pub(crate) fn parent(
        &self,
        path: &ContainerPath,
    ) -> anyhow::Result<(std::rc::Rc<OwnedFd>, CString)> {
        let (directory, name) = split(path)?;
        if let Some((known, fd)) = &*self.last_parent.borrow()
            && *known == directory
        {
            return Ok((fd.clone(), name));
        }
        let fd = std::rc::Rc::new(self.ensure(&directory, Target::Directory)?.file);
        *self.last_parent.borrow_mut() = Some((directory, fd.clone()));
        Ok((fd, name))
    }

    /// What changes attached mounts, if mount_setattr(2) does not.
    pub(crate) const fn remounter(&self) -> Option<&Remounter> {
        self.remounter.as_ref()
    }

    /// The root of a container in which no mount is changed any more.
    pub(crate) fn sealed(self) -> Self {
        Self { remounter: None, ..self }
    }

    /// Forgets directories looked up before: a new mount may have covered them.
    pub(crate) fn forget(&self) {
        *self.last_parent.borrow_mut() = None;
    }

    /// Makes what a path lacks, one in the other, never through a link that comes meanwhile.
    fn make(
        &self,
        directory: Option<OwnedFd>,
        names: &[OsString],
        target: Target,
    ) -> anyhow::Result<OwnedFd> {
        let (last, parents) = names.split_last().context("nothing is missing")?;
        let mut place = directory;
        for name in parents {
            place =
                Some(make_directory(place.as_ref().map_or(self.as_fd(), OwnedFd::as_fd), name)?);
        }
        let parent = place.as_ref().map_or(self.as_fd(), OwnedFd::as_fd);
        match target {
            Target::Directory => make_directory(parent, last),
            Target::File => make_file(parent, last),
        }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How often a path is looked up. While other processes did nothing but rename, paths with eight `..`
/// needed five look-ups at most, and one with 800 some thousand.
const LOOKUPS: usize = 1000;

/// Keeps mount events from the host, and the host's from here.
fn make_private() -> anyhow::Result<()> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change(c"/", private).context("make the host's mounts private: mount")
}

/// The first result of `look_up` that is neither `EINTR` nor `EAGAIN`, by which the kernel says that
/// something on the machine was renamed or mounted meanwhile, so that it cannot tell whether a `..`
/// has left the directory (openat2(2)). Whoever renames without end ends the attempts.
pub(super) fn settled(look_up: impl FnMut() -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    let unsettled = |result: &_| matches!(result, Err(Errno::AGAIN | Errno::INTR));
    let mut results = std::iter::repeat_with(look_up).take(LOOKUPS);
    results.find(|result| !unsettled(result)).unwrap_or(Err(Errno::AGAIN))
}

/// What a look-up below the root has brought.
fn opened(result: Result<OwnedFd, Errno>) -> anyhow::Result<Place> {
    let file = result.map_err(unresolved).context("open in the root filesystem: openat2")?;
    Ok(Place { file, is_new: false })
}

/// A directory that is not there yet, or has come meanwhile.
fn make_directory(parent: BorrowedFd<'_>, name: &OsStr) -> anyhow::Result<OwnedFd> {
    match mkdirat(parent, name, DIRECTORY_MODE) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).context("make the mount point: mkdir"),
    }
    let flags = PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY;
    openat(parent, name, flags, Mode::empty()).context("make the mount point: open")
}

/// An empty file that is not there yet.
fn make_file(parent: BorrowedFd<'_>, name: &OsStr) -> anyhow::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, DIRECTORY_MODE).context("make the mount point: open")
}

/// The directory of a path and its last component.
fn split(path: &ContainerPath) -> anyhow::Result<(ContainerPath, CString)> {
    let normalized = path.normalized();
    let name = normalized.file_name().with_context(|| format!("{path} names no file"))?;
    let parent = normalized.parent().unwrap_or(&normalized);
    let directory = ContainerPath::new(parent).context("NUL in a path")?;
    Ok((directory, CString::new(name.as_bytes())?))
}

/// Why a path below the root cannot be opened.
pub(super) fn unresolved(errno: Errno) -> anyhow::Error {
    let error = anyhow::Error::new(errno);
    match errno {
        Errno::AGAIN => error.context(format!(
            "each of {LOOKUPS} times something on this machine was renamed or mounted meanwhile; try \
             again"
        )),
        Errno::LOOP => error.context("a symbolic link is in the way"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::{LOOKUPS, Root, settled, unresolved};

    #[test]
    fn a_path_is_looked_up_again_but_not_for_ever() {
        let mut errors = vec![Errno::INTR, Errno::AGAIN];
        let found = settled(|| match errors.pop() {
            Some(errno) => Err(errno),
            None => Ok(Root::own().unwrap().fd),
        });
        assert!(found.is_ok());
        let mut count = 0;
        let found = settled(|| {
            count += 1;
            Err(Errno::AGAIN)
        });
        assert_eq!((found.unwrap_err(), count), (Errno::AGAIN, LOOKUPS));
        let text = format!("{:#}", unresolved(Errno::AGAIN));
        assert!(text.contains("each of 1000 times something"), "{text}");
    }
}
