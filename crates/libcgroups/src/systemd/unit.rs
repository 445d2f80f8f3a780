//! A container's transient scope: its name, its slice and the directory that systemd makes for it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::location::UnifiedLocation;
use crate::{Error, Layout};

/// The longest name of a unit, in bytes (systemd.unit(5)).
const LONGEST_NAME: usize = 255;
/// What a unit's name may have beside letters and digits (systemd.unit(5)).
const PUNCTUATION: &str = ":-_.\\@";
/// What the names of aril's scopes begin with, where `linux.cgroupsPath` does not say.
const DEFAULT_PREFIX: &str = "aril";

/// A message bus, and whose systemd is on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bus {
    /// The bus's unix socket.
    pub socket: PathBuf,
    /// The uid of the user whose own systemd is meant, if it is not the machine's.
    pub user: Option<u32>,
}

/// A transient scope unit (systemd.scope(5)), and its cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scope {
    /// The unit's name, with `.scope`.
    pub(crate) unit: String,
    /// The slice that it is in, with `.slice`.
    pub(crate) slice: String,
    /// Where the systemd that makes it is found.
    pub(crate) bus: Bus,
    /// The cgroup that systemd makes for it.
    pub(crate) cgroup: UnifiedLocation,
}

impl Scope {
    /// Understands `linux.cgroupsPath` as runc does with `--systemd-cgroup`: `SLICE:PREFIX:NAME` is
    /// the scope `PREFIX-NAME.scope` in `SLICE`. What is empty has its default: `system.slice` (a
    /// user's systemd: `user.slice`), no prefix, `id`; without a path the prefix is `aril`.
    ///
    /// # Errors
    /// It is not of this form, or a name is none that a unit can have.
    pub(crate) fn resolve(
        layout: &Layout,
        cgroups_path: Option<&Path>,
        id: &str,
        bus: &Bus,
    ) -> Result<Self, Error> {
        let given = cgroups_path.filter(|path| !path.as_os_str().is_empty());
        let shown = given.unwrap_or_else(|| Path::new(id));
        let wrong = |rule| Error::Path(shown.to_owned(), rule);
        let text = given.map_or(Some(""), Path::to_str).ok_or_else(|| wrong("must be UTF-8"))?;
        let (slice, prefix, name) = match text.split(':').collect::<Vec<_>>()[..] {
            [slice, prefix, name] => (slice, prefix, name),
            [""] => ("", DEFAULT_PREFIX, ""),
            _ => return Err(wrong("must be SLICE:PREFIX:NAME with --systemd-cgroup")),
        };
        let name = if name.is_empty() { id } else { name };
        let default_slice = if bus.user.is_some() { "user.slice" } else { "system.slice" };
        let slice = if slice.is_empty() { default_slice } else { slice };
        let unit = match prefix {
            "" => format!("{name}.scope"),
            prefix => format!("{prefix}-{name}.scope"),
        };
        if !is_unit_name(&unit) {
            let rule = "must name a scope with letters, digits and :-_.\\@ only, 255 at most";
            return Err(wrong(rule));
        }
        let below = slice_directory(slice).map_err(wrong)?;
        let mount = layout.unified.as_ref().ok_or(Error::NoHierarchy("v2"))?;
        let directory = mount.mount_point.join(manager_root(&mount.own, bus)).join(below);
        let cgroup = UnifiedLocation {
            mount_point: mount.mount_point.clone(),
            directory: directory.join(&unit),
        };
        Ok(Self { unit, slice: slice.to_owned(), bus: bus.clone(), cgroup })
    }

    /// The uid of the user whose own systemd makes it, if it is not the machine's.
    #[must_use]
    pub const fn user(&self) -> Option<u32> {
        self.bus.user
    }

    /// The same, with the cgroup `path` below its own.
    pub(crate) fn below(&self, path: &Path) -> Self {
        let mut below = self.clone();
        below.cgroup.directory.push(path);
        below
    }
}

fn is_unit_name(name: &str) -> bool {
    let allowed = |one: char| one.is_ascii_alphanumeric() || PUNCTUATION.contains(one);
    name.len() <= LONGEST_NAME && name.chars().all(allowed) && !name.contains("..")
}

