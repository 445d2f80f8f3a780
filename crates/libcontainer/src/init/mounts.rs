//! `mounts`: each is built detached, then attached on a file descriptor.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, bail};
use libnamespaces::Kind;
use libsyscall::mount::{MountAttributes, attribute, set_attributes};
use rustix::fs::{FileType, PROC_SUPER_MAGIC, fstatfs};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, fsconfig_create, fsconfig_reconfigure,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, fspick,
};

use super::root::{Root, Target, attach, file_type, unresolved};
use crate::files::{CgroupTree, Files, MountFiles, Source, map_ids};
use crate::plan::{Attributes, ContainerPath, Mount, MountKind, Plan};

/// Files of procfs that a mount may replace: they say nothing that security depends on (the list
/// of runc; CVE-2019-16884).
const REPLACEABLE_IN_PROC: [&str; 12] = [
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
    "/proc/net/dev",
    "/proc/sys/kernel/random/boot_id",
];

/// Mounts that stay writable while init still makes files in them.
pub(crate) type ReadOnlyLater = Vec<OwnedFd>;

/// Does all of `mounts`, in order. Returns those that become read-only at the end.
pub(crate) fn mount_all(
    plan: &Plan,
    root: &Root,
    files: &mut Files,
) -> anyhow::Result<ReadOnlyLater> {
    let mut later = Vec::new();
    for (position, mount) in plan.mounts.iter().enumerate() {
        let opened = files.mounts.get_mut(position).map(std::mem::take).unwrap_or_default();
        mount_one(plan, root, (mount, opened), &files.cgroups, &mut later)
            .with_context(|| format!("mounts[{}] {}", mount.index, mount.destination))?;
    }
    root.forget();
    Ok(later)
}

fn mount_one(
    plan: &Plan,
    root: &Root,
    (mount, MountFiles { source, ids }): (&Mount, MountFiles),
    cgroups: &[CgroupTree],
    later: &mut ReadOnlyLater,
) -> anyhow::Result<()> {
    let (tree, target) = match (&mount.kind, source) {
        (MountKind::Cgroup, _) => return mount_cgroups(plan, root, mount, cgroups, later),
        (MountKind::Remount { parameters }, _) => return remount(root, mount, parameters),
        (MountKind::Bind { .. }, Some(Source::Link(link))) => return copy_link(root, mount, &link),
        (MountKind::Bind { .. }, Some(Source::Tree(tree))) => {
            set_all_attributes(&tree, mount)?;
            let target = if file_type(&tree)? == FileType::Directory {
                Target::Directory
            } else {
                Target::File
            };
            (tree, target)
        }
        (MountKind::Bind { source, .. }, None) => bail!("{} was not opened", source.display()),
        (MountKind::Filesystem { fstype, source, parameters }, _) => {
            let attributes = without_readonly(mount.attributes, is_tmpfs(fstype));
            let tree = new_filesystem(fstype, source.as_deref(), parameters, attributes)?;
            if let Some(namespace) = ids {
                map_ids(&tree, &namespace, false)?;
            }
            set_recursive_and_propagation(&tree, mount)?;
            (tree, Target::Directory)
        }
    };
    let place = find_place(root, mount, target)?;
    check_proc(mount, &place, &tree)?;
    if mount.copy_up {
        super::copy_up::copy(&place, &tree)?;
    }
    attach(&tree, &place).with_context(|| attach_context(&tree, &place))?;
    if is_readonly_later(mount) {
        later.push(tree);
    }
    Ok(())
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
fn remount(
    root: &Root,
    mount: &Mount,
    parameters: &[(CString, Option<CString>)],
) -> anyhow::Result<()> {
    let place = match root.find_without_links(mount.destination.as_c_str()) {
        Err(Errno::LOOP) => bail!("remount: a symbolic link is on its path"),
        found => found.map_err(unresolved).context("open in the root filesystem: openat2")?,
    };
    if !parameters.is_empty() {
        let flags = FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_CLOEXEC;
        let context = fspick(&place, c"", flags).context("remount: fspick")?;
        configure(&context, parameters)?;
        explained(&context, fsconfig_reconfigure(&context), "remount".to_owned())?;
    }
    set_all_attributes(&place, mount).context("remount (EINVAL: nothing is mounted there)")
}

/// The words for a failed attachment: a file on a directory is the mistake people make.
fn attach_context(tree: &OwnedFd, place: &OwnedFd) -> String {
    let mismatch = file_type(tree).ok() != file_type(place).ok();
    let hint = if mismatch {
        " (not a directory: are you mounting a directory onto a file, or a file onto a directory?)"
    } else {
        ""
    };
    format!("attach{hint}: move_mount")
}

/// Where the mount goes. procfs and sysfs must be on an ordinary directory: a link there would let
/// the image choose what masks and labels are written to (CVE-2019-19921, CVE-2023-28642).
fn find_place(root: &Root, mount: &Mount, target: Target) -> anyhow::Result<OwnedFd> {
    let kernel_view = matches!(&mount.kind, MountKind::Filesystem { fstype, .. }
        if matches!(fstype.to_bytes(), b"proc" | b"sysfs"));
    if mount.onto_link {
        return root.ensure_itself(&mount.destination, target);
    }
    if !kernel_view {
        return root.ensure(&mount.destination, target);
    }
    match root.find_without_links(mount.destination.as_c_str()) {
        Ok(place) => Ok(place),
        Err(Errno::NOENT) => root.ensure(&mount.destination, target),
        Err(Errno::LOOP) => {
            bail!("must be mounted on ordinary directory, but a symbolic link is on its path")
        }
        Err(errno) => Err(unresolved(errno)).context("openat2"),
    }
}

/// What is put on /proc must be a procfs, and inside it only files that hold nothing of security
/// are replaced.
fn check_proc(mount: &Mount, place: &OwnedFd, tree: &OwnedFd) -> anyhow::Result<()> {
    let path = mount.destination.normalized();
    if path == Path::new("/proc") {
        if fstatfs(tree).context("fstatfs")?.f_type != PROC_SUPER_MAGIC {
            bail!("only a proc filesystem can be mounted on /proc");
        }
        return Ok(());
    }
    let inside = fstatfs(place).context("fstatfs")?.f_type == PROC_SUPER_MAGIC;
    if inside && !REPLACEABLE_IN_PROC.iter().any(|replaceable| path == Path::new(replaceable)) {
        bail!("cannot be mounted because it is inside /proc");
    }
    Ok(())
}

/// Makes a filesystem instance and its detached mount.
pub(crate) fn new_filesystem(
    fstype: &CStr,
    source: Option<&CStr>,
    parameters: &[(CString, Option<CString>)],
    attributes: Attributes,
) -> anyhow::Result<OwnedFd> {
    let context = fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC)
        .with_context(|| format!("filesystem type {fstype:?}: fsopen"))?;
    if let Some(source) = source {
        let set = fsconfig_set_string(&context, c"source", source);
        explained(&context, set, format!("source {source:?}"))?;
    }
    configure(&context, parameters)?;
    explained(&context, fsconfig_create(&context), format!("create {fstype:?}"))?;
    let flags = MountAttrFlags::from_bits_retain(attributes.set as u32);
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags).context("fsmount")
}

