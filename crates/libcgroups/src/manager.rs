//! One trait for every kind of hierarchy.

use crate::{DeviceAccess, Error, Limits};

/// What a container's cgroup can be asked to do.
pub trait CgroupManager: std::fmt::Debug {
    /// Makes the cgroup in every hierarchy, or in none.
    ///
    /// # Errors
    /// It exists and is in use or frozen, or a system call failed.
    fn create(&self) -> Result<(), Error>;
    /// Sets the limits.
    ///
    /// # Errors
    /// The first limit that the kernel refuses.
    fn apply_limits(&self, limits: &Limits) -> Result<(), Error>;
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
    /// Whether it is frozen.
    ///
    /// # Errors
    /// The state cannot be read.
    fn is_frozen(&self) -> Result<bool, Error>;
    /// Sends `SIGKILL` to every process in it and below, those that are being forked too. A
    /// cgroup that is gone has none.
    ///
    /// # Errors
    /// The processes cannot be read or killed.
    fn kill(&self) -> Result<(), Error>;
    /// Every process in it and below, in the runtime's pid namespace.
    ///
    /// # Errors
    /// They cannot be read.
    fn pids(&self) -> Result<Vec<i32>, Error>;
    /// Removes it, with what is below, from every hierarchy; what is gone already is fine. Its
    /// processes are dead or dying.
    ///
    /// # Errors
    /// It stays in use.
    fn remove(&self) -> Result<(), Error>;
}
