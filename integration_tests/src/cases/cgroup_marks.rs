//! A cgroup's path can be given anew, and an id too: what ends one container never reaches another, and
//! always its own.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::cgroups::directories;
use super::hooks::shell;
use super::{Test, cases, same};
use crate::command::{wait, wait_until};
use crate::config;
use crate::container::Container;
use crate::leftovers::{cgroups, remove_cgroup};
use crate::skip::Skip;

cases!("cgroup_marks":
    delete_spares_another, delete_force_spares_another, kill_all_spares_another,
    ps_does_not_show_another, a_killed_create_spares_another, run_spares_another_of_its_id,
    a_cgroup_made_by_others_is_spared, a_living_containers_cgroup_is_refused,
    a_cgroup_without_its_mark_ends, a_cgroup_that_was_there_is_taken,
    two_creates_at_once,
);

/// The attributes that mark a cgroup: aril's own form.
const MARKS: [&str; 2] = ["trusted.aril.container", "user.aril.container"];

/// The id of the container that comes second.
fn other(container: &Container) -> String {
    format!("{}-2", container.id)
}

/// Starts an idle container with the id of [`other`], in the cgroup of the first.
fn start_other(container: &mut Container) -> Test {
    let other = other(container);
    container.remove("/hooks");
    container.script("exec sleep 100");
    container.save()?;
    container.runtime(&["create", "--bundle", &container.bundle(), &other])?.success()?;
    container.runtime(&["start", &other])?.success()?;
    Ok(())
}

/// The first container has stopped, and another runs in its cgroup, which was empty. After `ending`
/// the first, the other must run still.
fn spared(container: &mut Container, ending: &[&str]) -> Test {
    container.set("/linux/cgroupsPath", json!(format!("/{}", container.id)));
    container.start_script("true")?;
    container.wait_for("stopped")?;
    start_other(container)?;
    let ended = container.runtime(&[ending, &[&container.id]].concat());
    still_runs(container)?;
    ended?.success()?;
    Ok(())
}

/// The other container runs, and goes with everything.
fn still_runs(container: &Container) -> Test {
    let other = other(container);
    let state = container.runtime(&["state", &other])?.success()?.json();
    container.runtime(&["delete", "--force", &other])?.success()?;
    same!(state?["status"], "running");
    Ok(())
}

fn delete_spares_another(container: &mut Container) -> Test {
    spared(container, &["delete"])?;
    container.nothing_left()
}

fn delete_force_spares_another(container: &mut Container) -> Test {
    spared(container, &["delete", "--force"])?;
    container.nothing_left()
}

fn kill_all_spares_another(container: &mut Container) -> Test {
    container.set("/linux/cgroupsPath", json!(format!("/{}", container.id)));
    container.start_script("true")?;
    container.wait_for("stopped")?;
    start_other(container)?;
    for signal in ["TERM", "KILL"] {
        // As when nothing runs in it, whatever a runtime says then.
        container.runtime(&["kill", "--all", &container.id, signal])?;
    }
    still_runs(container)
}

fn ps_does_not_show_another(container: &mut Container) -> Test {
    container.set("/linux/cgroupsPath", json!(format!("/{}", container.id)));
    container.start_script("true")?;
    container.wait_for("stopped")?;
    start_other(container)?;
    let pids = container.pids();
    still_runs(container)?;
    same!(pids?, [0_i64; 0]);
    Ok(())
}

/// The intent is saved before the cgroup is made, so it names one that may be anybody's later.
fn a_killed_create_spares_another(container: &mut Container) -> Test {
    container.set("/linux/cgroupsPath", json!(format!("/{}", container.id)));
    container.set("/hooks/createRuntime", json!([shell("kill -9 $PPID")]));
    let created = container.create()?;
    ensure!(created.code == -9, "the runtime is not killed: {created:?}");
    let own = cgroups(&container.id);
    let empty = || {
        let text = own.iter().map(|one| fs::read_to_string(one.join("cgroup.procs")));
        Ok(text.collect::<Result<String, _>>()?.is_empty())
    };
    wait_until("init is gone", empty)?;
    start_other(container)?;
    let ended = container.runtime(&["delete", "--force", &container.id])?;
    still_runs(container)?;
    ended.success()?;
    container.nothing_left()
}

/// A `run` that was stopped goes on when its container is gone and its id is another's.
fn run_spares_another_of_its_id(container: &mut Container) -> Test {
    container.script("exec sleep 100");
    container.save()?;
    let bundle = container.bundle();
    let mut run = container.command(&["run", "--bundle", &bundle, &container.id]);
    run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut run = run.spawn()?;
    let outcome = anew(container, &run);
    kill_process(Pid::from_child(&run), Signal::CONT)?;
    wait(&mut run)?;
    outcome?;
    same!(container.state()?["status"], "running");
    Ok(())
}

