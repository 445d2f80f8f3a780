//! Who shows the program's terminal, and waits for its end: the other side of the console socket, or
//! the runtime itself in the foreground.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use anyhow::Context as _;
use libnamespaces::Child;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::foreground::Foreground;
use crate::notify_socket::Readiness;
use crate::plan::Terminal;
use crate::request;
use crate::wait::Signals;

/// Where the terminal goes.
pub(crate) struct Console {
    socket: Option<OwnedFd>,
    foreground: Option<Foreground>,
}

impl Console {
    /// Connects to the console socket.
    ///
    /// # Errors
    /// Those of connect(2).
    pub(crate) fn open(request: &request::Console) -> anyhow::Result<Self> {
        let socket = request.socket.as_deref();
        let socket = socket.map(|path| connect("console socket", path)).transpose()?;
        let foreground = (!request.detach).then(Foreground::default);
        Ok(Self { socket, foreground })
    }

    /// Shows the terminal with the master `master`. One without a size has that of the runtime's.
    ///
    /// # Errors
    /// Those of sendmsg(2), or of taking over the runtime's terminal.
    pub(crate) fn show(&mut self, master: OwnedFd, terminal: Terminal) -> anyhow::Result<()> {
        match (&self.socket, &mut self.foreground) {
            (Some(socket), _) => send(socket, &master),
            (None, Some(foreground)) => foreground.show(master, terminal.size.is_some()),
            (None, None) => Err(anyhow::Error::msg("a terminal that nobody shows")),
        }
    }

    /// In the foreground the service manager is told when the program is ready, while that runs. Detached, `readiness`
    /// comes back, for somebody else to wait for.
    pub(crate) fn hear(&mut self, readiness: Readiness) -> Option<Readiness> {
        match &mut self.foreground {
            Some(foreground) => {
                foreground.hear(readiness);
                None
            }
            None => Some(readiness),
        }
    }

    /// Waits for the program to end: its exit code, or 128 and the signal that ended it; detached,
    /// zero at once.
    ///
    /// # Errors
    /// Those of poll(2) and waitid(2).
    pub(crate) fn wait(self, child: &Child, signals: &Signals) -> anyhow::Result<u8> {
        self.foreground.map_or(Ok(0), |foreground| foreground.wait(child, signals))
    }
}

/// Connects to the socket at `path`, which errors call `name`.
pub(super) fn connect(name: &str, path: &Path) -> anyhow::Result<OwnedFd> {
    let context = || format!("{name} {}", path.display());
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .context("socket")
        .with_context(context)?;
    let address = SocketAddrUnix::new(path).with_context(context)?;
    rustix::net::connect(&socket, &address).context("connect").with_context(context)?;
    Ok(socket)
}

/// Sends the master, with a name as the message, in one sendmsg(2), as runc does.
fn send(socket: &OwnedFd, master: &OwnedFd) -> anyhow::Result<()> {
    libsyscall::packet::send(socket.as_fd(), b"/dev/ptmx", &[master.as_fd()])
        .context("send the terminal to the console socket: sendmsg")
}