/// Where a slice is below its systemd's root: `a-b.slice` is in `a.slice` (systemd.slice(5)).
fn slice_directory(slice: &str) -> Result<PathBuf, &'static str> {
    let Some(name) = slice.strip_suffix(".slice") else {
        return Err("must begin with the name of a slice, which ends in .slice");
    };
    if name == "-" {
        return Ok(PathBuf::new());
    }
    if !is_unit_name(slice) || name.split('-').any(str::is_empty) {
        return Err("must begin with the name of a slice: no \"/\", \"..\" or empty part");
    }
    let ends = name.match_indices('-').map(|(end, _)| end).chain([name.len()]);
    Ok(ends.map(|end| format!("{}.slice", name.get(..end).unwrap_or_default())).collect())
}

/// The machine's systemd has the root of the hierarchy; a user's, the unit `user@UID.service`, in
/// which the runtime's own cgroup usually is, too.
fn manager_root(own: &Path, bus: &Bus) -> PathBuf {
    let Some(uid) = bus.user else { return PathBuf::new() };
    let service = format!("user@{uid}.service");
    let above = own.ancestors().find(|path| path.ends_with(&service));
    above.map_or_else(
        || format!("user.slice/user-{uid}.slice/{service}").into(),
        |path| path.strip_prefix("/").unwrap_or(path).to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Bus, Scope};
    use crate::{Error, Layout};

    fn resolve(path: Option<&str>, user: Option<u32>, own: &str) -> Result<Scope, Error> {
        let layout = Layout::unified(Path::new("/c"), format!("0::{own}"));
        let bus = Bus { socket: PathBuf::from("/run/bus"), user };
        Scope::resolve(&layout, path.map(Path::new), "c1", &bus)
    }

    #[track_caller]
    fn check(path: Option<&str>, slice: &str, directory: &str) {
        let scope = resolve(path, None, "/").unwrap();
        assert_eq!(scope.slice, slice);
        assert_eq!(scope.cgroup.directory, Path::new(directory));
        assert!(scope.cgroup.directory.ends_with(&scope.unit));
    }

    #[test]
    fn the_path_names_a_slice_a_prefix_and_a_name() {
        check(Some("a.slice:docker:x"), "a.slice", "/c/a.slice/docker-x.scope");
        check(Some("a-b-c.slice:p:x"), "a-b-c.slice", "/c/a.slice/a-b.slice/a-b-c.slice/p-x.scope");
        check(Some("-.slice:p:x"), "-.slice", "/c/p-x.scope");
    }

    #[test]
    fn what_is_empty_has_a_default() {
        for path in [None, Some("")] {
            check(path, "system.slice", "/c/system.slice/aril-c1.scope");
        }
        check(Some(":p:"), "system.slice", "/c/system.slice/p-c1.scope");
        check(Some("::x"), "system.slice", "/c/system.slice/x.scope");
    }

    #[test]
    fn a_users_systemd_is_where_the_runtime_is_or_where_logind_puts_it() {
        let manager = "/user.slice/user-7.slice/user@7.service";
        let expected = format!("/c{manager}/user.slice/aril-c1.scope");
        for own in [&format!("{manager}/app.slice/a.scope"), "/user.slice/session-1.scope"] {
            let scope = resolve(None, Some(7), own).unwrap();
            assert_eq!(scope.cgroup.directory, Path::new(&expected), "{own}");
        }
        let nested = resolve(None, Some(7), "/a/user@7.service/b").unwrap();
        let expected = "/c/a/user@7.service/user.slice/aril-c1.scope";
        assert_eq!(nested.cgroup.directory, Path::new(expected));
    }

    #[test]
    fn what_is_no_unit_is_refused() {
        for path in [
            "a",
            "a:b",
            "/a/b",
            "a.slice:b:c:d",
            "a:b:c",
            "a/b.slice:p:x",
            "../a.slice:p:x",
            "a..b.slice:p:x",
            ".slice:p:x",
            "-a.slice:p:x",
            "a-.slice:p:x",
            "a--b.slice:p:x",
            "a.slice:p/q:x",
            "a.slice:p:../x",
            "a.slice:p:x y",
        ] {
            assert!(resolve(Some(path), None, "/").is_err(), "{path}");
        }
        assert!(resolve(Some(&format!("a.slice:p:{}", "x".repeat(250))), None, "/").is_err());
    }
}
