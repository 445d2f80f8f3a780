//! What the tests see on `/sys/fs/cgroup`: the machine's own layout, or only one of its two kinds.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, bail};
use rustix::fs::CWD;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount, move_mount, open_tree};

use crate::mountinfo::{self, Mount};
use crate::skip::Skip;

/// Where cgroups are found by convention.
pub(crate) const CGROUPS: &str = "/sys/fs/cgroup";

/// A view of the cgroup hierarchies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// The machine as it is.
    Host,
    /// Only the v1 hierarchies that the machine has mounted.
    V1,
    /// Only cgroup2.
    V2,
}

impl FromStr for View {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        match name {
            "host" => Ok(Self::Host),
            "v1" => Ok(Self::V1),
            "v2" => Ok(Self::V2),
            _ => bail!("{name:?} is no view: write host, v1 or v2"),
        }
    }
}

impl View {
    /// Mounts what the view shows, in the mount namespace of this process, which must be one of the
    /// suite's own.
    ///
    /// # Errors
    /// [`Skip`] if the machine has no hierarchy of this kind.
    pub(crate) fn mount(self) -> anyhow::Result<()> {
        match self {
            Self::Host => Ok(()),
            Self::V1 => show_v1(),
            Self::V2 => show_v2(),
        }
    }
}

/// Which hierarchies there are to be seen. What a test needs is a layout, never a view: the view
/// `host` may be of any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Only of v1.
    V1,
    /// Only cgroup2.
    V2,
    /// Both.
    Hybrid,
}

/// The layout that the tests see.
pub(crate) fn layout() -> anyhow::Result<Layout> {
    let seen = reachable()?;
    let has = |filesystem: &str| seen.iter().any(|mount| mount.filesystem == filesystem);
    match (has("cgroup"), has("cgroup2")) {
        (true, false) => Ok(Layout::V1),
        (false, true) => Ok(Layout::V2),
        (true, true) => Ok(Layout::Hybrid),
        (false, false) => bail!("no cgroup hierarchy is mounted below {CGROUPS}"),
    }
}

/// The mounts below `/sys/fs/cgroup` of hierarchies. One that others lie on is in the table, too, but
/// it is not to be seen.
fn reachable() -> anyhow::Result<Vec<Mount>> {
    let mounts = mountinfo::load()?.into_iter();
    let below = mounts.filter(|mount| mount.point.starts_with(CGROUPS));
    Ok(below.filter(|mount| mount.point.join("cgroup.procs").exists()).collect())
}

fn show_v2() -> anyhow::Result<()> {
    // The kernel refuses to mount the same on itself.
    let is_there =
        |mount: &Mount| mount.filesystem == "cgroup2" && mount.point == Path::new(CGROUPS);
    if reachable()?.iter().any(is_there) {
        return Ok(());
    }
    mount("cgroup2", CGROUPS, "cgroup2", MountFlags::empty(), None).context("mount cgroup2")
}

/// Hides all with a tmpfs, and attaches the v1 hierarchies to it.
fn show_v1() -> anyhow::Result<()> {
    let hierarchies = v1_mount_points()?
        .into_iter()
        .map(|path| {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            Ok((open_tree(CWD, &path, flags).with_context(|| path.display().to_string())?, path))
        })
        .collect::<anyhow::Result<Vec<(OwnedFd, PathBuf)>>>()?;
    if hierarchies.is_empty() {
        return Err(Skip("this machine has no cgroup v1 hierarchy".to_owned()).into());
    }
    let links = links()?;
    mount("tmpfs", CGROUPS, "tmpfs", MountFlags::empty(), Some(c"mode=755"))
        .context("mount a tmpfs")?;
    for (tree, path) in hierarchies {
        fs::create_dir(&path)?;
        move_mount(tree, "", CWD, &path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .with_context(|| path.display().to_string())?;
    }
    for (path, target) in links {
        symlink(target, path)?;
    }
    Ok(())
}

fn v1_mount_points() -> anyhow::Result<Vec<PathBuf>> {
    let v1 = reachable()?.into_iter().filter(|mount| mount.filesystem == "cgroup");
    let points = v1.map(|mount| mount.point);
    Ok(points.filter(|path| path.parent() == Some(Path::new(CGROUPS))).collect())
}

/// Such as `cpu`, where one hierarchy `cpu,cpuacct` has two controllers.
fn links() -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
    let entries = fs::read_dir(CGROUPS)?.flatten().map(|entry| entry.path());
    Ok(entries.filter_map(|path| fs::read_link(&path).ok().map(|target| (path, target))).collect())
}
