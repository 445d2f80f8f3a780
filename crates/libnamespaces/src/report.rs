//! The one word to the runtime of a process in between: init's pidfd, that it is done, or what failed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libsyscall::packet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::Child;
use crate::Error;

/// One message: a pid with its pidfd, or an error number with a text.
struct Said {
    number: i32,
    text: String,
    pidfd: Option<OwnedFd>,
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

    /// Sends init: its pid and pidfd.
    pub(crate) fn send_child(&self, pid: i32, pidfd: &OwnedFd) -> Result<(), Errno> {
        packet::send(self.0.as_fd(), &pid.to_ne_bytes(), &[pidfd.as_fd()])
    }

    /// Sends that it is done: no error number and no text.
    pub(crate) fn send_done(&self) -> Result<(), Errno> {
        packet::send(self.0.as_fd(), &0_i32.to_ne_bytes(), &[])
    }

    /// Sends what failed: the error number and the text.
    pub(crate) fn send_error(&self, error: &Error) -> Result<(), Errno> {
        let errno = error.errno().map_or(0, Errno::raw_os_error);
        let mut message = errno.to_ne_bytes().to_vec();
        message.extend(error.to_string().into_bytes());
        packet::send(self.0.as_fd(), &message, &[])
    }

    /// The joiner's report, if it is there already.
    pub(crate) fn receive_now(&self) -> Option<Result<Child, Error>> {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        let ready = poll(&mut fds, Some(&Timespec::default())).ok()?;
        (ready > 0).then(|| self.receive())
    }

    /// Waits for the joiner's report.
    pub(crate) fn receive(&self) -> Result<Child, Error> {
        let Said { number, text, pidfd } = self.hear()?;
        match pidfd {
            Some(pidfd) => Ok(Child { pid: number, pidfd }),
            None => Err(failure(number, text)),
        }
    }

    /// Waits until the other side is done.
    pub(crate) fn receive_done(&self) -> Result<(), Error> {
        let Said { number, text, .. } = self.hear()?;
        if text.is_empty() { Ok(()) } else { Err(failure(number, text)) }
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
            return Err(Error::JoinerLost);
        };
        Ok(Said {
            number: i32::from_ne_bytes(*number),
            text: String::from_utf8_lossy(text).into_owned(),
            pidfd: descriptors.into_iter().next(),
        })
    }
}

impl AsFd for Report {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
