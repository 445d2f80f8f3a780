//! What has been made of a cgroup, and the undoing of it.

use std::path::{Path, PathBuf};

use crate::mark::{Owner, Taker};
use crate::processes::refuse_used;
use crate::{Error, Mark, files, walk};

/// The cgroups above a container's that were made for it, the lower ones last. What is below a path stays others'
/// to use, so they are kept with the container, and outlive it.
#[derive(Debug, Default)]
pub struct Parents(Vec<PathBuf>);

impl Parents {
    /// Removes those that nobody else uses.
    pub fn undo(self) {
        for directory in self.0.iter().rev() {
            let _ = files::remove_empty(directory);
        }
    }
}

/// The directories of a cgroup that are being made.
#[derive(Debug)]
pub(crate) struct Making<'a> {
    /// The one that is marked.
    home: &'a Path,
    new: Vec<&'a Path>,
    parents: Parents,
}

impl<'a> Making<'a> {
    /// Of nothing yet.
    pub(crate) fn of(home: &'a Path) -> Self {
        Self { home, new: Vec::new(), parents: Parents::default() }
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
        if files::make(directory, &mut self.parents.0)? {
            self.new.push(directory);
            return Ok(());
        }
        refuse_used(directory, &walk::pids(directory)?)
    }

    /// Whether `directory` was not there before.
    pub(crate) fn is_new(&self, directory: &Path) -> bool {
        self.new.contains(&directory)
    }

    /// What has been made, or the undoing of it.
    pub(crate) fn end(self, made: Result<(), Error>, mark: &Mark) -> Result<Parents, Error> {
        match made {
            Ok(()) => Ok(self.parents),
            Err(error) => {
                self.undo(mark);
                Err(error)
            }
        }
    }

    /// Removes what is new. What was there already is somebody's, and has this mark no more; and so is a new home that
    /// another has marked first.
    fn undo(self, mark: &Mark) {
        if !self.is_new(self.home) {
            mark.withdraw(self.home);
        }
        let is_anothers = matches!(mark.owner(self.home), Ok(Owner::Another));
        for directory in self.new.iter().filter(|one| **one != self.home || !is_anothers) {
            let _ = files::remove(directory);
        }
        self.parents.undo();
    }
}
