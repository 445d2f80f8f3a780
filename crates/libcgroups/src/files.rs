//! Files and directories of a hierarchy.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::io::{Errno, retry_on_intr};

use crate::limits::Write;
use crate::{Error, walk};

/// Permissions of a new cgroup.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);
const TO_WRITE: OFlags = OFlags::WRONLY.union(OFlags::CLOEXEC);
/// How long a dying process may hold its cgroup.
const REMOVAL: Duration = Duration::from_secs(5);

/// Reads a file whole, as text.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    let bytes = std::fs::read(path).map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        Error::call("read", path)(errno)
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The counter `oom_kill` of a file that has a line for each (v2 `memory.events`, v1 `memory.oom_control`, Linux
/// 4.13); zero where it cannot be read.
pub(crate) fn oom_kills(file: &Path) -> u64 {
    let text = read(file).unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// How many more processes the limit of the pids controller (pids.max) lets `directory` have; nothing without one.
pub(crate) fn room(directory: &Path) -> Option<u64> {
    let number = |name| read(&directory.join(name)).ok()?.trim().parse::<u64>().ok();
    Some(number("pids.max")?.saturating_sub(number("pids.current")?))
}

/// A handle for clone3(2) and bpf(2).
pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).map_err(Error::call("open", path))
}

/// Opens a file that is written later.
pub(crate) fn open_to_write(path: &Path) -> Result<OwnedFd, Error> {
    open(path, TO_WRITE, Mode::empty()).map_err(Error::call("open", path))
}

/// Writes `value` with one write(2), once more where that is interrupted.
pub(crate) fn write(path: &Path, value: &str) -> Result<(), Errno> {
    let file = retry_on_intr(|| open(path, TO_WRITE, Mode::empty()))?;
    retry_on_intr(|| rustix::io::write(&file, value.as_bytes()))?;
    Ok(())
}

/// Makes a user the owner of a file; the group stays. One that is not there is fine.
pub(crate) fn give_to(path: &Path, user: u32) -> Result<(), Error> {
    let user = Some(rustix::fs::Uid::from_raw(user));
    match rustix::fs::chown(path, user, None) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::call("chown", path)(errno)),
    }
}

/// The file and the value of a limit: the other one where this kernel has only that.
pub(crate) fn of_this_kernel<'a>(limit: &'a Write, directory: &Path) -> (&'a str, &'a str) {
    let has = |name: &str| directory.join(name).exists();
    match limit.instead.as_deref() {
        Some(other) if !has(&limit.file) && has(&other.file) => (&other.file, &other.value),
        _ => (&limit.file, &limit.value),
    }
}

/// Writes a limit in the cgroup `directory`.
pub(crate) fn set(limit: &Write, directory: &Path) -> Result<(), Error> {
    let (file, value) = of_this_kernel(limit, directory);
    let path = directory.join(file);
    write(&path, value).map_err(|errno| Error::Limit {
        pointer: limit.pointer.clone(),
        value: value.to_owned(),
        path,
        errno,
    })
}

/// Makes the cgroup `directory`. Whether it is new. Those above it that are new are added to `parents`.
pub(crate) fn make(directory: &Path, parents: &mut Vec<PathBuf>) -> Result<bool, Error> {
    match rustix::fs::mkdirat(CWD, directory, DIRECTORY_MODE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(Errno::NOENT) => {
            let parent = directory.parent().ok_or(Errno::NOENT);
            let parent = parent.map_err(Error::call("mkdir", directory))?;
            if make(parent, parents)? {
                parents.push(parent.to_owned());
            }
            rustix::fs::mkdirat(CWD, directory, DIRECTORY_MODE)
                .map_err(Error::call("mkdir", directory))?;
            Ok(true)
        }
        Err(errno) => Err(Error::call("mkdir", directory)(errno)),
    }
}

/// Removes `directory` and everything below it, as far as it can be. What is gone already is fine;
/// what has processes that are dying is waited for.
pub(crate) fn remove(directory: &Path) -> Result<(), Error> {
    let deadline = Instant::now() + REMOVAL;
    while !remove_empty(directory)? {
        let left = walk::remove_below(directory)?;
        if remove_empty(directory)? {
            break;
        }
        if Instant::now() >= deadline {
            return Err(Error::not_removed(directory, left));
        }
        wait_for_change(directory);
    }
    Ok(())
}

/// Removes `directory` unless a process or a cgroup is in it; whether it is gone.
pub(crate) fn remove_empty(directory: &Path) -> Result<bool, Error> {
    match rustix::fs::rmdir(directory) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::BUSY) => Ok(false),
        Err(errno) => Err(Error::call("rmdir", directory)(errno)),
    }
}

/// Waits until something about the cgroup changes, at most a few milliseconds: v2 says so in
/// cgroup.events (cgroups(7)), v1 says nothing.
fn wait_for_change(directory: &Path) {
    let timeout = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    match open(directory.join("cgroup.events"), flags, Mode::empty()) {
        Ok(events) => {
            let _ = poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&timeout));
        }
        Err(_) => std::thread::sleep(Duration::from_millis(2)),
    }
}
