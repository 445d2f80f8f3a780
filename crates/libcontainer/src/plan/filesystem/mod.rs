//! The root filesystem and all that is put into it.

mod container_path;
pub(super) mod devices;
mod mount_ids;
pub(super) mod mounts;
mod options;
mod parameter;
pub(super) mod rootfs;

pub use container_path::ContainerPath;
pub use devices::{Device, DeviceKind, Link};
pub use mount_ids::{IdMappings, MountIds};
pub use mounts::{FromBelow, Mount, MountKind, SourceLink};
pub use options::{Attributes, Propagation, mount_option_names};
pub use parameter::Parameter;
pub use rootfs::Rootfs;
