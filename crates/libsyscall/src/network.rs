//! netdevice(7): the flags of a network interface.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::{Result, check};

/// Brings the loopback interface of the caller's network namespace up.
///
/// `socket` is any socket of that namespace.
///
/// # Errors
/// Those of `SIOCSIFFLAGS`.
pub fn bring_loopback_up(socket: BorrowedFd<'_>) -> Result<()> {
    let mut request = Request { name: [0; libc::IFNAMSIZ], flags: 0, rest: [0; 22] };
    request.name[..2].copy_from_slice(b"lo");
    request.flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: `request` has the size and layout of `struct ifreq` and is only read.
    let result = unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as libc::Ioctl, &raw const request)
    };
    check(libc::c_long::from(result))?;
    Ok(())
}

/// `struct ifreq` (linux/if.h) with the union as flags.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: i16,
    rest: [u8; 22],
}

const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());
