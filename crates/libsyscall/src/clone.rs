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
    Child(ClonedChild),
}

/// That this process is one which [`clone3`] has made, so that all it holds is its own copy.
///
/// Only the child gets it; it is neither made nor copied elsewhere:
///
/// ```no_run
/// use libsyscall::clone::{Cloned, ClonedChild, Flags, clone3};
/// let child: Option<ClonedChild> = match clone3(Flags::NONE, None).unwrap() {
///     Cloned::Parent { .. } => None,
///     Cloned::Child(child) => Some(child),
/// };
/// ```
/// ```compile_fail
/// use libsyscall::clone::ClonedChild;
/// let child: ClonedChild = ClonedChild(());
/// ```
/// ```compile_fail
/// use libsyscall::clone::ClonedChild;
/// fn twice(child: ClonedChild) -> [ClonedChild; 2] {
///     [child.clone(), child]
/// }
/// ```
#[derive(Debug)]
pub struct ClonedChild(());

/// What [`clone3`] takes of the flags of clone(2): those that make a namespace, and `CLONE_PARENT`.
///
/// No other flag can be in it, above all none with which parent and child would write to the same
/// memory and own the same descriptors:
///
/// ```no_run
/// use libsyscall::clone::Flags;
/// let flags: Flags = Flags::NEWPID.union(Flags::NEWNS);
/// ```
/// ```compile_fail
/// use libsyscall::clone::Flags;
/// let flags: Flags = Flags(libc::CLONE_VM as u64);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u64);

impl Flags {
    /// No flag: fork(2).
    pub const NONE: Self = Self(0);
    /// `CLONE_NEWTIME` (linux/sched.h).
    pub const NEWTIME: Self = Self(0x80);
    /// `CLONE_NEWNS`: a mount namespace.
    pub const NEWNS: Self = Self(libc::CLONE_NEWNS as u64);
    /// `CLONE_NEWCGROUP`.
    pub const NEWCGROUP: Self = Self(libc::CLONE_NEWCGROUP as u64);
    /// `CLONE_NEWUTS`.
    pub const NEWUTS: Self = Self(libc::CLONE_NEWUTS as u64);
    /// `CLONE_NEWIPC`.
    pub const NEWIPC: Self = Self(libc::CLONE_NEWIPC as u64);
    /// `CLONE_NEWUSER`.
    pub const NEWUSER: Self = Self(libc::CLONE_NEWUSER as u64);
    /// `CLONE_NEWPID`.
    pub const NEWPID: Self = Self(libc::CLONE_NEWPID as u64);
    /// `CLONE_NEWNET`.
    pub const NEWNET: Self = Self(libc::CLONE_NEWNET as u64);
    /// `CLONE_PARENT`: the child is the caller's sibling.
    pub const PARENT: Self = Self(libc::CLONE_PARENT as u64);

    /// The flags of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The kernel's bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Clones the calling process with `flags`, into `cgroup` (a cgroup v2 directory,
/// `CLONE_INTO_CGROUP`) where one is given. The child's memory is a copy, as after fork(2); its
/// exit signal is `SIGCHLD`.
///
/// # Errors
/// `EINVAL` if the caller has more than one thread, for then the child's locks might be held for
/// ever; else the errors of clone3(2).
pub fn clone3(flags: Flags, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned> {
    ensure_single_threaded()?;
    let mut pidfd: RawFd = -1;
    let into_cgroup = if cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 };
    // With CLONE_PARENT the exit signal is the one of the caller, and must be zero here (clone(2)).
    let exit_signal = if flags.contains(Flags::PARENT) { 0 } else { libc::SIGCHLD as u64 };
    let arguments = Arguments {
        flags: flags.bits() | libc::CLONE_PIDFD as u64 | into_cgroup,
        pidfd: &raw mut pidfd as u64,
        exit_signal,
        cgroup: cgroup.map_or(0, |directory| directory.as_raw_fd() as u64),
        ..Arguments::default()
    };
    // SAFETY: `arguments` is a valid clone_args of the size given, and it and `pidfd` live across
    // the call; `Flags` cannot ask to share memory or descriptors, and there is one thread, so the
    // child owns a whole process.
    let pid = check(unsafe {
        libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<Arguments>())
    })?;
    if pid == 0 {
        return Ok(Cloned::Child(ClonedChild(())));
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
    use super::{Flags, clone3};

    #[test]
    fn a_threaded_process_is_refused() {
        // The test harness itself runs this in a thread beside its main one.
        assert_eq!(clone3(Flags::NONE, None).unwrap_err(), crate::Errno::INVAL);
    }
}
