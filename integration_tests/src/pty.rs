//! Pseudoterminals, pty(7): what a test reads and writes in the place of a user.

use std::fs::{self, File};
use std::io::{IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcgetwinsize, tcsetwinsize};

use crate::command::{Output, patience};
use crate::container::Container;

/// The master's side: what is typed, and what is seen.
pub(crate) struct Master {
    file: File,
    /// What has come behind the last word that was waited for: one read may bring several of them.
    unseen: String,
}

impl Master {
    fn new(file: OwnedFd) -> Self {
        Self { file: file.into(), unseen: String::new() }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Types `keys`.
    pub(crate) fn write(&mut self, keys: &[u8]) -> anyhow::Result<()> {
        Ok(self.file.write_all(keys)?)
    }

    /// Waits for `word`: what has come since the last one that was waited for, up to it and with it.
    ///
    /// # Errors
    /// It does not come.
    pub(crate) fn read_until(&mut self, word: &str) -> anyhow::Result<String> {
        let start = Instant::now();
        loop {
            if let Some(place) = self.unseen.find(word) {
                let rest = self.unseen.split_off(place + word.len());
                return Ok(std::mem::replace(&mut self.unseen, rest));
            }
            let goes_on = start.elapsed() < patience() && self.read()?;
            ensure!(goes_on, "{word:?} is not in {:?}", self.unseen);
        }
    }

    /// Whether something more came.
    fn read(&mut self) -> anyhow::Result<bool> {
        let mut buffer = [0; 1024];
        if !is_readable(&self.file)? {
            return Ok(false);
        }
        match self.file.read(&mut buffer) {
            // A master whose slaves are all closed gives EIO.
            Ok(0) | Err(_) => Ok(false),
            Ok(length) => {
                self.unseen.push_str(&String::from_utf8_lossy(&buffer[..length]));
                Ok(true)
            }
        }
    }

    /// Its rows and columns.
    pub(crate) fn size(&self) -> anyhow::Result<(u16, u16)> {
        let size = tcgetwinsize(&self.file)?;
        Ok((size.ws_row, size.ws_col))
    }
}

/// Whether there is something to read within the time of a test.
fn is_readable(file: &impl AsFd) -> anyhow::Result<bool> {
    let timeout = Timespec { tv_sec: i64::try_from(patience().as_secs())?, tv_nsec: 0 };
    Ok(poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&timeout))? == 1)
}

/// Runs a command that connects to the socket at `path`: its output, and the master if it succeeds.
pub(crate) fn with_socket(
    container: &Container,
    run: impl Fn(&str) -> anyhow::Result<Output>,
) -> anyhow::Result<(Output, Option<Master>)> {
    // A bundle's path may be too long for a socket's.
    let path = std::env::temp_dir().join(format!("console-{}-{:p}", std::process::id(), container));
    let listener = UnixListener::bind(&path)?;
    let output = run(&path.display().to_string());
    fs::remove_file(&path)?;
    let output = output?;
    let master = (output.code == 0).then(|| accept_master(&listener)).transpose()?;
    Ok((output, master))
}

/// Accepts one connection and takes the descriptor that comes with its message.
fn accept_master(listener: &UnixListener) -> anyhow::Result<Master> {
    ensure!(is_readable(listener)?, "nobody connects");
    let (stream, _) = listener.accept()?;
    ensure!(is_readable(&stream)?, "never: a message");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 4096];
    let mut slices = [IoSliceMut::new(&mut name)];
    recvmsg(stream.as_fd(), &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    descriptors.flatten().next().map(Master::new).context("no descriptor")
}

/// A terminal of the test's own, for the runtime to be called from.
pub(crate) struct Own {
    pub(crate) master: Master,
    slave: File,
}

impl Own {
    pub(crate) fn new(rows: u16, columns: u16) -> anyhow::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        let own = Self { master: Master::new(master), slave: slave.into() };
        own.resize(rows, columns)?;
        Ok(own)
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) -> anyhow::Result<()> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(&self.slave, size)?)
    }

    /// What the terminal does with what is typed and shown (termios(3)).
    pub(crate) fn modes(&self) -> anyhow::Result<String> {
        let modes = tcgetattr(&self.slave)?;
        Ok(format!("{:?} {:?} {:?}", modes.input_modes, modes.output_modes, modes.local_modes))
    }

    /// The slave's side, as a stream of a command.
    pub(crate) fn stream(&self) -> anyhow::Result<Stdio> {
        Ok(self.slave.try_clone()?.into())
    }

    /// Runs the runtime on the terminal while `talk` does; its exit code.
    pub(crate) fn converse(
        &mut self,
        container: &Container,
        arguments: &[&str],
        talk: impl FnOnce(&mut Self, u32) -> anyhow::Result<()>,
    ) -> anyhow::Result<i32> {
        let mut command = container.command(arguments);
        command.stdin(self.stream()?).stdout(self.stream()?).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let talked = talk(self, child.id());
        if talked.is_err() {
            let _ = child.kill();
        }
        let code = crate::command::wait(&mut child)?;
        talked.map(|()| code)
    }
}
