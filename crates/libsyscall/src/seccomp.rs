//! seccomp(2): installing a filter on the calling thread.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use crate::{Result, check};

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`: the call returns a notification descriptor.
pub const NEW_LISTENER: u32 = 1 << 3;

/// Installs the BPF `program`, 8 bytes an instruction (`struct sock_filter`), with
/// `SECCOMP_FILTER_FLAG_*` bits. With [`NEW_LISTENER`] it returns the listener.
///
/// # Errors
/// Those of seccomp(2): `EINVAL` for a program the kernel refuses, `EACCES` without
/// no_new_privs and `CAP_SYS_ADMIN`.
pub fn set_filter(program: &[u8], flags: u32) -> Result<Option<OwnedFd>> {
    let length = u16::try_from(program.len() / 8).map_err(|_| crate::Errno::INVAL)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: the kernel copies `len` instructions of 8 bytes from `filter` byte by byte and
    // writes nothing there.
    let result = check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    })?;
    if flags & NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with this flag the result is a new descriptor that nothing else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(result as RawFd) }))
}
