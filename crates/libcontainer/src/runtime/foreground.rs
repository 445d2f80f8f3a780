//! The foreground: forwards signals and the terminal until the program ends.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use anyhow::Context as _;
use libnamespaces::Child;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};

use super::relay::Relay;

/// Signals that are not passed on: they are about the runtime's own terminal and children.
const CHILD: i32 = Signal::SIGCHLD as i32;
const URGENT: i32 = Signal::SIGURG as i32;
const WINDOW_CHANGED: i32 = Signal::SIGWINCH as i32;

/// The runtime's side of a program in the foreground.
pub(crate) struct Foreground {
    signals: SignalFd,
    relay: Option<Relay>,
}

impl Foreground {
    /// Blocks all signals, so that none is lost between now and [`Foreground::wait`]; children
    /// must unblock them.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let (all, flags) = (SigSet::all(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        let signals = all.thread_block().and_then(|()| SignalFd::with_flags(&all, flags));
        Ok(Self {
            signals: signals.map_err(std::io::Error::from).context("signalfd")?,
            relay: None,
        })
    }

    /// Shows the terminal with the master `master` on the runtime's own standard streams.
    pub(crate) fn show(&mut self, master: OwnedFd, sized: bool) -> anyhow::Result<()> {
        let relay = Relay::new(master)?;
        if !sized {
            relay.copy_window_size();
        }
        self.relay = Some(relay);
        Ok(())
    }

    /// Waits for the program to end: its exit code, or 128 and the signal that ended it.
    pub(crate) fn wait(mut self, child: &Child) -> anyhow::Result<u8> {
        loop {
            let (signal, ended) = self.next_events(child.pidfd.as_fd())?;
            if signal {
                self.take_signals(child)?;
            }
            if ended {
                if let Some(relay) = &mut self.relay {
                    relay.drain();
                }
                return exit_code(child);
            }
        }
    }

    /// Waits for anything, and relays the terminal. Whether there are signals, and whether the
    /// program has ended.
    fn next_events(&mut self, pidfd: BorrowedFd<'_>) -> anyhow::Result<(bool, bool)> {
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(pidfd, PollFlags::IN),
        ];
        if let Some(relay) = &self.relay {
            fds.extend(relay.interests());
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).context("poll"),
        }
        let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        let is = |at: usize| ready.get(at).is_some_and(|flags| !flags.is_empty());
        let (signal, ended) = (is(0), is(1));
        if let Some(relay) = &mut self.relay {
            relay.move_bytes(ready.get(2..).unwrap_or_default());
        }
        Ok((signal, ended))
    }

    fn take_signals(&self, child: &Child) -> anyhow::Result<()> {
        let next = || self.signals.read_signal().map_err(std::io::Error::from);
        while let Some(record) = next().context("read the signalfd")? {
            match record.ssi_signo.cast_signed() {
                CHILD => reap_others(child),
                WINDOW_CHANGED if self.relay.is_some() => {
                    self.relay.iter().for_each(Relay::copy_window_size);
                }
                URGENT => {}
                signal => match libsyscall::signal::send(child.pidfd.as_fd(), signal) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(errno) => return Err(errno).context("forward a signal: pidfd_send_signal"),
                },
            }
        }
        Ok(())
    }
}

/// Reaps what was reparented to the runtime as a child subreaper; the program itself is left for
/// [`exit_code`].
fn reap_others(child: &Child) {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    let ended = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
    while let Some(pid) =
        waitid(Id::All, ended | WaitPidFlag::WNOWAIT).ok().and_then(|one| one.pid())
    {
        if pid.as_raw() == child.pid || waitid(Id::Pid(pid), ended).is_err() {
            return;
        }
    }
}

/// Reaps the program.
fn exit_code(child: &Child) -> anyhow::Result<u8> {
    let status = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED)
        .context("wait for the program: waitid")?;
    let code = status.as_ref().and_then(WaitIdStatus::exit_status);
    let signal = status.as_ref().and_then(WaitIdStatus::terminating_signal);
    Ok(match (code, signal) {
        (Some(code), _) => code as u8,
        (None, signal) => 128 + signal.unwrap_or(0) as u8,
    })
}
