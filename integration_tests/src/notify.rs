//! sd_notify(3): a program that says something to `$NOTIFY_SOCKET`, `integration_tests --notify MESSAGE...`, and the
//! service manager that hears of it.
//!
//! Like the hostile program the first is this same binary, copied into a root filesystem.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;

/// The flag that makes of this binary the program.
pub(crate) const FLAG: &str = "--notify";

/// Says each of the messages.
///
/// # Errors
/// Nobody listens.
pub(crate) fn run(messages: &[String]) -> anyhow::Result<()> {
    let path = std::env::var_os("NOTIFY_SOCKET").context("NOTIFY_SOCKET is not set")?;
    let socket = UnixDatagram::unbound()?;
    for message in messages {
        socket.send_to(message.as_bytes(), &path)?;
    }
    Ok(())
}

/// A service manager's socket, which is read all the time. Descriptors that come with a message are closed.
pub(crate) struct Manager {
    /// What `$NOTIFY_SOCKET` is to be.
    pub address: String,
    path: Option<PathBuf>,
    is_over: Arc<AtomicBool>,
    reader: JoinHandle<Vec<String>>,
}

impl Manager {
    /// Listens at a file, or with `is_abstract` at a name without one.
    pub(crate) fn new(name: &str, is_abstract: bool) -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("notify-{}-{name}", std::process::id()));
        let (address, socket) = if is_abstract {
            let name = path.display().to_string();
            let address = SocketAddr::from_abstract_name(&name)?;
            (format!("@{name}"), UnixDatagram::bind_addr(&address)?)
        } else {
            (path.display().to_string(), UnixDatagram::bind(&path)?)
        };
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let is_over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_over);
        let reader = std::thread::spawn(move || read(&socket, &told));
        Ok(Self { address, path: (!is_abstract).then_some(path), is_over, reader })
    }

    /// The lines of what was said until now, but for barriers, which not every runtime knows.
    pub(crate) fn finish(self) -> anyhow::Result<Vec<String>> {
        self.is_over.store(true, Ordering::Relaxed);
        let messages = self.reader.join().ok().context("the reader panicked")?;
        if let Some(path) = self.path {
            std::fs::remove_file(path)?;
        }
        let lines = messages.iter().flat_map(|message| message.lines()).map(str::to_owned);
        Ok(lines.filter(|line| line != "BARRIER=1").collect())
    }
}

/// Reads until it is over and nothing is left.
fn read(socket: &UnixDatagram, is_over: &AtomicBool) -> Vec<String> {
    let mut messages = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let was_over = is_over.load(Ordering::Relaxed);
        match socket.recv(&mut buffer) {
            Ok(length) => {
                messages.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !was_over => {}
            Err(_) => return messages,
        }
    }
}
