//! `linux.namespaces` and the offsets of clocks.

use libnamespaces::{Clock, Joined, Kind, Namespaces, TimeOffset};
use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxTimeOffset, Spec};

use super::{mappings, sysctl};
use crate::plan::Violations;
use crate::spec::token;

/// Nanoseconds of a second.
const SECOND: u32 = 1_000_000_000;

pub(crate) fn plan(linux: &Linux, found: &mut Violations) -> Namespaces {
    let mut namespaces = Namespaces::default();
    for (index, entry) in linux.namespaces().iter().flatten().enumerate() {
        let kind = kind_of(entry.typ());
        let pointer = format!("/linux/namespaces/{index}");
        if namespaces.has(kind) {
            let rule = "a type must not be listed twice (config-linux.md, \"Namespaces\")";
            found.add(&format!("{pointer}/type"), kind.name(), rule, "remove one of the entries");
            continue;
        }
        match entry.path().as_deref().filter(|path| !path.as_os_str().is_empty()) {
            None => namespaces.new = namespaces.new.with(kind),
            Some(path) => {
                let section = "config-linux.md, \"Namespaces\"";
                found.absolute(&format!("{pointer}/path"), path, section);
                let (path, changed_by) = (path.to_owned(), Vec::new());
                namespaces.joined.push(Joined { kind, path, index, changed_by });
            }
        }
    }
    namespaces.joined.sort_by_key(|joined| joined.kind);
    mappings::plan(linux, &mut namespaces, found);
    namespaces.time_offsets = time_offsets(linux, &namespaces, found);
    namespaces
}

/// Notes what would change a joined namespace, which may turn out to be the runtime's own when it is
/// opened: a path says nothing about what it leads to.
pub(crate) fn note_changes(spec: &Spec, linux: &Linux, namespaces: &mut Namespaces) {
    for (pointer, name) in [("/hostname", spec.hostname()), ("/domainname", spec.domainname())] {
        if name.as_ref().is_some_and(|name| !name.is_empty()) {
            namespaces.note_change(Kind::Uts, pointer);
        }
    }
    for (kind, pointer) in sysctl::changes(linux) {
        namespaces.note_change(kind, pointer);
    }
    if linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty()) {
        namespaces.note_change(Kind::Network, "/linux/netDevices");
    }
    // Cgroups are seen from the root of the namespace on.
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        if matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2")) {
            namespaces.note_change(Kind::Cgroup, format!("/mounts/{index}"));
        }
    }
    namespaces.note_change(Kind::Mount, "/root/path");
    // setns(2) refuses it, in fewer words.
    namespaces.note_change(Kind::User, "/process");
}

const fn kind_of(name: LinuxNamespaceType) -> Kind {
    match name {
        LinuxNamespaceType::Mount => Kind::Mount,
        LinuxNamespaceType::Cgroup => Kind::Cgroup,
        LinuxNamespaceType::Uts => Kind::Uts,
        LinuxNamespaceType::Ipc => Kind::Ipc,
        LinuxNamespaceType::User => Kind::User,
        LinuxNamespaceType::Pid => Kind::Pid,
        LinuxNamespaceType::Network => Kind::Network,
        LinuxNamespaceType::Time => Kind::Time,
    }
}

fn time_offsets(linux: &Linux, namespaces: &Namespaces, found: &mut Violations) -> Vec<TimeOffset> {
    let mut given: Vec<_> = linux.time_offsets().iter().flatten().collect();
    given.sort_by_key(|(name, _)| name.as_str());
    if !given.is_empty() && !namespaces.new.contains(Kind::Time) {
        let rule =
            "offsets need a new time namespace (config-linux.md, \"Offset for Time Namespace\")";
        let fix = "add {\"type\": \"time\"} to linux.namespaces";
        found.add("/linux/timeOffsets", given.len(), rule, fix);
    }
    given.into_iter().filter_map(|(name, offset)| time_offset(name, offset, found)).collect()
}

fn time_offset(name: &str, offset: &LinuxTimeOffset, found: &mut Violations) -> Option<TimeOffset> {
    let pointer = format!("/linux/timeOffsets/{}", token(name));
    let nanoseconds = offset.nanosecs().unwrap_or(0);
    if nanoseconds >= SECOND {
        let rule = "nanoseconds are below one second";
        found.add(&format!("{pointer}/nanosecs"), nanoseconds, rule, "carry whole seconds over");
    }
    let clock = [Clock::Monotonic, Clock::Boottime].into_iter().find(|clock| clock.name() == name);
    if clock.is_none() {
        let rule = "is no clock of a time namespace (time_namespaces(7))";
        found.add(&pointer, name, rule, "write monotonic or boottime");
    }
    Some(TimeOffset { clock: clock?, seconds: offset.secs().unwrap_or(0), nanoseconds })
}
