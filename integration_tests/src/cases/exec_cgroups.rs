//! `exec --cgroup`: a process in a cgroup below the container's.

use std::fs;
use std::path::{Path, PathBuf};

use super::cgroups::{directories, need};
use super::{Test, cases, same};
use crate::container::Container;
use crate::skip::Skip;
use crate::view::{CGROUPS, Layout, layout};

cases!("exec_cgroups":
    in_all_hierarchies, in_one_hierarchy, in_several_hierarchies, by_several_flags, unknown_controller, named_twice,
    two_paths, a_way_up, missing, more_than_one_colon,
);

/// The name of the hierarchy that a cgroup is in.
fn hierarchy(cgroup: &Path) -> String {
    let below = cgroup.strip_prefix(CGROUPS).ok().and_then(|path| path.iter().next());
    below.unwrap_or_default().to_string_lossy().into_owned()
}

/// Starts an idle container, and makes the cgroup `below` in its cgroup of each hierarchy.
fn start(container: &mut Container) -> anyhow::Result<Vec<PathBuf>> {
    container.start_idle()?;
    let own = directories(container.pid()?)?;
    for directory in &own {
        let below = directory.join("below");
        fs::create_dir(&below)?;
        // Nobody can be in one without these (cpuset(7)).
        for name in ["cpuset.cpus", "cpuset.mems"] {
            if hierarchy(directory) == "cpuset" {
                fs::write(below.join(name), fs::read(directory.join(name))?)?;
            }
        }
    }
    Ok(own)
}

/// Expects a process of exec with these flags to be in `below` where `is_moved` says so of the hierarchy, and in the
/// container's own cgroup elsewhere.
fn is_below(container: &mut Container, flags: &[&str], is_moved: impl Fn(&str) -> bool) -> Test {
    let own = start(container)?;
    let pid_file = container.file("pid");
    let all = [&["--detach", "--pid-file", &pid_file], flags].concat();
    container.exec_with(&all, &["sleep", "50"])?.success()?;
    let process = directories(fs::read_to_string(&pid_file)?.parse()?)?;
    let expected = own.into_iter().map(|directory| {
        if is_moved(&hierarchy(&directory)) { directory.join("below") } else { directory }
    });
    same!(process, expected.collect::<Vec<_>>());
    container.delete_force()
}

fn need_v1(controllers: &[&str]) -> Test {
    if layout()? == Layout::V2 {
        return Err(Skip("in v2 controllers have no hierarchies of their own".to_owned()).into());
    }
    controllers.iter().try_for_each(|controller| need(controller))
}

fn in_all_hierarchies(container: &mut Container) -> Test {
    is_below(container, &["--cgroup", "below"], |_| true)
}

fn in_one_hierarchy(container: &mut Container) -> Test {
    need_v1(&["pids"])?;
    is_below(container, &["--cgroup", "pids:below"], |name| name == "pids")
}

fn in_several_hierarchies(container: &mut Container) -> Test {
    need_v1(&["pids", "memory"])?;
    is_below(container, &["--cgroup", "pids,memory:/below/"], |name| {
        ["pids", "memory"].contains(&name)
    })
}

fn by_several_flags(container: &mut Container) -> Test {
    need_v1(&["pids", "memory"])?;
    is_below(container, &["--cgroup", "pids:below", "--cgroup", "memory:below"], |name| {
        ["pids", "memory"].contains(&name)
    })
}

/// Expects exec with these flags to say `word`, and to leave no process.
fn is_refused(container: &mut Container, flags: &[&str], word: &str) -> Test {
    start(container)?;
    let output = container.exec_with(flags, &["sleep", "50"])?;
    output.fails(255, &[word])?;
    same!(container.pids()?.len(), 1);
    container.delete_force()
}

/// In v2 every controller is, too: which a process is limited by the path says.
fn unknown_controller(container: &mut Container) -> Test {
    is_refused(container, &["--cgroup", "nosuch:below"], "nosuch")
}

fn named_twice(container: &mut Container) -> Test {
    need_v1(&["pids"])?;
    is_refused(container, &["--cgroup", "pids:below", "--cgroup", "pids:other"], "pids")
}

fn two_paths(container: &mut Container) -> Test {
    is_refused(container, &["--cgroup", "below", "--cgroup", "other"], "--cgroup")
}

fn a_way_up(container: &mut Container) -> Test {
    is_refused(container, &["--cgroup", "../x"], "../x")?;
    need_v1(&["pids"])?;
    is_refused(container, &["--cgroup", "pids:../x"], "../x")
}

fn missing(container: &mut Container) -> Test {
    is_refused(container, &["--cgroup", "nowhere"], "no such file or directory")?;
    need_v1(&["pids"])?;
    is_refused(container, &["--cgroup", "pids:nowhere"], "no such file or directory")
}

fn more_than_one_colon(container: &mut Container) -> Test {
    is_refused(container, &["--cgroup", "pids:memory:below"], "pids:memory:below")
}
