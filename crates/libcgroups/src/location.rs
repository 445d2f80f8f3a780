//! Who manages a container's cgroup, and where it is: pure, resolved once, kept in the state.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Bus, Error, Layout, Scope};

/// Who manages the container's cgroup, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Location {
    /// Nobody: no hierarchy is mounted, or none of its own was asked for.
    Nobody,
    /// The runtime, by directories and files.
    Files(Directories),
    /// systemd, by a unit.
    Unit(Scope),
}

/// The container's directory in every hierarchy that is mounted, at least one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directories {
    legacy: Vec<LegacyLocation>,
    unified: Option<UnifiedLocation>,
}

/// The container in a v1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LegacyLocation {
    /// Name of the hierarchy's directory, such as `cpu,cpuacct`.
    pub name: String,
    /// Its controllers, or `name=NAME`.
    pub controllers: Vec<String>,
    /// Where the hierarchy is mounted.
    pub mount_point: PathBuf,
    /// Absolute path of the container's cgroup.
    pub directory: PathBuf,
}

/// The container in the v2 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnifiedLocation {
    /// Where the hierarchy is mounted.
    pub mount_point: PathBuf,
    /// Absolute path of the container's cgroup.
    pub directory: PathBuf,
}

/// How a process comes into the container's cgroup in one hierarchy. In another it may come in
/// another way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The kernel puts it into this v2 directory at its clone.
    AtClone(PathBuf),
    /// It writes itself to this v1 cgroup.procs.
    ByItself(PathBuf),
    /// The runtime has the cgroup made around it: it connects to this bus, and hands the connection over.
    ByTheRuntime(PathBuf),
}

/// The kernel knows controllers apart in cgroups v1 alone.
const NO_HIERARCHY: &str =
    "must name a controller of one of the container's cgroup v1 hierarchies, or none";

