//! Control groups of a container: v1, v2 and hybrid hierarchies.
//!
//! [`Layout`] is what the machine has, [`Location`] where the container lives in it, [`Limits`]
//! and [`DeviceAccess`] what its resources come to: all of them are pure. [`manager`] does the rest
//! behind one trait.

mod devices;
mod error;
mod files;
mod layout;
mod limits;
mod location;
mod manager;
mod processes;
mod resources;
mod v1;
mod v2;

pub use devices::{DeviceAccess, plan_devices};
pub use error::Error;
pub use layout::Layout;
pub use limits::{Limits, Violation, Write};
pub use location::{LegacyLocation, Location, UnifiedLocation};
pub use manager::{CgroupManager, Entry};
pub use resources::plan_limits;

/// The manager for the hierarchies of `location`.
#[must_use]
pub fn manager(location: &Location) -> Box<dyn CgroupManager> {
    if location.legacy.is_empty() {
        Box::new(v2::Manager::new(location.unified.clone()))
    } else {
        Box::new(v1::Manager::new(location.clone()))
    }
}
