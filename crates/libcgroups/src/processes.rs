//! The processes in a cgroup.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use libsyscall::signal::send;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use crate::Error;

/// A cgroup with processes is somebody's.
pub(crate) fn refuse_used(directory: &Path, pids: &[i32]) -> Result<(), Error> {
    match pids.len() {
        0 => Ok(()),
        count => Err(Error::NotEmpty { path: directory.to_owned(), count }),
    }
}

/// The signal that cannot be caught.
pub(crate) const KILL: i32 = Signal::KILL.as_raw();
/// How many processes are held at once, each by a descriptor.
const AT_ONCE: usize = 128;

/// Sends `signal` to every process that `list` has: one that is gone is fine.
///
/// A pid is taken for a process by opening it and asking again: the process that is open is the one in the cgroup
/// then, and cannot become another.
pub(crate) fn signal_each(
    signal: i32,
    list: impl Fn() -> Result<Vec<i32>, Error>,
) -> Result<(), Error> {
    let mut sent = Ok(());
    for some in list()?.chunks(AT_ONCE) {
        let opened: Vec<_> = some.iter().filter_map(|pid| Some((*pid, open(*pid)?))).collect();
        let still = list()?;
        for (pid, process) in opened.into_iter().filter(|(pid, _)| still.contains(pid)) {
            let result = process.and_then(|process| send(process.as_fd(), signal));
            if let Err(errno) = result
                && errno != Errno::SRCH
            {
                sent = sent.and(Err(Error::Signal { signal, pid, errno }));
            }
        }
    }
    sent
}

/// Opens a process (pidfd_open(2)); nothing for a pid that belongs to none. A process of another pid namespace is
/// listed as 0.
fn open(pid: i32) -> Option<Result<OwnedFd, Errno>> {
    match pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()) {
        Err(Errno::SRCH) => None,
        result => Some(result),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::{KILL, signal_each};

    /// A pid that has left the cgroup may be another process by now.
    #[test]
    fn who_is_not_in_the_list_any_more_is_left_alone() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let pid = child.id().cast_signed();
        let lists = RefCell::new(vec![vec![pid], vec![pid], vec![], vec![0, pid, i32::MAX]]);
        let list = || Ok(lists.borrow_mut().pop().unwrap());
        signal_each(KILL, list).unwrap();
        // It would need a moment to die.
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(child.try_wait().unwrap().is_none(), "signalled");
        signal_each(KILL, list).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(KILL));
    }
}
