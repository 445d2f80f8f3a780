//! Open: every file descriptor that init needs, before init exists.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context as _, ensure};
use libcgroups::Entry;
use libnamespaces::{Kind, NamespaceFiles, Prepared, in_mount_namespace, own_root, user_namespace};
use rustix::fs::{FileType, fstat, makedev};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, OpenTreeFlags};

use crate::error::Property;
use crate::mount::{Change, Tree, clone_tree, detach, map_ids, open_directory_itself};
use crate::plan::{
    Device, DeviceKind, IdMappings, Mount, MountIds, MountKind, Parameter, Plan, Propagation,
    SourceLink,
};

/// What init finds open. Each is used once.
#[derive(Debug)]
pub(crate) struct Files {
    /// Where the joiner is to open what is of the host's mounts, if the runtime may not.
    elsewhere: Option<Elsewhere>,
    /// The root filesystem: a detached tree, or the directory itself without a mount namespace.
    pub rootfs: Option<Tree>,
    /// For each of the plan's mounts.
    pub mounts: Vec<MountFiles>,
    /// For each of the plan's devices, a detached mount of the host's node if it is to be bound.
    pub devices: Vec<Option<Tree>>,
    /// The host's null device, detached, if paths are masked.
    pub null_device: Option<Tree>,
    /// Namespaces to join.
    pub namespaces: NamespaceFiles,
    /// The way into the container's cgroup.
    pub cgroup_entry: Entry,
    /// The hierarchies, if the container is to see its cgroups. Where its cgroup exists only after it
    /// does, init opens them.
    pub cgroups: Vec<CgroupTree>,
}

/// The mount namespace in which the host's mounts are to be cloned.
#[derive(Debug)]
struct Elsewhere {
    mounts: OwnedFd,
    /// The runtime's root.
    root: OwnedFd,
}

/// What one mount is made of.
#[derive(Debug, Default)]
pub(crate) struct MountFiles {
    /// The source of a bind mount that is not in the root filesystem.
    pub source: Option<Source>,
    /// The user namespace that maps the ids of what init itself opens.
    pub ids: Option<OwnedFd>,
}

/// What a bind mount shows.
#[derive(Debug)]
pub(crate) enum Source {
    /// A detached tree, with the ids that it is to have.
    Tree(Tree),
    /// A symbolic link that is made again, by what it leads to.
    Link(CString),
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
        options: Vec<Parameter>,
        /// Names of single controllers that are links to the directory.
        links: Vec<String>,
        /// The container's own cgroup, when it has no cgroup namespace.
        bind: Option<OwnedFd>,
    },
}

impl Files {
    /// Opens what `plan` needs, and makes the namespaces that must exist for that. The container's cgroup
    /// exists already, unless it is a unit's.
    ///
    /// With a user namespace the host's mounts are cloned in a mount namespace that belongs to it: what the
    /// kernel has locked there stays locked in the clones (mount_namespaces(7)).
    pub(crate) fn open(plan: &Plan) -> anyhow::Result<Self> {
        let Prepared { files, mounts } = libnamespaces::prepare(&plan.namespaces, &plan.spawn)?;
        let mut opened = Self {
            elsewhere: None,
            rootfs: None,
            mounts: Vec::new(),
            devices: Vec::new(),
            null_device: None,
            namespaces: files,
            cgroup_entry: Entry::open_for_the_first(&plan.cgroup)?,
            cgroups: Vec::new(),
        };
        match mounts {
            Some(mounts) if plan.opens_inside => {
                opened.elsewhere = Some(Elsewhere { mounts, root: own_root()? });
            }
            Some(mounts) => in_mount_namespace(&mounts, None, || opened.open_here(plan))??,
            None => opened.open_here(plan)?,
        }
        Ok(opened)
    }

    /// Opens what the runtime could not, in the joiner, which is root of the container's user namespace: so a user without
    /// privilege can enter a mount namespace, and the runtime itself would not come back from there.
    pub(crate) fn open_inside(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let Some(Elsewhere { mounts, root }) = self.elsewhere.take() else { return Ok(()) };
        in_mount_namespace(&mounts, Some(&root), || self.open_here(plan))?
    }