fn configure(context: &OwnedFd, parameters: &[(CString, Option<CString>)]) -> anyhow::Result<()> {
    for (key, value) in parameters {
        let (set, what) = match value {
            Some(value) => (
                fsconfig_set_string(context, key, value),
                format!("option {}={}", key.to_string_lossy(), value.to_string_lossy()),
            ),
            None => (fsconfig_set_flag(context, key), format!("option {}", key.to_string_lossy())),
        };
        explained(context, set, what)?;
    }
    Ok(())
}

fn explained(context: &OwnedFd, result: Result<(), Errno>, what: String) -> anyhow::Result<()> {
    result.with_context(|| format!("{what}{}: fsconfig", kernel_message(context)))
}

/// What the kernel says in its own words (fsopen(2): messages are read from the context).
fn kernel_message(context: &OwnedFd) -> String {
    let mut buffer = [0; 256];
    match rustix::io::read(context, &mut buffer) {
        Ok(length) => {
            let text =
                String::from_utf8_lossy(buffer.get(2..length).unwrap_or_default()).into_owned();
            format!(" ({})", text.trim())
        }
        Err(_) => String::new(),
    }
}

fn is_tmpfs(fstype: &CStr) -> bool {
    fstype == c"tmpfs"
}

/// A read-only tmpfs is filled first: devices, mount points and links go into it.
fn is_readonly_later(mount: &Mount) -> bool {
    mount.attributes.set & attribute::RDONLY != 0
        && matches!(&mount.kind, MountKind::Filesystem { fstype, .. } if is_tmpfs(fstype))
}

const fn without_readonly(attributes: Attributes, yes: bool) -> Attributes {
    let mask = if yes { attribute::RDONLY } else { 0 };
    Attributes { set: attributes.set & !mask, clear: attributes.clear }
}

