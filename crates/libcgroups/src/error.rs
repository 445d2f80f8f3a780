//! What can go wrong with cgroups.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::walk::Left;

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
    /// A process of the cgroup cannot be signalled.
    #[error("signal {signal} to process {pid} of the cgroup: pidfd_send_signal: {errno}")]
    Signal {
        /// The signal's number.
        signal: i32,
        /// The process.
        pid: i32,
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
    /// Another container is taking the cgroup at this moment.
    #[error("container's cgroup {} is being taken for another container; choose another linux.cgroupsPath", path.display())]
    Taken {
        /// The directory.
        path: PathBuf,
    },
    /// The cgroup was there before, and cannot be told from another container's.
    #[error("container's cgroup {} exists and takes no extended attribute, so it could be another's later; remove it or choose another linux.cgroupsPath", path.display())]
    NoMark {
        /// The directory.
        path: PathBuf,
    },
    /// The cgroup, or some below it, cannot be removed.
    #[error("cgroup {} cannot be removed: {what}", path.display())]
    NotRemoved {
        /// The directory.
        path: PathBuf,
        /// What is in the way.
        what: String,
    },
    /// The cgroup is frozen, and so would the container be.
    #[error("container's cgroup {} unexpectedly frozen; thaw it or choose another linux.cgroupsPath", path.display())]
    Frozen {
        /// The directory.
        path: PathBuf,
    },
    /// A limit was refused, and one that had been changed before is not what it was.
    #[error("{refused}; {} has the new value, since the old one could not be put back", path.display())]
    NotPutBack {
        /// The file.
        path: PathBuf,
        /// What was refused.
        refused: Box<Self>,
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
    /// The message bus is not there, or does not answer.
    #[error("D-Bus at {}: {what}", socket.display())]
    Bus {
        /// Its socket.
        socket: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// systemd does not do what it is asked to.
    #[error("unit {unit}: {what}")]
    Unit {
        /// The unit's name.
        unit: String,
        /// What it does not do, and why.
        what: String,
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
    /// `directory` stays, since `left` is below it, or else since a process is in it.
    pub(crate) fn not_removed(directory: &Path, left: Option<Left>) -> Self {
        let what = match left {
            None => format!("rmdir: {}", Errno::BUSY),
            Some(Left { count, name, depth, errno }) => format!(
                "{count} cgroup(s) are left below it, such as {name:?}, {depth} level(s) down: rmdir: {errno}"
            ),
        };
        Self::NotRemoved { path: directory.to_owned(), what }
    }

    /// The JSON pointer of the property that it is about.
    #[must_use]
    pub fn pointer(&self) -> Option<&str> {
        match self {
            Self::Limit { pointer, .. } => Some(pointer),
            Self::NotPutBack { refused, .. } => refused.pointer(),
            Self::Devices { .. } => Some("/linux/resources/devices"),
            Self::NotEmpty { .. }
            | Self::Taken { .. }
            | Self::NoMark { .. }
            | Self::Frozen { .. }
            | Self::Path(..) => Some("/linux/cgroupsPath"),
            _ => None,
        }
    }

    /// The system call that failed, where one did.
    #[must_use]
    pub const fn system_call(&self) -> Option<&'static str> {
        match self {
            Self::Call { call, .. } | Self::Devices { call, .. } => Some(call),
            Self::Limit { .. } => Some("write"),
            Self::Signal { .. } => Some("pidfd_send_signal"),
            _ => None,
        }
    }

    /// Its error number.
    #[must_use]
    pub const fn errno(&self) -> Option<Errno> {
        match self {
            Self::Call { errno, .. }
            | Self::Limit { errno, .. }
            | Self::Devices { errno, .. }
            | Self::Signal { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// For `map_err`: `call` on `path` failed.
    pub(crate) fn call(call: &'static str, path: &Path) -> impl FnOnce(Errno) -> Self {
        let path = path.to_owned();
        move |errno| Self::Call { path, call, errno }
    }
}

/// What an errno of a write to a cgroup file usually means.
const fn write_hint(errno: Errno) -> &'static str {
    match errno {
        Errno::NOENT => {
            " (the controller is not available in this hierarchy, or this kernel has no such control)"
        }
        Errno::INVAL => " (the kernel does not take this value)",
        _ => "",
    }
}
