//! `$NOTIFY_SOCKET`: the socket at which a container's program says that it is ready, and the word that the service
//! manager of whoever called gets of it (sd_notify(3)).
//!
//! What comes out of the container is believed in one thing only, `READY=1`; the words that go to the host are the
//! runtime's own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::request::{self, NotifySocket};
use crate::state::LockedDirectory;
use crate::wait::{Signals, until_one_is_readable};

/// The directory in the state directory that the container sees: runc's name.
const DIRECTORY: &str = "notify";
/// The socket in it.
const SOCKET: &str = "notify/notify.sock";
/// The longest message: systemd ignores longer ones, too (sd_notify(3) sends no more than a page).
const LONGEST: usize = 4096;
/// How many messages are read before others have their turn.
const AT_ONCE: usize = 64;
/// How long the host may take for a word, as in runc.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the directory of the container `id` will be.
pub(crate) fn notify_directory(context: &request::Context, id: &str) -> PathBuf {
    context.root.join(id).join(DIRECTORY)
}

/// Makes the directory, which any user of the container may look into.
pub(crate) fn make_directory(directory: &LockedDirectory) -> anyhow::Result<()> {
    directory.make_directory(DIRECTORY, Mode::RWXU | Mode::from_raw_mode(0o055))
}

/// Whether `create` has made it.
pub(crate) fn has_room(directory: &LockedDirectory) -> anyhow::Result<bool> {
    directory.has(DIRECTORY)
}

/// A connection to the service manager.
pub(crate) struct ServiceManager(OwnedFd);

impl ServiceManager {
    /// Connects to the socket that the variable names.
    ///
    /// # Errors
    /// Those of connect(2).
    pub(crate) fn connect(address: &NotifySocket) -> anyhow::Result<Self> {
        let (shown, address) = match address {
            NotifySocket::Path(path) => (path.display().to_string(), SocketAddrUnix::new(path)),
            NotifySocket::Abstract(name) => (
                format!("@{}", String::from_utf8_lossy(name)),
                SocketAddrUnix::new_abstract_name(name),
            ),
        };
        let context =
            || format!("NOTIFY_SOCKET={shown}: give a socket that is listened to, or unset it");
        let socket = datagram_socket().with_context(context)?;
        let address = address.with_context(context)?;
        rustix::net::connect(&socket, &address).context("connect").with_context(context)?;
        set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))
            .context("setsockopt")
            .with_context(context)?;
        Ok(Self(socket))
    }

    /// Listens for the container of the state directory, whose `create` has made room for that.
    ///
    /// # Errors
    /// Those of bind(2).
    pub(crate) fn listen(self, directory: &LockedDirectory) -> anyhow::Result<Readiness> {
        let context = "make the container's notify socket";
        // That of a start that was killed.
        directory.unlink(SOCKET).context(context)?;
        let socket = datagram_socket().context(context)?;
        let address = SocketAddrUnix::new(directory.short_path(SOCKET)).context(context)?;
        // Any user of the container may write to it. The path is the container's, too: it is not gone by twice.
        let umask = rustix::process::umask(Mode::empty());
        let bound = rustix::net::bind(&socket, &address);
        rustix::process::umask(umask);
        bound.context("bind").context(context)?;
        Ok(Readiness { manager: self, socket })
    }

    /// Says that the program is ready, and that `pid` is the process to watch.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    fn tell(&self, pid: i32) -> anyhow::Result<()> {
        self.send(format!("READY=1\nMAINPID={pid}").as_bytes(), &[])
    }

    /// Waits until it has read what was said before (sd_notify_barrier(3)): it may ask who said it, and that process may
    /// end then. One that knows no barrier is waited for half a minute.
    ///
    /// # Errors
    /// Those of sendmsg(2), or the signal that came.
    fn wait_for_barrier(&self, signals: Option<&Signals>) -> anyhow::Result<()> {
        let (here, there) = std::io::pipe().context("pipe")?;
        self.send(b"BARRIER=1", &[there.as_fd()])?;
        drop(there);
        let deadline = Instant::now() + PATIENCE;
        until_one_is_readable([Some(here.as_fd())], Some(deadline), signals).map(drop)
    }

    fn send(&self, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> anyhow::Result<()> {
        libsyscall::packet::send(self.0.as_fd(), message, descriptors)
            .context("tell the socket of NOTIFY_SOCKET that the program is ready: sendmsg")
    }
}

fn datagram_socket() -> anyhow::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).context("socket")
}

/// A program that will say when it is ready.
pub(crate) struct Readiness {
    manager: ServiceManager,
    socket: OwnedFd,
}

impl Readiness {
    /// Waits until the program of `init` is ready, whose pid is `pid`, and tells the service manager. It may end before;
    /// without a pidfd it has.
    ///
    /// # Errors
    /// The service manager does not hear, or the signal that came.
    pub(crate) fn wait(
        &self,
        init: Option<BorrowedFd<'_>>,
        pid: i32,
        signals: Option<&Signals>,
    ) -> anyhow::Result<()> {
        loop {
            let fds = [init, Some(self.as_fd())];
            let [has_ended, has_said] = match init {
                Some(_) => until_one_is_readable(fds, None, signals)?,
                None => [true, true],
            };
            // What it said before its end counts.
            if has_said && self.is_ready()? {
                self.manager.tell(pid)?;
                return self.manager.wait_for_barrier(signals);
            }
            if has_ended {
                return Ok(());
            }
        }
    }

    /// Hears what the program says. Once it is ready, the service manager is told, which goes on to watch this process:
    /// it ends as the program does. Whether that is done.
    ///
    /// # Errors
    /// The service manager does not hear.
    pub(crate) fn hear(&self) -> anyhow::Result<bool> {
        let is_ready = self.is_ready()?;
        if is_ready {
            self.manager.tell(rustix::process::getpid().as_raw_nonzero().get())?;
        }
        Ok(is_ready)
    }

    /// Reads what waits to be read: whether one of the messages says that the program is ready.
    fn is_ready(&self) -> anyhow::Result<bool> {
        // One byte more shows that a message is longer.
        let mut buffer = [0; LONGEST + 1];
        for _ in 0..AT_ONCE {
            match rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) if says_ready(buffer.get(..length).unwrap_or_default()) => {
                    return Ok(true);
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(errno) => return Err(errno).context("read the container's notify socket"),
            }
        }
        Ok(false)
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether a line of the message says so.
fn says_ready(message: &[u8]) -> bool {
    message.len() <= LONGEST && message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, says_ready};

    #[test]
    fn a_whole_line_says_ready() {
        for ready in ["READY=1", "READY=1\n", "STATUS=there\nREADY=1\nWATCHDOG=1"] {
            assert!(says_ready(ready.as_bytes()), "{ready:?}");
        }
        for other in
            ["", "READY=10", "READY=0", "READY=1\0", "READY=1 ", "NOT READY=1", "RELOADING=1"]
        {
            assert!(!says_ready(other.as_bytes()), "{other:?}");
        }
        let long = format!("READY=1\n{}", "x".repeat(LONGEST));
        assert!(!says_ready(long.as_bytes()));
        assert!(says_ready(long.get(..LONGEST).unwrap().as_bytes()));
    }
}
