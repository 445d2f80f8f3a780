//! Bind mounts of what is in the root filesystem.
//!
//! Everything else is opened before init is there. What an earlier mount has made or covers is known only
//! at the mount's turn; and a path into the image is resolved in the image, like every other one.

use std::os::fd::OwnedFd;

use anyhow::{Context as _, bail};
use rustix::fs::{FileType, OFlags, readlinkat};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use super::mounts::Scene;
use super::root::{PATH, Root, unresolved};
use crate::files::{Source, adopt_source};
use crate::mount::{clone_tree, file_type};
use crate::plan::{ContainerPath, Mount, MountKind, SourceLink};

/// Opens the source of `mount`.
pub(super) fn open(
    scene: &Scene<'_>,
    mount: &Mount,
    ids: Option<&OwnedFd>,
) -> anyhow::Result<Source> {
    let MountKind::Bind { source, inside: Some(path), recursive, link } = &mount.kind else {
        bail!("the source was not opened")
    };
    let context = || format!("source {}", source.display());
    let file = find(scene.root, path, *link).map_err(unresolved);
    let file = file.context("openat2").with_context(context)?;
    if *link == SourceLink::Copy && file_type(&file).context("fstat")? == FileType::Symlink {
        let target = readlinkat(&file, c"", Vec::new()).context("readlink");
        return target.map(Source::Link).with_context(context);
    }
    let below = if *recursive { OpenTreeFlags::AT_RECURSIVE } else { OpenTreeFlags::empty() };
    let tree = clone_tree(&file, below).with_context(context)?;
    adopt_source(tree, scene.plan, mount, ids).with_context(context).map(Source::Tree)
}

fn find(root: &Root, path: &ContainerPath, link: SourceLink) -> Result<OwnedFd, Errno> {
    match link {
        SourceLink::Follow => root.find(path),
        SourceLink::Bind | SourceLink::Copy => root.open(path.as_c_str(), PATH | OFlags::NOFOLLOW),
    }
}
