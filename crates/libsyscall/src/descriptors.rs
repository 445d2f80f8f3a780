//! Which file descriptors this process has, and which a program may use.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::clone::ClonedChild;
use crate::{Result, check};

/// How many descriptors are open from `first` on, without a gap.
#[must_use]
pub fn open_from(first: u32) -> u32 {
    let is_open = |fd: &u32| {
        // SAFETY: the call takes no pointer; a number that is no descriptor is EBADF.
        check(unsafe { libc::syscall(libc::SYS_fcntl, *fd, libc::F_GETFD) }).is_ok()
    };
    let open = (first..i32::MAX.cast_unsigned()).take_while(is_open).count();
    u32::try_from(open).unwrap_or(u32::MAX)
}

impl ClonedChild {
    /// Closes every descriptor from `first` but those of `keep`.
    ///
    /// Whatever in this process owns one of the others has lost it, and must not be used or
    /// dropped any more. So only a cloned child has this call: what it closes is its copy, and it
    /// ends by execve(2) or [`exit_now`](crate::clone::exit_now), which drop nothing.
    ///
    /// # Errors
    /// Those of close_range(2) (Linux 5.9).
    pub fn close_all_but(&self, first: u32, keep: &[BorrowedFd<'_>]) -> Result<()> {
        let mut kept: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd().cast_unsigned()).collect();
        kept.sort_unstable();
        let mut next = first;
        for fd in kept.into_iter().filter(|fd| *fd >= first) {
            if next < fd {
                close_range(next, fd - 1)?;
            }
            next = fd + 1;
        }
        close_range(next, u32::MAX)
    }
}

fn close_range(first: u32, last: u32) -> Result<()> {
    // SAFETY: the call takes no pointer, and the caller's `ClonedChild` answers for the owners.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::open_from;

    #[test]
    fn what_is_open_is_counted_up_to_the_first_gap() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let number = file.as_raw_fd().cast_unsigned();
        assert!(open_from(number) >= 1);
        assert_eq!(open_from(1 << 30), 0);
    }
}
