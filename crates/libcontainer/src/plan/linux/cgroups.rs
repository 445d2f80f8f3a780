//! `linux.cgroupsPath` and `linux.resources`.

use std::path::Path;

use libcgroups::{DeviceAccess, Layout, Limits, Location, Present, Property};
use libnamespaces::{Kind, Namespaces};
use libsyscall::mount::attribute;
use oci_spec::runtime::{LinuxMemory, LinuxResources, Spec};

use crate::Violation;
use crate::host::Host;
use crate::plan::linux::mappings;
use crate::plan::rules::version;
use crate::plan::{Given, Mount, MountKind, Process, Violations};
use crate::request::{CgroupManager, Create};

pub(crate) fn location(given: &Given<'_>, found: &mut Violations) -> Location {
    let id = &given.request.id;
    let path = given.linux.cgroups_path().as_deref();
    let pointer = "/linux/cgroupsPath";
    // Only to look for NUL: where the path leads depends on the hierarchy.
    found.container_path(pointer, path.unwrap_or(Path::new("")));
    let layout = &given.host.cgroups;
    let resolved = match &given.request.cgroup_manager {
        CgroupManager::Nobody => return Location::Nobody,
        CgroupManager::Files => Location::resolve(layout, path, id),
        CgroupManager::Systemd(_) if !layout.is_unified() => {
            let rule = "with --systemd-cgroup the machine must have cgroup v2 alone";
            let fix = "boot with systemd.unified_cgroup_hierarchy=1, or leave out --systemd-cgroup";
            let shown = path.unwrap_or(Path::new(id)).display();
            found.not_here(pointer, shown, rule, fix);
            return Location::Nobody;
        }
        CgroupManager::Systemd(bus) => Location::resolve_unit(layout, path, id, bus),
    };
    resolved.unwrap_or_else(|error| {
        let shown = path.unwrap_or(Path::new(id)).display();
        let rule = match error {
            libcgroups::Error::Path(_, rule) => rule.to_owned(),
            other => other.to_string(),
        };
        found.add(pointer, shown, &rule, "give another path");
        Location::Nobody
    })
}

/// The machine, as whoever is root of a user namespace finds it: with those hierarchies alone in which he can make the
/// cgroup. Without any, a container that is not to be limited runs in the cgroup of the runtime.
pub(crate) fn reachable(spec: &Spec, host: Host, request: &Create) -> Host {
    if !host.in_user_namespace || !matches!(request.cgroup_manager, CgroupManager::Files) {
        return host;
    }
    let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref());
    match Location::resolve(&host.cgroups, path, &request.id) {
        Ok(location) => host.that_can_make(&location),
        // The plan says what is wrong with it.
        Err(_) => host,
    }
}

/// Who owns the cgroup (config-linux.md, "Cgroup ownership"): the user of the program, where there is v2 alone and the
/// container can write to a view of its own. What a user is on the host is not known of a namespace that is joined.
pub(crate) fn owner(
    given: &Given<'_>,
    namespaces: &Namespaces,
    mounts: &[Mount],
    process: Option<&Process>,
) -> Option<u32> {
    let is_writable = |mount: &Mount| {
        matches!(mount.kind, MountKind::Cgroup) && mount.attributes.set & attribute::RDONLY == 0
    };
    let is_its_own = given.host.cgroups.is_unified()
        && namespaces.new.contains(Kind::Cgroup)
        && !namespaces.joins(Kind::User)
        && mounts.iter().any(is_writable);
    let user = process.map_or(0, |process| process.uid);
    let on_the_host = if namespaces.new.contains(Kind::User) {
        mappings::host_id(&namespaces.uid_mappings, user)
    } else {
        Some(user)
    };
    on_the_host.filter(|user| is_its_own && *user != given.host.euid)
}

/// The annotations are the unit's only where there is one: others may be for another runtime.
pub(crate) fn unit_properties(given: &Given<'_>, found: &mut Violations) -> Vec<Property> {
    if !matches!(given.request.cgroup_manager, CgroupManager::Systemd(_)) {
        return Vec::new();
    }
    let annotations = given.spec.annotations().iter().flatten();
    let annotations = annotations.map(|(key, value)| (key.as_str(), value.as_str()));
    let mut properties = libcgroups::plan_properties(annotations).unwrap_or_else(|violations| {
        found.add_part(violations, "");
        Vec::new()
    });
    properties.sort_by(|one, other| one.name().cmp(other.name()));
    properties
}

