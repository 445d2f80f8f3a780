//! Files and directories of a hierarchy.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::io::Errno;

use crate::Error;
use crate::limits::Write;

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

/// A handle for clone3(2) and bpf(2).
pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).map_err(Error::call("open", path))
}

/// Opens a file that is written later.
pub(crate) fn open_to_write(path: &Path) -> Result<OwnedFd, Error> {
    open(path, TO_WRITE, Mode::empty()).map_err(Error::call("open", path))
}

/// Writes `value` with one write(2).
pub(crate) fn write(path: &Path, value: &str) -> Result<(), Errno> {
    let file = open(path, TO_WRITE, Mode::empty())?;
    rustix::io::write(file, value.as_bytes())?;
    Ok(())
}

/// Writes a limit in the cgroup `directory`.
pub(crate) fn set(limit: &Write, directory: &Path) -> Result<(), Error> {
    let path = directory.join(&limit.file);
    write(&path, &limit.value).map_err(|errno| Error::Limit {
        pointer: limit.pointer.clone(),
        value: limit.value.clone(),
        path,
        errno,
    })
}

/// Makes the cgroup `directory` with the ones above it. Whether it is new.
pub(crate) fn make(directory: &Path) -> Result<bool, Error> {
    match rustix::fs::mkdirat(CWD, directory, DIRECTORY_MODE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(Errno::NOENT) => {
            let parent = directory.parent().ok_or(Errno::NOENT);
            make(parent.map_err(Error::call("mkdir", directory))?)?;
            rustix::fs::mkdirat(CWD, directory, DIRECTORY_MODE)
                .map_err(Error::call("mkdir", directory))?;
            Ok(true)
        }
        Err(errno) => Err(Error::call("mkdir", directory)(errno)),
    }
}

/// The cgroups below `directory`, nearest first.
fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// The processes in `directory` and below it.
pub(crate) fn pids(directory: &Path) -> Result<Vec<i32>, Error> {
    let text = match read(&directory.join("cgroup.procs")) {
        Err(Error::Call { errno: Errno::NOENT | Errno::NODEV, .. }) => return Ok(Vec::new()),
        // A threaded cgroup lists its processes above.
        Err(Error::Call { errno: Errno::OPNOTSUPP, .. }) => String::new(),
        result => result?,
    };
    let mut pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    for child in children(directory) {
        pids.extend(self::pids(&child)?);
    }
    Ok(pids)
}

/// Removes `directory` and everything below it. What is gone already is fine.
pub(crate) fn remove(directory: &Path) -> Result<(), Error> {
    match rustix::fs::rmdir(directory) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::BUSY) => {}
        Err(errno) => return Err(Error::call("rmdir", directory)(errno)),
    }
    for child in children(directory) {
        remove(&child)?;
    }
    let deadline = Instant::now() + REMOVAL;
    loop {
        match rustix::fs::rmdir(directory) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) if Instant::now() < deadline => wait_for_change(directory),
            Err(errno) => return Err(Error::call("rmdir", directory)(errno)),
        }
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
