//! The console socket: who shows a detached container's terminal is sent its master.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use anyhow::Context as _;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Connects to the socket at `path` (`--console-socket`).
///
/// # Errors
/// Those of connect(2).
pub(crate) fn connect(path: &Path) -> anyhow::Result<OwnedFd> {
    let context = || format!("console socket {}", path.display());
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .context("socket")
        .with_context(context)?;
    let address = SocketAddrUnix::new(path).with_context(context)?;
    rustix::net::connect(&socket, &address).context("connect").with_context(context)?;
    Ok(socket)
}

/// Sends the master, with a name as the message, in one sendmsg(2), as runc does.
///
/// # Errors
/// Those of sendmsg(2).
pub(crate) fn send(socket: &OwnedFd, master: &OwnedFd) -> anyhow::Result<()> {
    libsyscall::packet::send(socket.as_fd(), b"/dev/ptmx", &[master.as_fd()])
        .context("send the terminal to the console socket: sendmsg")
}
