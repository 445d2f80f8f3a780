//! Makes init, directly or through a joiner. Returns twice: in the runtime and in init.

use std::os::fd::{BorrowedFd, OwnedFd};

use libsyscall::clone::{Cloned, clone3, exit_now};
use nix::sched::{CloneFlags, unshare};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::join::from_nix;
use crate::report::Report;
use crate::{Error, KindSet, NamespaceFiles, Namespaces, Spawn, mapping};

/// Which process has returned from [`spawn`].
#[derive(Debug)]
pub enum Spawned {
    /// The caller.
    Runtime(Child),
    /// The new process. It must end by execve(2) or [`exit_now`].
    Init,
}

/// The new process as the runtime sees it: its child.
#[derive(Debug)]
pub struct Child {
    /// Its pid in the runtime's pid namespace.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
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
        Spawn::Direct { clone, .. } => Ok(match clone_into(clone.flags(), cgroup)? {
            Cloned::Parent { pid, pidfd } => Spawned::Runtime(Child { pid, pidfd }),
            Cloned::Child => Spawned::Init,
        }),
        Spawn::Staged { joiner_joins, joiner_unshares, clone, .. } => {
            let (reader, writer) = Report::pair()?;
            match clone_into(CloneFlags::empty(), cgroup)? {
                Cloned::Parent { pidfd, .. } => {
                    drop(writer);
                    let report = reader.receive();
                    reap(&pidfd)?;
                    report.map(Spawned::Runtime)
                }
                Cloned::Child => {
                    drop(reader);
                    let sets = (*joiner_joins, *joiner_unshares);
                    stage(sets, clone.flags(), namespaces, files, &writer);
                    Ok(Spawned::Init)
                }
            }
        }
    }
}

/// The joiner: enters and makes namespaces, clones init, reports and ends. Returns in init only.
fn stage(
    (joins, unshares): (KindSet, KindSet),
    clone_flags: CloneFlags,
    namespaces: &Namespaces,
    files: &NamespaceFiles,
    writer: &Report,
) {
    let cloned = (|| {
        files.join(joins)?;
        if !unshares.is_empty() {
            unshare(unshares.flags()).map_err(|errno| Error::Call {
                step: "make namespaces: unshare",
                errno: from_nix(errno),
            })?;
            mapping::write_time_offsets(&namespaces.time_offsets)?;
        }
        clone_into(clone_flags | CloneFlags::CLONE_PARENT, None)
    })();
    let sent = match cloned {
        Ok(Cloned::Child) => return,
        Ok(Cloned::Parent { pid, pidfd }) => writer.send_child(pid, &pidfd),
        Err(error) => writer.send_error(&error),
    };
    exit_now(i32::from(sent.is_err()))
}

fn clone_into(flags: CloneFlags, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned, Error> {
    clone3(u64::from(flags.bits() as u32), cgroup)
        .map_err(Error::call("create the container's first process: clone3"))
}

fn reap(pidfd: &OwnedFd) -> Result<(), Error> {
    waitid(WaitId::PidFd(std::os::fd::AsFd::as_fd(pidfd)), WaitIdOptions::EXITED)
        .map_err(Error::call("wait for the process that joins the namespaces: waitid"))?;
    Ok(())
}
