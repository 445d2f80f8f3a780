//! What has been made of a cgroup, and the undoing of it.

use std::path::Path;

use crate::mark::{Owner, Taker};
use crate::processes::refuse_used;
use crate::{Error, Mark, files, walk};

/// The directories of a cgroup that are being made.
#[derive(Debug)]
pub(crate) struct Making<'a> {
    /// The one that is marked.
    home: &'a Path,
    new: Vec<&'a Path>,
}

impl<'a> Making<'a> {
    /// Of nothing yet.
    pub(crate) const fn of(home: &'a Path) -> Self {
        Self { home, new: Vec::new() }
    }

    /// Makes the home, and marks it as the taker's.
    pub(crate) fn mark_home(&mut self, taker: Taker<'_>, mark: &mut Mark) -> Result<(), Error> {
        self.make(self.home)?;
        mark.put(taker, self.home, self.is_new(self.home))
    }

    /// Makes `directory`, or takes one in which there is nobody.
    pub(crate) fn make(&mut self, directory: &'a Path) -> Result<(), Error> {
        if self.is_new(directory) {
            return Ok(());
        }
        if files::make(directory)? {
            self.new.push(directory);
            return Ok(());
        }
        refuse_used(directory, &walk::pids(directory)?)
    }

    /// Whether `directory` was not there before.
    pub(crate) fn is_new(&self, directory: &Path) -> bool {
        self.new.contains(&directory)
    }

    /// Removes what is new. What was there already is somebody's, and has this mark no more; and so is a new home that
    /// another has marked first.
    pub(crate) fn undo(&self, mark: &Mark) {
        if !self.is_new(self.home) {
            mark.withdraw(self.home);
        }
        let is_anothers = matches!(mark.owner(self.home), Ok(Owner::Another));
        for directory in self.new.iter().filter(|one| **one != self.home || !is_anothers) {
            let _ = files::remove(directory);
        }
    }
}
