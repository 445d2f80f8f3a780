//! The way into a cgroup, opened.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::{Errno, retry_on_intr};

use crate::location::Way;
use crate::{Error, Location, files, systemd, walk};

/// What a process needs to start its life in a cgroup: the way into each hierarchy, open.
#[derive(Debug, Default)]
pub struct Entry {
    at_clone: Option<OwnedFd>,
    by_itself: Vec<OwnedFd>,
    by_the_runtime: Option<PathBuf>,
}

impl Entry {
    /// Opens the ways into the cgroup at `location`, which exists.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(location: &Location) -> Result<Self, Error> {
        Self::of_ways(location.ways_in())
    }

    /// The same for the container's first process, whose cgroup may not exist yet.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open_for_the_first(location: &Location) -> Result<Self, Error> {
        Self::of_ways(location.ways_of_the_first())
    }

    fn of_ways(ways: Vec<Way>) -> Result<Self, Error> {
        let mut entry = Self::default();
        for way in ways {
            match way {
                Way::AtClone(directory) => {
                    entry.at_clone = Some(files::open_directory(&directory)?);
                }
                Way::ByItself(procs) => entry.by_itself.push(files::open_to_write(&procs)?),
                Way::ByTheRuntime(bus) => entry.by_the_runtime = Some(bus),
            }
        }
        Ok(entry)
    }

    /// The v2 cgroup for clone3(2) with `CLONE_INTO_CGROUP`.
    #[must_use]
    pub fn at_clone(&self) -> Option<BorrowedFd<'_>> {
        self.at_clone.as_ref().map(|directory| directory.as_fd())
    }

    /// Leads to the v2 cgroup in which `process` is now instead, at or below `location`: a cgroup that gives
    /// controllers to those below takes no processes (cgroups(7), "no internal processes"). Whether it is there.
    ///
    /// # Errors
    /// The cgroups cannot be gone through.
    pub fn follow(&mut self, location: &Location, process: i32) -> Result<bool, Error> {
        let mut ways = location.ways_in().into_iter();
        let top = ways.find_map(|way| match way {
            Way::AtClone(directory) => Some(directory),
            Way::ByItself(_) | Way::ByTheRuntime(_) => None,
        });
        let Some(top) = top else { return Ok(false) };
        let found = walk::find(&top, process)?;
        let is_there = found.is_some();
        self.at_clone = found.or(self.at_clone.take());
        Ok(is_there)
    }

    /// In the process itself, before it does anything else: the connection to the bus, with which the
    /// runtime has the cgroup made around this process, where it has.
    ///
    /// # Errors
    /// The bus cannot be connected to.
    pub fn connect(&self) -> Result<Option<OwnedFd>, Error> {
        let connect = |bus: &PathBuf| {
            systemd::connect(bus).map_err(|errno| Error::Bus {
                socket: bus.clone(),
                what: format!("connect: {errno}; is systemd running here?"),
            })
        };
        self.by_the_runtime.as_ref().map(connect).transpose()
    }

    /// In the process itself, before it does anything else: goes where the clone has not put it
    /// already. So no process is ever outside of its limits.
    ///
    /// # Errors
    /// Those of write(2) to cgroup.procs (cgroups(7)).
    pub fn enter(&self) -> Result<(), Errno> {
        for procs in &self.by_itself {
            // Zero is the writer.
            retry_on_intr(|| rustix::io::write(procs, b"0"))?;
        }
        Ok(())
    }
}
