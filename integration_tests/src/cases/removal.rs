//! The suite's own removal of bundles: whatever a runtime left there, nothing outside is lost.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use rustix::mount::{MountFlags, mount, mount_bind};

use super::{Test, cases, same};
use crate::container::Container;
use crate::removal::{mounts_below, remove_tree, remove_without_crossing};

cases!("removal": detaches_what_is_mounted, ends_at_a_mount, does_not_follow_links);

/// A directory in the bundle with a file, and a file of the victim's that must stay.
fn prepare(container: &Container) -> anyhow::Result<PathBuf> {
    let directory = container.directory.join("a directory\twith\\ a \"name\"");
    fs::create_dir_all(directory.join("below"))?;
    fs::write(directory.join("below/file"), "")?;
    fs::write(container.victim.join("kept"), "kept")?;
    Ok(directory)
}

fn is_kept(victim: &Path) -> Test {
    same!(fs::read_to_string(victim.join("kept"))?, "kept");
    Ok(())
}

/// One on the other, one in the other, at the directory itself, and on a file.
fn detaches_what_is_mounted(container: &mut Container) -> Test {
    let directory = prepare(container)?;
    let below = directory.join("below");
    mount_bind(container.victim.join("kept"), below.join("file"))?;
    mount("tmpfs", &below, "tmpfs", MountFlags::empty(), None)?;
    mount_bind(&container.victim, &below)?;
    mount("tmpfs", &directory, "tmpfs", MountFlags::empty(), None)?;
    fs::create_dir(directory.join("in it"))?;
    mount_bind(&container.victim, directory.join("in it"))?;
    same!(mounts_below(&directory)?.len(), 5);
    remove_tree(&directory)?;
    same!(mounts_below(&directory)?, Vec::<PathBuf>::new());
    ensure!(!directory.exists(), "it is there");
    is_kept(&container.victim)
}

/// One that comes after all have been detached, be it of the same filesystem.
fn ends_at_a_mount(container: &mut Container) -> Test {
    let directory = prepare(container)?;
    mount_bind(&container.victim, directory.join("below"))?;
    let outcome = remove_without_crossing(&directory).map_err(|error| format!("{error:#}"));
    let error = outcome.err().unwrap_or_default();
    ensure!(error.ends_with("\"below\" is mounted"), "{error:?}");
    is_kept(&container.victim)?;
    remove_tree(&directory)?;
    is_kept(&container.victim)
}

fn does_not_follow_links(container: &mut Container) -> Test {
    let directory = prepare(container)?;
    symlink(&container.victim, directory.join("link"))?;
    symlink(container.victim.join("kept"), directory.join("link to a file"))?;
    remove_tree(&directory)?;
    ensure!(!directory.exists(), "it is there");
    symlink(&container.victim, &directory)?;
    ensure!(remove_without_crossing(&directory).is_err(), "a link is followed");
    is_kept(&container.victim)
}
