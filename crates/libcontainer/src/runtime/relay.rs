//! The terminal in the foreground: bytes between the runtime's standard streams and the master.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

/// Bytes between the runtime's standard streams and the terminal's master.
pub(super) struct Relay {
    master: OwnedFd,
    saved: Option<Termios>,
    input_open: bool,
    to_master: Vec<u8>,
    to_output: Vec<u8>,
}

/// How much may wait in one direction, in bytes.
const BUFFER: usize = 4096;

impl Relay {
    pub(super) fn new(master: OwnedFd) -> anyhow::Result<Self> {
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

    pub(super) fn copy_window_size(&self) {
        if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
            let _ = tcsetwinsize(&self.master, size);
        }
    }

    /// Input, output and the master, each waited for only when there is room or something to say.
    pub(super) fn interests(&self) -> [PollFd<'_>; 3] {
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

    pub(super) fn move_bytes(&mut self, ready: &[PollFlags]) {
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
    pub(super) fn drain(&mut self) {
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
