//! `mounts`: each is built detached, then attached on a file descriptor.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, bail};
use libsyscall::mount::attribute;
use rustix::fs::{FileType, FsWord, PROC_SUPER_MAGIC, fstat, fstatfs};
use rustix::io::Errno;
use rustix::mount::{FsPickFlags, fsconfig_reconfigure, fspick};

use super::cgroup_mounts::mount_cgroups;
use super::kernel_views::KernelViews;
use super::labels;
use super::root::{Place, Root, Target, unresolved};
use super::sources;
use crate::error::Property;
use crate::files::{CgroupTree, Files, MountFiles, Source};
use crate::mount::{
    Change, Remounter, Tree, configure, explained, file_type, make_filesystem, map_ids,
    open_filesystem,
};
use crate::plan::{Attributes, Mount, MountKind, Parameter, Plan, Propagation};

/// sysfs (linux/magic.h).
const SYSFS_MAGIC: FsWord = 0x6265_6572;

/// Files of procfs that a mount may replace: they say nothing that security depends on (the list
/// of runc; CVE-2019-16884), and are the same for every process, so that the mount can be seen.
const REPLACEABLE_IN_PROC: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/random/boot_id",
];

/// What is still to be done with mounts that are attached.
#[derive(Default)]
pub(super) struct Mounted {
    /// Those that become read-only at the end: until then init makes files in them.
    pub readonly_later: Vec<OwnedFd>,
    /// What options say that the propagation of the root, which may be that of all mounts, must not change.
    pub propagation_later: Vec<KeptPropagation>,
    /// The views of the kernel, which the container's paths are hidden in.
    pub kernel_views: KernelViews,
}

/// The propagation that a mount has by its own options.
pub(super) struct KeptPropagation {
    pub mount: OwnedFd,
    pub propagation: Propagation,
    /// The mount's, for an error.
    pub property: Property,
}

impl Mounted {
    /// Notes the propagation of `mount`, which is attached as `tree`, if that of the root would take its place.
    pub(super) fn keep_propagation(
        &mut self,
        plan: &Plan,
        mount: &Mount,
        tree: &Tree,
    ) -> anyhow::Result<()> {
        if plan.rootfs.propagation.is_some_and(|root| root.recursive) {
            for propagation in &mount.propagation {
                self.propagation_later.push(KeptPropagation {
                    mount: tree.clone_file()?,
                    propagation: *propagation,
                    property: mount.property(),
                });
            }
        }
        Ok(())
    }
}

/// What mounts are made for.
pub(super) struct Scene<'a> {
    /// What the container is to be.
    pub plan: &'a Plan,
    /// What they are attached in.
    pub root: &'a Root,
    /// The hierarchies that mounts of type `cgroup` show.
    pub cgroups: &'a [CgroupTree],
    /// Opens a procfs of the container's pid namespace.
    pub procfs: OpenProcfs<'a>,
}

/// How a procfs is opened: it shows the pid namespace of the process that does it.
pub(super) type OpenProcfs<'a> = &'a dyn Fn() -> anyhow::Result<OwnedFd>;

/// Does all of `mounts`, in order.
pub(super) fn mount_all(
    plan: &Plan,
    root: &Root,
    files: &mut Files,
    procfs: OpenProcfs<'_>,
) -> anyhow::Result<Mounted> {
    let mut mounted = Mounted::default();
    let scene = Scene { plan, root, cgroups: &files.cgroups, procfs };
    for (position, mount) in plan.mounts.iter().enumerate() {
        let opened = files.mounts.get_mut(position).map(std::mem::take).unwrap_or_default();
        mount_one(&scene, mount, opened, &mut mounted).with_context(|| mount.property())?;
        // The directory looked up last may be covered now.
        root.forget();
    }
    Ok(mounted)
}

fn mount_one(
    scene: &Scene<'_>,
    mount: &Mount,
    MountFiles { source, ids }: MountFiles,
    mounted: &mut Mounted,
) -> anyhow::Result<()> {
    let root = scene.root;
    let Built { mut tree, place, kernel_view } = match (&mount.kind, source) {
        (MountKind::Cgroup, _) => return mount_cgroups(scene, mount, mounted),
        (MountKind::Remount { parameters }, _) => {
            let tree = remount(root, mount, parameters)?;
            return mounted.keep_propagation(scene.plan, mount, &tree);
        }
        (MountKind::Bind { .. }, source) => {
            let source = match source {
                Some(source) => source,
                None => sources::open(scene, mount, ids.as_ref())?,
            };
            match source {
                Source::Link(link) => return copy_link(root, mount, &link),
                Source::Tree(tree) => build_bind(root, mount, tree)?,
            }
        }
        (MountKind::Filesystem { .. }, _) => build_filesystem(scene, mount, ids.as_ref())?,
    };
    check_proc(mount, &place, &tree, &mounted.kernel_views)?;
    tree.attach(&place, root.remounter(), |tree| attach_context(tree, &place))?;
    mounted.keep_propagation(scene.plan, mount, &tree)?;
    mounted.kernel_views.cover(&mount.destination);
    if kernel_view {
        mounted.kernel_views.add(&mount.destination, tree.into_file());
    } else if is_readonly_later(mount) {
        mounted.readonly_later.push(tree.into_file());
    }
    Ok(())
}

