//! The views of the kernel, procfs and sysfs: what is in them is hidden through their own mounts, so
//! that nobody who renames in the root filesystem meanwhile can keep it visible (CVE-2023-27561,
//! CVE-2025-31133).

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use rustix::fs::{AtFlags, StatxFlags, statx};

use super::root::{Root, unresolved};
use crate::mount::mount_id;
use crate::plan::ContainerPath;

/// The views that are attached, and can be seen.
#[derive(Debug, Default)]
pub(super) struct KernelViews(Vec<KernelView>);

#[derive(Debug)]
struct KernelView {
    /// Where it was attached, normalized.
    destination: PathBuf,
    /// The root of its mount, or of what lies on it.
    root: Root,
}

/// A place in a view.
pub(super) struct Within<'a> {
    /// The view.
    pub root: &'a Root,
    /// The path below it.
    pub path: ContainerPath,
}

impl KernelViews {
    /// Notes the view that `tree` is the mount of.
    pub(super) fn add(&mut self, destination: &ContainerPath, tree: OwnedFd) {
        let destination = destination.normalized();
        self.0.push(KernelView { destination, root: Root::new(tree) });
    }

    /// Forgets the views that a mount on `destination` hides.
    pub(super) fn cover(&mut self, destination: &ContainerPath) {
        let destination = destination.normalized();
        self.0.retain(|view| !view.destination.starts_with(&destination));
    }

    /// The same by `tree`, which is attached on the view's own place: from now on it is the view.
    pub(super) fn cover_by(&mut self, destination: &ContainerPath, tree: OwnedFd) {
        let covered = self.0.iter().any(|view| view.destination == destination.normalized());
        self.cover(destination);
        if covered {
            self.add(destination, tree);
        }
    }

    /// The view that `path` is in, the innermost of them.
    pub(super) fn find(&self, path: &ContainerPath) -> Option<Within<'_>> {
        let path = path.normalized();
        let views = self.0.iter().filter_map(|view| Some((view, view.below(&path)?)));
        let (view, below) = views.max_by_key(|(view, _)| view.destination.components().count())?;
        Some(Within { root: &view.root, path: ContainerPath::new(below)? })
    }

    /// Whether `place` is in the view at `destination`, by whatever path it was found.
    pub(super) fn is_in(&self, destination: &Path, place: impl AsFd) -> anyhow::Result<bool> {
        let mut views = self.0.iter().filter(|view| view.destination == destination);
        let place = mount_id(place)?;
        views.try_fold(false, |found, view| Ok(found || mount_id(&view.root)? == place))
    }

    /// Whether `place` is one of `files` of the view at `destination`, by whatever path it was found.
    pub(super) fn is_one_of(
        &self,
        files: &[&str],
        destination: &Path,
        place: impl AsFd,
    ) -> anyhow::Result<bool> {
        let place = identity(place)?;
        for view in self.0.iter().filter(|view| view.destination == destination) {
            for file in files {
                let path = view.below(Path::new(file)).and_then(ContainerPath::new);
                let found = path.and_then(|path| view.root.find_without_links(&path).ok());
                if found.map(identity).transpose()? == Some(place) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// That each view is still where it was attached: somebody may have renamed what it is on, and
    /// would have its content stand elsewhere.
    pub(super) fn check(&self, root: &Root) -> anyhow::Result<()> {
        self.0.iter().try_for_each(|view| {
            view.check(root).with_context(|| view.destination.display().to_string())
        })
    }
}

impl KernelView {
    /// `path` from the view's root on. A `..` may lead out of it, and is the kernel's to resolve.
    fn below<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        let below = path.strip_prefix(&self.destination).ok()?;
        let leads_out = below.components().any(|part| part == std::path::Component::ParentDir);
        (!leads_out).then_some(below)
    }

    fn check(&self, root: &Root) -> anyhow::Result<()> {
        let destination = ContainerPath::new(&self.destination).context("NUL in a path")?;
        let found = root.find_without_links(&destination).map_err(unresolved);
        let found = found.context("find what was mounted there: openat2")?;
        ensure!(
            mount_id(&found)? == mount_id(&self.root)?,
            "what was mounted there is elsewhere now: another process renames directories of the \
             root filesystem"
        );
        Ok(())
    }
}

/// What tells the file that `fd` is open on from others, as long as it is open: its mount, inode and mode.
fn identity(fd: impl AsFd) -> anyhow::Result<(u64, u64, u16)> {
    let fields = StatxFlags::MNT_ID | StatxFlags::INO | StatxFlags::MODE | StatxFlags::TYPE;
    let status = statx(fd, c"", AtFlags::EMPTY_PATH, fields).context("statx")?;
    Ok((status.stx_mnt_id, status.stx_ino, status.stx_mode))
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::{ContainerPath, KernelViews};

    fn path(text: &str) -> ContainerPath {
        ContainerPath::new(text).unwrap()
    }

    fn tree() -> OwnedFd {
        std::fs::File::open("/").unwrap().into()
    }

    fn views(destinations: &[&str]) -> KernelViews {
        let mut views = KernelViews::default();
        for destination in destinations {
            views.add(&path(destination), tree());
        }
        views
    }

    fn below(views: &KernelViews, text: &str) -> Option<String> {
        views.find(&path(text)).map(|within| within.path.to_string())
    }

    #[test]
    fn a_path_is_looked_up_in_the_innermost_view() {
        let views = views(&["/proc", "/sys/", "/proc/inner"]);
        assert_eq!(below(&views, "/proc/kcore").as_deref(), Some("/kcore"));
        assert_eq!(below(&views, "//sys/./firmware/").as_deref(), Some("/firmware"));
        assert_eq!(below(&views, "/proc/inner/kcore").as_deref(), Some("/kcore"));
        assert_eq!(below(&views, "/proc").as_deref(), Some("/"));
        for elsewhere in ["/process/kcore", "/", "/proc/../etc", "/etc/proc/kcore"] {
            assert_eq!(below(&views, elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn a_view_that_is_covered_is_none() {
        let mut views = views(&["/proc", "/sys", "/sys/inner"]);
        views.cover(&path("/sys"));
        views.cover(&path("/proc/acpi"));
        assert_eq!(below(&views, "/sys/inner/x"), None);
        assert_eq!(below(&views, "/proc/x").as_deref(), Some("/x"));
        views.cover_by(&path("/proc"), tree());
        views.cover_by(&path("/sys"), tree());
        assert_eq!(below(&views, "/proc/x").as_deref(), Some("/x"));
        assert_eq!(below(&views, "/sys/x"), None);
    }
}
