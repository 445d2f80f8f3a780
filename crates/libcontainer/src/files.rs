//! Open: every file descriptor that init needs, before init exists.

use std::ffi::CString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, ensure};
use libcgroups::Location;
use libnamespaces::{Kind, NamespaceFiles};
use libsyscall::mount::{MountAttributes, set_attributes};
use rustix::fs::{CWD, FileType, fstat, makedev};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::plan::{Device, DeviceKind, MountKind, Plan, Propagation};

/// What init finds open. Each is used once.
#[derive(Debug)]
pub(crate) struct Files {
    /// The root filesystem: a detached tree, or the directory itself without a mount namespace.
    pub rootfs: Option<OwnedFd>,
    /// For each of the plan's mounts, the detached tree of its source if it is a bind mount.
    pub sources: Vec<Option<OwnedFd>>,
    /// For each of the plan's devices, a detached mount of the host's node if it is to be bound.
    pub devices: Vec<Option<OwnedFd>>,
    /// The host's null device, detached, if paths are masked.
    pub null_device: Option<OwnedFd>,
    /// Namespaces to join.
    pub namespaces: NamespaceFiles,
    /// cgroup.procs of each v1 hierarchy.
    pub cgroup_procs: Vec<OwnedFd>,
    /// The hierarchies, if the container is to see its cgroups.
    pub cgroups: Vec<CgroupTree>,
}

/// One cgroup hierarchy for a mount of type `cgroup`.
#[derive(Debug)]
pub(crate) enum CgroupTree {
    /// cgroup2.
    Unified {
        /// The container's own cgroup, for when no cgroup2 can be mounted.
        bind: Option<OwnedFd>,
    },
    /// A v1 hierarchy.
    Legacy {
        /// Name of its directory, such as `cpu,cpuacct`.
        name: String,
        /// Mount options that name it.
        options: Vec<(CString, Option<CString>)>,
        /// Names of single controllers that are links to the directory.
        links: Vec<String>,
        /// The container's own cgroup, when it has no cgroup namespace.
        bind: Option<OwnedFd>,
    },
}

impl Files {
    /// Opens what `plan` needs. The container's cgroup exists already.
    pub(crate) fn open(plan: &Plan, cgroup_procs: Vec<OwnedFd>) -> anyhow::Result<Self> {
        let wants_cgroups = plan.mounts.iter().any(|mount| matches!(mount.kind, MountKind::Cgroup));
        Ok(Self {
            rootfs: Some(open_rootfs(plan)?),
            sources: open_sources(plan)?,
            devices: open_devices(plan)?,
            null_device: if plan.masked_paths.is_empty() { None } else { Some(open_null()?) },
            namespaces: NamespaceFiles::open(&plan.namespaces)?,
            cgroup_procs,
            cgroups: if wants_cgroups { open_cgroups(plan)? } else { Vec::new() },
        })
    }
}

/// Checks that the descriptors after the standard streams which the program is to keep are open.
///
/// # Errors
/// Names the first that is not.
pub(crate) fn check_preserved(count: u32) -> anyhow::Result<()> {
    for fd in (3..).take(count as usize) {
        ensure!(
            Path::new(&format!("/proc/self/fd/{fd}")).is_symlink(),
            "--preserve-fds {count}: file descriptor {fd} is not open"
        );
    }
    Ok(())
}

/// A private copy of the mount at `path`.
fn detach(path: &Path, recursive: bool) -> Result<OwnedFd, rustix::io::Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(CWD, path, flags)
}

/// What events a copy exchanges with the host: none go out, unless `linux.rootfsPropagation` says
/// otherwise.
const INCOMING: Propagation = Propagation { flag: MS_SLAVE, recursive: true };
/// mount(2).
const MS_SLAVE: u64 = 1 << 19;

fn set_propagation(tree: &OwnedFd, propagation: Propagation) -> anyhow::Result<()> {
    let change = MountAttributes { propagation: propagation.flag, ..MountAttributes::default() };
    set_attributes(tree.as_fd(), &change, propagation.recursive)
        .context("propagation: mount_setattr")
}

