//! The lifecycle (runtime-spec, runtime.md), and what is left when something dies.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{Test, cases, same};
use crate::command::wait_until;
use crate::config;
use crate::container::Container;

cases!("lifecycle":
    create_start_delete, create_runs_nothing, start_twice, start_after_the_end, no_process,
    no_process_cannot_run, changed_config_is_not_started, exec_does_not_read_the_bundle,
    state_does_not_read_the_bundle, deleted_bundle, delete_running, delete_force_running,
    delete_created, delete_twice, files_are_the_owners, pause_freezes, pause_stops_execs_too, paused_is_killed,
    paused_is_deleted, pause_twice, pause_created, killed_create, killed_run, killed_init,
    killed_before_it_was_ready, killed_for_want_of_memory, a_zombie_has_stopped, deleted_while_run_waits,
    short_programs_do_not_hang, two_side_by_side, id_is_free_again, all_characters_of_ids,
    a_damaged_state, unexecutable_format, missing_interpreter,
    unknown_property_is_ignored, versions_of_the_specification, rootfs_by_absolute_path,
);

fn create_start_delete(container: &mut Container) -> Test {
    container.script("exec sleep 100");
    container.create()?.success()?;
    same!(container.state()?["status"], "created");
    container.verb("start")?.success()?;
    same!(container.state()?["status"], "running");
    container.runtime(&["kill", &container.id, "KILL"])?.success()?;
    container.wait_for("stopped")?;
    ensure!(container.state()?["pid"].as_i64().unwrap_or(0) == 0, "a stopped container has a pid");
    container.verb("delete")?.success()?;
    container.nothing_left()
}

fn create_runs_nothing(container: &mut Container) -> Test {
    container.set("/root/readonly", json!(false));
    container.script("touch /ran; sleep 100");
    container.create()?.success()?;
    std::thread::sleep(Duration::from_millis(100));
    ensure!(!container.rootfs().join("ran").exists(), "the program ran");
    container.verb("start")?.success()?;
    wait_until("the program runs", || Ok(container.rootfs().join("ran").exists()))
}

fn start_twice(container: &mut Container) -> Test {
    container.start_idle()?;
    container.verb("start")?.fails(1, &["cannot start an already running container"])?;
    same!(container.state()?["status"], "running");
    Ok(())
}

fn start_after_the_end(container: &mut Container) -> Test {
    container.start_script("true")?;
    container.wait_for("stopped")?;
    container.verb("start")?.fails(1, &["cannot start a container that has stopped"])
}

/// A container without a program may be created; it is start that must fail.
fn no_process(container: &mut Container) -> Test {
    container.remove("/process");
    container.create()?.success()?;
    container.verb("start")?.fails(1, &["process"])?;
    same!(container.state()?["status"], "created");
    Ok(())
}

fn no_process_cannot_run(container: &mut Container) -> Test {
    container.remove("/process");
    container.save()?;
    let output = container.run()?;
    container.refused(&output, &["process"])
}

fn changed_config_is_not_started(container: &mut Container) -> Test {
    container.set("/root/readonly", json!(false));
    container.script("touch /first; sleep 100");
    container.create()?.success()?;
    container.script("touch /second; sleep 100");
    container.save()?;
    container.verb("start")?.success()?;
    wait_until("a program runs", || {
        Ok(container.rootfs().join("first").exists() || container.rootfs().join("second").exists())
    })?;
    ensure!(container.rootfs().join("first").exists(), "the changed config was started");
    Ok(())
}

fn exec_does_not_read_the_bundle(container: &mut Container) -> Test {
    container.start_idle()?;
    fs::write(container.file("config.json"), "broken")?;
    container.exec(&["true"])?.success()?;
    Ok(())
}

fn state_does_not_read_the_bundle(container: &mut Container) -> Test {
    container.start_idle()?;
    fs::remove_file(container.file("config.json"))?;
    same!(container.state()?["status"], "running");
    same!(container.state()?["annotations"]["org.example.key"], "value");
    container.pause()?;
    container.verb("resume")?.success()?;
    container.delete_force()
}

