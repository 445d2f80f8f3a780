//! The socket at which a created container's init waits for `start`.

use std::os::fd::OwnedFd;

use anyhow::Context as _;
use libchannel::Channel;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::protocol::{InitEnd, Reply, RuntimeEnd};
use crate::state::{START_SOCKET, StateDirectory};
use crate::{Error, ErrorKind, Result};

/// The socket at which init waits for `start`. Only its owner may connect.
pub(crate) fn listen(directory: &StateDirectory) -> anyhow::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .context("make the start socket: socket")?;
    rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
        .context("make the start socket: fchmod")?;
    let address = SocketAddrUnix::new(directory.short_path(START_SOCKET))
        .context("make the start socket: address")?;
    rustix::net::bind(&socket, &address).context("make the start socket: bind")?;
    rustix::net::listen(&socket, 1).context("make the start socket: listen")?;
    Ok(socket)
}

/// Init's side: waits for a `start` that says so. One that ends before was not the one.
///
/// # Errors
/// Those of accept(2).
pub(crate) fn accept(listener: &OwnedFd) -> anyhow::Result<InitEnd> {
    loop {
        let connection = match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
            Err(Errno::INTR | Errno::CONNABORTED) => continue,
            result => result.context("wait for start: accept")?,
        };
        let channel: InitEnd = Channel::from_socket(connection);
        if let Ok(Some((Reply::Start, _))) = channel.receive() {
            return Ok(channel);
        }
    }
}

pub(crate) fn connect(directory: &StateDirectory) -> Result<RuntimeEnd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .context("socket")?;
    let address =
        SocketAddrUnix::new(directory.short_path(START_SOCKET)).context("start socket: address")?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => Ok(Channel::from_socket(socket)),
        Err(Errno::NOENT) => Err(already_running()),
        Err(errno) => {
            Err(anyhow::Error::new(errno).context("connect to the container's init").into())
        }
    }
}

pub(crate) fn already_running() -> Error {
    Error::new(ErrorKind::Status, "cannot start an already running container")
}
