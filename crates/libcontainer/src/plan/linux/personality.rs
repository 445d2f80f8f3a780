//! `linux.personality`.

use oci_spec::runtime::{Linux, LinuxPersonalityDomain};

use crate::plan::Violations;

/// The domain for personality(2): `PER_LINUX` or `PER_LINUX32`.
pub(crate) fn plan(linux: &Linux, found: &mut Violations) -> Option<u32> {
    let personality = linux.personality().as_ref()?;
    for (index, flag) in personality.flags().iter().flatten().enumerate() {
        let pointer = format!("/linux/personality/flags/{index}");
        let rule = "the spec defines no flags (config-linux.md, \"Personality\")";
        found.add(&pointer, flag, rule, "remove it");
    }
    Some(match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    })
}
