//! Signal dispositions and the signal mask of a process that is about to become another program.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::{Result, check};

/// Gives `SIGPIPE` its default action back, which Rust's start-up code takes away, and unblocks
/// every signal: a program inherits both across execve(2).
///
/// # Errors
/// Those of sigaction(2) and sigprocmask(2).
pub fn reset() -> Result<()> {
    // SAFETY: SIG_DFL is a valid disposition and installs no handler.
    let previous = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    check(if previous == libc::SIG_ERR { -1 } else { 0 })?;
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the call initializes the set it is given.
    check(libc::c_long::from(unsafe { libc::sigemptyset(none.as_mut_ptr()) }))?;
    // SAFETY: the set was just initialized; the old mask is not asked for.
    let result =
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()) };
    check(libc::c_long::from(result))?;
    Ok(())
}

/// Sends any signal, real-time ones too, to the process of a pidfd (pidfd_send_signal(2)).
///
/// # Errors
/// Those of the call; `ESRCH` when the process has ended.
pub fn send(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: no siginfo is given, so the call takes no pointer.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null_mut::<libc::siginfo_t>(),
            0,
        )
    })?;
    Ok(())
}
