//! unix(7) sockets of type `SOCK_SEQPACKET`: whole messages, with file descriptors on them.

use std::io::{IoSlice, IoSliceMut};
use std::mem::{MaybeUninit, offset_of};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::{Errno, Result, check};

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
/// Those of sendmsg(2); `EPIPE`, without a signal, when nobody listens any more. On a stream `EAGAIN` if not all of it
/// was taken in the time that the socket has (`SO_SNDTIMEO`).
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::TOOBIG);
    }
    let sent = sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    if sent == bytes.len() { Ok(()) } else { Err(Errno::AGAIN) }
}

/// Sends one message with one descriptor, as [`send`] does, by sendmmsg(2). Nothing is allocated.
///
/// # Errors
/// Those of sendmmsg(2); `EPIPE`, without a signal, when nobody listens any more.
pub fn send_by_sendmmsg(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptor: BorrowedFd<'_>,
) -> Result<()> {
    let mut rights = Rights {
        header: libc::cmsghdr {
            cmsg_len: offset_of!(Rights, descriptor) + size_of::<libc::c_int>(),
            cmsg_level: libc::SOL_SOCKET,
            cmsg_type: libc::SCM_RIGHTS,
        },
        descriptor: descriptor.as_raw_fd(),
    };
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let msg_hdr = libc::msghdr {
        msg_name: std::ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: &raw mut part,
        msg_iovlen: 1,
        msg_control: (&raw mut rights).cast(),
        msg_controllen: size_of::<Rights>(),
        msg_flags: 0,
    };
    let mut message = libc::mmsghdr { msg_hdr, msg_len: 0 };
    let (socket, flags) = (socket.as_raw_fd(), libc::MSG_NOSIGNAL);
    // SAFETY: one message of one part and one control message, which all live until the call returns; the
    // kernel reads them, and writes to `msg_len` alone.
    check(unsafe { libc::syscall(libc::SYS_sendmmsg, socket, &raw mut message, 1, flags) })?;
    Ok(())
}

/// A control message with one descriptor (cmsg(3)): what `CMSG_SPACE` counts for one, data behind the header.
#[repr(C)]
struct Rights {
    header: libc::cmsghdr,
    descriptor: libc::c_int,
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

    use super::{pair, receive, send, send_by_sendmmsg};
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
    fn the_other_call_sends_the_same() {
        let (left, right) = pair().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        send_by_sendmmsg(left.as_fd(), b"hello", writer.as_fd()).unwrap();
        drop(writer);
        let mut buffer = [0; 16];
        let (length, descriptors) = receive(right.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..length], descriptors.len()), (&b"hello"[..], 1));
        rustix::io::write(&descriptors[0], b"!").unwrap();
        assert_eq!(rustix::io::read(&reader, &mut buffer).unwrap(), 1);
        drop(right);
        assert_eq!(send_by_sendmmsg(left.as_fd(), b"x", reader.as_fd()), Err(Errno::PIPE));
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
