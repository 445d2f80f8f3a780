//! set_mempolicy(2).

use crate::{Result, check};

/// Sets the calling thread's memory policy: `mode` is `MPOL_*` with `MPOL_F_*`, `nodes` has a bit
/// for each memory node, the lowest of the first word first.
///
/// # Errors
/// Those of set_mempolicy(2).
pub fn set(mode: u32, nodes: &[u64]) -> Result<()> {
    // The kernel looks at one bit less than it is told (mm/mempolicy.c, get_nodes).
    let bits = nodes.len() * 64 + 1;
    // SAFETY: `nodes` has at least as many bits as the kernel reads.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, nodes.as_ptr(), bits) })?;
    Ok(())
}
