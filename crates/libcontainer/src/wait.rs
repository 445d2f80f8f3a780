//! Waiting: for a file descriptor until a deadline, and for the signals of whoever called.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use anyhow::Context as _;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Waits until `fd` is readable (a pidfd: until the process has ended) or the deadline has passed.
/// Whether it is readable.
///
/// # Errors
/// Those of ppoll(2).
pub(crate) fn until_readable(fd: BorrowedFd<'_>, deadline: Option<Instant>) -> Result<bool, Errno> {
    Ok(until_any(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], deadline)? > 0)
}

/// Waits until one of `fds` is ready or the deadline has passed. How many are ready.
fn until_any(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> Result<usize, Errno> {
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(fds, timeout.as_ref()) {
            Ok(0) if left.is_some_and(|left| !left.is_zero()) => {}
            Ok(ready) => return Ok(ready),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Waits until one of `fds` is readable or the deadline has passed: which of them are. With `signals` it is an error if
/// one comes before that asks this process to end.
///
/// # Errors
/// [`Interrupted`], or those of ppoll(2) and read(2).
pub(crate) fn until_one_is_readable<const N: usize>(
    fds: [Option<BorrowedFd<'_>>; N],
    deadline: Option<Instant>,
    signals: Option<&Signals>,
) -> anyhow::Result<[bool; N]> {
    loop {
        let all = fds.iter().copied().chain([signals.map(Signals::as_fd)]);
        let mut polled: Vec<_> =
            all.flatten().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let ready = until_any(&mut polled, deadline).context("poll")?;
        let mut results = polled.iter().map(|fd| !fd.revents().is_empty());
        let readable = fds.map(|fd| fd.is_some() && results.next().unwrap_or(false));
        // What is waited for has come: the signal is for whoever is next to read it.
        if ready == 0 || readable.contains(&true) {
            return Ok(readable);
        }
        signals.map_or(Ok(()), Signals::check)?;
    }
}

/// The exit code of who has ended with `code`, or by `signal`, as a shell has it.
pub(crate) fn exit_code(code: Option<i32>, signal: Option<i32>) -> u8 {
    code.map_or_else(|| 128 + signal.unwrap_or(0) as u8, |code| code as u8)
}

/// Does `work`, which no signal interrupts that can be blocked: it comes afterwards.
///
/// # Errors
/// Those of sigprocmask(2).
pub(crate) fn undisturbed<T>(work: impl FnOnce() -> T) -> anyhow::Result<T> {
    let set = |how, mask: &SigSet| mask.thread_swap_mask(how).map_err(std::io::Error::from);
    let before = set(SigmaskHow::SIG_BLOCK, &SigSet::all()).context("sigprocmask")?;
    let done = work();
    set(SigmaskHow::SIG_SETMASK, &before).context("sigprocmask")?;
    Ok(done)
}

/// The signals that were sent to this process, which wait to be read: none ends it, and none is lost.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

/// A signal that would have ended this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interrupted(i32);

impl Signals {
    /// Blocks all signals from now on. Children must unblock them.
    ///
    /// # Errors
    /// Those of signalfd(2).
    pub(crate) fn block() -> anyhow::Result<Self> {
        let (all, flags) = (SigSet::all(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        let signals = all.thread_block().and_then(|()| SignalFd::with_flags(&all, flags));
        Ok(Self(signals.map_err(std::io::Error::from).context("signalfd")?))
    }

    /// The next signal, if there is one.
    ///
    /// # Errors
    /// Those of read(2).
    pub(crate) fn next(&self) -> anyhow::Result<Option<i32>> {
        let record = self.0.read_signal().map_err(std::io::Error::from);
        Ok(record.context("read the signalfd")?.map(|record| record.ssi_signo.cast_signed()))
    }

    /// Takes all that wait; an error if one of them asks this process to end.
    ///
    /// # Errors
    /// [`Interrupted`], or those of read(2).
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        while let Some(signal) = self.next()? {
            if ends(signal) {
                return Err(Interrupted(signal).into());
            }
        }
        Ok(())
    }

    /// [`until_readable`], unless a signal comes before that asks this process to end.
    ///
    /// # Errors
    /// [`Interrupted`], or those of ppoll(2) and read(2).
    pub(crate) fn until_readable(
        &self,
        fd: BorrowedFd<'_>,
        deadline: Option<Instant>,
    ) -> anyhow::Result<bool> {
        Ok(until_one_is_readable([Some(fd)], deadline, Some(self))?[0])
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether a signal ends this process, unless it is blocked (signal(7)): it handles none.
fn ends(signal: i32) -> bool {
    const OTHERS: [Signal; 7] = [
        Signal::SIGCHLD,
        Signal::SIGURG,
        Signal::SIGWINCH,
        Signal::SIGCONT,
        Signal::SIGTSTP,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
    ];
    let is_other = OTHERS.iter().any(|other| *other as i32 == signal);
    !is_other && !libsyscall::signal::is_ignored(signal).unwrap_or(false)
}

impl fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Signal::try_from(self.0) {
            Ok(name) => write!(formatter, "interrupted by {name}"),
            Err(_) => write!(formatter, "interrupted by signal {}", self.0),
        }
    }
}

impl std::error::Error for Interrupted {}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use nix::sys::signal::{Signal, raise};

    use super::{Interrupted, Signals};

    /// A program that runs gets the signal, though it came while the runtime waited for it to run.
    #[test]
    fn a_signal_beside_what_is_waited_for_stays() {
        let signals = Signals::block().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        raise(Signal::SIGTERM).unwrap();
        let waiting = signals.until_readable(reader.as_fd(), None).unwrap_err();
        assert_eq!(waiting.downcast_ref(), Some(&Interrupted(Signal::SIGTERM as i32)));
        raise(Signal::SIGTERM).unwrap();
        drop(writer);
        assert!(signals.until_readable(reader.as_fd(), None).unwrap());
        assert_eq!(signals.next().unwrap(), Some(Signal::SIGTERM as i32));
    }
}
