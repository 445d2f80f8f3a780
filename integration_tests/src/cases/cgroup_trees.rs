//! What a container with a writable cgroup mount makes below its cgroup: none of it keeps the container
//! from being killed and deleted.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{Test, cases, same};
use crate::command::wait_until;
use crate::config;
use crate::container::Container;
use crate::leftovers::{cgroups, remove_cgroup};
use crate::skip::Skip;
use crate::view::{CGROUPS, Layout, layout};

cases!("cgroup_trees":
    a_deep_tree_of_a_stopped_one, a_deep_tree_of_a_running_one, a_wide_tree,
    init_frozen_below_is_killed, init_frozen_below_is_deleted, what_stays_is_named,
    exec_where_init_is_now, owned_by_root_of_the_user_namespace, owned_by_the_user, not_owned_where_it_is_read_only,
    not_owned_where_it_is_mounted_elsewhere,
);

/// The directory of the container's cgroup inside, in the hierarchy that can freeze.
fn inside() -> anyhow::Result<&'static str> {
    Ok(if layout()? == Layout::V2 { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/freezer" })
}

/// The same directory outside.
fn outside(container: &Container) -> anyhow::Result<PathBuf> {
    let hierarchy = if layout()? == Layout::V2 { "" } else { "freezer" };
    let directory = Path::new(CGROUPS).join(hierarchy);
    let found = cgroups(&container.id).into_iter().find(|path| path.starts_with(&directory));
    found.context("the container has no cgroup")
}

/// Starts `script` in its cgroup's directory, where it can write, and waits until it has said "made".
fn start(container: &mut Container, script: &str) -> Test {
    config::remove_mounts(&mut container.config, |path| path == "/sys/fs/cgroup");
    container
        .mount(json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup" }));
    container.set("/root/readonly", json!(false));
    let inside = inside()?;
    container.start_script(&format!("cd {inside} && {script}"))?;
    container.wait_for_file("rootfs/made")?;
    Ok(())
}

/// 1100 levels in a path of 5500 bytes: more than descriptors are allowed (1024), and than a path may have
/// (PATH_MAX, 4096).
const DEEP: &str = "path=$(yes deep | head -n 550 | tr '\\n' /) && \
                    for turn in 1 2; do mkdir -p $path && cd -P $path 2>/dev/null; done; echo made >/made";

fn a_deep_tree_of_a_stopped_one(container: &mut Container) -> Test {
    start(container, DEEP)?;
    container.wait_for("stopped")?;
    container.verb("delete")?.success()?;
    container.nothing_left()
}

fn a_deep_tree_of_a_running_one(container: &mut Container) -> Test {
    // With a process on the ground.
    let ground = "sleep 100 & echo $! > cgroup.procs; echo there >/there; wait";
    start(container, &format!("{DEEP}; {ground}"))?;
    container.wait_for_file("rootfs/there")?;
    same!(container.pids()?.len(), 2);
    container.delete_force()
}

fn a_wide_tree(container: &mut Container) -> Test {
    start(container, "seq 1500 | xargs mkdir; echo made >/made; sleep 100")?;
    container.delete_force()
}

/// Starts a container that moves its init into a cgroup below its own and freezes that.
fn freeze_below(container: &mut Container) -> Test {
    let (file, value) = match layout()? {
        Layout::V2 => ("cgroup.freeze", "1"),
        Layout::V1 | Layout::Hybrid => ("freezer.state", "FROZEN"),
    };
    let script = format!(
        "mkdir -p a/b && echo 1 > a/b/cgroup.procs; echo made >/made; echo {value} > a/b/{file}; sleep 100"
    );
    start(container, &script)?;
    let below = outside(container)?.join("a/b").join(file);
    wait_until("frozen", || Ok(fs::read_to_string(&below)?.trim() == value))
}

/// Whatever the runtime has done, nothing stays frozen.
fn thaw_below(directory: &Path) {
    let _ = fs::write(directory.join("a/b/freezer.state"), "THAWED");
}

fn init_frozen_below_is_killed(container: &mut Container) -> Test {
    freeze_below(container)?;
    let directory = outside(container)?;
    let killed = container.runtime(&["kill", &container.id, "KILL"]);
    let stopped = container.wait_for("stopped");
    thaw_below(&directory);
    killed?.success()?;
    stopped?;
    container.verb("delete")?.success()?;
    container.nothing_left()
}

fn init_frozen_below_is_deleted(container: &mut Container) -> Test {
    freeze_below(container)?;
    let directory = outside(container)?;
    let deleted = container.runtime(&["delete", "--force", &container.id]);
    thaw_below(&directory);
    deleted?.success()?;
    container.nothing_left()
}

/// A process of others is below the cgroup in one hierarchy: all else goes, and then that too.
fn what_stays_is_named(container: &mut Container) -> Test {
    if layout()? == Layout::V2 {
        return Err(Skip("all that is in the one hierarchy is killed".to_owned()).into());
    }
    container.start_script("true")?;
    container.wait_for("stopped")?;
    let all = cgroups(&container.id);
    let first = all.iter().find(|path| path.starts_with("/sys/fs/cgroup/blkio"));
    let first = first.ok_or_else(|| Skip("this view has no blkio controller".to_owned()))?;
    let below = first.join("a/b");
    fs::create_dir_all(&below)?;
    let mut process = Command::new("sleep").arg("100").stdin(Stdio::null()).spawn()?;
    let entered = fs::write(below.join("cgroup.procs"), process.id().to_string());
    let deleted = container.verb("delete");
    let left = cgroups(&container.id);
    let lives = process.try_wait()?.is_none();
    process.kill()?;
    process.wait()?;
    let again = container.verb("delete");
    left.iter().for_each(|directory| remove_cgroup(directory));
    entered?;
    ensure!(lives, "a process of others is killed");
    deleted?.fails(1, &["blkio", "\"b\", 2 level(s) down"])?;
    same!(left, std::slice::from_ref(first));
    again?.success()?;
    container.nothing_left()
}

/// As systemd and container engines inside do it: all processes go one level down, so that the cgroup can give its
/// controllers to others beside them. Then it takes no process any more.
fn exec_where_init_is_now(container: &mut Container) -> Test {
    let unified = if layout()? == Layout::V2 { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/unified" };
    config::remove_mounts(&mut container.config, |path| path == "/sys/fs/cgroup");
    container
        .mount(json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup" }));
    container.set("/root/readonly", json!(false));
    container.start_script(&format!(
        "cd {unified} && mkdir init && echo 1 > init/cgroup.procs && read first rest < cgroup.controllers
         [ -z \"$first\" ] || echo +$first > cgroup.subtree_control && echo \"=$first\" > /made; sleep 100"
    ))?;
    if container.wait_for_file("rootfs/made")?.trim() == "=" {
        return Err(Skip("no controller of the v2 hierarchy can be had here".to_owned()).into());
    }
    for _ in 0..2 {
        let own = container.exec(&["grep", "^0:", "/proc/self/cgroup"])?.success()?;
        ensure!(own.stdout.trim().ends_with("/init"), "{}", own.stdout);
    }
    Ok(())
}

/// Who owns the directory and files of the container's cgroup, v2 alone, once it can be written to or not.
fn owners(container: &mut Container, options: &[&str]) -> anyhow::Result<[u32; 4]> {
    if layout()? != Layout::V2 {
        return Err(Skip("only a v2 cgroup is given to anybody".to_owned()).into());
    }
    config::remove_mounts(&mut container.config, |path| path == "/sys/fs/cgroup");
    let options = [&["nosuid", "noexec", "nodev"], options].concat();
    container.mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options,
    }));
    container.start_script(
        "mkdir /sys/fs/cgroup/below && echo $$ >/sys/fs/cgroup/below/cgroup.procs && sleep 100; sleep 100",
    )?;
    let directory = outside(container)?;
    let owner = |name: &str| Ok(fs::metadata(directory.join(name))?.uid());
    let owners = ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.max.depth"].map(owner);
    owners.into_iter().collect::<anyhow::Result<Vec<_>>>()?.try_into().ok().context("four")
}

fn is_below(container: &Container) -> Test {
    let below = outside(container)?.join("below/cgroup.procs");
    wait_until("a process below", || Ok(!fs::read_to_string(&below).unwrap_or_default().is_empty()))
}

/// config-linux.md, "Cgroup ownership".
fn owned_by_root_of_the_user_namespace(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    same!(owners(container, &["rw"])?, [100_000, 100_000, 100_000, 0]);
    is_below(container)
}

fn owned_by_the_user(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    container.set("/process/user", json!({ "uid": 7, "gid": 7 }));
    same!(owners(container, &["rw"])?, [100_007, 100_007, 100_007, 0]);
    is_below(container)
}

fn not_owned_where_it_is_read_only(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    same!(owners(container, &["ro"])?, [0; 4]);
    Ok(())
}

/// The specification's condition is a mount with this source and this destination.
fn not_owned_where_it_is_mounted_elsewhere(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    if layout()? != Layout::V2 {
        return Err(Skip("only a v2 cgroup is given to anybody".to_owned()).into());
    }
    config::remove_mounts(&mut container.config, |path| path == "/sys/fs/cgroup");
    container.mount(json!({ "destination": "/mnt", "type": "cgroup", "source": "cgroup" }));
    container.start_script("mkdir /mnt/below; sleep 100")?;
    let directory = outside(container)?;
    same!(fs::metadata(directory.join("cgroup.procs"))?.uid(), 0);
    ensure!(!directory.join("below").exists(), "it can be written to");
    Ok(())
}
