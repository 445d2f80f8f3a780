//! ioprio_set(2): the I/O scheduling class of a process group.

use crate::{Result, check};

/// `IOPRIO_WHO_PGRP` (linux/ioprio.h).
const WHO_PROCESS_GROUP: i32 = 2;

/// Sets the I/O priority of the caller's process group: the class above bit 13, the level below.
///
/// # Errors
/// Those of ioprio_set(2).
pub fn set_for_process_group(priority: u32) -> Result<()> {
    // SAFETY: the call takes no pointer.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS_GROUP, 0, priority) })?;
    Ok(())
}
