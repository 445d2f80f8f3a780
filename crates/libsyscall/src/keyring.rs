//! keyctl(2): the session keyring of a container.

use std::ffi::CStr;

use crate::{Result, check};

/// Joins the session keyring `name`, made if it does not exist, and returns its serial number.
///
/// # Errors
/// Those of keyctl(2) `KEYCTL_JOIN_SESSION_KEYRING`; `EDQUOT` means that the user's quota of keys
/// (/proc/sys/kernel/keys/maxkeys) is used up, `ENOSYS` that the kernel has no keyrings.
pub fn join_session(name: &CStr) -> Result<i32> {
    // SAFETY: `name` is a C string that lives across the call.
    let serial = check(unsafe {
        libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr())
    })?;
    Ok(serial as i32)
}
