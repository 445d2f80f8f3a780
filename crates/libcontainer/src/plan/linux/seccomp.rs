//! `linux.seccomp`, compiled.

use libseccompiler::{Architecture, Filter, UnknownName, compile, unknown_names};
use oci_spec::runtime::{Linux, LinuxSeccompAction};

use crate::plan::Violations;

pub(crate) fn plan(linux: &Linux, found: &mut Violations) -> Option<Filter> {
    let seccomp = linux.seccomp().as_ref()?;
    let Some(native) = Architecture::native() else {
        found.not_here(
            "/linux/seccomp",
            std::env::consts::ARCH,
            "is an architecture for which aril compiles no filters",
            "leave seccomp out",
        );
        return None;
    };
    for (at, rule) in seccomp.syscalls().iter().flatten().enumerate() {
        if rule.action() == LinuxSeccompAction::ScmpActNotify {
            found.not_yet(&format!("/linux/seccomp/syscalls/{at}/action"), rule.action());
        }
    }
    for UnknownName { pointer, name } in unknown_names(seccomp) {
        let why = "is a system call that aril does not know, so it is not denied";
        found.warn(format!("/linux/seccomp{pointer} {name:?}: {why}"));
    }
    match compile(seccomp, native) {
        Ok(filter) => Some(filter),
        Err(violations) => {
            found.add_part(violations, "/linux/seccomp");
            None
        }
    }
}
