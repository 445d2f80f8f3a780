//! keyctl(2): the session keyring of a container.

use crate::{Result, check};

/// Leaves the session keyring for a new one, which nobody else can find, and returns its serial
/// number.
///
/// One with a name would be joined if it exists (keyctl_join_session_keyring(3)), whoever made it.
///
/// # Errors
/// Those of keyctl(2) `KEYCTL_JOIN_SESSION_KEYRING`; `EDQUOT` means that the user's quota of keys
/// (/proc/sys/kernel/keys/maxkeys) is used up, `ENOSYS` that the kernel has no keyrings.
pub fn new_session() -> Result<i32> {
    let anonymous = std::ptr::null::<libc::c_char>();
    // SAFETY: a null pointer stands for no name.
    let serial = check(unsafe {
        libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, anonymous)
    })?;
    Ok(serial as i32)
}
