//! `plan::create`: the spec, the host and the request become a plan, or every reason why not.

use std::borrow::Cow;
use std::path::Path;

use libnamespaces::{Kind, Namespaces};
use oci_spec::runtime::{Linux, Spec};

use super::filesystem::{devices, mounts, rootfs};
use super::linux::{
    cgroups, labels, memory_policy, namespaces, net_devices, personality, seccomp, sysctl, uts,
};
use super::rules::{unsupported, version};
use super::{Confinement, Given, Plan, Planned, Process, Violations, hooks, process};
use crate::host::Host;
use crate::{Violation, request};

/// Plans the container that `spec`, of the bundle at the absolute path `bundle`, describes.
///
/// # Errors
/// Every violation.
pub fn create(
    spec: &Spec,
    host: &Host,
    request: &request::Create,
    bundle: &Path,
) -> Result<Planned, Vec<Violation>> {
    let linux = spec.linux().as_ref().map_or_else(|| Cow::Owned(no_linux()), Cow::Borrowed);
    let given = Given { spec, linux: &linux, host, request, bundle };
    let mut found = Violations::default();
    let plan = plan(&given, &mut found);
    found.finish(plan)
}

fn plan(given: &Given<'_>, found: &mut Violations) -> Plan {
    let Given { spec, linux, host, request, bundle } = *given;
    version::check(spec.version(), found);
    unsupported::refuse(spec, linux, found);
    let mut namespaces = namespaces::plan(linux, found);
    namespaces::note_changes(spec, linux, &mut namespaces);
    check_privilege(&namespaces, host, found);
    let mount_label = labels::of_mounts(linux, host, found);
    let root = rootfs::path(given);
    let mounts = mounts::plan(given, &namespaces, mount_label.as_deref(), &root, found);
    let process = plan_process(given, &namespaces, found);
    let mut limits = cgroups::limits(given, found);
    let (seccomp, listener) = seccomp::plan(given, found);
    let plan = Plan {
        id: request.id.clone(),
        bundle: bundle.to_owned(),
        oci_version: spec.version().clone(),
        annotations: annotations(spec, found),
        net_devices: net_devices::plan(linux, &namespaces, found),
        spawn: libnamespaces::decide(&namespaces),
        cgroup: cgroups::location(given, found),
        cgroup_owner: cgroups::owner(given, &namespaces, &mounts, process.as_ref()),
        tight_limits: limits.take_tight(),
        limits,
        unit_properties: cgroups::unit_properties(given, found),
        device_access: cgroups::device_access(given, found),
        rootfs: rootfs::plan(given, root, found),
        devices: devices::plan(linux, &mounts, found),
        bind_devices: namespaces.has(Kind::User) || host.in_user_namespace,
        links: devices::links(&mounts),
        hostname: uts::plan("/hostname", spec.hostname().as_deref(), &namespaces, found),
        domainname: uts::plan("/domainname", spec.domainname().as_deref(), &namespaces, found),
        sysctl: sysctl::plan(given, &namespaces, found),
        masked_paths: rootfs::masked_paths(linux, found),
        readonly_paths: rootfs::readonly_paths(linux, found),
        confinement: Confinement {
            seccomp,
            listener,
            memory_policy: memory_policy::plan(linux, found),
            personality: personality::plan(linux, found),
            callers_keyring: request.no_new_keyring,
        },
        process,
        hooks: hooks::plan(spec, found),
        preserve_fds: request.preserve_fds.saturating_add(request.listen_fds),
        namespaces,
        mounts,
        mount_label,
    };
    check_mount_namespace(&plan, found);
    plan
}

/// An absent `linux` asks for nothing; the default of oci-spec asks for namespaces and masks.
fn no_linux() -> Linux {
    let mut linux = Linux::default();
    linux.set_namespaces(None).set_resources(None);
    linux.set_masked_paths(None).set_readonly_paths(None);
    linux
}

fn plan_process(
    given: &Given<'_>,
    namespaces: &Namespaces,
    found: &mut Violations,
) -> Option<Process> {
    let process = given.spec.process().as_ref();
    let own_user_namespace = namespaces.has(Kind::User);
    let planned = process
        .map(|process| process::plan(process, given.host, own_user_namespace, "/process", found));
    if let Some(planned) = &planned {
        process::check_mapped(planned, namespaces, found);
    }
    process::check_console(planned.as_ref(), &given.request.console, "/process", found);
    planned.map(|planned| planned.with_sockets(given.request.listen_fds))
}

fn annotations(spec: &Spec, found: &mut Violations) -> Vec<(String, String)> {
    let given = spec.annotations().iter().flatten();
    let mut sorted: Vec<_> = given.map(|(key, value)| (key.clone(), value.clone())).collect();
    sorted.sort();
    if sorted.first().is_some_and(|(key, _)| key.is_empty()) {
        let rule = "a key must not be empty (config.md, \"Annotations\")";
        found.add("/annotations/", "", rule, "name it, or leave it out");
    }
    sorted
}

/// Without root only a user namespace gives the rights that a container takes.
fn check_privilege(namespaces: &Namespaces, host: &Host, found: &mut Violations) {
    if host.euid != 0 && !namespaces.has(Kind::User) {
        let rule = "rootless container requires user namespaces";
        let fix = "add {\"type\": \"user\"} to linux.namespaces, or run as root";
        found.not_here("/linux/namespaces", format!("uid {}", host.euid), rule, fix);
    }
}

/// Without a mount namespace every change of a mount would be the host's.
fn check_mount_namespace(plan: &Plan, found: &mut Violations) {
    if plan.namespaces.has(Kind::Mount) {
        return;
    }
    let wants = [
        ("/mounts", plan.mounts.len()),
        ("/linux/maskedPaths", plan.masked_paths.len()),
        ("/linux/readonlyPaths", plan.readonly_paths.len()),
        ("/root/readonly", usize::from(plan.rootfs.readonly)),
    ];
    for (pointer, count) in wants.into_iter().filter(|(_, count)| *count > 0) {
        let rule = "needs a mount namespace, else the host's own mounts would change";
        let fix = "add {\"type\": \"mount\"} to linux.namespaces";
        found.add(pointer, format!("{count} set"), rule, fix);
    }
}