    fn open_here(&mut self, plan: &Plan) -> anyhow::Result<()> {
        self.rootfs = Some(open_rootfs(plan)?);
        self.mounts = open_mounts(plan, &self.namespaces)?;
        self.devices = open_devices(plan)?;
        self.null_device = if plan.masked_paths.is_empty() { None } else { Some(open_null()?) };
        // Those of a unit exist later.
        if plan.cgroup.unit().is_none() {
            self.cgroups = open_cgroups(plan)?;
        }
        Ok(())
    }
}

/// What events a copy of the root filesystem exchanges with the host: none go out.
const INCOMING: Propagation = Propagation { flag: MS_SLAVE, recursive: true };
/// mount(2).
const MS_SLAVE: u64 = 1 << 19;

/// The directory is opened once, and the rest goes by its descriptor: whoever owns the bundle could
/// have a link in its place meanwhile.
fn open_rootfs(plan: &Plan) -> anyhow::Result<Tree> {
    let path = &plan.rootfs.path;
    let context = || Property::new("/root/path", format!("root.path {}", path.display()));
    let directory = open_directory_itself(path).with_context(context)?;
    if !plan.namespaces.has(Kind::Mount) {
        return Ok(Tree::attached(directory));
    }
    let tree = clone_tree(&directory, OpenTreeFlags::AT_RECURSIVE).with_context(context)?;
    let mut tree = Tree::detached(tree);
    tree.change(Change::propagation(INCOMING), None).with_context(context)?;
    Ok(tree)
}

fn open_mounts(plan: &Plan, namespaces: &NamespaceFiles) -> anyhow::Result<Vec<MountFiles>> {
    let mut id_maps = IdMaps { own: namespaces.file(Kind::User), made: Vec::new() };
    plan.mounts
        .iter()
        .map(|mount| open_mount(plan, mount, &mut id_maps).with_context(|| mount.property()))
        .collect()
}

fn open_mount<'a>(
    plan: &Plan,
    mount: &'a Mount,
    id_maps: &mut IdMaps<'a>,
) -> anyhow::Result<MountFiles> {
    let mut map = || mount.ids.as_ref().map(|ids| id_maps.open(ids)).transpose();
    let MountKind::Bind { source, inside: None, recursive, link } = &mount.kind else {
        return Ok(MountFiles { source: None, ids: map()? });
    };
    let context = || format!("source {}", source.display());
    let mut flags = OpenTreeFlags::empty();
    flags.set(OpenTreeFlags::AT_RECURSIVE, *recursive);
    flags.set(OpenTreeFlags::AT_SYMLINK_NOFOLLOW, *link == SourceLink::Bind);
    // A link that is made again is no mount: it has no ids to map.
    let copied = if *link == SourceLink::Copy { read_link(source) } else { Ok(None) };
    let source = match copied.with_context(context)? {
        Some(link) => Source::Link(link),
        None => Source::Tree(
            open_source(plan, mount, source, flags, map()?.as_ref()).with_context(context)?,
        ),
    };
    Ok(MountFiles { source: Some(source), ids: None })
}

/// What a symbolic link leads to; nothing for any other file.
fn read_link(path: &Path) -> anyhow::Result<Option<CString>> {
    match rustix::fs::readlink(path, Vec::new()) {
        Ok(link) => Ok(Some(link)),
        Err(Errno::INVAL) => Ok(None),
        Err(errno) => Err(errno).context("readlink"),
    }
}

fn open_source(
    plan: &Plan,
    mount: &Mount,
    path: &Path,
    flags: OpenTreeFlags,
    ids: Option<&OwnedFd>,
) -> anyhow::Result<Tree> {
    let tree = detach(path, flags).with_context(|| match plan.namespaces.has(Kind::User) {
        true if !flags.contains(OpenTreeFlags::AT_RECURSIVE) => {
            "open_tree (EINVAL: other mounts are below it, and a user namespace must not see what they \
             cover; use the option rbind)"
        }
        _ => "open_tree",
    })?;
    adopt_source(tree, plan, mount, ids)
}

/// Gives a clone of a bind mount's source the propagation and the ids that it is to have.
pub(crate) fn adopt_source(
    tree: OwnedFd,
    plan: &Plan,
    mount: &Mount,
    ids: Option<&OwnedFd>,
) -> anyhow::Result<Tree> {
    let mut tree = Tree::detached(tree);
    if let Some(propagation) = plan.rootfs.propagation_of_bind(mount) {
        tree.change(Change::propagation(propagation), None)?;
    }
    if let Some((namespace, ids)) = ids.zip(mount.ids.as_ref()) {
        map_ids(&tree, namespace, ids.recursive)?;
    }
    Ok(tree)
}

