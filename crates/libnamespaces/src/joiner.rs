//! The joiner: a process in between, which enters and makes what only children see, clones the
//! container's process as its own sibling, says so, and ends.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libsyscall::clone::{Cloned, ClonedChild, Flags, clone3, exit_now};
use libsyscall::command_line::CommandLine;
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_send_signal, waitid};

use crate::report::{Born, Report};
use crate::{Child, Children, Error, KindSet};

/// What /proc/PID/cmdline says of a process that is not its program yet.
const NAME: &[u8] = b"aril init";

/// Which process has returned from [`Joiner::fork`].
#[derive(Debug)]
pub enum Forked {
    /// The caller.
    Runtime(Expected),
    /// The joiner. It must end by [`Joiner::clone_child`] or [`exit_now`].
    Joiner(Joiner),
}

/// The joiner's own end.
#[derive(Debug)]
pub struct Joiner {
    report: Report,
    itself: ClonedChild,
}

/// The runtime's end: the child that is to come.
#[derive(Debug)]
pub struct Expected {
    report: Report,
    joiner: OwnedFd,
    pid: i32,
}

impl Joiner {
    /// Forks the joiner, straight into `cgroup` (a cgroup v2 directory) if there is one.
    ///
    /// # Errors
    /// Those of socketpair(2) and clone3(2).
    pub fn fork(cgroup: Option<BorrowedFd<'_>>) -> Result<Forked, Error> {
        let (reader, writer) = Report::pair()?;
        Ok(match clone_into(Flags::NONE, cgroup, FIRST_PROCESS)? {
            Cloned::Parent { pid, pidfd } => {
                Forked::Runtime(Expected { report: reader, joiner: pidfd, pid })
            }
            Cloned::Child(itself) => Forked::Joiner(Self { report: writer, itself }),
        })
    }

    /// Clones the container's process with `new` namespaces, as a child of the runtime.
    /// Returns in that process; the joiner reports it and ends.
    ///
    /// # Errors
    /// Those of clone3(2), in the joiner.
    pub fn clone_child(&self, new: KindSet) -> Result<ClonedChild, Error> {
        match clone_into(new.clone_flags().union(Flags::PARENT), None, FIRST_PROCESS)? {
            Cloned::Child(child) => Ok(child),
            Cloned::Parent { pid, pidfd } => {
                let sent = self.report.send_child(pid, &pidfd);
                exit_now(i32::from(sent.is_err()))
            }
        }
    }

    /// Clones a maker, as a child of the runtime: a process that stays and makes the container. Returns in it, with
    /// something, and in the joiner.
    ///
    /// # Errors
    /// Those of clone3(2) and sendmsg(2), in the joiner.
    pub fn clone_maker(&self) -> Result<Option<ClonedChild>, Error> {
        match clone_into(Flags::PARENT, None, FIRST_PROCESS)? {
            Cloned::Child(maker) => Ok(Some(maker)),
            Cloned::Parent { pidfd, .. } => {
                let sent = self.report.send_maker(&pidfd);
                sent.map_err(Error::call("report the maker: sendmsg"))?;
                Ok(None)
            }
        }
    }

    /// [`ClonedChild::close_all_but`] in the joiner, which keeps what it needs itself, too.
    ///
    /// # Errors
    /// Those of close_range(2).
    pub fn close_all_but(&self, first: u32, keep: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        self.itself.close_all_but(first, &[keep, &[self.report.as_fd()]].concat())
    }
}

impl AsFd for Expected {
    /// What is readable when there is a report, or there will be none.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }
}

impl Expected {
    /// The pid of the joiner itself.
    pub(crate) const fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits for the joiner's report and its end.
    ///
    /// # Errors
    /// What the joiner reported, or [`Error::JoinerLost`] if it ended without a word. What it has cloned
    /// is killed then.
    pub fn children(self) -> Result<Children, Error> {
        let mut maker = None;
        let process = loop {
            match self.report.receive() {
                Ok(Born::Maker(pidfd)) => maker = Some(pidfd),
                Ok(Born::Process(child)) => break Ok(child),
                Err(error) => break Err(error),
            }
        };
        let status = waitid(WaitId::PidFd(self.joiner.as_fd()), WaitIdOptions::EXITED)
            .map_err(Error::call("wait for the process that joins the namespaces: waitid"))?;
        let signal = status.as_ref().and_then(WaitIdStatus::terminating_signal);
        let process = process.map_err(|error| match error {
            Error::JoinerLost { .. } => Error::JoinerLost { signal },
            error => error,
        });
        match (process, maker) {
            (Ok(process), maker) => Ok(Children { process, maker }),
            (Err(error), None) => Err(error),
            (Err(error), Some(maker)) => {
                kill(&maker);
                let _ = waitid(WaitId::PidFd(maker.as_fd()), WaitIdOptions::EXITED);
                Err(error)
            }
        }
    }

    /// Kills the joiner, and what it has cloned, without a wait: all may be frozen.
    pub fn abandon(self) {
        kill(&self.joiner);
        while self.report.is_readable() {
            match self.report.receive() {
                Ok(Born::Maker(pidfd) | Born::Process(Child { pidfd, .. })) => kill(&pidfd),
                Err(_) => return,
            }
        }
    }
}

fn kill(pidfd: &OwnedFd) {
    let _ = pidfd_send_signal(pidfd, Signal::KILL);
}

/// The step that makes what becomes the container's process, or leads to it.
pub(crate) const FIRST_PROCESS: &str = "create the container's first process: clone3";

/// clone3(2) with namespaces and a cgroup, for `step`.
///
/// A container sees what becomes its process before that is the program: so the child keeps nothing of
/// the runtime's command line and environment, and a joiner's child is born without.
pub(crate) fn clone_into(
    flags: Flags,
    cgroup: Option<BorrowedFd<'_>>,
    step: &'static str,
) -> Result<Cloned, Error> {
    let place = CommandLine::find().map_err(Error::call("find the command line: getauxval"))?;
    let cloned = clone3(flags, cgroup).map_err(Error::call(step))?;
    if let Cloned::Child(itself) = &cloned {
        itself.forget_command_line(place, NAME);
    }
    Ok(cloned)
}