fn deleted_bundle(container: &mut Container) -> Test {
    container.start_idle()?;
    let moved = container.victim.join("moved");
    fs::rename(container.rootfs(), &moved)?;
    fs::remove_file(container.file("config.json"))?;
    let deleted = container.delete_force();
    fs::rename(&moved, container.rootfs())?;
    deleted
}

fn delete_running(container: &mut Container) -> Test {
    container.start_idle()?;
    let words = format!("cannot delete container {} that is not stopped: running", container.id);
    container.verb("delete")?.fails(1, &[&words])?;
    same!(container.state()?["status"], "running");
    Ok(())
}

fn delete_force_running(container: &mut Container) -> Test {
    container.start_script("sleep 100 & sleep 100 & sleep 100")?;
    container.delete_force()
}

fn delete_created(container: &mut Container) -> Test {
    container.create()?.success()?;
    container.verb("delete")?.success()?;
    container.nothing_left()
}

fn delete_twice(container: &mut Container) -> Test {
    container.create()?.success()?;
    container.verb("delete")?.success()?;
    container.verb("delete")?.fails(1, &["does not exist"])
}

/// What is in the state directory is nobody else's business.
fn files_are_the_owners(container: &mut Container) -> Test {
    container.create()?.success()?;
    let directory = container.root().join(&container.id);
    same!(fs::metadata(&directory)?.permissions().mode() & 0o066, 0);
    for entry in fs::read_dir(&directory)? {
        let entry = entry?;
        let mode = entry.metadata()?.permissions().mode();
        ensure!(mode & 0o077 == 0, "{:?} has mode {mode:o}", entry.file_name());
    }
    Ok(())
}

/// A program that makes the file `log` grow while it runs.
const GROW: &str = "while :; do echo x >> /log; done";

fn grows(container: &Container) -> anyhow::Result<bool> {
    let length = || fs::metadata(container.rootfs().join("log")).map(|file| file.len());
    let before = length()?;
    std::thread::sleep(Duration::from_millis(150));
    Ok(length()? > before)
}

fn pause_freezes(container: &mut Container) -> Test {
    container.set("/root/readonly", json!(false));
    container.start_script(GROW)?;
    container.wait_for_file("rootfs/log")?;
    ensure!(grows(container)?, "it does nothing");
    container.pause()?;
    same!(container.state()?["status"], "paused");
    ensure!(!grows(container)?, "a paused container goes on");
    container.verb("resume")?.success()?;
    same!(container.state()?["status"], "running");
    ensure!(grows(container)?, "a resumed container does not go on");
    Ok(())
}

fn pause_stops_execs_too(container: &mut Container) -> Test {
    container.set("/root/readonly", json!(false));
    container.start_idle()?;
    container.exec_with(&["--detach"], &["sh", "-c", GROW])?.success()?;
    container.wait_for_file("rootfs/log")?;
    container.pause()?;
    ensure!(!grows(container)?, "the other process goes on");
    container.verb("resume")?.success()?;
    ensure!(grows(container)?, "the other process does not go on");
    Ok(())
}

fn paused_is_killed(container: &mut Container) -> Test {
    container.start_idle()?;
    container.pause()?;
    container.runtime(&["kill", &container.id, "KILL"])?.success()?;
    // On cgroup v1 a frozen process dies when it is thawed, and whoever kills it has no more to say.
    container.wait_for("stopped")
}

fn paused_is_deleted(container: &mut Container) -> Test {
    container.start_script("sleep 100 & wait")?;
    container.pause()?;
    container.delete_force()
}

fn pause_twice(container: &mut Container) -> Test {
    container.start_idle()?;
    container.pause()?;
    same!(container.verb("pause")?.code, 1);
    container.verb("resume")?.success()?;
    container.verb("resume")?.fails(1, &["container not paused"])
}

