//! `linux.namespaces` and the mappings and offsets that belong to them.

use libnamespaces::{Clock, IdMapping, Joined, Kind, Namespaces, TimeOffset};
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType};

use super::Violations;
use super::check::token;

/// The most ranges that the kernel takes (user_namespaces(7)).
const MOST_MAPPINGS: usize = 340;

pub(crate) fn plan(linux: &Linux, found: &mut Violations) -> Namespaces {
    let mut namespaces = Namespaces::default();
    for (index, entry) in linux.namespaces().iter().flatten().enumerate() {
        let kind = kind_of(entry.typ());
        let pointer = format!("/linux/namespaces/{index}");
        if namespaces.has(kind) {
            let rule = "a type must not be listed twice (config-linux.md, \"Namespaces\")";
            found.add(&format!("{pointer}/type"), kind.name(), rule, "remove one of the entries");
        }
        match entry.path().as_deref().filter(|path| !path.as_os_str().is_empty()) {
            None => namespaces.new = namespaces.new.with(kind),
            Some(path) => {
                found.absolute(&format!("{pointer}/path"), path, "config-linux.md, \"Namespaces\"");
                namespaces.joined.push(Joined { kind, path: path.to_owned(), index });
            }
        }
    }
    namespaces.joined.sort_by_key(|joined| joined.kind);
    namespaces.uid_mappings =
        mappings("/linux/uidMappings", linux.uid_mappings().as_deref(), found);
    namespaces.gid_mappings =
        mappings("/linux/gidMappings", linux.gid_mappings().as_deref(), found);
    check_mappings(&namespaces, found);
    namespaces.time_offsets = time_offsets(linux, &namespaces, found);
    namespaces
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

fn check_mappings(namespaces: &Namespaces, found: &mut Violations) {
    let given = [
        ("/linux/uidMappings", &namespaces.uid_mappings),
        ("/linux/gidMappings", &namespaces.gid_mappings),
    ];
    for (pointer, mappings) in given {
        if mappings.is_empty() && namespaces.new.contains(Kind::User) {
            let rule = "a new user namespace needs mappings, else nobody in it has an id";
            found.add(pointer, "[]", rule, "map at least containerID 0");
        } else if !mappings.is_empty() && !namespaces.has(Kind::User) {
            let rule = "mappings need a user namespace";
            found.add(
                pointer,
                mappings.len(),
                rule,
                "add {\"type\": \"user\"} to linux.namespaces",
            );
        }
    }
}

fn mappings(
    pointer: &str,
    given: Option<&[LinuxIdMapping]>,
    found: &mut Violations,
) -> Vec<IdMapping> {
    let given = given.unwrap_or_default();
    if given.len() > MOST_MAPPINGS {
        let rule = "the kernel takes at most 340 ranges (user_namespaces(7))";
        found.add(pointer, format!("{} entries", given.len()), rule, "merge neighbouring ranges");
        return Vec::new();
    }
    let mappings: Vec<IdMapping> = given
        .iter()
        .map(|one| IdMapping {
            container: one.container_id(),
            host: one.host_id(),
            size: one.size(),
        })
        .collect();
    for (index, one) in mappings.iter().enumerate() {
        let place = format!("{pointer}/{index}");
        if one.size == 0
            || one.container.checked_add(one.size).is_none()
            || one.host.checked_add(one.size).is_none()
        {
            let rule = "a range has at least one id and ends below 2^32";
            found.add(&format!("{place}/size"), one.size, rule, "write how many ids are mapped");
        }
        let overlaps = mappings[..index].iter().any(|other| {
            meets((one.container, one.size), (other.container, other.size))
                || meets((one.host, one.size), (other.host, other.size))
        });
        if overlaps {
            let rule = "ranges must not overlap (user_namespaces(7))";
            found.add(&place, one.container, rule, "give each id once");
        }
    }
    mappings
}

const fn meets(left: (u32, u32), right: (u32, u32)) -> bool {
    (left.0 as u64) < right.0 as u64 + right.1 as u64
        && (right.0 as u64) < left.0 as u64 + left.1 as u64
}

fn time_offsets(linux: &Linux, namespaces: &Namespaces, found: &mut Violations) -> Vec<TimeOffset> {
    let mut given: Vec<_> = linux.time_offsets().iter().flatten().collect();
    given.sort_by_key(|(name, _)| name.as_str());
    if !given.is_empty() && !namespaces.new.contains(Kind::Time) {
        let rule =
            "offsets need a new time namespace (config-linux.md, \"Offset for Time Namespace\")";
        found.add(
            "/linux/timeOffsets",
            given.len(),
            rule,
            "add {\"type\": \"time\"} to linux.namespaces",
        );
    }
    let mut offsets = Vec::new();
    for (name, offset) in given {
        let pointer = format!("/linux/timeOffsets/{}", token(name));
        let clock =
            [Clock::Monotonic, Clock::Boottime].into_iter().find(|clock| clock.name() == name);
        let nanoseconds = offset.nanosecs().unwrap_or(0);
        if nanoseconds >= 1_000_000_000 {
            let rule = "nanoseconds are below one second";
            found.add(
                &format!("{pointer}/nanosecs"),
                nanoseconds,
                rule,
                "carry whole seconds over",
            );
        }
        match clock {
            Some(clock) => {
                offsets.push(TimeOffset {
                    clock,
                    seconds: offset.secs().unwrap_or(0),
                    nanoseconds,
                });
            }
            None => found.add(
                &pointer,
                name,
                "is no clock of a time namespace",
                "write monotonic or boottime",
            ),
        }
    }
    offsets
}
