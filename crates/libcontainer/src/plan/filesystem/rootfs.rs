//! `root`, and what of `linux` is about the root filesystem.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, Root};
use rustix::mount::MountPropagationFlags;

use super::options::{PRIVATE, SHARED, SLAVE};
use crate::plan::{ContainerPath, Given, Mount, Propagation, Violations};

/// `root`.
#[derive(Clone, Debug)]
pub struct Rootfs {
    /// Absolute path on the host.
    pub path: PathBuf,
    /// Whether the container's `/` ends read-only.
    pub readonly: bool,
    /// `linux.rootfsPropagation`; absent means slave, recursively, as runc does.
    pub propagation: Option<Propagation>,
    /// What events bind mounts exchange with the host where their options do not say: none go out.
    pub binds: Propagation,
    /// Whether the root is changed by moving the mount and chroot(2) instead of pivot_root(2).
    pub no_pivot: bool,
}

impl Rootfs {
    /// What events the bind `mount` exchanges with what it was cloned from; absent: the same as that. With runc, too, it
    /// takes `shared` of both, the root and the mount, for a mount in the container to come to the host.
    pub(crate) fn propagation_of_bind(&self, mount: &Mount) -> Option<Propagation> {
        let is_shared = |propagation: Option<&Propagation>| {
            propagation.is_some_and(|propagation| propagation.flag == SHARED)
        };
        let is_peer = is_shared(self.propagation.as_ref()) && is_shared(mount.propagation.last());
        (!is_peer).then_some(self.binds)
    }
}

/// Plans the root filesystem, which is at [`path`].
pub(crate) fn plan(given: &Given<'_>, on_the_host: PathBuf, found: &mut Violations) -> Rootfs {
    let root = given.spec.root().as_ref();
    let path = root.map(|root| root.path().as_path()).filter(|path| !path.as_os_str().is_empty());
    if path.is_none() {
        let rule = "is required on Linux (config.md, \"Root\")";
        found.add("/root/path", "", rule, "give the directory of the root filesystem");
    }
    // Only to look for NUL: the path is known already.
    found.host_path("/root/path", path.unwrap_or(Path::new("")), given.bundle);
    let propagation = propagation(given.linux, found);
    Rootfs {
        path: on_the_host,
        readonly: root.and_then(Root::readonly).unwrap_or(false),
        binds: propagation_of_binds(propagation),
        propagation,
        no_pivot: given.request.no_pivot,
    }
}

/// `root.path` on the host, without a trailing slash, which would let a symbolic link pass for a directory.
pub(crate) fn path(given: &Given<'_>) -> PathBuf {
    let path = given.spec.root().as_ref().map_or(Path::new(""), |root| root.path());
    given.bundle.join(path).components().collect()
}

/// Of the root's own mount, or, by the `r` forms, which are runc's, of all whose options do not name one.
fn propagation(linux: &Linux, found: &mut Violations) -> Option<Propagation> {
    let word = linux.rootfs_propagation().as_deref().filter(|word| !word.is_empty())?;
    let flag = match word {
        "shared" | "rshared" => MountPropagationFlags::SHARED,
        "slave" | "rslave" => MountPropagationFlags::DOWNSTREAM,
        "private" | "rprivate" => MountPropagationFlags::PRIVATE,
        "unbindable" | "runbindable" => MountPropagationFlags::UNBINDABLE,
        _ => {
            let rule = "is no propagation type (config-linux.md, \"Rootfs Mount Propagation\")";
            let fix = "write shared, slave, private or unbindable";
            found.add("/linux/rootfsPropagation", word, rule, fix);
            return None;
        }
    };
    Some(Propagation { flag: flag.bits().into(), recursive: word.starts_with('r') })
}

/// `linux.rootfsPropagation` is about the root's own mount. Where nothing is to come to that, nothing
/// comes to the others.
fn propagation_of_binds(root: Option<Propagation>) -> Propagation {
    let closed = MountPropagationFlags::PRIVATE | MountPropagationFlags::UNBINDABLE;
    let is_closed = root.is_some_and(|root| u64::from(closed.bits()) & root.flag != 0);
    Propagation { flag: if is_closed { PRIVATE } else { SLAVE }, recursive: true }
}

pub(crate) fn masked_paths(linux: &Linux, found: &mut Violations) -> Vec<ContainerPath> {
    let section = "config-linux.md, \"Masked Paths\"";
    absolute_paths("/linux/maskedPaths", section, linux.masked_paths().as_deref(), found)
}

pub(crate) fn readonly_paths(linux: &Linux, found: &mut Violations) -> Vec<ContainerPath> {
    let section = "config-linux.md, \"Readonly Paths\"";
    absolute_paths("/linux/readonlyPaths", section, linux.readonly_paths().as_deref(), found)
}

fn absolute_paths(
    pointer: &str,
    section: &str,
    paths: Option<&[String]>,
    found: &mut Violations,
) -> Vec<ContainerPath> {
    let indexed = paths.unwrap_or_default().iter().enumerate();
    indexed
        .map(|(index, path)| {
            found.absolute(&format!("{pointer}/{index}"), Path::new(path), section)
        })
        .collect()
}
