//! What a clone leaves the runtime with.

use std::os::fd::OwnedFd;

/// The new process as the runtime sees it: its child.
#[derive(Debug)]
pub struct Child {
    /// Its pid in the runtime's pid namespace.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
}

/// What a joiner leaves the runtime with.
#[derive(Debug)]
pub struct Children {
    /// The container's process.
    pub process: Child,
    /// The pidfd of the maker, if there is one. It is a child of the runtime, too.
    pub maker: Option<OwnedFd>,
}
