//! Existing namespaces: opened all together before any is entered, then entered in order.

use std::os::fd::{AsFd, OwnedFd};

use nix::sched::setns;
use rustix::fs::{Mode, OFlags, fstat, open, stat};
use rustix::io::Errno;

use crate::{Error, Joined, Kind, KindSet, Namespaces};

/// The files of the namespaces to join, in the order of joining.
#[derive(Debug)]
pub enum NamespaceFiles {
    /// A file for each namespace.
    Files(Vec<(Kind, OwnedFd)>),
    /// The pidfd of a process that is in all of these.
    Process(OwnedFd, KindSet),
}

impl NamespaceFiles {
    /// Opens every joined namespace and checks its kind (ioctl_nsfs(2), `NS_GET_NSTYPE`), and that the
    /// container would change none of the runtime's own.
    ///
    /// # Errors
    /// A path that cannot be opened, is not a namespace of that kind, or is one to keep.
    pub(crate) fn open(namespaces: &Namespaces) -> Result<Self, Error> {
        namespaces
            .joined
            .iter()
            .map(|joined| Ok((joined.kind, open_checked(joined)?)))
            .collect::<Result<_, _>>()
            .map(Self::Files)
    }

    /// The namespaces that the process of `pidfd` is in.
    #[must_use]
    pub const fn of_process(pidfd: OwnedFd, kinds: KindSet) -> Self {
        Self::Process(pidfd, kinds)
    }

    /// These and those that were made beforehand and are the container's.
    pub(crate) fn with(self, made: impl IntoIterator<Item = (Kind, OwnedFd)>) -> Self {
        match self {
            Self::Files(mut files) => {
                files.extend(made);
                files.sort_by_key(|(kind, _)| *kind);
                Self::Files(files)
            }
            process @ Self::Process(..) => process,
        }
    }

    /// The file of one kind, where there are files.
    #[must_use]
    pub fn file(&self, kind: Kind) -> Option<&OwnedFd> {
        match self {
            Self::Files(files) => files.iter().find(|(one, _)| *one == kind).map(|(_, file)| file),
            Self::Process(..) => None,
        }
    }

    /// Enters those of `kinds`, all at once where one process is in all. The user namespace comes when it must: what belongs to the
    /// runtime's own user namespace is refused afterwards, what belongs to the joined one before,
    /// so a refusal before it is tried again after it.
    ///
    /// # Errors
    /// The first namespace that cannot be entered.
    pub fn join(&self, kinds: KindSet) -> Result<(), Error> {
        let files = match self {
            Self::Files(files) => files,
            Self::Process(pidfd, own) => return join_process(pidfd, *own, kinds),
        };
        let wanted = || files.iter().filter(|(kind, _)| kinds.contains(*kind));
        let user = wanted().find(|(kind, _)| *kind == Kind::User);
        let mut refused = Vec::new();
        for (kind, file) in wanted().filter(|(kind, _)| *kind != Kind::User) {
            match enter(*kind, file) {
                Err(Error::Join { errno: Errno::PERM, .. }) if user.is_some() => {
                    refused.push((*kind, file));
                }
                result => result?,
            }
        }
        if let Some((kind, file)) = user {
            enter(*kind, file)?;
            become_root()?;
        }
        refused.into_iter().try_for_each(|(kind, file)| enter(kind, file))
    }
}

/// setns(2) with a pidfd (Linux 5.8).
fn join_process(pidfd: &OwnedFd, own: KindSet, kinds: KindSet) -> Result<(), Error> {
    let wanted: KindSet = own.iter().filter(|kind| kinds.contains(*kind)).collect();
    let Some(first) = wanted.iter().next() else { return Ok(()) };
    setns(pidfd, wanted.flags())
        .map_err(|errno| Error::Join { kind: first, errno: from_nix(errno) })?;
    if wanted.contains(Kind::User) { become_root() } else { Ok(()) }
}

fn open_checked(joined: &Joined) -> Result<OwnedFd, Error> {
    let Joined { kind, path, index, changed_by } = joined;
    let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::Open { index: *index, path: path.clone(), errno })?;
    if libsyscall::namespace::kind(file.as_fd()) != Ok(kind.flag().bits()) {
        return Err(Error::WrongKind { index: *index, path: path.clone(), kind: *kind });
    }
    if !changed_by.is_empty() && is_own(*kind, &file)? {
        let (path, changed_by) = (path.clone(), changed_by.clone());
        return Err(Error::Own { index: *index, path, kind: *kind, changed_by });
    }
    Ok(file)
}

/// Whether `file` is the namespace that this process is in: the same inode (namespaces(7)).
fn is_own(kind: Kind, file: &OwnedFd) -> Result<bool, Error> {
    let failed = || Error::call("compare a namespace with the runtime's own: stat");
    let own = stat(format!("/proc/self/ns/{}", kind.proc_name())).map_err(failed())?;
    let other = fstat(file).map_err(failed())?;
    Ok((own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
}

pub(crate) fn enter(kind: Kind, file: &OwnedFd) -> Result<(), Error> {
    setns(file, KindSet::EMPTY.with(kind).flags())
        .map_err(|errno| Error::Join { kind, errno: from_nix(errno) })
}

/// Takes uid 0 and gid 0 of the user namespace just entered: until then the process has
/// the overflow ids, and files it makes cannot be owned. It is not dumpable then: a change of ids
/// undoes that where `fs.suid_dumpable` says so (proc_sys_fs(5)).
fn become_root() -> Result<(), Error> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    use rustix::thread::{set_thread_res_gid, set_thread_res_uid};
    let (gid, uid) = (rustix::process::Gid::ROOT, rustix::process::Uid::ROOT);
    set_thread_res_gid(gid, gid, gid)
        .map_err(Error::call("become root of the user namespace: setresgid"))?;
    set_thread_res_uid(uid, uid, uid)
        .map_err(Error::call("become root of the user namespace: setresuid"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(Error::call("become non-dumpable: prctl"))
}

/// nix's error number as rustix's.
pub(crate) fn from_nix(errno: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}
