//! Id mappings of mounts: `uidMappings` and `gidMappings` of an entry of `mounts`, and the options
//! `idmap` and `ridmap`, which crun gives a value.

use libnamespaces::{IdMapping, Kind, Namespaces};
use oci_spec::runtime::{LinuxIdMapping, Mount};

use crate::plan::Violations;
use crate::plan::linux::mappings;

/// The user namespace that maps the ids of a mount (mount_setattr(2), `MOUNT_ATTR_IDMAP`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountIds {
    /// Absent are those of the container's user namespace.
    pub mappings: Option<IdMappings>,
    /// Whether the mounts below are mapped too (`ridmap`).
    pub recursive: bool,
}

/// Mappings of users and of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMappings {
    /// Of users.
    pub uids: Vec<IdMapping>,
    /// Of groups.
    pub gids: Vec<IdMapping>,
}

/// `idmap` or `ridmap` among the options of a mount.
pub(crate) struct MapIds {
    /// Its JSON pointer.
    pub pointer: String,
    /// The option as it is written.
    pub text: String,
    /// Whether it is `ridmap`.
    pub recursive: bool,
}

/// How a mapping of crun's is written.
const FORM: &str =
    "has the form uids=FILESYSTEM-HOST-SIZE#...;gids=FILESYSTEM-HOST-SIZE#... (crun(1))";

/// The mapping of the mount that `pointer` points to, if it is to have one.
pub(crate) fn plan(
    pointer: &str,
    mount: &Mount,
    option: Option<&MapIds>,
    namespaces: &Namespaces,
    found: &mut Violations,
) -> Option<MountIds> {
    let own = own_mappings(pointer, mount, found);
    let value = option.and_then(|option| option.text.split_once('=')).map(|(_, value)| value);
    let value = value.filter(|value| !value.is_empty());
    let recursive = option.is_some_and(|option| option.recursive);
    let mappings = match (own, option, value) {
        (None, None, _) => return None,
        (None, Some(option), Some(value)) => Some(parse(&option.pointer, value, namespaces, found)),
        (None, Some(option), None) => {
            check_user_namespace(option, namespaces, found);
            None
        }
        (Some(_), Some(option), Some(value)) => {
            let rule = "the mount has uidMappings and gidMappings too";
            found.add(&option.pointer, value, rule, "give one mapping");
            None
        }
        (own, ..) => own,
    };
    Some(MountIds { mappings, recursive })
}

fn own_mappings(pointer: &str, mount: &Mount, found: &mut Violations) -> Option<IdMappings> {
    let mut read = |name: &str, given: &Option<Vec<LinuxIdMapping>>| {
        let given = given.as_deref().unwrap_or_default();
        mappings::ranges(&format!("{pointer}/{name}"), given, found)
    };
    let uids = read("uidMappings", mount.uid_mappings());
    let gids = read("gidMappings", mount.gid_mappings());
    if uids.is_empty() && gids.is_empty() {
        return None;
    }
    for (name, mappings) in [("uidMappings", &uids), ("gidMappings", &gids)] {
        if mappings.is_empty() {
            let rule =
                "uidMappings and gidMappings go together (config.md, \"POSIX-platform Mounts\")";
            found.add(&format!("{pointer}/{name}"), "[]", rule, "add it");
        }
    }
    Some(IdMappings { uids, gids })
}

/// Without mappings of its own the mount has those of the user namespace (config.md, "Linux mount
/// options").
fn check_user_namespace(option: &MapIds, namespaces: &Namespaces, found: &mut Violations) {
    if !namespaces.has(Kind::User) {
        let rule =
            "needs mappings of the mount or a user namespace (config.md, \"Linux mount options\")";
        found.add(&option.pointer, &option.text, rule, "add uidMappings and gidMappings");
    }
}

