//! The way into a cgroup, opened.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::location::Way;
use crate::{Error, Location, files};

/// What a process needs to start its life in a cgroup: the way into each hierarchy, open.
#[derive(Debug, Default)]
pub struct Entry {
    at_clone: Option<OwnedFd>,
    by_itself: Vec<OwnedFd>,
}

impl Entry {
    /// Opens the ways into the cgroup at `location`, which exists.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(location: &Location) -> Result<Self, Error> {
        let mut entry = Self::default();
        for way in location.ways_in() {
            match way {
                Way::AtClone(directory) => {
                    entry.at_clone = Some(files::open_directory(&directory)?);
                }
                Way::ByItself(procs) => entry.by_itself.push(files::open_to_write(&procs)?),
            }
        }
        Ok(entry)
    }

    /// The v2 cgroup for clone3(2) with `CLONE_INTO_CGROUP`.
    #[must_use]
    pub fn at_clone(&self) -> Option<BorrowedFd<'_>> {
        self.at_clone.as_ref().map(|directory| directory.as_fd())
    }

    /// In the process itself, before it does anything else: goes where the clone has not put it
    /// already. So no process is ever outside of its limits.
    ///
    /// # Errors
    /// Those of write(2) to cgroup.procs (cgroups(7)).
    pub fn enter(&self) -> Result<(), Errno> {
        for procs in &self.by_itself {
            // Zero is the writer.
            rustix::io::write(procs, b"0")?;
        }
        Ok(())
    }
}
