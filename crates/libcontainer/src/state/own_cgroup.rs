//! The cgroup that a state names, and whether it is the container's: its path may be another's by now.

use libcgroups::{Bearer, CgroupManager, Location, Owner};

use super::{State, StateDirectory, Status};
use crate::{Context, ErrorKind};

impl State {
    /// Whose the cgroup is: the container's own if it has its mark, or its living init.
    pub(crate) fn cgroup_owner(&self) -> anyhow::Result<Owner> {
        let manager = libcgroups::manager(&self.cgroup);
        let owner = match &self.mark {
            Some(mark) => manager.owner(mark)?,
            None => Owner::Unknown,
        };
        if owner == Owner::Own {
            return Ok(owner);
        }
        // No other container comes into a cgroup that has a process. The pid was init's all the time
        // if it is now.
        let has_init = match self.init {
            Some(init) => manager.pids()?.contains(&init.pid) && init.living()?.is_some(),
            None => false,
        };
        Ok(if has_init { Owner::Own } else { owner })
    }

    /// The manager of the cgroup, if that is the container's own.
    pub(crate) fn own_cgroup(&self) -> anyhow::Result<Option<Box<dyn CgroupManager>>> {
        let own = self.cgroup_owner()? == Owner::Own;
        Ok(own.then(|| libcgroups::manager(&self.cgroup)))
    }

    /// The manager of the cgroup, which must be the container's own.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn require_own_cgroup(&self) -> crate::Result<Box<dyn CgroupManager>> {
        let own = self.own_cgroup()?;
        own.ok_or_else(no_cgroup)
    }

    /// Its processes can be found.
    ///
    /// # Errors
    /// It never had a cgroup.
    pub(crate) fn require_a_cgroup(&self) -> crate::Result<()> {
        if self.cgroup == Location::Nobody { Err(no_cgroup()) } else { Ok(()) }
    }

    /// Whether it is the same container: an id may be another's by now.
    pub(crate) fn is_of(&self, other: &Self) -> bool {
        self.mark == other.mark && self.init == other.init
    }
}

fn no_cgroup() -> crate::Error {
    crate::Error::new(ErrorKind::Status, "container has no cgroup of its own")
}

/// Whether the container that a cgroup is marked as is there, and neither stopped nor left behind by
/// a killed `create`. Only one below the same root (`--root`) is known.
pub(crate) fn is_living(context: &Context, bearer: &Bearer) -> crate::Result<bool> {
    let directory = match StateDirectory::open(context, &bearer.id) {
        Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Invalid(_)) => {
            return Ok(false);
        }
        result => result?,
    };
    let Some(state) = directory.load()? else { return Ok(false) };
    if !state.mark.as_ref().is_some_and(|mark| mark.is_of(bearer)) {
        return Ok(false);
    }
    Ok(match state.status(&directory)? {
        Status::Stopped => false,
        Status::Creating => directory.try_lock()?.is_err(),
        Status::Created | Status::Running | Status::Paused => true,
    })
}