fn pause_created(container: &mut Container) -> Test {
    container.create()?.success()?;
    let output = container.verb("pause")?;
    if output.code == 0 {
        same!(container.state()?["status"], "paused");
        container.verb("resume")?.success()?;
    }
    same!(container.state()?["status"], "created");
    Ok(())
}

/// Kills the runtime at many points of its work; whatever it leaves, `delete --force` removes.
fn kill_the_runtime(container: &Container, command: &str) -> Test {
    container.save()?;
    for delay in (0..20_000).step_by(1000).map(Duration::from_micros) {
        let mut command =
            container.command(&[command, "--bundle", &container.bundle(), &container.id]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        std::thread::sleep(delay);
        let _ = child.kill();
        child.wait()?;
        // Init sees that the runtime is gone and ends by itself.
        std::thread::sleep(Duration::from_millis(20));
        container.delete_force().with_context(|| format!("killed after {delay:?}"))?;
    }
    Ok(())
}

fn killed_create(container: &mut Container) -> Test {
    container.script("sleep 100");
    kill_the_runtime(container, "create")
}

fn killed_run(container: &mut Container) -> Test {
    container.script("sleep 100");
    kill_the_runtime(container, "run")
}

fn killed_init(container: &mut Container) -> Test {
    container.create()?.success()?;
    let pid = i32::try_from(container.pid()?)?;
    let pid = rustix::process::Pid::from_raw(pid).context("no pid")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    container.wait_for("stopped")?;
    container.verb("start")?.fails(1, &["cannot start a container that has stopped"])?;
    container.verb("delete")?.success()?;
    container.nothing_left()
}

fn killed_before_it_was_ready(container: &mut Container) -> Test {
    config::namespace(&mut container.config, "pid", None);
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", "kill -9 $PPID; sleep 1"] });
    container.set("/hooks", json!({ "createContainer": [hook] }));
    container.save()?;
    let output = container.create()?;
    container.refused(&output, &["init was killed by signal 9"])?;
    ensure!(!output.message().contains("memory"), "{}", output.message());
    Ok(())
}

/// The kernel has killed it for want of memory, and has counted that.
fn killed_for_want_of_memory(container: &mut Container) -> Test {
    super::cgroups::need("memory")?;
    container.set("/linux/resources/memory", json!({ "limit": 65536, "swap": 65536 }));
    container.create_refused(&["memory limit"])
}

/// Runs a program in the foreground, and does `work` while the runtime is stopped. How it ends then.
fn while_run_is_stopped(
    container: &mut Container,
    work: impl FnOnce(&Container) -> Test,
) -> anyhow::Result<std::process::Output> {
    use rustix::process::{Pid, Signal, kill_process};
    container.script("exec sleep 100");
    container.save()?;
    let mut command = container.command(&["run", "--bundle", &container.bundle(), &container.id]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn()?;
    let runtime = Pid::from_child(&child);
    let worked = container.wait_for_run().and_then(|()| {
        kill_process(runtime, Signal::STOP)?;
        work(container)
    });
    kill_process(runtime, if worked.is_ok() { Signal::CONT } else { Signal::KILL })?;
    let output = child.wait_with_output()?;
    worked.map(|()| output)
}

/// Its parent, the runtime in the foreground, cannot reap it.
fn a_zombie_has_stopped(container: &mut Container) -> Test {
    use rustix::process::{Pid, Signal, kill_process};
    let output = while_run_is_stopped(container, |container| {
        let init = Pid::from_raw(i32::try_from(container.pid()?)?).context("no pid")?;
        kill_process(init, Signal::KILL)?;
        container.wait_for("stopped")
    })?;
    same!(output.status.code(), Some(137));
    Ok(())
}

/// Engines do so when they lose patience: then there is nothing left to delete, and nothing wrong. The
/// runtime hears of the end when all is gone.
fn deleted_while_run_waits(container: &mut Container) -> Test {
    let output = while_run_is_stopped(container, |container| {
        container.runtime(&["delete", "--force", &container.id])?.success().map(drop)
    })?;
    same!(output.status.code(), Some(137));
    same!(String::from_utf8_lossy(&output.stderr), "");
    container.nothing_left()
}

/// A runtime that blocks signals too late loses the end of a short program, and hangs.
fn short_programs_do_not_hang(container: &mut Container) -> Test {
    for _ in 0..100 {
        same!(container.run()?.code, 0);
    }
    Ok(())
}

fn two_side_by_side(container: &mut Container) -> Test {
    container.start_idle()?;
    let other = format!("{}-2", container.id);
    let bundle = container.bundle();
    container.runtime(&["run", "--detach", "--bundle", &bundle, &other])?.success()?;
    let both = container.runtime(&["list", "-q"])?.success()?;
    let own = container.pids()?;
    let others = container.runtime(&["ps", "--format", "json", &other])?.json();
    container.runtime(&["delete", "--force", &other])?.success()?;
    same!(both.lines(), [container.id.as_str(), other.as_str()]);
    same!((own.len(), others?.as_array().map(Vec::len)), (1, Some(1)));
    same!(container.state()?["status"], "running");
    Ok(())
}

fn id_is_free_again(container: &mut Container) -> Test {
    for _ in 0..3 {
        container.create()?.success()?;
        container.verb("delete")?.success()?;
        same!(container.run()?.code, 0);
    }
    Ok(())
}

fn all_characters_of_ids(container: &mut Container) -> Test {
    container.save()?;
    let bundle = container.bundle();
    for id in ["aZ09_+.-", "0", "a..b", "_a", "+a", "x.y", &"n".repeat(100)] {
        let id = format!("{id}-{}", container.runtime.token);
        container.runtime(&["run", "--bundle", &bundle, &id])?.success()?;
    }
    Ok(())
}

fn a_damaged_state(container: &mut Container) -> Test {
    container.start_idle()?;
    let file = container.root().join(&container.id).join("state.json");
    let saved = fs::read(&file)?;
    fs::write(&file, &saved[..saved.len() / 2])?;
    same!(container.verb("state")?.code, 1);
    fs::write(&file, &saved)?;
    same!(container.state()?["status"], "running");
    Ok(())
}

fn junk(container: &mut Container, content: &[u8]) -> anyhow::Result<crate::command::Output> {
    let program = container.rootfs().join("bin/junk");
    fs::write(&program, content)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    container.set("/process/args", json!(["/bin/junk"]));
    container.run()
}

fn unexecutable_format(container: &mut Container) -> Test {
    let output = junk(container, &[0x7f, b'E', b'L', b'F', 9, 9, 9])?;
    container.refused(&output, &["exec format error"])
}

fn missing_interpreter(container: &mut Container) -> Test {
    let output = junk(container, b"#!/no/such/interpreter\n")?;
    container.refused(&output, &["no such file or directory"])
}

fn unknown_property_is_ignored(container: &mut Container) -> Test {
    container.set("/futureProperty", json!({ "a": 1 }));
    container.set("/linux/futureProperty", json!([1]));
    container.set("/process/futureProperty", json!("x"));
    container.run()?.success()?;
    Ok(())
}

/// What engines send: a newer minor version is never a reason to refuse.
fn versions_of_the_specification(container: &mut Container) -> Test {
    for version in ["1.0.0", "1.0.2-dev", "1.1.0+dev", "1.2.1", "1.3.0", "1.9.0", "1.0.0-rc5"] {
        container.set("/ociVersion", json!(version));
        container.run()?.success().with_context(|| version.to_owned())?;
    }
    Ok(())
}

fn rootfs_by_absolute_path(container: &mut Container) -> Test {
    container.set("/root/path", json!(container.rootfs()));
    container.run()?.success()?;
    Ok(())
}
