//! `--pidfd-socket`: the pidfd of a new process, for whoever called.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use anyhow::Context as _;
use libnamespaces::Child;

use super::console;

/// What the message with the pidfd says: runc's words for the two.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// The container's first process.
    Init,
    /// A process of exec.
    Exec,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Init => "standard",
            Self::Exec => "setns",
        }
    }
}

/// A connection to the socket, if one is asked for.
pub(crate) struct PidfdSocket {
    socket: Option<OwnedFd>,
    kind: Kind,
}

impl PidfdSocket {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// Those of connect(2).
    pub(crate) fn open(path: Option<&Path>, kind: Kind) -> anyhow::Result<Self> {
        let socket = path.map(|path| console::connect("--pidfd-socket", path)).transpose()?;
        Ok(Self { socket, kind })
    }

    /// Sends the pidfd of `child`, and ends the connection.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub(super) fn send(&mut self, child: &Child) -> anyhow::Result<()> {
        let Some(socket) = self.socket.take() else { return Ok(()) };
        libsyscall::packet::send(
            socket.as_fd(),
            self.kind.word().as_bytes(),
            &[child.pidfd.as_fd()],
        )
        .context("send the pidfd to --pidfd-socket: sendmsg")
    }
}