/// A mount, and where it goes.
struct Built {
    tree: Tree,
    place: Place,
    /// Whether it is a new procfs or sysfs, or one of the host's in the usual place of it.
    kernel_view: bool,
}

fn build_bind(root: &Root, mount: &Mount, mut tree: Tree) -> anyhow::Result<Built> {
    set_all_attributes(&mut tree, mount, root.remounter())?;
    let is_directory = file_type(&tree)? == FileType::Directory;
    let target = if is_directory { Target::Directory } else { Target::File };
    let kernel_view = shows_kernel(mount, &tree)?;
    let place = find_place(root, mount, target, kernel_view)?;
    Ok(Built { tree, place, kernel_view })
}

fn build_filesystem(
    scene: &Scene<'_>,
    mount: &Mount,
    ids: Option<&OwnedFd>,
) -> anyhow::Result<Built> {
    let MountKind::Filesystem { fstype, source, parameters } = &mount.kind else {
        bail!("is no new filesystem")
    };
    let kernel_view = matches!(fstype.to_bytes(), b"proc" | b"sysfs");
    let place = find_place(scene.root, mount, Target::Directory, kernel_view)?;
    let context = match fstype.as_c_str() {
        fstype if fstype == c"proc" => (scene.procfs)()?,
        fstype => open_filesystem(fstype)?,
    };
    let inherited = if mount.from_below.permissions { permissions(&place)? } else { None };
    configure(&context, inherited.as_slice())?;
    let (attributes, late) = apart(without_readonly(mount.attributes, is_tmpfs(fstype)));
    let tree = make_filesystem(&context, fstype, source.as_deref(), parameters, attributes)?;
    let mut tree = Tree::detached(tree);
    tree.change(Change::attributes(late, false), scene.root.remounter())?;
    if fstype.as_c_str() == c"mqueue" {
        labels::label_root(&tree, scene.plan.mount_label.as_deref())?;
    }
    if let Some(namespace) = ids {
        map_ids(&tree, namespace, false)?;
    }
    set_recursive_and_propagation(&mut tree, mount, scene.root.remounter())?;
    if mount.from_below.content {
        super::copy_up::copy(&place, &tree, mount.from_below)?;
    }
    Ok(Built { tree, place, kernel_view })
}

/// The permissions of a directory that was there, as an option of a tmpfs.
fn permissions(place: &Place) -> anyhow::Result<Option<Parameter>> {
    if place.is_new {
        return Ok(None);
    }
    let mode = fstat(place).context("fstat")?.st_mode & 0o7777;
    Ok(Some(Parameter::new(c"mode", &CString::new(format!("{mode:o}"))?)))
}

/// Makes the link that the source is. One that is there already must be the same (crun(1)).
fn copy_link(root: &Root, mount: &Mount, link: &CStr) -> anyhow::Result<()> {
    let (parent, name) = root.parent(&mount.destination)?;
    match rustix::fs::symlinkat(link, parent.as_fd(), name.as_c_str()) {
        Err(Errno::EXIST) => {}
        made => return made.context("make the symbolic link: symlink"),
    }
    match rustix::fs::readlinkat(parent.as_fd(), name.as_c_str(), Vec::new()) {
        Ok(known) if known.as_c_str() == link => Ok(()),
        _ => bail!("is there already, and is not a symbolic link to {}", link.to_string_lossy()),
    }
}

/// Changes the mount that is at the destination. What the options do not name stays. A link there
/// would let the image choose which filesystem changes, up to one of the host.
fn remount(root: &Root, mount: &Mount, parameters: &[Parameter]) -> anyhow::Result<Tree> {
    let place = root.find_without_links(&mount.destination).map_err(unresolved);
    let place = place.context("remount: open in the root filesystem: openat2")?;
    if !parameters.is_empty() {
        let flags = FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_CLOEXEC;
        let context = fspick(&place, c"", flags).context("remount: fspick")?;
        configure(&context, parameters)?;
        explained(&context, fsconfig_reconfigure(&context), "remount".to_owned())?;
    }
    let mut mounted = Tree::attached(place);
    set_all_attributes(&mut mounted, mount, root.remounter())
        .context("remount (EINVAL: nothing is mounted there)")?;
    Ok(mounted)
}

