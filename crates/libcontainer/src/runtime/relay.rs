//! The terminal in the foreground: bytes between the runtime's standard streams and the master.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{
    OptionalActions, OutputModes, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

/// Bytes between the runtime's standard streams and the terminal's master.
pub(super) struct Relay {
    master: OwnedFd,
    /// The other side, never read nor written: while nobody in the container has it open, the master
    /// would be hung up, and ready for ever (pty(7)), and yet a program could open it again.
    slave: OwnedFd,
    /// The runtime's own terminal, as it was.
    saved: Option<Termios>,
    /// The terminal at standard output, opened once more.
    terminal: Option<OwnedFd>,
    input_open: bool,
    to_master: Vec<u8>,
    to_output: Vec<u8>,
}

/// How much may wait in one direction, in bytes; no more is written at once, so that a pipe with room
/// takes it without a wait (pipe(7), `PIPE_BUF`).
const BUFFER: usize = 4096;
/// The most that a terminal holds of what was written to it, in bytes (`TTYB_DEFAULT_MEM_LIMIT`,
/// drivers/tty/tty_buffer.c).
const LARGEST_REST: usize = 640 * 1024;

impl Relay {
    pub(super) fn new(master: OwnedFd) -> anyhow::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&master).context("fcntl")?;
        rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK).context("fcntl")?;
        let peer = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, peer).context("TIOCGPTPEER")?;
        leave_ends_of_lines(&slave)?;
        let relay = Self {
            master,
            slave,
            saved: tcgetattr(stdin()).ok(),
            terminal: open_again(),
            input_open: true,
            to_master: Vec::new(),
            to_output: Vec::new(),
        };
        let mut stops = SigSet::empty();
        stops.add(Signal::SIGTTIN);
        stops.add(Signal::SIGTTOU);
        stops.thread_unblock().map_err(std::io::Error::from).context("sigprocmask")?;
        relay.take_terminal()?;
        Ok(relay)
    }

    /// Puts the runtime's own terminal into raw mode, in which all that is typed is the program's. Whoever has been
    /// put into the background by a shell stops here until it is in the foreground again (termios(3), "SIGTTOU").
    pub(super) fn take_terminal(&self) -> anyhow::Result<()> {
        let Some(saved) = &self.saved else { return Ok(()) };
        let mut raw = saved.clone();
        raw.make_raw();
        // The ends of lines are this terminal's to make.
        raw.output_modes |= OutputModes::OPOST;
        let taken = rustix::io::retry_on_intr(|| tcsetattr(stdin(), OptionalActions::Now, &raw));
        taken.context("put the terminal into raw mode: tcsetattr")
    }

    pub(super) fn copy_window_size(&self) {
        if let Ok(size) = tcgetwinsize(stdin()) {
            let _ = tcsetwinsize(&self.master, size);
        }
    }

    /// Input, output and the master, each waited for only when there is room or something to say.
    pub(super) fn interests(&self) -> [PollFd<'_>; 3] {
        let when = |condition: bool, flags| if condition { flags } else { PollFlags::empty() };
        let master = when(self.to_output.len() < BUFFER, PollFlags::IN)
            | when(!self.to_master.is_empty(), PollFlags::OUT);
        let input = when(self.input_open && self.to_master.len() < BUFFER, PollFlags::IN);
        [
            self.wait_for(stdin(), input),
            self.output_interest(),
            self.wait_for(self.master.as_fd(), master),
        ]
    }

    /// Output alone.
    pub(super) fn output_interest(&self) -> PollFd<'_> {
        let flags = if self.has_output() { PollFlags::OUT } else { PollFlags::empty() };
        self.wait_for(output(self.terminal.as_ref()), flags)
    }

    /// What is waited for nothing on may be hung up all the same, and ready for ever: the slave, which
    /// is not while the master is open, stands in for it.
    fn wait_for<'a>(&'a self, fd: BorrowedFd<'a>, flags: PollFlags) -> PollFd<'a> {
        let fd = if flags.is_empty() { self.slave.as_fd() } else { fd };
        PollFd::from_borrowed_fd(fd, flags)
    }

    pub(super) fn move_bytes(&mut self, ready: &[PollFlags]) {
        let is = |at: usize| ready.get(at).is_some_and(|flags| !flags.is_empty());
        if is(0) {
            self.input_open = read_into(stdin(), &mut self.to_master);
        }
        if is(2) && self.to_output.len() < BUFFER {
            read_into(self.master.as_fd(), &mut self.to_output);
        }
        if !self.to_master.is_empty() {
            write_from(self.master.as_fd(), &mut self.to_master);
        }
        if is(1) {
            self.write_output();
        }
    }

    /// What the program wrote before it ended is still shown; no more, for somebody else may go on
    /// writing for ever.
    pub(super) fn read_rest(&mut self) {
        let mut rest = Vec::new();
        while rest.len() < LARGEST_REST {
            let before = rest.len();
            read_into(self.master.as_fd(), &mut rest);
            if rest.len() == before {
                break;
            }
        }
        self.to_output.append(&mut rest);
    }

    pub(super) fn has_output(&self) -> bool {
        !self.to_output.is_empty()
    }

    pub(super) fn write_output(&mut self) {
        write_from(output(self.terminal.as_ref()), &mut self.to_output);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            let _ = tcsetattr(stdin(), OptionalActions::Now, saved);
        }
    }
}

/// Has the program's ends of lines shown as it writes them, as in runc: whoever keeps the output compares it.
fn leave_ends_of_lines(slave: &OwnedFd) -> anyhow::Result<()> {
    let mut modes = tcgetattr(slave).context("tcgetattr")?;
    modes.output_modes -= OutputModes::ONLCR;
    tcsetattr(slave, OptionalActions::Now, &modes).context("tcsetattr")
}

/// Opens the terminal at standard output once more, to be written to without a wait: it may take less than is
/// written though poll(2) says that there is room. Other files take `PIPE_BUF` bytes then.
fn open_again() -> Option<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let open = || rustix::fs::open(c"/proc/self/fd/1", flags, Mode::empty()).ok();
    if isatty(stdout()) { open() } else { None }
}

/// Where output goes.
fn output(terminal: Option<&OwnedFd>) -> BorrowedFd<'_> {
    match terminal {
        Some(terminal) => terminal.as_fd(),
        None => stdout(),
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

/// Writes what the other side has room for; if it takes no more, it misses the rest.
fn write_from(fd: BorrowedFd<'_>, buffer: &mut Vec<u8>) {
    let next = buffer.get(..BUFFER).unwrap_or(buffer);
    match rustix::io::write(fd, next) {
        Ok(length) => drop(buffer.drain(..length)),
        Err(Errno::AGAIN | Errno::INTR) => {}
        Err(_) => buffer.clear(),
    }
}
