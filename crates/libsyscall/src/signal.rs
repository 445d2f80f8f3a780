//! Signal dispositions and the signal mask of a process that is about to become another program.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::signal::SigSet;

use crate::{Errno, Result, check};

/// Gives every signal its default action back and unblocks it: a program inherits across execve(2)
/// what is ignored, by Rust's start-up code (`SIGPIPE`) or by the caller (a shell's `&` and
/// nohup(1)), and what is blocked.
///
/// # Errors
/// Those of pthread_sigmask(3).
pub fn reset() -> Result<()> {
    // The kernel's `struct sigaction`: SIG_DFL, no flags, no restorer, an empty mask. The C library's
    // function would pass over the two signals that it uses itself.
    let default = [0_u64; 4];
    for signal in 1..=64 {
        let (new, old) = (default.as_ptr(), std::ptr::null_mut::<u64>());
        // It is refused for SIGKILL and SIGSTOP, which cannot be ignored.
        // SAFETY: the kernel reads the structure, which lives to the end of the call, and installs
        // no handler.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, new, old, size_of::<u64>()) };
    }
    SigSet::empty().thread_set_mask().map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

/// Sends any signal to the process of a pidfd (pidfd_send_signal(2)). rustix's takes no real-time
/// signals: those need an unsafe conversion.
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

/// Ignores `signal` from now on (`SIG_IGN`).
///
/// # Errors
/// That of signal(2): there is no such signal, or it cannot be ignored.
pub fn ignore(signal: i32) -> Result<()> {
    // SAFETY: no handler is installed.
    let before = unsafe { libc::signal(signal, libc::SIG_IGN) };
    if before == libc::SIG_ERR { Err(Errno::INVAL) } else { Ok(()) }
}

/// Gives `signal` its default action (`SIG_DFL`).
///
/// # Errors
/// That of signal(2): there is no such signal.
pub fn heed(signal: i32) -> Result<()> {
    // SAFETY: no handler is installed.
    let before = unsafe { libc::signal(signal, libc::SIG_DFL) };
    if before == libc::SIG_ERR { Err(Errno::INVAL) } else { Ok(()) }
}

/// Whether this process ignores `signal` (`SIG_IGN`).
///
/// # Errors
/// That of sigaction(2): there is no such signal.
pub fn is_ignored(signal: i32) -> Result<bool> {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: nothing is set, and `action` has room for what is.
    check(unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) }.into())?;
    // SAFETY: the call has filled it in.
    Ok(unsafe { action.assume_init_ref() }.sa_sigaction == libc::SIG_IGN)
}