/// The words for a failed attachment: a file on a directory is the mistake people make.
fn attach_context(tree: &Tree, place: &Place) -> String {
    let mismatch = file_type(tree).ok() != file_type(place).ok();
    let hint = if mismatch {
        " (not a directory: are you mounting a directory onto a file, or a file onto a directory?)"
    } else {
        ""
    };
    format!("attach{hint}: move_mount")
}

/// Where the mount goes. A view of the kernel must be on an ordinary directory: a link there would
/// let the image choose what masks and labels are written to (CVE-2019-19921, CVE-2023-28642).
fn find_place(
    root: &Root,
    mount: &Mount,
    target: Target,
    kernel_view: bool,
) -> anyhow::Result<Place> {
    if kernel_view {
        let place = root.ensure_without_links(&mount.destination, target);
        return place.context("must be mounted on ordinary directory");
    }
    if mount.onto_link {
        return root.ensure_itself(&mount.destination, target);
    }
    root.ensure(&mount.destination, target)
}

/// Whether `tree` is one of the host's views of the kernel, in the usual place of it.
fn shows_kernel(mount: &Mount, tree: &Tree) -> anyhow::Result<bool> {
    let usual = [Path::new("/proc"), Path::new("/sys")];
    let magic = || fstatfs(tree).map(|status| status.f_type).context("fstatfs");
    Ok(usual.contains(&mount.destination.normalized().as_path())
        && matches!(magic()?, PROC_SUPER_MAGIC | SYSFS_MAGIC))
}

/// What is put on /proc must be a procfs, and inside it only files that hold nothing of security
/// are replaced. Another procfs is nothing that anybody trusts.
fn check_proc(
    mount: &Mount,
    place: &Place,
    tree: &Tree,
    views: &KernelViews,
) -> anyhow::Result<()> {
    let proc = Path::new("/proc");
    let path = mount.destination.normalized();
    if path == proc {
        if fstatfs(tree).context("fstatfs")?.f_type != PROC_SUPER_MAGIC {
            bail!("only a proc filesystem can be mounted on /proc");
        }
        return Ok(());
    }
    let inside = fstatfs(place).context("fstatfs")?.f_type == PROC_SUPER_MAGIC
        && (path.starts_with(proc) || views.is_in(proc, place)?);
    let by_name = REPLACEABLE_IN_PROC.iter().any(|replaceable| path == Path::new(replaceable));
    if inside && !by_name && !views.is_one_of(&REPLACEABLE_IN_PROC, proc, place)? {
        bail!("cannot be mounted because it is inside /proc");
    }
    Ok(())
}

fn is_tmpfs(fstype: &CStr) -> bool {
    fstype == c"tmpfs"
}

/// A read-only tmpfs is filled first: devices, mount points and links go into it.
fn is_readonly_later(mount: &Mount) -> bool {
    mount.attributes.set & attribute::RDONLY != 0
        && matches!(&mount.kind, MountKind::Filesystem { fstype, .. } if is_tmpfs(fstype))
}

pub(super) const fn without_readonly(attributes: Attributes, yes: bool) -> Attributes {
    let mask = if yes { attribute::RDONLY } else { 0 };
    Attributes { set: attributes.set & !mask, clear: attributes.clear }
}

/// What fsmount(2) can set, and what only newer kernels' can: mount(2) has `nosymfollow` since Linux 5.10, and
/// fsmount(2) since 5.14.
const fn apart(attributes: Attributes) -> (Attributes, Attributes) {
    let late = attributes.set & attribute::NOSYMFOLLOW;
    let now = Attributes { set: attributes.set & !late, clear: attributes.clear };
    (now, Attributes { set: late, clear: 0 })
}

fn set_all_attributes(
    tree: &mut Tree,
    mount: &Mount,
    remounter: Option<&Remounter>,
) -> anyhow::Result<()> {
    tree.change(Change::attributes(mount.attributes, false), remounter)?;
    set_recursive_and_propagation(tree, mount, remounter)
}

pub(super) fn set_recursive_and_propagation(
    tree: &mut Tree,
    mount: &Mount,
    remounter: Option<&Remounter>,
) -> anyhow::Result<()> {
    tree.change(Change::attributes(mount.recursive_attributes, true), remounter)?;
    let mut propagation = mount.propagation.iter();
    propagation.try_for_each(|one| tree.change(Change::propagation(*one), remounter))
}
