//! Makes init, directly or through a joiner. Returns twice: in the runtime and in the new process.

use std::os::fd::BorrowedFd;

use libsyscall::clone::{Cloned, ClonedChild};
use nix::sched::unshare;

use crate::join::from_nix;
use crate::joiner::{Expected, FIRST_PROCESS, Forked, Joiner, clone_into};
use crate::mapping::TimeOffsets;
use crate::{Child, Error, KindSet, NamespaceFiles, Namespaces, Spawn};

/// Which process has returned from [`spawn`].
#[derive(Debug)]
pub enum Spawned {
    /// The caller.
    Runtime(Coming),
    /// The new process. It must end by execve(2) or [`exit_now`](libsyscall::clone::exit_now).
    New(Newborn),
}

/// What the caller has.
#[derive(Debug)]
pub enum Coming {
    /// Init.
    Init(Child),
    /// A joiner, which clones it.
    Joiner(Expected),
}

impl Coming {
    /// The pid of the process that was spawned.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        match self {
            Self::Init(child) => child.pid,
            Self::Joiner(expected) => expected.pid(),
        }
    }
}

/// What the new process is.
#[derive(Debug)]
pub enum Newborn {
    /// Init.
    Init(ClonedChild),
    /// The joiner, which is to enter its cgroup and [`enter_namespaces`], and to clone init.
    Joiner(Joiner),
}

/// Spawns init or its joiner as `spawn` says, straight into `cgroup` (a cgroup v2 directory) if there is one.
///
/// # Errors
/// Those of socketpair(2) and clone3(2). Nothing is left behind then.
pub fn spawn(spawn: &Spawn, cgroup: Option<BorrowedFd<'_>>) -> Result<Spawned, Error> {
    Ok(match spawn {
        Spawn::Direct { clone, .. } => {
            match clone_into(clone.clone_flags(), cgroup, FIRST_PROCESS)? {
                Cloned::Parent { pid, pidfd } => {
                    Spawned::Runtime(Coming::Init(Child { pid, pidfd }))
                }
                Cloned::Child(child) => Spawned::New(Newborn::Init(child)),
            }
        }
        Spawn::Staged { .. } | Spawn::Watched { .. } => match Joiner::fork(cgroup)? {
            Forked::Runtime(expected) => Spawned::Runtime(Coming::Joiner(expected)),
            Forked::Joiner(joiner) => Spawned::New(Newborn::Joiner(joiner)),
        },
    })
}

/// Enters and makes the namespaces that are the joiner's, in it.
///
/// # Errors
/// Those of setns(2), unshare(2) and of writing the offsets of clocks.
pub fn enter_namespaces(
    spawn: &Spawn,
    namespaces: &Namespaces,
    files: &NamespaceFiles,
) -> Result<(), Error> {
    match spawn {
        Spawn::Staged { joiner_joins, joiner_unshares, .. }
        | Spawn::Watched { joiner_joins, joiner_unshares, .. } => {
            enter(*joiner_joins, *joiner_unshares, namespaces, files)
        }
        Spawn::Direct { .. } => Ok(()),
    }
}

fn enter(
    joins: KindSet,
    unshares: KindSet,
    namespaces: &Namespaces,
    files: &NamespaceFiles,
) -> Result<(), Error> {
    let offsets = TimeOffsets::open(&namespaces.time_offsets)?;
    files.join(joins)?;
    if unshares.is_empty() {
        return Ok(());
    }
    unshare(unshares.flags()).map_err(|errno| Error::Call {
        step: "make namespaces: unshare",
        errno: from_nix(errno),
    })?;
    offsets.write()
}