fn parse(pointer: &str, text: &str, namespaces: &Namespaces, found: &mut Violations) -> IdMappings {
    let (mut uids, mut gids, mut wrong) = (Vec::new(), Vec::new(), None);
    for part in text.split(';') {
        let (list, ranges, container) = match part.split_once('=') {
            Some(("uids", ranges)) => (&mut uids, ranges, &namespaces.uid_mappings),
            Some(("gids", ranges)) => (&mut gids, ranges, &namespaces.gid_mappings),
            _ => {
                wrong = Some(FORM);
                continue;
            }
        };
        for one in ranges.split('#') {
            match range(one, container) {
                Ok(mapping) => list.push(mapping),
                Err(rule) => wrong = Some(rule),
            }
        }
    }
    let missing = uids.is_empty() || gids.is_empty();
    if let Some(rule) = wrong.or(missing.then_some(FORM)) {
        found.add(pointer, text, rule, "write it so");
    }
    mappings::check(pointer, &uids, found);
    mappings::check(pointer, &gids, found);
    IdMappings { uids, gids }
}

/// One range; after `@` the second number is an id of the container.
fn range(text: &str, container: &[IdMapping]) -> Result<IdMapping, &'static str> {
    let (relative, numbers) = match text.strip_prefix('@') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let numbers: Option<Vec<u32>> = numbers.split('-').map(|number| number.parse().ok()).collect();
    let Some(&[inside, outside, size]) = numbers.as_deref() else { return Err(FORM) };
    let host = if relative { absolute(outside, size, container)? } else { outside };
    Ok(IdMapping { container: inside, host, size })
}

fn absolute(id: u32, size: u32, container: &[IdMapping]) -> Result<u32, &'static str> {
    let holds = |range: &&IdMapping| {
        let offset = id.checked_sub(range.container);
        offset.and_then(|offset| offset.checked_add(size)).is_some_and(|end| end <= range.size)
    };
    let range = container.iter().find(holds);
    let host = range.and_then(|range| range.host.checked_add(id - range.container));
    host.ok_or("after @ ids of the container's user namespace are needed, all of one range")
}

#[cfg(test)]
mod tests {
    use libnamespaces::{IdMapping, Kind, KindSet, Namespaces};

    use super::{IdMappings, Violations, parse};

    fn mapping(container: u32, host: u32, size: u32) -> IdMapping {
        IdMapping { container, host, size }
    }

    fn parsed(text: &str) -> Option<IdMappings> {
        let namespaces = Namespaces {
            new: KindSet::EMPTY.with(Kind::User),
            uid_mappings: vec![mapping(0, 1000, 10), mapping(10, 5000, 10)],
            gid_mappings: vec![mapping(0, 2000, 10)],
            ..Namespaces::default()
        };
        let mut found = Violations::default();
        let mappings = parse("", text, &namespaces, &mut found);
        found.all.is_empty().then_some(mappings)
    }

    #[test]
    fn ranges_as_crun_writes_them() {
        let uids = vec![mapping(0, 1, 10), mapping(10, 11, 10)];
        let expected = IdMappings { uids, gids: vec![mapping(0, 100, 10)] };
        assert_eq!(parsed("uids=0-1-10#10-11-10;gids=0-100-10"), Some(expected));
        let uids = vec![mapping(1, 5003, 7)];
        let expected = IdMappings { uids, gids: vec![mapping(0, 2000, 1)] };
        assert_eq!(parsed("uids=@1-13-7;gids=@0-0-1"), Some(expected));
    }

    #[test]
    fn what_is_no_range() {
        for text in [
            "uids=0-1-10",
            "gids=0-1-10",
            "uids=;gids=",
            "uids=0-1;gids=0-1-1",
            "uids=0-1-x;gids=0-1-1",
            "uids=0-1-0;gids=0-1-1",
            "uids=0-1-5#3-9-1;gids=0-1-1",
            "users=0-1-1;gids=0-1-1",
            "uids=@0-8-4;gids=0-1-1",
            "uids=@0-30-1;gids=0-1-1",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
