//! Control groups of a container: v1, v2 and hybrid hierarchies.
//!
//! [`Layout`] is what the machine has, [`Location`] where the container lives in it, [`Limits`]
//! what its resources come to as writes: all three are pure. [`manager`] does the rest behind one
//! trait.

mod devices;
mod error;
mod files;
mod layout;
mod location;
mod manager;
mod resources;
mod v1;
mod v2;

pub use error::Error;
pub use layout::Layout;
pub use location::{LegacyLocation, Location, UnifiedLocation};
pub use manager::{CgroupManager, Entry, manager};
pub use resources::{Hierarchy, Limits, Violation, Write, plan};
