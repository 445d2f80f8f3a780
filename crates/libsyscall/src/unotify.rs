//! seccomp_unotify(2): the agent's side. aril is none itself; its tests are.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::{Errno, Result, check};

/// A system call that waits for the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification {
    /// By which it is answered.
    pub id: u64,
    /// The thread that made it, in the agent's pid namespace.
    pub pid: u32,
    /// The number of the call.
    pub number: i32,
    /// What it was called with.
    pub arguments: [u64; 6],
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The kernel does it (`SECCOMP_USER_NOTIF_FLAG_CONTINUE`).
    Continue,
    /// It returns this.
    Value(i64),
    /// It fails with this.
    Error(Errno),
}

/// Waits for the next one.
///
/// # Errors
/// `ENOENT` if the thread was killed meanwhile or nobody has the filter any more; `EINTR`.
pub fn receive(listener: BorrowedFd<'_>) -> Result<Notification> {
    let data = libc::seccomp_data { nr: 0, arch: 0, instruction_pointer: 0, args: [0; 6] };
    let mut found = libc::seccomp_notif { id: 0, pid: 0, flags: 0, data };
    // SAFETY: the kernel writes one `struct seccomp_notif` to `found`.
    let result = unsafe {
        libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut found)
    };
    check(result.into())?;
    let libc::seccomp_notif { id, pid, data, .. } = found;
    Ok(Notification { id, pid, number: data.nr, arguments: data.args })
}

/// Answers it.
///
/// # Errors
/// `ENOENT` if its thread is gone.
pub fn answer(listener: BorrowedFd<'_>, id: u64, answer: Answer) -> Result<()> {
    let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
    let mut response = match answer {
        Answer::Continue => libc::seccomp_notif_resp { id, val: 0, error: 0, flags },
        Answer::Value(val) => libc::seccomp_notif_resp { id, val, error: 0, flags: 0 },
        Answer::Error(errno) => {
            libc::seccomp_notif_resp { id, val: 0, error: -errno.raw_os_error(), flags: 0 }
        }
    };
    // SAFETY: the kernel reads one `struct seccomp_notif_resp`.
    let result = unsafe {
        libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut response)
    };
    check(result.into()).map(drop)
}

/// Puts a copy of `descriptor` into the process of a notification; its number there.
///
/// # Errors
/// `ENOENT` if its thread is gone, `EMFILE` if it has no room.
pub fn add_descriptor(
    listener: BorrowedFd<'_>,
    id: u64,
    descriptor: BorrowedFd<'_>,
) -> Result<i64> {
    let srcfd = descriptor.as_raw_fd().cast_unsigned();
    let mut added = libc::seccomp_notif_addfd { id, flags: 0, srcfd, newfd: 0, newfd_flags: 0 };
    // SAFETY: the kernel reads one `struct seccomp_notif_addfd`.
    let result = unsafe {
        libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw mut added)
    };
    check(result.into())
}
