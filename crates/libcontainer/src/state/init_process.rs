//! A container's first process, named so that no other can be meant.

use std::os::fd::OwnedFd;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

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

    /// Whether the process still runs (a zombie does not).
    pub(crate) fn is_alive(self) -> bool {
        stat(self.pid)
            .is_ok_and(|stat| stat.starttime == self.start_time && !matches!(stat.state, 'Z' | 'X'))
    }

    /// Its pidfd: opened first, then checked, so that it can only be this process's.
    pub(crate) fn open(self) -> Result<OwnedFd> {
        let pid = rustix::process::Pid::from_raw(self.pid).ok_or_else(Error::not_running)?;
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
            .map_err(|_| Error::not_running())?;
        if self.is_alive() { Ok(pidfd) } else { Err(Error::not_running()) }
    }
}

fn stat(pid: i32) -> procfs::ProcResult<procfs::process::Stat> {
    use procfs::FromRead as _;
    procfs::process::Stat::from_file(format!("/proc/{pid}/stat"))
}

#[cfg(test)]
mod tests {
    use super::InitProcess;

    #[test]
    fn a_process_is_named_by_pid_and_start_time() {
        let own = InitProcess::of(std::process::id() as i32).unwrap();
        assert!(own.is_alive());
        assert!(!InitProcess { start_time: own.start_time + 1, ..own }.is_alive());
    }
}
