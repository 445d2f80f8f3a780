//! One trait for every kind of hierarchy.

use std::path::Path;

use crate::mark::{self, Bearer, Mark, Owner, Taker};
use crate::processes::signal_each;
use crate::{DeviceAccess, Error, Limits, Parents, Present};

/// What a container's cgroup can be asked to do.
pub trait CgroupManager: std::fmt::Debug {
    /// The directory that is marked, in the hierarchy whose processes are read and killed.
    fn home(&self) -> Option<&Path>;
    /// Makes the cgroup in every hierarchy, or in none, and marks it as the taker's. What was made above it.
    ///
    /// # Errors
    /// It exists and is in use, frozen or just being taken by another, or a system call failed.
    fn create(&self, taker: Taker<'_>, mark: &mut Mark) -> Result<Parents, Error>;
    /// Whose mark it has, if it is there and has one.
    ///
    /// # Errors
    /// The mark cannot be read.
    fn bearer(&self) -> Result<Option<Bearer>, Error> {
        self.home().map_or(Ok(None), mark::read)
    }
    /// Whose it is, seen from the container of `mark`.
    ///
    /// # Errors
    /// The mark cannot be read.
    fn owner(&self, mark: &Mark) -> Result<Owner, Error> {
        self.home().map_or(Ok(Owner::Unknown), |home| mark.owner(home))
    }
    /// Sets the limits.
    ///
    /// # Errors
    /// The first limit that the kernel refuses.
    fn apply_limits(&self, limits: &Limits) -> Result<(), Error>;
    /// Sets limits in the place of others: all, or none.
    ///
    /// # Errors
    /// The first limit that the kernel refuses.
    fn update(&self, limits: &Limits) -> Result<(), Error>;
    /// What it has now.
    fn present(&self) -> Present;
    /// How many of its processes the kernel has killed for want of memory; zero where that cannot be known.
    fn oom_kills(&self) -> u64;
    /// How many more processes its limit lets it have; nothing where there is none, or it cannot be known.
    fn room(&self) -> Option<u64>;
    /// Lets a user manage what is below it (config-linux.md, "Cgroup ownership"): of a v2 cgroup the directory, and
    /// the files that the kernel names for that (cgroup-v2.rst, "Model of Delegation").
    ///
    /// # Errors
    /// Those of chown(2).
    fn give_to(&self, user: u32) -> Result<(), Error>;
    /// Sets which devices may be used.
    ///
    /// # Errors
    /// The first rule that the kernel refuses, or its program.
    fn apply_devices(&self, access: &DeviceAccess) -> Result<(), Error>;
    /// Stops all processes where they are, and waits until they are.
    ///
    /// # Errors
    /// The cgroup does not freeze.
    fn freeze(&self) -> Result<(), Error>;
    /// Lets them go on.
    ///
    /// # Errors
    /// The cgroup does not thaw.
    fn thaw(&self) -> Result<(), Error>;
    /// Lets every process in it and below go on, whoever stopped it: one that the v1 freezer holds
    /// does not die of `SIGKILL`. A cgroup that is gone has none.
    ///
    /// # Errors
    /// The cgroups below cannot be gone through.
    fn thaw_all(&self) -> Result<(), Error>;
    /// Whether it is frozen.
    ///
    /// # Errors
    /// The state cannot be read.
    fn is_frozen(&self) -> Result<bool, Error>;
    /// Sends `SIGKILL` to every process in it and below, those that are being forked too, and lets
    /// them die. A cgroup that is gone has none.
    ///
    /// # Errors
    /// The processes cannot be read or killed.
    fn kill(&self) -> Result<(), Error>;
    /// Every process in it and below, in the runtime's pid namespace.
    ///
    /// # Errors
    /// They cannot be read.
    fn pids(&self) -> Result<Vec<i32>, Error>;
    /// Sends `signal` to every process in it and below. One that is gone is fine.
    ///
    /// # Errors
    /// They cannot be read, or the first that does not take the signal.
    fn signal(&self, signal: i32) -> Result<(), Error> {
        signal_each(signal, || self.pids())
    }
    /// Removes it, with what is below, from every hierarchy, as far as it can be; what is gone
    /// already is fine. Its processes are dead or dying.
    ///
    /// # Errors
    /// The first that stays in use.
    fn remove(&self) -> Result<(), Error>;
    /// Removes it from the hierarchies where nothing is in it; whether all of it is gone.
    ///
    /// # Errors
    /// Those of rmdir(2).
    fn remove_empty(&self) -> Result<bool, Error>;
}
