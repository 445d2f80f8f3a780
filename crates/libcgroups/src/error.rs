//! What can go wrong with cgroups.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Why a cgroup could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call on a file or directory of a hierarchy failed.
    #[error("cgroup {}: {call}: {errno}", path.display())]
    Call {
        /// The file.
        path: PathBuf,
        /// The system call.
        call: &'static str,
        /// Why.
        errno: Errno,
    },
    /// A limit was refused.
    #[error("{pointer}: write {value:?} to {}: {errno}{}", path.display(), write_hint(*errno))]
    Limit {
        /// The property in config.json.
        pointer: String,
        /// The value.
        value: String,
        /// The file.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// The device program was refused.
    #[error("/linux/resources/devices: {call}: {errno}")]
    Devices {
        /// The step.
        call: &'static str,
        /// Why.
        errno: Errno,
    },
    /// The cgroup is in use by others.
    #[error("container's cgroup is not empty: {} process(es) in {}; choose another linux.cgroupsPath", count, path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// How many processes.
        count: usize,
    },
    /// The cgroup is frozen, and so would the container be.
    #[error("container's cgroup {} unexpectedly frozen; thaw it or choose another linux.cgroupsPath", path.display())]
    Frozen {
        /// The directory.
        path: PathBuf,
    },
    /// Something did not happen in time.
    #[error("cgroup {}: {what} took longer than {seconds} s", path.display())]
    Timeout {
        /// The directory.
        path: PathBuf,
        /// What.
        what: &'static str,
        /// How long was waited.
        seconds: u64,
    },
    /// The machine has no such hierarchy.
    #[error("no cgroup hierarchy with the {0} controller is mounted")]
    NoHierarchy(&'static str),
    /// The path in the config is not one.
    #[error("/linux/cgroupsPath {0:?}: {1}")]
    Path(PathBuf, &'static str),
    /// The text of a file in /proc is not as expected.
    #[error("{0}: cannot understand the line {1:?}")]
    Text(&'static str, String),
}

impl Error {
    /// For `map_err`: `call` on `path` failed.
    pub(crate) fn call(call: &'static str, path: &Path) -> impl FnOnce(Errno) -> Self {
        let path = path.to_owned();
        move |errno| Self::Call { path, call, errno }
    }
}

/// What an errno of a write to a cgroup file usually means.
const fn write_hint(errno: Errno) -> &'static str {
    match errno {
        Errno::NOENT => " (the controller is not available in this hierarchy)",
        Errno::INVAL => " (the kernel does not take this value)",
        _ => "",
    }
}
