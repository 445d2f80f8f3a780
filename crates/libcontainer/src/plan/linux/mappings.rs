//! `linux.uidMappings` and `linux.gidMappings`.

use libnamespaces::{IdMapping, Kind, Namespaces};
use oci_spec::runtime::{Linux, LinuxIdMapping};

use crate::plan::Violations;

/// The most ranges that the kernel takes (user_namespaces(7)).
const MOST: usize = 340;

/// Adds the mappings to `namespaces`.
///
/// Beside a user namespace that is joined they are what engines know of it, and it keeps its own
/// (containerd sends both for a pod).
pub(crate) fn plan(linux: &Linux, namespaces: &mut Namespaces, found: &mut Violations) {
    let read = |pointer: &str, given: &Option<Vec<LinuxIdMapping>>, found: &mut Violations| {
        let given = given.as_deref().unwrap_or_default();
        check_presence(pointer, given.len(), namespaces, found);
        let mappings = ranges(pointer, given, found);
        if namespaces.new.contains(Kind::User) { mappings } else { Vec::new() }
    };
    let uid_mappings = read("/linux/uidMappings", linux.uid_mappings(), found);
    let gid_mappings = read("/linux/gidMappings", linux.gid_mappings(), found);
    check_root("/linux/uidMappings", &uid_mappings, found);
    check_root("/linux/gidMappings", &gid_mappings, found);
    (namespaces.uid_mappings, namespaces.gid_mappings) = (uid_mappings, gid_mappings);
}

fn check_presence(pointer: &str, count: usize, namespaces: &Namespaces, found: &mut Violations) {
    if count == 0 && namespaces.new.contains(Kind::User) {
        let rule = "a new user namespace needs mappings, else nobody in it has an id";
        found.add(pointer, "[]", rule, "map at least containerID 0");
    } else if count > 0 && !namespaces.has(Kind::User) {
        let rule = "mappings need a user namespace (config-linux.md, \"User namespace mappings\")";
        let fix = "add {\"type\": \"user\"} to linux.namespaces";
        found.add(pointer, format!("{count} entries"), rule, fix);
    } else if count > 0 && namespaces.joins(Kind::User) {
        found.warn(format!("{pointer}: the user namespace that is joined keeps its own mappings"));
    }
}

/// Init makes the container as root of its user namespace, whoever the program's user is.
fn check_root(pointer: &str, mappings: &[IdMapping], found: &mut Violations) {
    if !maps(mappings, 0) {
        let rule = "the container is made by root of its user namespace, who is nobody there";
        found.add(pointer, format!("{} ranges", mappings.len()), rule, "map containerID 0, too");
    }
}

pub(crate) fn ranges(
    pointer: &str,
    given: &[LinuxIdMapping],
    found: &mut Violations,
) -> Vec<IdMapping> {
    if given.len() > MOST {
        let rule = "the kernel takes at most 340 ranges (user_namespaces(7))";
        let fix = "merge neighbouring ranges";
        found.add(pointer, format!("{} entries", given.len()), rule, fix);
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
    check(pointer, &mappings, found);
    mappings
}

/// What the kernel takes (user_namespaces(7)).
pub(crate) fn check(pointer: &str, mappings: &[IdMapping], found: &mut Violations) {
    for (index, one) in mappings.iter().enumerate() {
        check_range(&format!("{pointer}/{index}"), *one, &mappings[..index], found);
    }
}

fn check_range(pointer: &str, one: IdMapping, before: &[IdMapping], found: &mut Violations) {
    let IdMapping { container, host, size } = one;
    let fits = container.checked_add(size).is_some() && host.checked_add(size).is_some();
    if size == 0 || !fits {
        let rule = "a range has at least one id and ends below 2^32 - 1 (user_namespaces(7))";
        found.add(&format!("{pointer}/size"), size, rule, "write how many ids are mapped");
    }
    let overlaps = before.iter().any(|other| {
        meet((container, size), (other.container, other.size))
            || meet((host, size), (other.host, other.size))
    });
    if overlaps {
        let rule = "ranges must not overlap (user_namespaces(7))";
        found.add(pointer, format!("{container} {host} {size}"), rule, "map each id once");
    }
}

/// Whether two ranges, each a first id and a size, share an id.
fn meet(left: (u32, u32), right: (u32, u32)) -> bool {
    let end = |(first, size): (u32, u32)| u64::from(first) + u64::from(size);
    u64::from(left.0) < end(right) && u64::from(right.0) < end(left)
}

/// Whether `id` of the container is one that `mappings` map. Without mappings, and so without a
/// new user namespace, every id is.
pub(crate) fn maps(mappings: &[IdMapping], id: u32) -> bool {
    mappings.is_empty() || host_id(mappings, id).is_some()
}

/// What `id` of the container is on the host, if it is one that `mappings` map.
pub(crate) fn host_id(mappings: &[IdMapping], id: u32) -> Option<u32> {
    let holds = |range: &&IdMapping| id >= range.container && id - range.container < range.size;
    let range = mappings.iter().find(holds)?;
    range.host.checked_add(id - range.container)
}

#[cfg(test)]
mod tests {
    use libnamespaces::IdMapping;

    use super::{maps, meet};

    #[test]
    fn neighbours_do_not_meet() {
        assert!(!meet((0, 1000), (1000, 1)) && !meet((1000, 1), (0, 1000)));
        assert!(meet((0, 1001), (1000, 1)) && meet((5, 1), (0, 10)));
        assert!(!meet((u32::MAX, 1), (0, u32::MAX)));
    }

    #[test]
    fn an_id_is_mapped_by_the_range_that_holds_it() {
        let mappings = [IdMapping { container: 10, host: 0, size: 2 }];
        assert!(maps(&mappings, 10) && maps(&mappings, 11));
        assert!(!maps(&mappings, 9) && !maps(&mappings, 12));
        assert!(maps(&[], 12));
    }
}
