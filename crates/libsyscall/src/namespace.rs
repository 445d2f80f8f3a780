//! ioctl_nsfs(2): what kind of namespace a file is.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::{Result, check};

/// `NS_GET_NSTYPE` (linux/nsfs.h).
const GET_TYPE: libc::Ioctl = 0xb703;

/// The bits of the `CLONE_NEW*` flag of the namespace that `file` is.
///
/// # Errors
/// `ENOTTY` if it is not a namespace at all.
pub fn kind(file: BorrowedFd<'_>) -> Result<u64> {
    // SAFETY: the request takes no argument.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), GET_TYPE) };
    Ok(check(libc::c_long::from(result))? as u64)
}
