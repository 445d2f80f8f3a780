//! The processes in a cgroup.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::Error;

/// A cgroup with processes is somebody's.
pub(crate) fn refuse_used(directory: &Path, pids: &[i32]) -> Result<(), Error> {
    match pids.len() {
        0 => Ok(()),
        count => Err(Error::NotEmpty { path: directory.to_owned(), count }),
    }
}

/// Sends `SIGKILL` to each of `pids`; one that is gone is fine.
pub(crate) fn kill_each(pids: &[i32]) {
    for pid in pids.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        let _ = kill_process(pid, Signal::KILL);
    }
}
