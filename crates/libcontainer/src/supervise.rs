//! The foreground: forwards signals and the terminal until the program ends.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Context as _;
use libnamespaces::Child;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

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
pub(crate) fn exit_code(child: &Child) -> anyhow::Result<u8> {
    let status = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED)
        .context("wait for the program: waitid")?;
    let code = status.as_ref().and_then(WaitIdStatus::exit_status);
    let signal = status.as_ref().and_then(WaitIdStatus::terminating_signal);
    Ok(match (code, signal) {
        (Some(code), _) => code as u8,
        (None, signal) => 128 + signal.unwrap_or(0) as u8,
    })
}

/// Bytes between the runtime's standard streams and the terminal's master.
struct Relay {
    master: OwnedFd,
    saved: Option<Termios>,
    input_open: bool,
    to_master: Vec<u8>,
    to_output: Vec<u8>,
}

/// How much may wait in one direction, in bytes.
const BUFFER: usize = 4096;

impl Relay {
    fn new(master: OwnedFd) -> anyhow::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&master).context("fcntl")?;
        rustix::fs::fcntl_setfl(&master, flags | rustix::fs::OFlags::NONBLOCK).context("fcntl")?;
        let saved = tcgetattr(rustix::stdio::stdin()).ok();
        if let Some(saved) = &saved {
            let mut raw = saved.clone();
            raw.make_raw();
            tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw)
                .context("put the terminal into raw mode: tcsetattr")?;
        }
        Ok(Self { master, saved, input_open: true, to_master: Vec::new(), to_output: Vec::new() })
    }

    fn copy_window_size(&self) {
        if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
            let _ = tcsetwinsize(&self.master, size);
        }
    }

    /// Input, output and the master, each waited for only when there is room or something to say.
    fn interests(&self) -> [PollFd<'_>; 3] {
        let when = |condition: bool, flags| if condition { flags } else { PollFlags::empty() };
        let master = when(self.to_output.len() < BUFFER, PollFlags::IN)
            | when(!self.to_master.is_empty(), PollFlags::OUT);
        let input = when(self.input_open && self.to_master.len() < BUFFER, PollFlags::IN);
        let output = when(!self.to_output.is_empty(), PollFlags::OUT);
        let stdin = rustix::stdio::stdin();
        // A closed input would be ready for ever: the master stands in for it then.
        let input_fd = if self.input_open { stdin } else { self.master.as_fd() };
        [
            PollFd::from_borrowed_fd(input_fd, input),
            PollFd::from_borrowed_fd(rustix::stdio::stdout(), output),
            PollFd::from_borrowed_fd(self.master.as_fd(), master),
        ]
    }

    fn move_bytes(&mut self, ready: &[PollFlags]) {
        let is = |at: usize| ready.get(at).is_some_and(|flags| !flags.is_empty());
        if is(0) && self.input_open && self.to_master.len() < BUFFER {
            self.input_open = read_into(rustix::stdio::stdin(), &mut self.to_master);
        }
        if is(2) {
            read_into(self.master.as_fd(), &mut self.to_output);
        }
        if !self.to_master.is_empty() {
            write_from(self.master.as_fd(), &mut self.to_master);
        }
        if !self.to_output.is_empty() {
            write_from(rustix::stdio::stdout(), &mut self.to_output);
        }
    }

    /// What the program wrote before it ended is still shown.
    fn drain(&mut self) {
        loop {
            let before = self.to_output.len();
            read_into(self.master.as_fd(), &mut self.to_output);
            if self.to_output.len() == before {
                break;
            }
        }
        while !self.to_output.is_empty() && write_from(rustix::stdio::stdout(), &mut self.to_output)
        {
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, saved);
        }
    }
}

/// Whether there may be more.
fn read_into(fd: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> bool {
    let mut bytes = [0; BUFFER];
    match rustix::io::read(fd, &mut bytes) {
        Ok(0) => false,
        Ok(length) => {
            buffer.extend_from_slice(&bytes[..length]);
            true
        }
        Err(Errno::AGAIN | Errno::INTR) => true,
        Err(_) => false,
    }
}

/// Whether the other side still takes bytes.
fn write_from(fd: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> bool {
    match rustix::io::write(fd, buffer) {
        Ok(length) => {
            buffer.drain(..length);
            true
        }
        Err(Errno::AGAIN | Errno::INTR) => true,
        Err(_) => {
            buffer.clear();
            false
        }
    }
}
