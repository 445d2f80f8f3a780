//! Labels of security modules: `process.apparmorProfile`, `process.selinuxLabel`, `linux.mountLabel`.

use std::ffi::CString;

use oci_spec::runtime::{Linux, Process, Spec};

use crate::host::{Host, SecurityModules};
use crate::plan::Violations;

/// What security modules confine a program by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// `apparmorProfile`: the name of a loaded profile (apparmor(7)).
    pub apparmor: Option<CString>,
    /// `selinuxLabel`: a security context.
    pub selinux: Option<CString>,
}

/// What AppArmor calls what it does not confine. Where it is off, that is every process.
const UNCONFINED: &str = "unconfined";
/// The longest label, in bytes: with the word before it, it must fit in the page that the kernel takes
/// (proc_pid_attr(5)).
const LONGEST: usize = 4000;
/// The longest value that fsconfig(2) takes, in bytes.
const LONGEST_OPTION: usize = 255;

/// Whether anything in `spec` is about a security module.
pub(crate) fn names_any(spec: &Spec) -> bool {
    let mount = spec.linux().as_ref().and_then(|linux| given(linux.mount_label()));
    mount.is_some() || spec.process().as_ref().is_some_and(names_any_of_process)
}

/// Whether anything in `process` is.
pub(crate) fn names_any_of_process(process: &Process) -> bool {
    given(process.apparmor_profile()).is_some() || given(process.selinux_label()).is_some()
}

/// Plans the labels of `process`, which `pointer` points to. One that cannot be applied is a hole, so it is an error.
pub(crate) fn of_process(
    process: &Process,
    host: &Host,
    pointer: &str,
    found: &mut Violations,
) -> Labels {
    let SecurityModules { apparmor, selinux } = host.security_modules;
    let mut planner = Planner { found, longest: LONGEST };
    let profile = given(process.apparmor_profile());
    let profile = profile.filter(|profile| apparmor || *profile != UNCONFINED);
    let at = |name: &str| format!("{pointer}/{name}");
    Labels {
        apparmor: profile
            .map(|profile| planner.label(&at("apparmorProfile"), profile, "AppArmor", apparmor)),
        selinux: given(process.selinux_label())
            .map(|label| planner.label(&at("selinuxLabel"), label, "SELinux", selinux)),
    }
}

/// Plans the label of what is mounted.
pub(crate) fn of_mounts(linux: &Linux, host: &Host, found: &mut Violations) -> Option<CString> {
    let mut planner = Planner { found, longest: LONGEST_OPTION };
    let selinux = host.security_modules.selinux;
    given(linux.mount_label())
        .map(|label| planner.label("/linux/mountLabel", label, "SELinux", selinux))
}

struct Planner<'a> {
    found: &'a mut Violations,
    longest: usize,
}

impl Planner<'_> {
    fn label(&mut self, pointer: &str, label: &str, module: &str, is_on: bool) -> CString {
        if !is_on {
            let rule = format!("{module} is not enabled on this machine");
            self.found.not_here(pointer, label, &rule, "enable it, or leave the label out");
        }
        if label.len() > self.longest {
            let rule = format!("the kernel takes at most {} bytes", self.longest);
            self.found.add(pointer, label, &rule, "use a shorter one");
        }
        self.found.c_string(pointer, label)
    }
}

/// Engines send an empty string for a label that is not set.
pub(crate) fn given(label: &Option<String>) -> Option<&str> {
    label.as_deref().filter(|label| !label.is_empty())
}
