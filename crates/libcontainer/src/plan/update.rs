//! `plan::update`: other limits, or every reason why not.

use libcgroups::{Limits, Present};
use oci_spec::runtime::LinuxResources;

use super::linux::{cgroups, new_schema};
use super::{Planned, ResourceGroup, Violations};
use crate::Violation;
use crate::host::Host;
use crate::request::Schema;

/// What changes.
#[derive(Clone, Debug)]
pub struct Update {
    /// The limits of its cgroup.
    pub limits: Limits,
    /// Lines for the file `schemata` of its class of service; empty writes nothing.
    pub schema: Vec<String>,
}

/// What a container has.
#[derive(Clone, Copy, Debug)]
pub struct Limited<'a> {
    /// The limits of its cgroup.
    pub present: &'a Present,
    /// Its class of service.
    pub group: Option<&'a ResourceGroup>,
}

/// Plans other limits. What `resources` and `schema` do not mention stays.
///
/// # Errors
/// Every violation.
pub fn update(
    resources: &LinuxResources,
    schema: &Schema,
    host: &Host,
    container: Limited<'_>,
) -> Result<Planned<Update>, Vec<Violation>> {
    let mut found = Violations::default();
    let limits = cgroups::new_limits(resources, host, container.present, &mut found);
    let schema = new_schema(schema, container.group, &mut found);
    found.finish(Update { limits, schema })
}
