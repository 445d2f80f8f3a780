//! Where a container is in each hierarchy: pure, resolved once, kept in the state.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, Layout};

/// The container's directory in every hierarchy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// v1 hierarchies.
    pub legacy: Vec<LegacyLocation>,
    /// The v2 hierarchy.
    pub unified: Option<UnifiedLocation>,
}

/// The container in a v1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
pub struct UnifiedLocation {
    /// Where the hierarchy is mounted.
    pub mount_point: PathBuf,
    /// Absolute path of the container's cgroup.
    pub directory: PathBuf,
}

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
        let legacy = layout.legacy.iter().map(|mount| LegacyLocation {
            name: mount.mount_point.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            controllers: mount.controllers.clone(),
            mount_point: mount.mount_point.clone(),
            directory: below(&mount.mount_point, &mount.own),
        });
        let unified = layout.unified.as_ref().map(|mount| UnifiedLocation {
            mount_point: mount.mount_point.clone(),
            directory: below(&mount.mount_point, mount.own.parent().unwrap_or(Path::new(""))),
        });
        Ok(Self { legacy: legacy.collect(), unified })
    }

    /// The same place, one step down: a sub-cgroup `path` (`exec --cgroup`).
    ///
    /// # Errors
    /// The path holds `..`.
    pub fn below(&self, path: &Path) -> Result<Self, Error> {
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(Error::Path(path.to_owned(), "must not contain \"..\""));
        }
        let parts: PathBuf =
            path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
        let mut location = self.clone();
        for legacy in &mut location.legacy {
            legacy.directory.push(&parts);
        }
        if let Some(unified) = &mut location.unified {
            unified.directory.push(&parts);
        }
        Ok(location)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Location;
    use crate::Layout;

    const MOUNTS: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";

    #[track_caller]
    fn check(path: Option<&str>, legacy: &str, unified: &str) {
        let layout = Layout::parse(MOUNTS, "1:cpu:/a/b\n0::/a/b").unwrap();
        let location = Location::resolve(&layout, path.map(Path::new), "id").unwrap();
        assert_eq!(location.legacy[0].directory, Path::new(legacy));
        assert_eq!(location.unified.unwrap().directory, Path::new(unified));
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
    fn the_way_up_and_the_root_are_refused() {
        let layout = Layout::parse(MOUNTS, "").unwrap();
        for path in ["/a/../b", "..", "/", "/."] {
            assert!(Location::resolve(&layout, Some(Path::new(path)), "id").is_err(), "{path}");
        }
    }
}