fn open_rootfs(plan: &Plan) -> anyhow::Result<OwnedFd> {
    let path = &plan.rootfs.path;
    let context = || format!("root.path {}", path.display());
    let metadata = std::fs::symlink_metadata(path).with_context(context)?;
    ensure!(
        !metadata.is_symlink(),
        "root.path {} is a symbolic link; give the directory itself",
        path.display()
    );
    ensure!(metadata.is_dir(), "root.path {} is not a directory", path.display());
    if !plan.namespaces.has(Kind::Mount) {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        return rustix::fs::open(path, flags, rustix::fs::Mode::empty()).with_context(context);
    }
    let tree = detach(path, true).context("open_tree").with_context(context)?;
    set_propagation(&tree, INCOMING).with_context(context)?;
    Ok(tree)
}

fn open_sources(plan: &Plan) -> anyhow::Result<Vec<Option<OwnedFd>>> {
    plan.mounts
        .iter()
        .map(|mount| {
            let MountKind::Bind { source, recursive } = &mount.kind else { return Ok(None) };
            let context = || {
                format!(
                    "mounts[{}] {}: source {}",
                    mount.index,
                    mount.destination,
                    source.display()
                )
            };
            let tree = detach(source, *recursive).context("open_tree").with_context(context)?;
            set_propagation(&tree, plan.rootfs.propagation.unwrap_or(INCOMING))
                .with_context(context)?;
            Ok(Some(tree))
        })
        .collect()
}

fn open_devices(plan: &Plan) -> anyhow::Result<Vec<Option<OwnedFd>>> {
    let is_node = |device: &Device| device.kind != DeviceKind::Fifo;
    plan.devices
        .iter()
        .map(|device| {
            (plan.bind_devices && is_node(device)).then(|| open_device(device)).transpose()
        })
        .collect()
}

/// The host's node of the same path, if it is the same device.
fn open_device(device: &Device) -> anyhow::Result<OwnedFd> {
    let path = device.path.as_path();
    let node = detach(path, false)
        .with_context(|| format!("device {}: bind the host's: open_tree", device.path))?;
    let stat = fstat(&node).context("fstat")?;
    let (file_type, number) = match device.kind {
        DeviceKind::Character { major, minor } => {
            (FileType::CharacterDevice, makedev(major, minor))
        }
        DeviceKind::Block { major, minor } => (FileType::BlockDevice, makedev(major, minor)),
        DeviceKind::Fifo => (FileType::Fifo, 0),
    };
    ensure!(
        FileType::from_raw_mode(stat.st_mode) == file_type && stat.st_rdev == number,
        "device {}: in a user namespace the host's node of that path is bound, and it is another device",
        device.path
    );
    Ok(node)
}

fn open_null() -> anyhow::Result<OwnedFd> {
    let null = detach(Path::new("/dev/null"), false).context("/dev/null: open_tree")?;
    let stat = fstat(&null).context("/dev/null: fstat")?;
    ensure!(
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == makedev(1, 3),
        "/dev/null of the host is not the null device, so nothing can be masked with it"
    );
    Ok(null)
}

/// The hierarchies for a mount of type `cgroup`.
fn open_cgroups(plan: &Plan) -> anyhow::Result<Vec<CgroupTree>> {
    let Location { legacy, unified } = &plan.cgroup;
    let own_namespace = plan.namespaces.has(Kind::Cgroup);
    let bind = |directory: &Path| {
        (!own_namespace)
            .then(|| detach(directory, false))
            .transpose()
            .with_context(|| format!("cgroup {}: open_tree", directory.display()))
    };
    let mut trees = Vec::new();
    for one in legacy {
        let options = one.controllers.iter().flat_map(|controller| hierarchy_options(controller));
        let links = one.controllers.iter().filter(|name| **name != one.name && !name.contains('='));
        trees.push(CgroupTree::Legacy {
            name: one.name.clone(),
            options: options.collect(),
            links: links.cloned().collect(),
            bind: bind(&one.directory)?,
        });
    }
    if let Some(one) = unified {
        trees.push(CgroupTree::Unified { bind: bind(&one.directory)? });
    }
    Ok(trees)
}

/// The mount options of a v1 controller, or of a named hierarchy, which has none.
fn hierarchy_options(controller: &str) -> Vec<(CString, Option<CString>)> {
    let text = |text: &str| CString::new(text).unwrap_or_default();
    match controller.split_once('=') {
        Some((key, value)) => vec![(c"none".to_owned(), None), (text(key), Some(text(value)))],
        None => vec![(text(controller), None)],
    }
}
