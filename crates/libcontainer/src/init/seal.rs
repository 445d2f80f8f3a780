//! The last changes of the filesystem: sysctl, read-only and masked paths, the read-only root.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::Context as _;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, OpenTreeFlags};

use super::kernel_views::KernelViews;
use super::mounts::{KeptPropagation, Mounted, OpenProcfs};
use super::root::{Root, settled, unresolved};
use crate::error::Property;
use crate::files::Files;
use crate::mount::{
    Change, Tree, change_attached, clone_tree, file_type, make_filesystem, new_filesystem,
};
use crate::plan::{Attributes, ContainerPath, Parameter, Plan, Propagation, Sysctl};

/// Seals the container, of which `mounted` is left to do.
pub(crate) fn seal(
    plan: &Plan,
    root: &Root,
    files: &mut Files,
    mut mounted: Mounted,
    open_procfs: OpenProcfs<'_>,
) -> anyhow::Result<()> {
    write_sysctl(&plan.sysctl, open_procfs)?;
    for path in &plan.readonly_paths {
        make_path_readonly(root, &mut mounted.kernel_views, path).with_context(|| {
            Property::new("/linux/readonlyPaths", format!("read-only path {path}"))
        })?;
    }
    let (file, context) = (files.null_device.take(), plan.mount_context());
    let mut masks = Masks { file, context, ..Masks::default() };
    for path in &plan.masked_paths {
        masks
            .mask(root, &mut mounted.kernel_views, path)
            .with_context(|| Property::new("/linux/maskedPaths", format!("masked path {path}")))?;
    }
    mounted.kernel_views.check(root)?;
    for mount in mounted.readonly_later {
        change_attached(mount, Change::readonly(false), root.remounter())?;
    }
    if let Some(propagation) = plan.rootfs.propagation {
        // Earlier it would have kept pivot_root(2) from moving it.
        change_attached(root, Change::propagation(propagation), root.remounter())
            .context(Property::new("/linux/rootfsPropagation", "linux.rootfsPropagation"))?;
    }
    for KeptPropagation { mount, propagation, property } in mounted.propagation_later {
        change_attached(mount, Change::propagation(propagation), root.remounter())
            .context(property)?;
    }
    if plan.rootfs.readonly {
        change_attached(root, Change::readonly(false), root.remounter())
            .context(Property::new("/root/readonly", "read-only root"))?;
    }
    Ok(())
}

/// Writes sysctls through a procfs of our own, which nothing in the container can have replaced
/// (CVE-2025-52881). It is of the container's pid namespace, like the mounts: root of its user namespace
/// may make no other.
fn write_sysctl(sysctl: &[Sysctl], open_procfs: OpenProcfs<'_>) -> anyhow::Result<()> {
    if sysctl.is_empty() {
        return Ok(());
    }
    let procfs = open_procfs()
        .and_then(|procfs| make_filesystem(&procfs, c"proc", None, &[], Attributes::default()))
        .context("make a private procfs for linux.sysctl")?;
    for Sysctl { path, value } in sysctl {
        let below = Path::new("sys").join(path);
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        settled(|| openat2(&procfs, &below, flags, Mode::empty(), resolve))
            .map_err(unresolved)
            .context("open")
            .and_then(|file| rustix::io::write(file, value.as_bytes()).context("write"))
            .with_context(|| {
                let text = format!("linux.sysctl {path} = {value:?}: /proc/{}", below.display());
                Property::new("/linux/sysctl", text)
            })?;
    }
    Ok(())
}

/// What cannot be found need not be hidden. What is in a view of the kernel is looked up there: what
/// is missing then is something that this kernel does not have.
fn find(root: &Root, views: &KernelViews, path: &ContainerPath) -> anyhow::Result<Option<OwnedFd>> {
    let found = match views.find(path) {
        Some(within) => within.root.find(&within.path),
        None => root.find(path),
    };
    match found {
        Ok(place) => Ok(Some(place)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(unresolved(errno)).context("openat2"),
    }
}

/// The step of an error.
const ATTACH: &str = "attach: move_mount";

fn make_path_readonly(
    root: &Root,
    views: &mut KernelViews,
    path: &ContainerPath,
) -> anyhow::Result<()> {
    let Some(place) = find(root, views, path)? else { return Ok(()) };
    let mut tree = Tree::detached(clone_tree(&place, OpenTreeFlags::AT_RECURSIVE)?);
    tree.change(Change::readonly(true), root.remounter())?;
    tree.attach(&place, root.remounter(), |_| ATTACH.to_owned())?;
    views.cover_by(path, tree.into_file());
    Ok(())
}

/// The mounts that hide a file and a directory. The first use attaches the one made; the next
/// ones are clones of it, since only an attached mount can be cloned before Linux 6.15.
#[derive(Default)]
struct Masks {
    file: Option<Tree>,
    file_attached: bool,
    directory: Option<OwnedFd>,
    /// What a new one is told of its label.
    context: Option<Parameter>,
}

impl Masks {
    fn mask(
        &mut self,
        root: &Root,
        views: &mut KernelViews,
        path: &ContainerPath,
    ) -> anyhow::Result<()> {
        let Some(place) = find(root, views, path)? else { return Ok(()) };
        let attach = |mask: &mut Tree| mask.attach(&place, root.remounter(), |_| ATTACH.to_owned());
        let mask = if file_type(&place)? == FileType::Directory {
            let mut mask = match &self.directory {
                Some(attached) => another(attached)?,
                None => Tree::detached(empty_directory(self.context.take())?),
            };
            attach(&mut mask)?;
            if self.directory.is_none() {
                self.directory = Some(mask.clone_file()?);
            }
            mask.into_file()
        } else {
            let null = self.file.as_mut().context("no null device was opened")?;
            if self.file_attached {
                let mut mask = another(null)?;
                attach(&mut mask)?;
                mask.into_file()
            } else {
                self.file_attached = true;
                attach(null)?;
                null.clone_file()?
            }
        };
        views.cover_by(path, mask);
        Ok(())
    }
}

/// One more of an attached mask, and no peer of it: where that is on a shared mount, it is shared, too.
fn another(attached: impl AsFd) -> anyhow::Result<Tree> {
    let mut mask = Tree::detached(clone_tree(attached, OpenTreeFlags::empty())?);
    let flag = MountPropagationFlags::PRIVATE.bits().into();
    mask.change(Change::propagation(Propagation { flag, recursive: false }), None)?;
    Ok(mask)
}

/// An empty, read-only directory.
fn empty_directory(context: Option<Parameter>) -> anyhow::Result<OwnedFd> {
    let parameters = [
        Parameter::new(c"nr_blocks", c"1"),
        Parameter::new(c"nr_inodes", c"1"),
        Parameter::flag(c"ro"),
    ];
    let parameters: Vec<_> = parameters.into_iter().chain(context).collect();
    let attributes = Attributes { set: libsyscall::mount::attribute::RDONLY, clear: 0 };
    new_filesystem(c"tmpfs", Some(c"tmpfs"), &parameters, attributes)
}