pub(crate) fn limits(given: &Given<'_>, found: &mut Violations) -> Limits {
    let Some(resources) = given.linux.resources() else { return Limits::default() };
    if let Some(memory) = resources.memory() {
        check_old_memory(memory, &given.host.cgroups, found);
    }
    let unlimited = has_old_pids_of_zero(given.spec.version(), resources);
    let without_pids = unlimited.then(|| resources.clone()).map(|mut resources| {
        resources.set_pids(None);
        resources
    });
    let resources = without_pids.as_ref().unwrap_or(resources);
    let limits = checked(libcgroups::plan_limits(resources, &given.host.cgroups), found);
    if has_no_cgroup(given) {
        found.warn(
            "/linux/resources: holds nobody, as --cgroup-manager disabled asks for".to_owned(),
        );
        return Limits::default();
    }
    limits
}

/// Whoever asks for that has the container limited by what he calls from. Engines send their usual limits all the same.
fn has_no_cgroup(given: &Given<'_>) -> bool {
    matches!(given.request.cgroup_manager, CgroupManager::Nobody)
}

/// Before runtime-spec 1.3 a limit of zero processes was none: Podman 4 and CRI-O write it for any number. Since then it is
/// what it says (config-linux.md, "PIDs").
fn has_old_pids_of_zero(version: &str, resources: &LinuxResources) -> bool {
    let is_zero = resources.pids().as_ref().is_some_and(|pids| pids.limit() == 0);
    is_zero && version::is_before(version, 3)
}

/// The limits that take the place of the `present` ones. Which devices may be used stays as it is: engines repeat the
/// rules of the config, to which a hook may have added.
pub(crate) fn new_limits(
    resources: &LinuxResources,
    host: &Host,
    present: &Present,
    found: &mut Violations,
) -> Limits {
    if let Some(memory) = resources.memory() {
        check_old_memory(memory, &host.cgroups, found);
    }
    if resources.devices().as_ref().is_some_and(|devices| !devices.is_empty()) {
        found.warn("/linux/resources/devices: stay as they are".to_owned());
    }
    checked(libcgroups::plan_update(resources, &host.cgroups, present), found)
}

fn checked(limits: Result<Limits, Vec<Violation>>, found: &mut Violations) -> Limits {
    limits.unwrap_or_else(|violations| {
        found.add_part(violations, "");
        Limits::default()
    })
}

/// Without `resources` the default rules still hold.
pub(crate) fn device_access(given: &Given<'_>, found: &mut Violations) -> DeviceAccess {
    let resources = given.linux.resources().as_ref();
    let rules = resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
    // In a user namespace no program can be attached and no rule written, and nobody can make a node.
    let access = if has_no_cgroup(given) || given.host.in_user_namespace {
        libcgroups::check_devices(rules).map(|()| DeviceAccess::Unlimited)
    } else {
        libcgroups::plan_devices(rules, &given.host.cgroups)
    };
    access.unwrap_or_else(|violations| {
        found.add_part(violations, "");
        // Nobody gets to apply it, and the kernel would refuse it.
        DeviceAccess::Unified(Vec::new())
    })
}

/// Controls that kernels have lost: limits of kernel memory (Linux 5.16, and never in v2), and
/// the choice whether a parent counts what its children use (Linux 5.11: it always does).
fn check_old_memory(memory: &LinuxMemory, layout: &Layout, found: &mut Violations) {
    let none_of_v2 = memory.kernel_tcp().filter(|_| !layout.has_legacy("memory"));
    let limits = [
        ("kernel", memory.kernel(), "kernels have no such limit any more"),
        ("kernelTCP", none_of_v2, "cgroup v2 has no such limit"),
    ];
    for (name, limit, why) in limits {
        // Zero means unset, and -1 no limit.
        if let Some(limit) = limit.filter(|limit| *limit > 0) {
            let why = format!("has no effect, {why}");
            found.warn(format!("/linux/resources/memory/{name} {limit}: {why}"));
        }
    }
    if memory.use_hierarchy().is_some() {
        let pointer = "/linux/resources/memory/useHierarchy";
        found.warn(format!("{pointer}: has no effect, hierarchies are always used"));
    }
}
