//! `plan::update`: other limits, or every reason why not.

use libcgroups::{Limits, Present};
use oci_spec::runtime::LinuxResources;

use super::linux::cgroups;
use super::{Planned, Violations};
use crate::Violation;
use crate::host::Host;

/// Plans the limits of a container that has `present` ones. What `resources` does not mention stays.
///
/// # Errors
/// Every violation.
pub fn update(
    resources: &LinuxResources,
    host: &Host,
    present: &Present,
) -> Result<Planned<Limits>, Vec<Violation>> {
    let mut found = Violations::default();
    let limits = cgroups::new_limits(resources, host, present, &mut found);
    found.finish(limits)
}
