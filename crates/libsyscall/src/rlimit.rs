//! prlimit(2), with resources as the numbers a plan holds.

use crate::{Result, check};

/// Sets a resource limit of the calling process. `RLIM_INFINITY` is `u64::MAX`.
///
/// # Errors
/// Those of prlimit(2); `EPERM` when the hard limit would be raised without `CAP_SYS_RESOURCE`.
pub fn set(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` is a rlimit64 that is only read; the old limit is not asked for.
    check(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            &raw const limit,
            std::ptr::null_mut::<libc::rlimit64>(),
        )
    })?;
    Ok(())
}
