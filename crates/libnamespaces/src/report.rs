//! The one word to the runtime of a process in between: init's pidfd, what it has made, or what failed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libsyscall::packet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::Child;
use crate::Error;

/// The text beside a maker's pidfd.
const MAKER: &[u8] = b"maker";

/// A process that the joiner has cloned.
pub(crate) enum Born {
    /// The maker, by its pidfd.
    Maker(OwnedFd),
    /// The container's process: the last word.
    Process(Child),
}

/// One message: a pid with its pidfd, another file, or an error number with a text.
struct Said {
    number: i32,
    text: String,
    file: Option<OwnedFd>,
}

fn failure(number: i32, message: String) -> Error {
    Error::Joiner { message, errno: Errno::from_raw_os_error(number) }
}

/// One end of the report channel.
#[derive(Debug)]
pub(crate) struct Report(OwnedFd);

impl Report {
    /// The runtime's end and the joiner's.
    pub(crate) fn pair() -> Result<(Self, Self), Error> {
        let (reader, writer) =
            packet::pair().map_err(Error::call("make the joiner's channel: socketpair"))?;
        Ok((Self(reader), Self(writer)))
    }

    /// Sends the pidfd of the maker.
    pub(crate) fn send_maker(&self, pidfd: &OwnedFd) -> Result<(), Errno> {
        packet::send(self.0.as_fd(), &[&0_i32.to_ne_bytes()[..], MAKER].concat(), &[pidfd.as_fd()])
    }

    /// Sends init: its pid and pidfd.
    pub(crate) fn send_child(&self, pid: i32, pidfd: &OwnedFd) -> Result<(), Errno> {
        packet::send(self.0.as_fd(), &pid.to_ne_bytes(), &[pidfd.as_fd()])
    }

    /// Sends a file that was made.
    pub(crate) fn send_file(&self, file: &OwnedFd) -> Result<(), Errno> {
        packet::send(self.0.as_fd(), &0_i32.to_ne_bytes(), &[file.as_fd()])
    }

    /// Sends what failed: the error number and the text.
    pub(crate) fn send_error(&self, error: &Error) -> Result<(), Errno> {
        let errno = error.errno().map_or(0, Errno::raw_os_error);
        let mut message = errno.to_ne_bytes().to_vec();
        message.extend(error.to_string().into_bytes());
        packet::send(self.0.as_fd(), &message, &[])
    }

    /// Whether there is something to receive, or will be nothing.
    pub(crate) fn is_readable(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        matches!(poll(&mut fds, Some(&Timespec::default())), Ok(ready) if ready > 0)
    }

    /// Waits for the joiner's next word.
    pub(crate) fn receive(&self) -> Result<Born, Error> {
        let Said { number, text, file } = self.hear()?;
        match file {
            Some(pidfd) if text.as_bytes() == MAKER => Ok(Born::Maker(pidfd)),
            Some(pidfd) => Ok(Born::Process(Child { pid: number, pidfd })),
            None => Err(failure(number, text)),
        }
    }

    /// Waits for the file that the other side makes.
    pub(crate) fn receive_file(&self) -> Result<OwnedFd, Error> {
        let Said { number, text, file } = self.hear()?;
        file.ok_or_else(|| failure(number, text))
    }

    /// Waits until the other side has closed its end, or is dead.
    pub(crate) fn wait_for_end(&self) {
        let _ = packet::receive(self.0.as_fd(), &mut [0; 1]);
    }

    fn hear(&self) -> Result<Said, Error> {
        let mut buffer = [0; 1024];
        let (length, descriptors) = packet::receive(self.0.as_fd(), &mut buffer)
            .map_err(Error::call("hear from the joiner: recvmsg"))?;
        let Some((number, text)) = buffer[..length].split_first_chunk() else {
            return Err(Error::JoinerLost { signal: None });
        };
        Ok(Said {
            number: i32::from_ne_bytes(*number),
            text: String::from_utf8_lossy(text).into_owned(),
            file: descriptors.into_iter().next(),
        })
    }
}

impl AsFd for Report {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
