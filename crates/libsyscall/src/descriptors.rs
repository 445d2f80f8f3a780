//! close_range(2): which file descriptors cross an execve.

use crate::{Result, check};

/// Marks every descriptor from `first` on close-on-exec.
///
/// # Errors
/// Those of close_range(2) with `CLOSE_RANGE_CLOEXEC` (Linux 5.11); on older kernels `EINVAL`.
pub fn close_on_exec_from(first: u32) -> Result<()> {
    // SAFETY: the call takes no pointer and closes nothing now.
    check(unsafe {
        libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
    })?;
    Ok(())
}
