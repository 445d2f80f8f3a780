//! Files of /proc/self while the process is not dumpable.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// Opens a file of /proc/self to write to it, close-on-exec. Of a process that is not dumpable they are root's
/// (proc_pid(5)): another user's is dumpable for the moment of the call, and not dumpable afterwards.
///
/// # Errors
/// Those of open(2) and prctl(2).
pub fn open_own_file(path: &CStr) -> Result<OwnedFd, Errno> {
    let try_it = || open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    match try_it() {
        Err(Errno::ACCESS) => {
            set_dumpable_behavior(DumpableBehavior::Dumpable)?;
            let opened = try_it();
            set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
            opened
        }
        result => result,
    }
}
