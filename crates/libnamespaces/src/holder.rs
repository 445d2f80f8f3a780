//! The holder: a process that makes namespaces which others enter, and only lives until they are open.
//!
//! A mount namespace that is copied into another user namespace has its mounts locked by the kernel: what
//! they forbid stays forbidden, and what they cover stays covered (mount_namespaces(7), "Restrictions on
//! mount namespaces"). What is cloned of them there keeps these locks. So both namespaces exist before
//! anything is opened for the container.

use std::fmt::Display;
use std::os::fd::{AsFd as _, OwnedFd};

use libsyscall::clone::{Cloned, Flags, exit_now};
use nix::sched::unshare;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{DumpableBehavior, WaitId, WaitIdOptions, set_dumpable_behavior, waitid};

use crate::join::from_nix;
use crate::joiner::clone_into;
use crate::mapping::Mappings;
use crate::report::Report;
use crate::{Error, IdMapping, Kind, KindSet, NamespaceFiles, Namespaces, Spawn};

/// The namespaces that exist before anything else of a container does.
#[derive(Debug)]
pub struct Prepared {
    /// Those that it enters.
    pub files: NamespaceFiles,
    /// The mount namespace in which the host's mounts are to be cloned, if it is not the runtime's. It is a
    /// copy of that, and belongs to the container's user namespace.
    pub mounts: Option<OwnedFd>,
}

/// Opens the namespaces to join, and makes what `spawn` wants beforehand: a user namespace with its mappings, a
/// mount namespace that belongs to it or, without it, to the user namespace that is joined.
///
/// # Errors
/// A path that is not a namespace of its kind, or one to keep; those of clone3(2), setns(2) and unshare(2), and
/// of writing the mappings: `EPERM` without the right to the host ids, `EINVAL` for ranges that the kernel does not take. Nothing is
/// left behind then.
pub fn prepare(namespaces: &Namespaces, spawn: &Spawn) -> Result<Prepared, Error> {
    let joined = NamespaceFiles::open(namespaces)?;
    let made = make(spawn.beforehand(), namespaces, &joined)?;
    let mounts = made.iter().find(|(kind, _)| *kind == Kind::Mount);
    let mounts = mounts.map(|(_, file)| fcntl_dupfd_cloexec(file, 0)).transpose();
    let mounts = mounts.map_err(Error::call("keep the mount namespace: fcntl"))?;
    let own = made.into_iter().filter(|(kind, _)| namespaces.new.contains(*kind));
    Ok(Prepared { files: joined.with(own), mounts })
}

fn make(
    kinds: KindSet,
    namespaces: &Namespaces,
    joined: &NamespaceFiles,
) -> Result<Vec<(Kind, OwnedFd)>, Error> {
    if kinds.is_empty() {
        return Ok(Vec::new());
    }
    if !kinds.contains(Kind::User) {
        // What is made in a user namespace that exists is a mount namespace alone.
        let made = mount_namespace_in_joined_user_namespace(joined)?;
        return Ok(vec![(Kind::Mount, made)]);
    }
    let mappings = Mappings {
        uids: &namespaces.uid_mappings,
        gids: &namespaces.gid_mappings,
        uid_step: "/linux/uidMappings: write /proc/PID/uid_map",
        gid_step: "/linux/gidMappings: write /proc/PID/gid_map",
    };
    hold(kinds.clone_flags(), |pid| {
        mappings.write(pid)?;
        open_all(pid, kinds)
    })
}

/// Makes a user namespace with these mappings that nobody is in: for an idmapped mount.
///
/// # Errors
/// Those of clone3(2) and of writing the mappings. Nothing is left behind then.
pub fn user_namespace(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd, Error> {
    let mappings = Mappings {
        uids,
        gids,
        uid_step: "map user ids: write /proc/PID/uid_map",
        gid_step: "map group ids: write /proc/PID/gid_map",
    };
    hold(Flags::NEWUSER, |pid| {
        mappings.write(pid)?;
        open_one(pid, Kind::User)
    })
}

const MAKE: &str = "make a user or mount namespace: clone3";

/// Says what a machine has been told that lets nobody make a user namespace (namespaces(7), and what Debian and Ubuntu add).
fn explain(error: Error) -> Error {
    match error {
        Error::Call { step: MAKE, errno: errno @ (Errno::NOSPC | Errno::USERS) } => Error::Call {
            step: "make a user or mount namespace: clone3 (there may be no more of them: raise the sysctls \
                   user.max_user_namespaces and user.max_mnt_namespaces)",
            errno,
        },
        Error::Call { step: MAKE, errno: Errno::PERM } => Error::Call {
            step: "make a user or mount namespace: clone3 (this machine lets only root: set the sysctl \
                   kernel.unprivileged_userns_clone to 1; in a chroot nobody may)",
            errno: Errno::PERM,
        },
        error => error,
    }
}

/// Does `take` with the pid of a process that was cloned with `flags`.
fn hold<T>(flags: Flags, take: impl FnOnce(i32) -> Result<T, Error>) -> Result<T, Error> {
    let (reader, writer) = Report::pair()?;
    match clone_into(flags, None, MAKE).map_err(explain)? {
        Cloned::Child(_) => {
            drop(reader);
            writer.wait_for_end();
            exit_now(0)
        }
        Cloned::Parent { pid, pidfd } => {
            drop(writer);
            let taken = take(pid);
            drop(reader);
            reap(&pidfd)?;
            taken
        }
    }
}

/// A mount namespace in the user namespace of `files`. The holder opens it itself: who joins as a user without privilege
/// may not look into it from outside.
fn mount_namespace_in_joined_user_namespace(files: &NamespaceFiles) -> Result<OwnedFd, Error> {
    let (reader, writer) = Report::pair()?;
    match clone_into(Flags::NONE, None, "make a mount namespace: clone3")? {
        Cloned::Child(_) => {
            drop(reader);
            // Who does not hear it sees the end of this process.
            let _ = match make_in_joined_user_namespace(files) {
                Ok(made) => writer.send_file(&made),
                Err(error) => writer.send_error(&error),
            };
            exit_now(0)
        }
        Cloned::Parent { pidfd, .. } => {
            drop(writer);
            let made = reader.receive_file();
            reap(&pidfd)?;
            made
        }
    }
}

fn reap(holder: &OwnedFd) -> Result<(), Error> {
    waitid(WaitId::PidFd(holder.as_fd()), WaitIdOptions::EXITED)
        .map_err(Error::call("wait for the process that makes namespaces: waitid"))?;
    Ok(())
}

/// In the holder, which processes of that user namespace may see: they can neither trace it nor follow the
/// links of its /proc/PID, as it is not dumpable (ptrace(2), "Ptrace access mode checking").
fn make_in_joined_user_namespace(files: &NamespaceFiles) -> Result<OwnedFd, Error> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(Error::call("become non-dumpable: prctl"))?;
    files.join(KindSet::EMPTY.with(Kind::User))?;
    let failed = |errno| Error::Call { step: "make namespaces: unshare", errno: from_nix(errno) };
    unshare(KindSet::EMPTY.with(Kind::Mount).flags()).map_err(failed)?;
    open_one("self", Kind::Mount)
}

fn open_all(pid: i32, kinds: KindSet) -> Result<Vec<(Kind, OwnedFd)>, Error> {
    kinds.iter().map(|kind| Ok((kind, open_one(pid, kind)?))).collect()
}

fn open_one(process: impl Display, kind: Kind) -> Result<OwnedFd, Error> {
    let path = format!("/proc/{process}/ns/{}", kind.proc_name());
    open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::call("open a new namespace: open /proc/PID/ns"))
}
