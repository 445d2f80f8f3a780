//! sched_setattr(2).

use crate::{Result, check};

/// `struct sched_attr` (linux/sched/types.h) without utilization clamps: what the spec's
/// `process.scheduler` can say.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// The size of the structure; [`set`] fills it in.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Nice value, for `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// Static priority, for `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// Nanoseconds of computation per period, for `SCHED_DEADLINE`.
    pub runtime: u64,
    /// Nanoseconds until the deadline, for `SCHED_DEADLINE`.
    pub deadline: u64,
    /// Nanoseconds of a period, for `SCHED_DEADLINE`.
    pub period: u64,
}

/// Applies `attributes` to the calling thread.
///
/// # Errors
/// Those of sched_setattr(2).
pub fn set(attributes: &Attributes) -> Result<()> {
    let sized = Attributes { size: size_of::<Attributes>() as u32, ..*attributes };
    // SAFETY: `sized` is a sched_attr whose size field is its true size; it is only read.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const sized, 0) })?;
    Ok(())
}
