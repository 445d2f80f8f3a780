//! ioctl_pidfd(2): what a pidfd knows of its process.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::{Errno, Result, check};

/// How a process ended whose `pidfd` was opened before its parent was told, in the format of wait(2).
/// None while its parent has not been told, and before Linux 6.15 (`PIDFD_INFO_EXIT`), which keeps nothing.
///
/// # Errors
/// Those of ioctl(2).
pub fn wait_status(pidfd: BorrowedFd<'_>) -> Result<Option<i32>> {
    let asked = u64::from(libc::PIDFD_INFO_EXIT);
    // SAFETY: it consists of integers, of which zero is one.
    let mut info: libc::pidfd_info = unsafe { MaybeUninit::zeroed().assume_init() };
    info.mask = asked;
    // SAFETY: the call's number has the size of the structure, which the kernel reads and fills in.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut info) };
    match check(result.into()) {
        Ok(_) => Ok((info.mask & asked != 0).then_some(info.exit_code)),
        // Linux before 6.13 has no such call, and that before 6.15 none for a process that is gone.
        Err(Errno::NOTTY | Errno::INVAL | Errno::SRCH) => Ok(None),
        Err(errno) => Err(errno),
    }
}
