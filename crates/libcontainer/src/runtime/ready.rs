//! A process of the container that is ready for its program, and the last words with it.

use std::os::fd::OwnedFd;

use super::console::Console;
use super::pending::Pending;
use super::pidfd_socket::PidfdSocket;
use super::serve::Line;
use crate::plan::Terminal;
use crate::protocol::Reply;

/// Init or an exec process that has said `Ready`, and everything that undoes it.
pub(crate) struct Ready<'a> {
    /// What is undone unless it is kept.
    pub pending: Pending,
    /// What is said with it.
    pub line: Line<'a>,
    /// The master of its terminal, if it has one.
    pub master: Option<OwnedFd>,
}

impl Ready<'_> {
    /// Gives the terminal, if there is one, to whoever shows it.
    pub(crate) fn show(
        &mut self,
        console: &mut Console,
        terminal: Option<Terminal>,
    ) -> anyhow::Result<()> {
        match self.master.take() {
            Some(master) => console.show(master, terminal.unwrap_or_default()),
            None => Ok(()),
        }
    }

    /// Gives its pidfd to whoever has asked for it.
    pub(crate) fn hand_over(&self, socket: &mut PidfdSocket) -> anyhow::Result<()> {
        socket.send(self.pending.child()?)
    }

    /// Lets init go on to where it waits for `start`.
    pub(crate) fn proceed(&self) -> anyhow::Result<()> {
        self.line.say(Reply::Proceed)
    }

    /// Starts the program, and waits until it is executed.
    pub(crate) fn start(&self) -> anyhow::Result<()> {
        self.line.say(Reply::Start)?;
        self.line.wait_for_program(self.pending.child()?)
    }
}
