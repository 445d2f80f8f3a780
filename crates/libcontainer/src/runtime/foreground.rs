//! The foreground: forwards signals and the terminal until the program ends.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use anyhow::Context as _;
use libnamespaces::Child;
use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};

use super::relay::Relay;
use crate::notify_socket::Readiness;
use crate::wait::{self, Signals};

/// Signals that are not passed on: they are about the runtime's own terminal and children.
const CHILD: i32 = Signal::SIGCHLD as i32;
/// After a stop; whoever continues it may have changed the terminal.
const CONTINUED: i32 = Signal::SIGCONT as i32;
const URGENT: i32 = Signal::SIGURG as i32;
const WINDOW_CHANGED: i32 = Signal::SIGWINCH as i32;

/// The runtime's side of a program in the foreground.
#[derive(Default)]
pub(crate) struct Foreground {
    relay: Option<Relay>,
    readiness: Option<Readiness>,
}

/// What has happened.
struct Events {
    /// There are signals.
    signal: bool,
    /// The program has ended.
    ended: bool,
    /// It has said something of its readiness.
    said: bool,
}

impl Foreground {
    /// Tells the service manager when the program is ready.
    pub(crate) fn hear(&mut self, readiness: Readiness) {
        self.readiness = Some(readiness);
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
    pub(crate) fn wait(mut self, child: &Child, signals: &Signals) -> anyhow::Result<u8> {
        loop {
            let Events { signal, ended, said } = self.next_events(child.pidfd.as_fd(), signals)?;
            if said {
                self.hear_of_readiness();
            }
            if signal {
                self.take_signals(child, signals)?;
            }
            if ended {
                self.show_rest(signals)?;
                return exit_code(child);
            }
        }
    }

    /// A service manager that does not hear is no reason to end the program.
    fn hear_of_readiness(&mut self) {
        let is_done = |readiness: &Readiness| readiness.hear().unwrap_or(true);
        self.readiness.take_if(|readiness| is_done(readiness));
    }

    /// Waits for anything, and relays the terminal.
    fn next_events(&mut self, pidfd: BorrowedFd<'_>, signals: &Signals) -> anyhow::Result<Events> {
        let mut fds = vec![
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(pidfd, PollFlags::IN),
        ];
        if let Some(relay) = &self.relay {
            fds.extend(relay.interests());
        }
        if let Some(readiness) = &self.readiness {
            fds.push(PollFd::from_borrowed_fd(readiness.as_fd(), PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).context("poll"),
        }
        let mut ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        let of_readiness = self.readiness.as_ref().and_then(|_| ready.pop());
        let said = of_readiness.is_some_and(|flags| !flags.is_empty());
        let is = |at: usize| ready.get(at).is_some_and(|flags| !flags.is_empty());
        let (signal, ended) = (is(0), is(1));
        if let Some(relay) = &mut self.relay {
            relay.move_bytes(ready.get(2..).unwrap_or_default());
        }
        Ok(Events { signal, ended, said })
    }

    /// Shows what the program wrote before it ended, unless somebody asks this process to end, too.
    fn show_rest(&mut self, signals: &Signals) -> anyhow::Result<()> {
        let Some(relay) = &mut self.relay else { return Ok(()) };
        relay.read_rest();
        while relay.has_output() {
            let signal = PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN);
            let mut fds = [signal, relay.output_interest()];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).context("poll"),
            }
            let [signaled, writable] = fds.map(|fd| !fd.revents().is_empty());
            if writable {
                relay.write_output();
            }
            if signaled && signals.check().is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn take_signals(&self, child: &Child, signals: &Signals) -> anyhow::Result<()> {
        while let Some(signal) = signals.next()? {
            match signal {
                CHILD => reap_others(child),
                WINDOW_CHANGED if self.relay.is_some() => {
                    self.relay.iter().for_each(Relay::copy_window_size);
                }
                URGENT => {}
                CONTINUED => {
                    self.relay.iter().try_for_each(Relay::take_terminal)?;
                    forward(child, signal)?;
                }
                signal => forward(child, signal)?,
            }
        }
        Ok(())
    }
}

fn forward(child: &Child, signal: i32) -> anyhow::Result<()> {
    match libsyscall::signal::send(child.pidfd.as_fd(), signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno).context("forward a signal: pidfd_send_signal"),
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
    Ok(wait::exit_code(code, signal))
}
