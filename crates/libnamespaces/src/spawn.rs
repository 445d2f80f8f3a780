//! Makes init, directly or through a joiner. Returns twice: in the runtime and in init.

use std::os::fd::BorrowedFd;

use libsyscall::clone::{Cloned, ClonedChild};
use nix::sched::unshare;

use crate::join::from_nix;
use crate::joiner::{FIRST_PROCESS, Forked, Joiner, clone_into};
use crate::mapping::TimeOffsets;
use crate::{Child, Error, KindSet, NamespaceFiles, Namespaces, Spawn};

/// Which process has returned from [`spawn`].
#[derive(Debug)]
pub enum Spawned {
    /// The caller.
    Runtime(Child),
    /// The new process. It must end by execve(2) or [`exit_now`](libsyscall::clone::exit_now).
    Init(ClonedChild),
}

/// Spawns init as `spawn` says, straight into `cgroup` (a cgroup v2 directory) if there is one.
///
/// # Errors
/// Those of the clone; in the runtime also whatever the joiner met. Nothing is left behind then.
pub fn spawn(
    spawn: &Spawn,
    namespaces: &Namespaces,
    files: &NamespaceFiles,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<Spawned, Error> {
    match spawn {
        Spawn::Direct { clone, .. } => {
            Ok(match clone_into(clone.clone_flags(), cgroup, FIRST_PROCESS)? {
                Cloned::Parent { pid, pidfd } => Spawned::Runtime(Child { pid, pidfd }),
                Cloned::Child(child) => Spawned::Init(child),
            })
        }
        Spawn::Staged { joiner_joins, joiner_unshares, clone, .. } => match Joiner::fork(cgroup)? {
            Forked::Runtime(expected) => expected.child().map(Spawned::Runtime),
            Forked::Joiner(joiner) => {
                let cloned = enter(*joiner_joins, *joiner_unshares, namespaces, files)
                    .and_then(|()| joiner.clone_child(*clone));
                match cloned {
                    Ok(child) => Ok(Spawned::Init(child)),
                    Err(error) => joiner.fail(&error),
                }
            }
        },
    }
}

/// Enters and makes namespaces, in the joiner.
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