impl Location {
    /// Resolves `linux.cgroupsPath` as runc does: an absolute path starts at the root of each
    /// hierarchy, a relative one (or, without a path, `id`) at the runtime's own cgroup; in the v2
    /// hierarchy beside it, since a v2 cgroup with processes has no controllers for children
    /// (cgroups(7), "no internal processes").
    ///
    /// # Errors
    /// The path holds `..` or names the root itself.
    pub fn resolve(layout: &Layout, cgroups_path: Option<&Path>, id: &str) -> Result<Self, Error> {
        let given = cgroups_path.filter(|path| !path.as_os_str().is_empty());
        let path = given.unwrap_or_else(|| Path::new(id));
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(Error::Path(path.to_owned(), "must not contain \"..\""));
        }
        let parts: PathBuf =
            path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
        if parts.as_os_str().is_empty() {
            return Err(Error::Path(path.to_owned(), "must name a cgroup below the root"));
        }
        let below = |mount_point: &Path, own: &Path| match path.is_absolute() {
            true => mount_point.join(&parts),
            false => mount_point.join(own).join(&parts),
        };
        let legacy: Vec<_> = layout
            .legacy
            .iter()
            .map(|mount| LegacyLocation {
                name: mount
                    .mount_point
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                controllers: mount.controllers.clone(),
                mount_point: mount.mount_point.clone(),
                directory: below(&mount.mount_point, &mount.own),
            })
            .collect();
        let unified = layout.unified.as_ref().map(|mount| UnifiedLocation {
            mount_point: mount.mount_point.clone(),
            directory: below(&mount.mount_point, mount.own.parent().unwrap_or(Path::new(""))),
        });
        if legacy.is_empty() && unified.is_none() {
            return Ok(Self::Nobody);
        }
        Ok(Self::Files(Directories { legacy, unified }))
    }

    /// Resolves `linux.cgroupsPath` as that of a scope, which the systemd on `bus` is to make.
    ///
    /// # Errors
    /// The path names none ([`Error::Path`]), or no v2 hierarchy is mounted.
    pub fn resolve_unit(
        layout: &Layout,
        cgroups_path: Option<&Path>,
        id: &str,
        bus: &Bus,
    ) -> Result<Self, Error> {
        Scope::resolve(layout, cgroups_path, id, bus).map(Self::Unit)
    }

    /// The scope, which does not exist before its first process does.
    #[must_use]
    pub const fn unit(&self) -> Option<&Scope> {
        match self {
            Self::Unit(scope) => Some(scope),
            Self::Nobody | Self::Files(_) => None,
        }
    }

    /// Where it is in v1 hierarchies.
    #[must_use]
    pub fn legacy(&self) -> &[LegacyLocation] {
        match self {
            Self::Nobody | Self::Unit(_) => &[],
            Self::Files(directories) => directories.legacy(),
        }
    }

    /// Where it is in the v2 hierarchy.
    #[must_use]
    pub const fn unified(&self) -> Option<&UnifiedLocation> {
        match self {
            Self::Nobody => None,
            Self::Files(directories) => directories.unified(),
            Self::Unit(scope) => Some(&scope.cgroup),
        }
    }

    /// How a process comes into it where it exists: all the ways, in their order.
    pub(crate) fn ways_in(&self) -> Vec<Way> {
        match self {
            Self::Nobody => Vec::new(),
            Self::Files(directories) => directories.ways_in(),
            Self::Unit(scope) => vec![Way::AtClone(scope.cgroup.directory.clone())],
        }
    }

    /// The same for the container's first process.
    pub(crate) fn ways_of_the_first(&self) -> Vec<Way> {
        match self {
            Self::Unit(scope) => vec![Way::ByTheRuntime(scope.bus.socket.clone())],
            Self::Nobody | Self::Files(_) => self.ways_in(),
        }
    }

    /// The same place, but in each of these v1 controllers' hierarchies one step down: a sub-cgroup (`exec --cgroup`).
    ///
    /// # Errors
    /// A path holds `..`, no v1 hierarchy has a controller, or one hierarchy has two paths.
    pub fn below_in(&self, paths: &[(&str, &Path)]) -> Result<Self, Error> {
        let mut moved = self.clone();
        for (controller, path) in paths {
            let below = self.below(path)?;
            let is_its =
                |one: &LegacyLocation| one.controllers.iter().any(|name| name == controller);
            let at = self.legacy().iter().position(is_its);
            let known = at.and_then(|at| Some((self.legacy().get(at)?, below.legacy().get(at)?)));
            let (Self::Files(moved), Some((own, new))) = (&mut moved, known) else {
                let name = PathBuf::from(format!("{controller}:{}", path.display()));
                return Err(Error::Path(name, NO_HIERARCHY));
            };
            for place in moved.legacy.iter_mut().filter(|place| place.name == own.name) {
                if place != own && place != new {
                    let name = PathBuf::from(format!("{controller}:{}", path.display()));
                    return Err(Error::Path(
                        name,
                        "must not be another in a hierarchy that has one",
                    ));
                }
                place.clone_from(new);
            }
        }
        Ok(moved)
    }

    /// The same place, one step down: a sub-cgroup `path` (`exec --cgroup`).
    ///
    /// # Errors
    /// The path holds `..`, or there is no cgroup.
    pub fn below(&self, path: &Path) -> Result<Self, Error> {
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(Error::Path(path.to_owned(), "must not contain \"..\""));
        }
        let parts: PathBuf =
            path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
        Ok(match self {
            Self::Nobody if parts.as_os_str().is_empty() => Self::Nobody,
            Self::Nobody => {
                return Err(Error::Path(path.to_owned(), "the container has no cgroup of its own"));
            }
            Self::Files(directories) => Self::Files(directories.below(&parts)),
            Self::Unit(scope) => Self::Unit(scope.below(&parts)),
        })
    }
}

impl Directories {
    /// In v1 hierarchies.
    pub(crate) fn legacy(&self) -> &[LegacyLocation] {
        &self.legacy
    }

    /// In the v2 hierarchy.
    pub(crate) const fn unified(&self) -> Option<&UnifiedLocation> {
        self.unified.as_ref()
    }

    fn below(&self, path: &Path) -> Self {
        let mut below = self.clone();
        for legacy in &mut below.legacy {
            legacy.directory.push(path);
        }
        if let Some(unified) = &mut below.unified {
            unified.directory.push(path);
        }
        below
    }

