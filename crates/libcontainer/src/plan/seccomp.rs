//! `linux.seccomp`.

use libseccompiler::Filter;
use oci_spec::runtime::Linux;

use super::Violations;

pub(crate) fn plan(linux: &Linux, found: &mut Violations) -> Option<Filter> {
    let seccomp = linux.seccomp().as_ref()?;
    found.not_yet("/linux/seccomp", seccomp.default_action());
    None
}