/// Stops `run`, and makes its container anew.
fn anew(container: &mut Container, run: &Child) -> Test {
    container.wait_for_run()?;
    kill_process(Pid::from_child(run), Signal::STOP)?;
    container.runtime(&["delete", "--force", &container.id])?.success()?;
    container.start_idle()
}

/// Another runtime, or an engine, knows no mark of aril's.
fn a_cgroup_made_by_others_is_spared(container: &mut Container) -> Test {
    container.set("/linux/cgroupsPath", json!(format!("/{}", container.id)));
    container.start_script("true")?;
    container.wait_for("stopped")?;
    let own = cgroups(&container.id);
    for directory in &own {
        fs::remove_dir(directory)?;
        fs::create_dir(directory)?;
    }
    let mut process = Command::new("sleep").arg("100").stdin(Stdio::null()).spawn()?;
    let entered = enter(&own, process.id());
    let deleted = container.verb("delete");
    let lives = process.try_wait()?.is_none();
    process.kill()?;
    process.wait()?;
    own.iter().for_each(|directory| remove_cgroup(directory));
    entered?;
    ensure!(lives, "a process of others is killed");
    deleted?.success()?;
    container.nothing_left()
}

fn enter(directories: &[PathBuf], pid: u32) -> Test {
    for directory in directories {
        if directory.join("cpuset.cpus").exists() {
            // What is new in v1 has neither.
            let _ = fs::write(directory.join("cpuset.cpus"), "0");
            let _ = fs::write(directory.join("cpuset.mems"), "0");
        }
        fs::write(directory.join("cgroup.procs"), pid.to_string())?;
    }
    Ok(())
}

/// Its init was moved out, so it looks like nobody's.
fn a_living_containers_cgroup_is_refused(container: &mut Container) -> Test {
    container.set("/linux/cgroupsPath", json!(format!("/{}", container.id)));
    container.start_idle()?;
    let pid = container.pid()?.to_string();
    for directory in directories(container.pid()?)? {
        let above = directory.parent().context("no cgroup is above")?;
        fs::write(above.join("cgroup.procs"), &pid)?;
    }
    let other = other(container);
    let output = container.runtime(&["create", "--bundle", &container.bundle(), &other])?;
    container.runtime(&["delete", "--force", &other])?;
    output.fails(1, &[&format!("cgroup is that of container {:?}", container.id)])?;
    same!(container.state()?["status"], "running");
    container.delete_force()
}

/// Whoever may take the mark away is ended all the same: the directory is the one that was made.
fn a_cgroup_without_its_mark_ends(container: &mut Container) -> Test {
    config::namespace(&mut container.config, "pid", None);
    container.start_script("sleep 100 & sleep 100 & exit")?;
    container.wait_for("stopped")?;
    let own = cgroups(&container.id);
    let unmark =
        |path: &PathBuf| MARKS.iter().any(|name| rustix::fs::removexattr(path, *name).is_ok());
    let unmarked = own.iter().filter(|path| unmark(path)).count();
    if unmarked == 0 {
        container.delete_force()?;
        return Err(Skip("this runtime marks no cgroup".to_owned()).into());
    }
    same!(unmarked, 1);
    container.delete_force()
}

/// An engine may make the cgroup before, with limits: what is in it stays as it is.
fn a_cgroup_that_was_there_is_taken(container: &mut Container) -> Test {
    container.set("/linux/cgroupsPath", json!(format!("/{}", container.id)));
    container.start_script("true")?;
    container.wait_for("stopped")?;
    let inodes = || -> anyhow::Result<Vec<u64>> {
        use std::os::unix::fs::MetadataExt as _;
        cgroups(&container.id).iter().map(|path| Ok(fs::metadata(path)?.ino())).collect()
    };
    let before = inodes()?;
    let other = other(container);
    container.runtime(&["create", "--bundle", &container.bundle(), &other])?.success()?;
    let after = inodes()?;
    container.runtime(&["delete", "--force", &other])?.success()?;
    same!(before, after);
    container.delete_force()
}

/// Neither has a process in it yet when the other looks.
fn two_creates_at_once(container: &mut Container) -> Test {
    container.set("/linux/cgroupsPath", json!(format!("/{}", container.id)));
    container.script("exec sleep 100");
    container.save()?;
    let ids = [container.id.clone(), other(container)];
    for _ in 0..10 {
        let start = |id: &String| {
            let mut create = container.command(&["create", "--bundle", &container.bundle(), id]);
            create.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
        };
        let [mut first, mut second] = [start(&ids[0])?, start(&ids[1])?];
        let codes = [wait(&mut first)?, wait(&mut second)?];
        for id in &ids {
            container.runtime(&["delete", "--force", id])?.success()?;
        }
        ensure!(codes != [0, 0], "both have it");
    }
    container.nothing_left()
}
