//! seccomp(2): installing a filter on the calling thread.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use crate::{Errno, Result, check};

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`: the call returns a notification descriptor.
pub const NEW_LISTENER: u32 = 1 << 3;

/// Installs the BPF `program`, 8 bytes an instruction (`struct sock_filter`), with
/// `SECCOMP_FILTER_FLAG_*` bits. With [`NEW_LISTENER`] it returns the listener.
///
/// # Errors
/// Those of seccomp(2): `EINVAL` for a program the kernel refuses, `EACCES` without
/// no_new_privs and `CAP_SYS_ADMIN`, `ESRCH` if one of the threads cannot have the filter.
pub fn set_filter(program: &[u8], flags: u32) -> Result<Option<OwnedFd>> {
    let (instructions, rest) = program.as_chunks::<8>();
    let length = u16::try_from(instructions.len()).map_err(|_| Errno::INVAL)?;
    if instructions.is_empty() || !rest.is_empty() {
        return Err(Errno::INVAL);
    }
    let filter = instructions.as_ptr().cast_mut().cast();
    let program = libc::sock_fprog { len: length, filter };
    // SAFETY: the kernel copies `len` instructions of 8 bytes from `filter` byte by byte and
    // writes nothing there.
    let result = check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    })?;
    if flags & NEW_LISTENER != 0 {
        // SAFETY: with this flag the result is a new descriptor that nothing else owns: the kernel
        // takes no TSYNC beside it without TSYNC_ESRCH, by which no thread's id is returned.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(result as RawFd) }));
    }
    // The id of the thread that made SECCOMP_FILTER_FLAG_TSYNC fail; no filter is installed then.
    if result != 0 {
        return Err(Errno::SRCH);
    }
    Ok(None)
}

/// Whether the kernel knows all of these `SECCOMP_FILTER_FLAG_*` bits. Nothing is installed.
#[must_use]
pub fn supports(flags: u32) -> bool {
    let none = std::ptr::null::<libc::sock_fprog>();
    // SAFETY: the kernel looks at the flags first, and refuses a program at no address with EFAULT.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, none) };
    check(result) == Err(Errno::FAULT)
}

#[cfg(test)]
mod tests {
    use super::{set_filter, supports};
    use crate::Errno;

    #[test]
    fn what_is_no_program_is_refused() {
        for bytes in [0, 7, 9, 8 * 0x1_0000] {
            assert_eq!(set_filter(&vec![0; bytes], 0).unwrap_err(), Errno::INVAL, "{bytes}");
        }
    }

    #[test]
    fn flags_that_there_are_and_one_that_there_is_not() {
        assert!(supports(0) && supports(super::NEW_LISTENER));
        assert!(!supports(1 << 31));
    }
}
