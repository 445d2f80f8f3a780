//! The agent that is notified of system calls: who listens at `listenerPath` (config-linux.md, "Seccomp").

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::error::Property;
use crate::plan::Listener;
use crate::state::StateDocument;

/// How long an agent may take for a connection, for what is sent, and for the calls by which a process gets ready.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to it, for one process.
pub(crate) struct Agent<'a> {
    listener: &'a Listener,
    socket: OwnedFd,
    container: StateDocument,
}

impl<'a> Agent<'a> {
    /// Connects to the agent of a process of `container`.
    ///
    /// # Errors
    /// Those of connect(2).
    pub(crate) fn connect(
        listener: &'a Listener,
        container: StateDocument,
    ) -> anyhow::Result<Self> {
        let socket = connect(listener).map_err(|errno| {
            let hint = hint(errno);
            anyhow::Error::new(errno).context(about(listener, &format!("connect{hint}")))
        })?;
        Ok(Self { listener, socket, container })
    }

    /// Gives the agent the listener of the process `pid`, and lets go of both: when the agent ends, nobody has it, and the
    /// kernel says so to the process. Until when the process is to go on.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub(crate) fn send(mut self, filter: OwnedFd, pid: i32) -> anyhow::Result<Due<'a>> {
        if self.container.pid == 0 {
            // The process is the container's first.
            self.container.pid = pid;
        }
        let message = self.container.process_state(pid, &self.listener.metadata)?;
        let sent = libsyscall::packet::send(self.socket.as_fd(), &message, &[filter.as_fd()]);
        sent.map_err(|errno| {
            let hint = hint(errno);
            let text = format!("send it the container process state: sendmsg{hint}");
            anyhow::Error::new(errno).context(about(self.listener, &text))
        })?;
        Ok(Due { listener: self.listener, at: Instant::now() + PATIENCE })
    }
}

/// When a process whose agent has its listener is to say what it is doing.
#[derive(Clone, Copy)]
pub(crate) struct Due<'a> {
    listener: &'a Listener,
    /// The last moment.
    pub at: Instant,
}

impl Due<'_> {
    /// That it has said nothing.
    pub(crate) fn missed(&self) -> anyhow::Error {
        let text = format!(
            "the agent does not answer: the process has waited for {} s in a call with SCMP_ACT_NOTIFY that it makes \
             before its program runs; answer it (SECCOMP_USER_NOTIF_FLAG_CONTINUE), or do not name that call",
            PATIENCE.as_secs()
        );
        anyhow::Error::msg(about(self.listener, &text))
    }
}

fn connect(listener: &Listener) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // For connect(2), too: it waits where nobody accepts.
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(listener.path.as_path())?)?;
    Ok(socket)
}

fn about(listener: &Listener, text: &str) -> Property {
    let path = listener.path.display();
    let text = format!("linux.seccomp.listenerPath {path}: {text}");
    Property::new("/linux/seccomp/listenerPath", text)
}

/// What an errno usually means here.
fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::NOENT => " (there is no socket: start the agent first)",
        Errno::CONNREFUSED => " (nobody listens there: start the agent first)",
        Errno::PROTOTYPE => " (it must be a socket of type SOCK_STREAM)",
        Errno::AGAIN => " (the agent takes nothing for 10 s: does it accept connections?)",
        Errno::PIPE | Errno::CONNRESET => " (the agent has closed the connection)",
        _ => "",
    }
}