/// Makes the mount behind `fd` read-only.
pub(crate) fn make_readonly(fd: impl AsFd, recursive: bool) -> anyhow::Result<()> {
    let readonly = MountAttributes { set: attribute::RDONLY, ..MountAttributes::default() };
    set_attributes(fd.as_fd(), &readonly, recursive).context("make read-only: mount_setattr")
}

fn set_all_attributes(tree: &OwnedFd, mount: &Mount) -> anyhow::Result<()> {
    change(tree, mount.attributes, false)?;
    set_recursive_and_propagation(tree, mount)
}

fn set_recursive_and_propagation(tree: &OwnedFd, mount: &Mount) -> anyhow::Result<()> {
    change(tree, mount.recursive_attributes, true)?;
    for propagation in &mount.propagation {
        let change =
            MountAttributes { propagation: propagation.flag, ..MountAttributes::default() };
        set_attributes(tree.as_fd(), &change, propagation.recursive)
            .context("propagation: mount_setattr")?;
    }
    Ok(())
}

fn change(tree: &OwnedFd, attributes: Attributes, recursive: bool) -> anyhow::Result<()> {
    if attributes.is_empty() {
        return Ok(());
    }
    let Attributes { set, clear } = attributes;
    let change = MountAttributes { set, clear, ..MountAttributes::default() };
    set_attributes(tree.as_fd(), &change, recursive).context("attributes: mount_setattr")
}

/// The container's view of the cgroup hierarchies: one cgroup2, or a tmpfs with a directory for
/// each v1 hierarchy.
fn mount_cgroups(
    plan: &Plan,
    root: &Root,
    mount: &Mount,
    cgroups: &[CgroupTree],
    later: &mut ReadOnlyLater,
) -> anyhow::Result<()> {
    if let [CgroupTree::Unified { bind }] = cgroups {
        let place = root.ensure(&mount.destination, Target::Directory)?;
        let tree = unified(plan, mount, bind.as_ref())?;
        set_recursive_and_propagation(&tree, mount)?;
        return attach(&tree, &place).context("attach cgroup2: move_mount");
    }
    let place = root.ensure(&mount.destination, Target::Directory)?;
    let parameters = [(c"mode".to_owned(), Some(c"755".to_owned()))];
    let attributes = without_readonly(mount.attributes, true);
    let tmpfs = new_filesystem(c"tmpfs", Some(c"tmpfs"), &parameters, attributes)?;
    attach(&tmpfs, &place).context("attach the tmpfs of cgroups: move_mount")?;
    for tree in cgroups {
        mount_hierarchy(plan, (mount, root), tree)?;
    }
    set_recursive_and_propagation(&tmpfs, mount)?;
    if mount.attributes.set & attribute::RDONLY != 0 {
        later.push(tmpfs);
    }
    Ok(())
}

fn mount_hierarchy(
    plan: &Plan,
    (mount, root): (&Mount, &Root),
    tree: &CgroupTree,
) -> anyhow::Result<()> {
    let directory = mount.destination.as_path();
    let (name, detached) = match tree {
        CgroupTree::Unified { bind: Some(bind) } => ("unified", bound(bind, mount)?),
        CgroupTree::Unified { bind: None } => ("unified", unified(plan, mount, None)?),
        CgroupTree::Legacy { name, options, links, bind } => {
            for link in links {
                let path = ContainerPath::new(directory.join(link)).context("NUL in a path")?;
                let (parent, link) = root.parent(&path)?;
                rustix::fs::symlinkat(name.as_str(), parent.as_fd(), link).context("symlink")?;
            }
            let tree = match bind {
                Some(bind) => bound(bind, mount)?,
                None => new_filesystem(c"cgroup", Some(c"cgroup"), options, mount.attributes)
                    .with_context(|| format!("cgroup {name}"))?,
            };
            (name.as_str(), tree)
        }
    };
    let path = ContainerPath::new(directory.join(name)).context("NUL in a path")?;
    let place = root.ensure(&path, Target::Directory)?;
    attach(&detached, &place).with_context(|| format!("attach cgroup {name}: move_mount"))
}

fn unified(plan: &Plan, mount: &Mount, bind: Option<&OwnedFd>) -> anyhow::Result<OwnedFd> {
    let own = plan.namespaces.has(Kind::Cgroup);
    match (new_filesystem(c"cgroup2", Some(c"cgroup"), &[], mount.attributes), bind) {
        (Err(_), Some(bind)) if !own => bound(bind, mount),
        (result, _) => result,
    }
}

/// A detached mount of a cgroup directory, already opened, with the mount's attributes.
fn bound(bind: &OwnedFd, mount: &Mount) -> anyhow::Result<OwnedFd> {
    change(bind, mount.attributes, false)?;
    bind.try_clone().context("dup")
}
