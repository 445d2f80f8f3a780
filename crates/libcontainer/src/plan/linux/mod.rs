//! What of `linux` is neither about the root filesystem nor about one process.

pub(super) mod cgroups;
pub(super) mod intel_rdt;
pub(super) mod labels;
pub(super) mod mappings;
pub(super) mod memory_policy;
pub(super) mod namespaces;
pub(super) mod net_devices;
pub(super) mod personality;
pub(super) mod seccomp;
pub(super) mod sysctl;
pub(super) mod uts;

pub(crate) use cgroups::reachable;
pub(crate) use intel_rdt::is_named as names_intel_rdt;
pub(super) use intel_rdt::new_schema;
pub use intel_rdt::{ClassOfService, IntelRdt, ResourceGroup};
pub use labels::Labels;
pub(crate) use labels::{names_any, names_any_of_process};
pub use memory_policy::MemoryPolicy;
pub(crate) use memory_policy::{FLAGS as MEMORY_POLICY_FLAGS, MODES as MEMORY_POLICY_MODES};
pub use seccomp::Listener;
pub use sysctl::Sysctl;
