//! Rules that stand by themselves, and what collects those that are broken.

mod id;
mod number_set;
pub(super) mod rootless;
pub(super) mod unsupported;
pub(super) mod version;
mod violations;

pub use id::validate_id;
pub use number_set::NumberSet;
pub use version::VERSIONS;
pub(crate) use violations::Violations;
