//! unix(7) sockets of type `SOCK_SEQPACKET`: whole messages, with file descriptors on them.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::{Errno, Result};

/// The most descriptors one message carries.
pub const DESCRIPTORS: usize = 4;

/// Two connected sockets, close-on-exec.
///
/// # Errors
/// Those of socketpair(2).
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Sends one message.
///
/// # Errors
/// Those of sendmsg(2); `EPIPE`, without a signal, when nobody listens any more.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::TOOBIG);
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message into `buffer`: its length, zero when the other side is gone, and its
/// descriptors, close-on-exec.
///
/// # Errors
/// Those of recvmsg(2); `EMSGSIZE` if the message or its descriptors did not fit.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = loop {
        match recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            result => break result?,
        }
    };
    let descriptors = control.drain().filter_map(rights).flatten().collect();
    let cut = rustix::net::ReturnFlags::TRUNC | rustix::net::ReturnFlags::CTRUNC;
    if message.flags.intersects(cut) {
        return Err(Errno::MSGSIZE);
    }
    Ok((message.bytes, descriptors))
}

fn rights(message: RecvAncillaryMessage<'_>) -> Option<impl Iterator<Item = OwnedFd>> {
    match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::{pair, receive, send};
    use crate::Errno;

    #[test]
    fn a_message_arrives_whole_with_its_descriptors() {
        let (left, right) = pair().unwrap();
        send(left.as_fd(), b"hello", &[left.as_fd(), right.as_fd()]).unwrap();
        let mut buffer = [0; 16];
        let (length, descriptors) = receive(right.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..length], descriptors.len()), (&b"hello"[..], 2));
    }

    #[test]
    fn a_message_that_does_not_fit_is_an_error() {
        let (left, right) = pair().unwrap();
        send(left.as_fd(), b"hello", &[]).unwrap();
        assert_eq!(receive(right.as_fd(), &mut [0; 2]).unwrap_err(), Errno::MSGSIZE);
    }

    #[test]
    fn the_end_is_an_empty_message() {
        let (left, right) = pair().unwrap();
        drop(left);
        assert_eq!(receive(right.as_fd(), &mut [0; 2]).unwrap().0, 0);
        assert_eq!(send(right.as_fd(), b"x", &[]).unwrap_err(), Errno::PIPE);
    }
}
