//! A container's first process, named so that no other can be meant.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Instant;

use anyhow::Context as _;
use procfs::ProcError;
use procfs::process::Stat;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::wait;

/// Of the flags of a process (proc_pid_stat(5), field 9; include/linux/sched.h): it is ending (PF_EXITING).
const EXITING: u32 = 0x4;
/// It was cloned, and has not executed a program since (PF_FORKNOEXEC).
const FORKED_ONLY: u32 = 0x40;

/// The container's first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InitProcess {
    /// Its pid in the runtime's pid namespace.
    pub pid: i32,
    /// When it started, in clock ticks since boot (proc_pid_stat(5), field 22): with the pid it
    /// names a process for ever.
    pub start_time: u64,
}

impl InitProcess {
    /// Names the living process `pid`.
    pub(crate) fn of(pid: i32) -> anyhow::Result<Self> {
        let stat = stat(pid).with_context(|| format!("read /proc/{pid}/stat"))?;
        Ok(Self { pid, start_time: stat.starttime })
    }

    /// Its pidfd, if it lives: while any thread of it does. The one that it began with may have ended, and is
    /// shown as a zombie then (proc_pid_stat(5), field 3), so that only the pidfd knows (pidfd_open(2)).
    ///
    /// # Errors
    /// Whether it lives cannot be told. It is not dead for that.
    pub(crate) fn living(self) -> anyhow::Result<Option<OwnedFd>> {
        let Some(pidfd) = self.pidfd()? else { return Ok(None) };
        let has_ended = wait::until_readable(pidfd.as_fd(), Some(Instant::now()));
        Ok(if has_ended.context("poll a pidfd")? { None } else { Some(pidfd) })
    }

    /// Its pidfd, if it lives, or has ended and its parent has not been told.
    ///
    /// # Errors
    /// Whether it is there cannot be told.
    pub(crate) fn pidfd(self) -> anyhow::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        // Opened first, then checked, so that it can only be this process's.
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            // The others say that it is a thread of another process by now.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno).with_context(|| format!("pidfd_open {pid}")),
        };
        Ok(self.stat()?.map(|_| pidfd))
    }

    /// How it has ended, in the format of wait(2), if the kernel tells this process: until its parent has been
    /// told all who may trace it (proc_pid_stat(5), field 52), after that who has had its `pidfd`.
    ///
    /// # Errors
    /// Those of the kernel.
    pub(crate) fn wait_status(self, pidfd: BorrowedFd<'_>) -> anyhow::Result<Option<i32>> {
        // It has no program any more; who may not trace it is not told so, and reads 0 below.
        let program = rustix::fs::readlink(format!("/proc/{}/exe", self.pid), Vec::new());
        let may_trace = program.err() != Some(Errno::ACCESS);
        match self.stat()? {
            Some(stat) => Ok(stat.exit_code.filter(|_| may_trace)),
            None => libsyscall::pidfd::wait_status(pidfd).context("PIDFD_GET_INFO"),
        }
    }

    /// What /proc says of it, if it is there.
    fn stat(self) -> anyhow::Result<Option<Stat>> {
        match stat(self.pid) {
            Ok(stat) => Ok(Some(stat).filter(|stat| stat.starttime == self.start_time)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read /proc/{}/stat", self.pid)),
        }
    }

    /// The signal that killed it before it had executed a program, if one did. Nothing of a process that was reaped
    /// already.
    pub(crate) fn killed_before_program(self) -> Option<i32> {
        signal_before_program(&self.stat().ok()??)
    }
}

/// The same of a child of this process.
pub(crate) fn child_killed_before_program(pid: i32) -> Option<i32> {
    signal_before_program(&stat(pid).ok()?)
}

/// What closes its end of a channel at execve(2), closes it at its death, too.
fn signal_before_program(stat: &Stat) -> Option<i32> {
    let is_ending = stat.flags & (EXITING | FORKED_ONLY) == EXITING | FORKED_ONLY;
    let signal = stat.exit_code.map(|status| status & 0x7f).filter(|signal| *signal != 0);
    if is_ending { signal } else { None }
}

/// A process can end between the opening of its file and the reading of it.
fn is_gone(error: &ProcError) -> bool {
    match error {
        ProcError::NotFound(_) => true,
        ProcError::Io(error, _) => error.raw_os_error() == Some(Errno::SRCH.raw_os_error()),
        _ => false,
    }
}

fn stat(pid: i32) -> procfs::ProcResult<Stat> {
    use procfs::FromRead as _;
    Stat::from_file(format!("/proc/{pid}/stat"))
}

#[cfg(test)]
mod tests {
    use super::InitProcess;

    #[test]
    fn a_process_is_named_by_pid_and_start_time() {
        let own = InitProcess::of(std::process::id() as i32).unwrap();
        assert!(own.living().unwrap().is_some());
        let another = InitProcess { start_time: own.start_time + 1, ..own };
        assert!(another.living().unwrap().is_none());
    }
}
