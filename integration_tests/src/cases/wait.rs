//! `wait`, which is aril's own: the exit code, for whoever is not the parent.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::ensure;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::start::lose_the_first_thread;
use super::{Test, cases, same};
use crate::command::{self, wait_until};
use crate::container::Container;
use crate::parent;
use crate::skip::need_kernel;

cases!("wait":
    before_its_parent, without_the_right_to_trace, after_its_parent, of_a_created_container,
    of_threads_without_the_first, too_late,
);

/// Its parent is told when both have ended.
fn before_its_parent(container: &mut Container) -> Test {
    for (script, code) in [("sleep 0.3; exit 7", "7"), ("true", "0")] {
        container.script(script);
        container.save()?;
        same!(with_a_parent(container, "")?.success()?.lines()[0], code);
        container.verb("delete")?.success()?;
    }
    container.script("sleep 100");
    container.save()?;
    let kill = parent::words(&container.command(&["kill", &container.id, "KILL"]));
    same!(with_a_parent(container, &format!("{kill} &&"))?.success()?.lines()[0], "137");
    Ok(())
}

/// The kernel says 0 to it.
fn without_the_right_to_trace(container: &mut Container) -> Test {
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    container.script("exit 7");
    container.save()?;
    let output = with_a_parent(container, "setpriv --bounding-set=-sys_ptrace")?;
    // The parent's.
    output.fails(2, &["only its parent is told its exit code", "CAP_SYS_PTRACE"])
}

/// Runs the container as the child of one who asks for nothing before `wait` has, which `before` precedes.
fn with_a_parent(container: &Container, before: &str) -> anyhow::Result<command::Output> {
    let run = ["run", "--detach", "--bundle", &container.bundle(), &container.id];
    let run = parent::words(&container.command(&run));
    let wait = parent::words(&container.command(&["wait", &container.id]));
    parent::output(container, &format!("{run} </dev/null && {before} {wait}"))
}

fn after_its_parent(container: &mut Container) -> Test {
    container.start_script("while ! test -e /dev/shm/end; do sleep 0.01; done; exit 7")?;
    // touch(1) itself may end with the container.
    let end = || container.exec(&["touch", "/dev/shm/end"]).map(drop);
    same!(told_after_the_parent(container, end)?, ["7", "7"]);
    container.start_idle()?;
    same!(told_after_the_parent(container, || kill(container))?, ["137", "137"]);
    container.nothing_left()
}

fn of_a_created_container(container: &mut Container) -> Test {
    container.script("exit 3");
    container.create()?.success()?;
    same!(
        told_after_the_parent(container, || container.verb("start")?.success().map(drop))?,
        ["3", "3"]
    );
    container.create()?.success()?;
    same!(told_after_the_parent(container, || kill(container))?, ["137", "137"]);
    container.nothing_left()
}

/// It has not ended, though its state is a zombie's.
fn of_threads_without_the_first(container: &mut Container) -> Test {
    lose_the_first_thread(container)?;
    same!(told_after_the_parent(container, || kill(container))?, ["137", "137"]);
    Ok(())
}

fn too_late(container: &mut Container) -> Test {
    container.runtime(&["wait", &container.id])?.fails(1, &["container does not exist"])?;
    container.start_idle()?;
    let process = process(container)?;
    kill(container)?;
    wait_until("its parent is told", || Ok(!fs::exists(&process)?))?;
    let words = ["container not running", "ended before this wait"];
    container.runtime(&["wait", &container.id])?.fails(1, &words)
}

fn kill(container: &Container) -> Test {
    container.runtime(&["kill", &container.id, "KILL"])?.success().map(drop)
}

/// What two are told who wait for a container that `end` ends, when its parent has been told. It is deleted.
fn told_after_the_parent(
    container: &Container,
    end: impl FnOnce() -> Test,
) -> anyhow::Result<[String; 2]> {
    need_kernel([6, 15], "others than the parent are told after it (PIDFD_INFO_EXIT)")?;
    let process = process(container)?;
    let outputs = ["first", "second"].map(|name| container.file(name));
    let stopped = |output: &String| wait_and_stop(container, Path::new(output));
    let mut waiting = outputs.iter().map(stopped).collect::<anyhow::Result<Vec<_>>>()?;
    end()?;
    wait_until("its parent is told", || Ok(!fs::exists(&process)?))?;
    for child in &mut waiting {
        kill_process(Pid::from_child(child), Signal::CONT)?;
        same!(command::wait(child)?, 0);
    }
    container.verb("delete")?.success()?;
    let [first, second] = outputs.map(fs::read_to_string);
    Ok([first?.trim().to_owned(), second?.trim().to_owned()])
}

/// Has the runtime wait, and stops it when it does.
fn wait_and_stop(container: &Container, output: &Path) -> anyhow::Result<Child> {
    let mut command = container.command(&["wait", &container.id]);
    let mut child =
        command.process_group(0).stdin(Stdio::null()).stdout(File::create(output)?).spawn()?;
    wait_until("it waits", || {
        ensure!(child.try_wait()?.is_none(), "it does not wait");
        let links = fs::read_dir(format!("/proc/{}/fd", child.id()))?.flatten();
        Ok(links
            .filter_map(|link| fs::read_link(link.path()).ok())
            .any(|to| to.ends_with("anon_inode:[pidfd]")))
    })?;
    kill_process(Pid::from_child(&child), Signal::STOP)?;
    Ok(child)
}

/// The directory in /proc of the container's first process.
fn process(container: &Container) -> anyhow::Result<String> {
    Ok(format!("/proc/{}", container.pid()?))
}
