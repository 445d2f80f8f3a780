//! The container's view of the cgroup hierarchies (mounts of type `cgroup`).

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::Context as _;
use libnamespaces::Kind;
use libsyscall::mount::attribute;

use super::mounts::{Mounted, Scene, set_recursive_and_propagation, without_readonly};
use super::root::Target;
use crate::files::CgroupTree;
use crate::mount::{Change, Tree, new_filesystem};
use crate::plan::{ContainerPath, Mount, Parameter, Plan};

/// The container's view of the cgroup hierarchies: one cgroup2, or a tmpfs with a directory for
/// each v1 hierarchy.
pub(super) fn mount_cgroups(
    scene: &Scene<'_>,
    mount: &Mount,
    mounted: &mut Mounted,
) -> anyhow::Result<()> {
    let Scene { plan, root, cgroups, .. } = *scene;
    if let [CgroupTree::Unified { bind }] = cgroups {
        let place = root.ensure(&mount.destination, Target::Directory)?;
        let mut tree = unified(plan, mount, bind.as_ref())?;
        set_recursive_and_propagation(&mut tree, mount, root.remounter())?;
        let called = |_: &_| "attach cgroup2: move_mount".to_owned();
        tree.attach(&place, root.remounter(), called)?;
        return mounted.keep_propagation(plan, mount, &tree);
    }
    let place = root.ensure(&mount.destination, Target::Directory)?;
    let mode = Parameter::new(c"mode", c"755");
    let parameters: Vec<_> = [mode].into_iter().chain(plan.mount_context()).collect();
    let attributes = without_readonly(mount.attributes, true);
    let tmpfs = new_filesystem(c"tmpfs", Some(c"tmpfs"), &parameters, attributes)?;
    let mut tmpfs = Tree::detached(tmpfs);
    let called = |_: &_| "attach the tmpfs of cgroups: move_mount".to_owned();
    tmpfs.attach(&place, root.remounter(), called)?;
    for tree in cgroups {
        mount_hierarchy(scene, mount, tree)?;
    }
    set_recursive_and_propagation(&mut tmpfs, mount, root.remounter())?;
    mounted.keep_propagation(plan, mount, &tmpfs)?;
    if mount.attributes.set & attribute::RDONLY != 0 {
        mounted.readonly_later.push(tmpfs.into_file());
    }
    Ok(())
}

fn mount_hierarchy(scene: &Scene<'_>, mount: &Mount, tree: &CgroupTree) -> anyhow::Result<()> {
    let Scene { plan, root, .. } = *scene;
    let directory = mount.destination.as_path();
    let (name, mut detached) = match tree {
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
                    .map(Tree::detached)
                    .with_context(|| format!("cgroup {name}"))?,
            };
            (name.as_str(), tree)
        }
    };
    let path = ContainerPath::new(directory.join(name)).context("NUL in a path")?;
    let place = root.ensure(&path, Target::Directory)?;
    let called = |_: &_| format!("attach cgroup {name}: move_mount");
    detached.attach(&place, root.remounter(), called)
}

fn unified(plan: &Plan, mount: &Mount, bind: Option<&OwnedFd>) -> anyhow::Result<Tree> {
    let own = plan.namespaces.has(Kind::Cgroup);
    match (new_filesystem(c"cgroup2", Some(c"cgroup"), &[], mount.attributes), bind) {
        (Err(_), Some(bind)) if !own => bound(bind, mount),
        (result, _) => result.map(Tree::detached),
    }
}

/// A detached mount of a cgroup directory, already opened, with the mount's attributes.
fn bound(bind: &OwnedFd, mount: &Mount) -> anyhow::Result<Tree> {
    let mut tree = Tree::detached(bind.try_clone().context("dup")?);
    tree.change(Change::attributes(mount.attributes, false), None)?;
    Ok(tree)
}