    fn ways_in(&self) -> Vec<Way> {
        let unified = self.unified.iter().map(|one| Way::AtClone(one.directory.clone()));
        let legacy = self.legacy.iter();
        unified.chain(legacy.map(|one| Way::ByItself(one.directory.join("cgroup.procs")))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Location, Way};
    use crate::Layout;

    const MOUNTS: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";

    #[track_caller]
    fn check(path: Option<&str>, legacy: &str, unified: &str) {
        let layout = Layout::parse(MOUNTS, "1:cpu:/a/b\n0::/a/b").unwrap();
        let location = Location::resolve(&layout, path.map(Path::new), "id").unwrap();
        assert_eq!(location.legacy()[0].directory, Path::new(legacy));
        assert_eq!(location.unified().unwrap().directory, Path::new(unified));
    }

    #[test]
    fn without_a_path_the_id_below_the_own_cgroup() {
        check(None, "/sys/fs/cgroup/cpu/a/b/id", "/sys/fs/cgroup/unified/a/id");
        check(Some(""), "/sys/fs/cgroup/cpu/a/b/id", "/sys/fs/cgroup/unified/a/id");
    }

    #[test]
    fn an_absolute_path_from_the_root() {
        check(Some("/x//y/"), "/sys/fs/cgroup/cpu/x/y", "/sys/fs/cgroup/unified/x/y");
    }

    #[test]
    fn a_relative_path_below_the_own_cgroup() {
        check(Some("x/./y"), "/sys/fs/cgroup/cpu/a/b/x/y", "/sys/fs/cgroup/unified/a/x/y");
    }

    #[test]
    fn without_hierarchies_nobody_manages() {
        let location = Location::resolve(&Layout::default(), None, "id").unwrap();
        assert_eq!(location, Location::Nobody);
        assert_eq!(location.below(Path::new("/")).unwrap(), Location::Nobody);
        assert!(location.below(Path::new("a")).is_err());
        assert_eq!(location.ways_in(), []);
    }

    #[test]
    fn each_hierarchy_has_its_way_in() {
        let layout = Layout::parse(MOUNTS, "").unwrap();
        let location = Location::resolve(&layout, Some(Path::new("/a")), "id").unwrap();
        let at_clone = Way::AtClone("/sys/fs/cgroup/unified/a/b".into());
        let by_itself = Way::ByItself("/sys/fs/cgroup/cpu/a/b/cgroup.procs".into());
        assert_eq!(location.below(Path::new("b")).unwrap().ways_in(), [at_clone, by_itself]);
    }

    #[test]
    fn below_in_one_hierarchy() {
        let mounts = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      33 31 0:30 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
        let layout = Layout::parse(mounts, "").unwrap();
        let location = Location::resolve(&layout, Some(Path::new("/a")), "id").unwrap();
        let below = |paths: &[(&str, &str)]| {
            let paths: Vec<_> =
                paths.iter().map(|(name, path)| (*name, Path::new(*path))).collect();
            location.below_in(&paths)
        };
        let moved = below(&[("cpu", "/b/"), ("cpuacct", "b")]).unwrap();
        assert_eq!(moved.legacy()[0].directory, Path::new("/sys/fs/cgroup/cpu,cpuacct/a/b"));
        assert_eq!(moved.legacy()[1], location.legacy()[1]);
        assert_eq!(moved.unified(), location.unified());
        for wrong in [
            &[("memory", "b")][..],
            &[("cpu", "../b")],
            &[("cpu", "b"), ("cpuacct", "c")],
            &[("", "b")],
        ] {
            assert!(below(wrong).is_err(), "{wrong:?}");
        }
        assert!(Location::Nobody.below_in(&[("cpu", Path::new("b"))]).is_err());
    }

    #[test]
    fn the_state_keeps_who_manages() {
        let layout = Layout::parse(MOUNTS, "").unwrap();
        let location = Location::resolve(&layout, None, "id").unwrap();
        for (location, key) in [(location, "{\"files\":"), (Location::Nobody, "\"nobody\"")] {
            let text = serde_json::to_string(&location).unwrap();
            assert!(text.starts_with(key), "{text}");
            assert_eq!(serde_json::from_str::<Location>(&text).unwrap(), location);
        }
    }

    #[test]
    fn the_way_up_and_the_root_are_refused() {
        let layout = Layout::parse(MOUNTS, "").unwrap();
        for path in ["/a/../b", "..", "/", "/."] {
            assert!(Location::resolve(&layout, Some(Path::new(path)), "id").is_err(), "{path}");
        }
    }
}