/// The user namespaces that map the ids of mounts: the container's own, and one for all mounts of the
/// same mappings, since each takes a process to make.
struct IdMaps<'a> {
    own: Option<&'a OwnedFd>,
    made: Vec<(&'a IdMappings, OwnedFd)>,
}

impl<'a> IdMaps<'a> {
    fn open(&mut self, ids: &'a MountIds) -> anyhow::Result<OwnedFd> {
        let Some(mappings) = &ids.mappings else {
            let own = self.own.context("no user namespace to map ids with")?;
            return own.try_clone().context("dup");
        };
        if let Some((_, known)) = self.made.iter().find(|(known, _)| *known == mappings) {
            return known.try_clone().context("dup");
        }
        let namespace = user_namespace(&mappings.uids, &mappings.gids)?;
        self.made.push((mappings, namespace.try_clone().context("dup")?));
        Ok(namespace)
    }
}

fn open_devices(plan: &Plan) -> anyhow::Result<Vec<Option<Tree>>> {
    let is_node = |device: &Device| device.kind != DeviceKind::Fifo;
    plan.devices
        .iter()
        .map(|device| {
            (plan.bind_devices && is_node(device)).then(|| open_device(device)).transpose()
        })
        .collect()
}

/// A device node of the host, for the container to use and not to change: on a read-only mount its
/// mode, owner, times and attributes stay what they are, and the device can be read and written.
fn detach_node(path: &Path) -> anyhow::Result<Tree> {
    let node = detach(path, OpenTreeFlags::empty()).context("open_tree")?;
    let private = MountPropagationFlags::PRIVATE.bits().into();
    let mut node = Tree::detached(node);
    node.change(Change::readonly_with(private), None)?;
    Ok(node)
}

/// The host's node of the same path, if it is the same device.
fn open_device(device: &Device) -> anyhow::Result<Tree> {
    let node = detach_node(device.path.as_path())
        .with_context(|| format!("device {}: bind the host's", device.path))?;
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

fn open_null() -> anyhow::Result<Tree> {
    let null = detach_node(Path::new("/dev/null")).context("/dev/null")?;
    let stat = fstat(&null).context("/dev/null: fstat")?;
    ensure!(
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == makedev(1, 3),
        "/dev/null of the host is not the null device, so nothing can be masked with it"
    );
    Ok(null)
}

/// The hierarchies for a mount of type `cgroup`.
pub(crate) fn open_cgroups(plan: &Plan) -> anyhow::Result<Vec<CgroupTree>> {
    if !plan.mounts.iter().any(|mount| matches!(mount.kind, MountKind::Cgroup)) {
        return Ok(Vec::new());
    }
    let own_namespace = plan.namespaces.has(Kind::Cgroup);
    let bind = |directory: &Path| {
        (!own_namespace)
            .then(|| detach(directory, OpenTreeFlags::empty()))
            .transpose()
            .with_context(|| format!("cgroup {}: open_tree", directory.display()))
    };
    let mut trees = Vec::new();
    for one in plan.cgroup.legacy() {
        let options = one.controllers.iter().flat_map(|controller| hierarchy_options(controller));
        let links = one.controllers.iter().filter(|name| **name != one.name && !name.contains('='));
        trees.push(CgroupTree::Legacy {
            name: one.name.clone(),
            options: options.collect(),
            links: links.cloned().collect(),
            bind: bind(&one.directory)?,
        });
    }
    if let Some(one) = plan.cgroup.unified() {
        trees.push(CgroupTree::Unified { bind: bind(&one.directory)? });
    }
    Ok(trees)
}

/// The mount options of a v1 controller, or of a named hierarchy, which has none.
fn hierarchy_options(controller: &str) -> Vec<Parameter> {
    let text = |text: &str| CString::new(text).unwrap_or_default();
    match controller.split_once('=') {
        Some((key, value)) => {
            vec![Parameter::flag(c"none"), Parameter::new(&text(key), &text(value))]
        }
        None => vec![Parameter::flag(&text(controller))],
    }
}
