//! Control groups of a container: v1, v2 and hybrid hierarchies.
//!
//! [`Layout`] is what the machine has, [`Location`] who manages the container's cgroup in it and
//! where that is, [`Limits`] and [`DeviceAccess`] what its resources come to: all of them are pure.
//! [`manager()`] does what they say, behind one trait; a [`Mark`] tells whose the cgroup at a path is, and
//! [`Entry`] leads a process in.

mod devices;
mod entry;
mod error;
mod files;
mod layout;
mod limits;
mod location;
mod making;
mod manager;
mod mark;
mod processes;
mod resources;
mod systemd;
mod update;
mod v1;
mod v2;
mod walk;

pub use devices::{DeviceAccess, check_devices, plan_devices};
pub use entry::Entry;
pub use error::Error;
pub use layout::{Layout, MountLine};
pub use limits::{Limits, Write};
pub use location::{Directories, LegacyLocation, Location, UnifiedLocation};
pub use making::Parents;
pub use manager::CgroupManager;
pub use mark::{Bearer, Mark, Owner, Taker};
pub use resources::{plan_limits, plan_update};
pub use systemd::{Bus, Property, Scope, plan_properties};
pub use update::Present;

/// The manager that `location` names.
#[must_use]
pub fn manager(location: &Location) -> Box<dyn CgroupManager> {
    match location {
        Location::Nobody => Box::new(v2::Manager::new(None)),
        Location::Files(directories) if directories.legacy().is_empty() => {
            Box::new(v2::Manager::new(directories.unified().cloned()))
        }
        Location::Files(directories) => Box::new(v1::Manager::new(directories)),
        Location::Unit(scope) => Box::new(systemd::Manager::new(scope)),
    }
}
