//! clone3(2): a child in new namespaces and in its cgroup from its first instruction.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::{Result, check};

/// Which side of the clone this is.
#[derive(Debug)]
pub enum Cloned {
    /// The calling process.
    Parent {
        /// The child's pid in the caller's pid namespace.
        pid: i32,
        /// The child's pidfd, close-on-exec.
        pidfd: OwnedFd,
    },
    /// The new process.
    Child,
}

/// Clones the calling process with `flags` (`CLONE_NEW*`, `CLONE_PARENT`), into `cgroup` (a cgroup
/// v2 directory, `CLONE_INTO_CGROUP`) where one is given. The child's memory is a copy, as after
/// fork(2); its exit signal is `SIGCHLD`.
///
/// # Errors
/// `EINVAL` if the caller has more than one thread, for then the child's locks might be held for
/// ever; else the errors of clone3(2).
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned> {
    ensure_single_threaded()?;
    let mut pidfd: RawFd = -1;
    let mut flags = flags | libc::CLONE_PIDFD as u64;
    if cgroup.is_some() {
        flags |= CLONE_INTO_CGROUP;
    }
    // With CLONE_PARENT the exit signal is the one of the caller, and must be zero here (clone(2)).
    let exit_signal = if flags & libc::CLONE_PARENT as u64 == 0 { libc::SIGCHLD as u64 } else { 0 };
    let arguments = Arguments {
        flags,
        pidfd: &raw mut pidfd as u64,
        exit_signal,
        cgroup: cgroup.map_or(0, |directory| directory.as_raw_fd() as u64),
        ..Arguments::default()
    };
    // SAFETY: `arguments` is a valid clone_args of the size given and lives across the call; no
    // memory is shared (no CLONE_VM) and there is one thread, so the child owns a whole process.
    let pid = check(unsafe {
        libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<Arguments>())
    })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: the kernel has just stored a new descriptor there, which nothing else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Cloned::Parent { pid: pid as i32, pidfd })
}

/// linux/sched.h; the libc crate's constant overflows its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args` (linux/sched.h).
#[repr(C)]
#[derive(Default)]
struct Arguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// unshare(2) with `CLONE_THREAD` does nothing in a single-threaded process and fails in any other.
fn ensure_single_threaded() -> Result<()> {
    // SAFETY: the call takes no pointer.
    check(unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_THREAD) })?;
    Ok(())
}

/// Ends this process at once, without destructors or exit handlers: the only end, besides
/// execve(2), of a process that [`clone3`] made.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: the call does not return and touches no memory.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use super::clone3;

    #[test]
    fn a_threaded_process_is_refused() {
        // The test harness itself runs this in a thread beside its main one.
        assert_eq!(clone3(0, None).unwrap_err(), crate::Errno::INVAL);
    }
}
