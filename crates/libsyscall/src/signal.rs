//! Signal dispositions and the signal mask of a process that is about to become another program.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::{Errno, Result, check};

/// Gives every signal its default action back and unblocks it: a program inherits across execve(2)
/// what is ignored, by Rust's start-up code (`SIGPIPE`) or by the caller (a shell's `&` and
/// nohup(1)), and what is blocked.
///
/// # Errors
/// Those of sigprocmask(2).
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

/// A signalfd(2) for every signal, all of them blocked.
#[derive(Debug)]
pub struct SignalFile(OwnedFd);

impl SignalFile {
    /// Blocks every signal of the calling thread and opens a file of them.
    ///
    /// # Errors
    /// Those of sigprocmask(2) and signalfd(2).
    pub fn block_all() -> Result<Self> {
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the call initializes the set it is given.
        check(libc::c_long::from(unsafe { libc::sigfillset(all.as_mut_ptr()) }))?;
        // SAFETY: the set was just initialized; the old mask is not asked for.
        let result =
            unsafe { libc::sigprocmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut()) };
        check(libc::c_long::from(result))?;
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the set is initialized and only read.
        let fd = check(libc::c_long::from(unsafe { libc::signalfd(-1, all.as_ptr(), flags) }))?;
        // SAFETY: the call has returned a new descriptor that nothing else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
    }

    /// The next signal that is pending; nothing when there is none.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn next(&self) -> Result<Option<i32>> {
        let mut record = [0; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.0, &mut record) {
            // The number is the first field of the record.
            Ok(_) => Ok(Some(i32::from_ne_bytes([record[0], record[1], record[2], record[3]]))),
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

impl AsFd for SignalFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
