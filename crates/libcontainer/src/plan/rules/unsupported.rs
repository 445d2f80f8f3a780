//! What of the spec is for other platforms: an error, never silence.

use oci_spec::runtime::{Process, Spec};

use crate::plan::Violations;

pub(crate) fn refuse(spec: &Spec, found: &mut Violations) {
    let others = [
        ("/solaris", spec.solaris().is_some()),
        ("/windows", spec.windows().is_some()),
        ("/vm", spec.vm().is_some()),
        ("/zos", spec.zos().is_some()),
    ];
    for (pointer, present) in others {
        if present {
            let rule = "is for another platform (config.md, \"Platform-specific configuration\")";
            found.add(pointer, "", rule, "leave it out: aril runs Linux containers");
        }
    }
}

/// What of a process is for another platform.
pub(crate) fn refuse_of_process(process: &Process, pointer: &str, found: &mut Violations) {
    let windows = [
        ("commandLine", process.command_line().as_deref()),
        ("user/username", process.user().username().as_deref()),
    ];
    for (name, value) in windows {
        if let Some(value) = set(value) {
            found
                .warn(format!("{pointer}/{name} {value:?}: is for Windows, it has no effect here"));
        }
    }
}

/// Engines send an empty string for a property that is not set.
fn set(value: Option<&str>) -> Option<&str> {
    value.filter(|value| !value.is_empty())
}
