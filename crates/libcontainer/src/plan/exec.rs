//! `plan::exec`: a process that joins a container, or every reason why not.

use std::path::Path;

use anyhow::Context as _;
use libcgroups::Location;
use libnamespaces::{Kind, KindSet};
use oci_spec::runtime::{Capabilities, LinuxCapabilities, Process as SpecProcess};

use super::linux::labels;
use super::{Confinement, Planned, Process, ResourceGroup, Violations, process};
use crate::host::Host;
use crate::spec::is_capability;
use crate::{Violation, request};

/// A process that joins a container.
#[derive(Clone, Debug)]
pub struct Joining {
    /// What it is.
    pub process: Process,
    /// What every process of the container has.
    pub confinement: Confinement,
    /// Its cgroups: the container's, or below.
    pub cgroup: Location,
    /// Its groups for resource control.
    pub resource_group: Option<ResourceGroup>,
    /// The namespaces it joins.
    pub namespaces: KindSet,
    /// How many file descriptors from 3 on the program keeps (`--preserve-fds`).
    pub preserve_fds: u32,
}

/// Plans a process that joins a container, which has `namespaces` of its own.
///
/// # Errors
/// Every violation; pointers start at the process itself.
pub fn exec(
    given: &SpecProcess,
    host: &Host,
    namespaces: KindSet,
    request: &request::Exec,
) -> Result<Planned<Process>, Vec<Violation>> {
    let mut found = Violations::default();
    let own_user_namespace = namespaces.contains(Kind::User);
    let planned = process::plan(given, host, own_user_namespace, "", &mut found);
    process::check_console(Some(&planned), &request.console, "", &mut found);
    found.finish(planned.with_sockets(request.listen_fds))
}

/// The cgroups below the container's that `flags` name (`--cgroup [CONTROLLER[,CONTROLLER]:]PATH`): one path for all
/// hierarchies, or one for each controller of v1, as runc has it.
///
/// # Errors
/// A path leads out of the container's cgroup, there is no such controller, or a hierarchy would have two paths.
pub(crate) fn cgroup_below(container: &Location, flags: &[String]) -> anyhow::Result<Location> {
    if let [path] = flags
        && !path.contains(':')
    {
        return container.below(Path::new(path)).with_context(|| format!("--cgroup {path}"));
    }
    let mut paths = Vec::new();
    for flag in flags {
        let parts = flag.split_once(':').filter(|(_, path)| !path.contains(':'));
        let (controllers, path) = parts.with_context(|| {
            format!("--cgroup {flag}: write CONTROLLER[,CONTROLLER]:PATH, or one PATH and no other")
        })?;
        paths.extend(controllers.split(',').map(|controller| (controller, Path::new(path))));
    }
    container.below_in(&paths).with_context(|| format!("--cgroup {}", flags.join(" --cgroup ")))
}

/// A process of `--process` has the container's capabilities and labels where it says nothing of its own, as runc has it:
/// a file without them is not one that asks for none.
pub(crate) fn with_what_it_lacks(
    given: &SpecProcess,
    container: Option<&SpecProcess>,
) -> SpecProcess {
    let mut process = given.clone();
    let Some(container) = container else { return process };
    if process.capabilities().is_none() {
        process.set_capabilities(container.capabilities().clone());
    }
    if labels::given(process.apparmor_profile()).is_none() {
        process.set_apparmor_profile(container.apparmor_profile().clone());
    }
    if labels::given(process.selinux_label()).is_none() {
        process.set_selinux_label(container.selinux_label().clone());
    }
    process
}

/// The process that the flags describe: the container's own, with what they change.
pub(crate) fn process_of_flags(
    request: &request::Exec,
    container: Option<&SpecProcess>,
) -> Planned<SpecProcess> {
    let mut process = container.cloned().unwrap_or_else(|| {
        let mut process = SpecProcess::default();
        process.set_capabilities(None).set_rlimits(None).set_no_new_privileges(None);
        process
    });
    process.set_args(Some(request.args.clone())).set_terminal(Some(request.tty));
    process.set_console_size(None);
    if let Some(cwd) = &request.cwd {
        process.set_cwd(cwd.into());
    }
    if !request.env.is_empty() {
        let env = process.env().iter().flatten().chain(&request.env).cloned().collect();
        process.set_env(Some(env));
    }
    if let Some((uid, gid)) = request.user {
        process.user_mut().set_uid(uid);
        if let Some(gid) = gid {
            process.user_mut().set_gid(gid);
        }
    }
    if !request.additional_gids.is_empty() {
        let mut gids: Vec<u32> = process.user().additional_gids().clone().unwrap_or_default();
        let more = request.additional_gids.iter().copied();
        more.for_each(|gid| {
            if !gids.contains(&gid) {
                gids.push(gid)
            }
        });
        process.user_mut().set_additional_gids(Some(gids));
    }
    if let Some(no_new_privileges) = request.no_new_privileges {
        process.set_no_new_privileges(Some(no_new_privileges));
    }
    if labels::given(&request.apparmor).is_some() {
        process.set_apparmor_profile(request.apparmor.clone());
    }
    if labels::given(&request.process_label).is_some() {
        process.set_selinux_label(request.process_label.clone());
    }
    let warnings = add_capabilities(&mut process, &request.capabilities);
    Planned { plan: process, warnings }
}

/// Adds to the bounding, effective and permitted sets. Not to the inheritable one: a file's
/// inheritable capabilities would then raise the privilege of a user (CVE-2022-29162). Those that are
/// inheritable as it is become ambient, as with runc: else a user who is not root would not have them.
/// One that is unknown is left out with a warning, as in a config (config.md, "Linux Process").
fn add_capabilities(process: &mut SpecProcess, names: &[String]) -> Vec<String> {
    let mut added = Capabilities::new();
    let mut warnings = Vec::new();
    for name in names {
        match serde_json::from_value(serde_json::Value::String(name.clone())) {
            Ok(capability) if is_capability(name) => drop(added.insert(capability)),
            _ => warnings.push(format!("--cap: left out {name}: it is no capability")),
        }
    }
    if added.is_empty() {
        return warnings;
    }
    let mut sets = process.capabilities().clone().unwrap_or_else(|| {
        let mut none = LinuxCapabilities::default();
        none.set_bounding(None).set_effective(None).set_permitted(None);
        none.set_inheritable(None).set_ambient(None);
        none
    });
    let with = |set: &Option<Capabilities>| {
        Some(set.iter().flatten().chain(&added).copied().collect::<Capabilities>())
    };
    let (bounding, effective, permitted) =
        (with(sets.bounding()), with(sets.effective()), with(sets.permitted()));
    let inheritable = sets.inheritable().clone().unwrap_or_default();
    let raised = added.intersection(&inheritable);
    let ambient = sets.ambient().iter().flatten().chain(raised).copied().collect();
    sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    sets.set_ambient(Some(ambient));
    process.set_capabilities(Some(sets));
    warnings
}
