//! What can go wrong with namespaces.

use std::path::PathBuf;

use rustix::io::Errno;

use crate::Kind;

/// Why a namespace could not be opened, entered or made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file of a namespace to join could not be opened.
    #[error("/linux/namespaces/{index}/path {path:?}: open: {errno}")]
    Open {
        /// Place in `linux.namespaces`.
        index: usize,
        /// The path.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// The file is not a namespace of the kind it is given for.
    #[error(
        "/linux/namespaces/{index}/path {path:?}: not a {} namespace; give the path of one, such \
         as /proc/PID/ns/{}", kind.name(), kind.proc_name()
    )]
    WrongKind {
        /// Place in `linux.namespaces`.
        index: usize,
        /// The path.
        path: PathBuf,
        /// The kind wanted.
        kind: Kind,
    },
    /// The file is the runtime's own namespace, which the container would change.
    #[error(
        "/linux/namespaces/{index}/path {path:?}: is the runtime's own {} namespace, which {} would \
         change or look into; leave the path out for a new one, or give that of another",
        kind.name(), changed_by.join(", ")
    )]
    Own {
        /// Place in `linux.namespaces`.
        index: usize,
        /// The path.
        path: PathBuf,
        /// The kind.
        kind: Kind,
        /// JSON pointers.
        changed_by: Vec<String>,
    },
    /// setns(2) failed.
    #[error("join the {} namespace: setns: {errno}", kind.name())]
    Join {
        /// The kind.
        kind: Kind,
        /// Why.
        errno: Errno,
    },
    /// A system call failed.
    #[error("{step}: {errno}")]
    Call {
        /// What was being done, ending in the name of the call.
        step: &'static str,
        /// Why.
        errno: Errno,
    },
    /// A program that maps ids for an ordinary user is missing, or refuses.
    #[error("{about}: {program}: {message}; {fix}")]
    Mapper {
        /// What is mapped: a JSON pointer, if it is of the config.
        about: &'static str,
        /// Its name.
        program: &'static str,
        /// What it said.
        message: String,
        /// What can be done.
        fix: String,
    },
    /// The caller's root is not the root of its mount namespace.
    #[error(
        "with a user namespace mounts are looked up from the root of the mount namespace, and this process \
         has another root (chroot); run it in the root of its mount namespace"
    )]
    ChangedRoot,
    /// A network device cannot be moved.
    #[error("network device {name}: {step}: {errno}")]
    NetworkDevice {
        /// Its name.
        name: String,
        /// What was being done.
        step: &'static str,
        /// Why.
        errno: Errno,
    },
    /// What the joiner met, in its words.
    #[error("{message}")]
    Joiner {
        /// Its error's text.
        message: String,
        /// Its error number.
        errno: Errno,
    },
    /// The joiner died without a word.
    #[error("the process that joins the namespaces {}", end_by(*signal))]
    JoinerLost {
        /// What killed it, as far as is known.
        signal: Option<i32>,
    },
}

fn end_by(signal: Option<i32>) -> String {
    match signal {
        Some(signal) => format!("was killed by signal {signal}"),
        None => "ended without a report".to_owned(),
    }
}

impl Error {
    /// For `map_err`: a call that failed during `step`.
    pub(crate) fn call<E: Into<Errno>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |errno| Self::Call { step, errno: errno.into() }
    }

    /// For `map_err`: a call that failed during `step` with a network device.
    pub(crate) fn network_device(name: &str, step: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::NetworkDevice { name: name.to_owned(), step, errno }
    }

    /// The JSON pointer of the property that it is about.
    #[must_use]
    pub fn pointer(&self) -> Option<String> {
        match self {
            Self::Open { index, .. } | Self::WrongKind { index, .. } | Self::Own { index, .. } => {
                Some(format!("/linux/namespaces/{index}/path"))
            }
            Self::NetworkDevice { name, .. } => Some(format!("/linux/netDevices/{name}")),
            Self::Call { step, .. } if step.starts_with('/') => {
                step.split_once(": ").map(|(pointer, _)| pointer.to_owned())
            }
            Self::Mapper { about, .. } if about.starts_with('/') => Some((*about).to_owned()),
            _ => None,
        }
    }

    /// What was being done, ending in the name of the system call.
    #[must_use]
    pub fn step(&self) -> Option<&str> {
        match self {
            Self::Open { .. } => Some("open"),
            Self::Join { .. } => Some("setns"),
            Self::Call { step, .. } | Self::NetworkDevice { step, .. } => Some(step),
            Self::Joiner { message, .. } => message.rsplit_once(": ").map(|(step, _)| step),
            Self::WrongKind { .. }
            | Self::Own { .. }
            | Self::Mapper { .. }
            | Self::ChangedRoot
            | Self::JoinerLost { .. } => None,
        }
    }

    /// The error number, where there is one.
    #[must_use]
    pub const fn errno(&self) -> Option<Errno> {
        match self {
            Self::Open { errno, .. }
            | Self::Join { errno, .. }
            | Self::Call { errno, .. }
            | Self::NetworkDevice { errno, .. }
            | Self::Joiner { errno, .. } => Some(*errno),
            Self::WrongKind { .. }
            | Self::Own { .. }
            | Self::Mapper { .. }
            | Self::ChangedRoot
            | Self::JoinerLost { .. } => None,
        }
    }
}
