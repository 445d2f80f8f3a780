//! The lifecycle (runtime-spec, runtime.md), and what is left when something dies.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{cases, same};
use crate::harness::Container;

type Test = anyhow::Result<()>;

cases!("lifecycle":
    create_start_delete, create_runs_nothing, start_twice, start_after_the_end, no_process,
    bundle_is_not_read_again, delete_running, delete_force_running, delete_created, kill_stopped,
    kill_all_of_a_shared_pid_namespace, exec_in_created, exec_in_paused, pause_freezes,
    paused_is_killed, pause_twice, killed_runtime, short_programs_do_not_hang, unexecutable_format,
    a_damaged_state,
);

fn create_start_delete(container: &mut Container) -> Test {
    container.script("echo x > /dev/shm/x; sleep 100");
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
    Ok(())
}

fn start_twice(container: &mut Container) -> Test {
    container.start_script("sleep 100")?;
    let output = container.verb("start")?;
    ensure!(
        output.code == 1 && output.stderr.contains("cannot start an already running container"),
        "{output:?}"
    );
    Ok(())
}

fn start_after_the_end(container: &mut Container) -> Test {
    container.start_script("true")?;
    container.wait_for("stopped")?;
    let output = container.verb("start")?;
    ensure!(
        output.code == 1 && output.stderr.contains("cannot start a container that has stopped"),
        "{output:?}"
    );
    Ok(())
}

fn no_process(container: &mut Container) -> Test {
    container.config.as_object_mut().context("no object")?.remove("process");
    container.create()?.success()?;
    let output = container.verb("start")?;
    ensure!(output.code == 1 && output.stderr.contains("process"), "{output:?}");
    same!(container.state()?["status"], "created");
    Ok(())
}

fn bundle_is_not_read_again(container: &mut Container) -> Test {
    container.start_script("sleep 100")?;
    fs::write(container.directory.join("config.json"), "broken")?;
    container.exec(&["true"])?.success()?;
    same!(container.state()?["status"], "running");
    container.runtime(&["delete", "--force", &container.id])?.success()?;
    container.nothing_left()
}

fn delete_running(container: &mut Container) -> Test {
    container.start_script("sleep 100")?;
    let output = container.verb("delete")?;
    ensure!(output.code == 1 && output.stderr.contains("is not stopped: running"), "{output:?}");
    Ok(())
}

fn delete_force_running(container: &mut Container) -> Test {
    container.start_script("sleep 100 & sleep 100 & sleep 100")?;
    container.runtime(&["delete", "--force", &container.id])?.success()?;
    container.nothing_left()
}

fn delete_created(container: &mut Container) -> Test {
    container.create()?.success()?;
    container.verb("delete")?.success()?;
    container.nothing_left()
}

fn kill_stopped(container: &mut Container) -> Test {
    container.start_script("true")?;
    container.wait_for("stopped")?;
    let output = container.verb("kill")?;
    ensure!(output.code == 1 && output.stderr.contains("container not running"), "{output:?}");
    Ok(())
}

fn kill_all_of_a_shared_pid_namespace(container: &mut Container) -> Test {
    container.namespace("pid", None);
    container.config["mounts"]
        .as_array_mut()
        .context("no list")?
        .retain(|mount| mount["destination"] != "/proc");
    container.set("/linux/maskedPaths", json!([]));
    container.set("/linux/readonlyPaths", json!([]));
    container.start_script("sleep 100 & sleep 100 & sleep 100")?;
    std::thread::sleep(Duration::from_millis(50));
    container.runtime(&["kill", "--all", &container.id, "KILL"])?.success()?;
    container.wait_for("stopped")?;
    let pids = container.runtime(&["ps", "--format", "json", &container.id])?.success()?.json()?;
    ensure!(pids.as_array().is_none_or(Vec::is_empty), "{pids}");
    Ok(())
}

fn exec_in_created(container: &mut Container) -> Test {
    container.create()?.success()?;
    same!(container.exec(&["echo", "hello"])?.success()?.stdout, "hello\n");
    same!(container.state()?["status"], "created");
    Ok(())
}

fn exec_in_paused(container: &mut Container) -> Test {
    container.start_script("sleep 100")?;
    container.verb("pause")?.success()?;
    let output = container.exec(&["true"])?;
    ensure!(
        output.code == 255
            && output
                .stderr
                .contains("cannot exec in a paused container (use --ignore-paused to override)"),
        "{output:?}"
    );
    container.verb("resume")?.success()?;
    container.exec(&["true"])?.success()?;
    Ok(())
}

fn pause_freezes(container: &mut Container) -> Test {
    container.set("/root/readonly", json!(false));
    container.start_script("while :; do echo x >> /log; done")?;
    std::thread::sleep(Duration::from_millis(100));
    container.verb("pause")?.success()?;
    same!(container.state()?["status"], "paused");
    let length = || fs::metadata(container.rootfs().join("log")).map(|file| file.len());
    let before = length()?;
    std::thread::sleep(Duration::from_millis(200));
    same!(length()?, before);
    container.verb("resume")?.success()?;
    same!(container.state()?["status"], "running");
    std::thread::sleep(Duration::from_millis(200));
    ensure!(length()? > before, "it does not go on");
    Ok(())
}

fn paused_is_killed(container: &mut Container) -> Test {
    container.start_script("sleep 100")?;
    container.verb("pause")?.success()?;
    container.runtime(&["kill", &container.id, "KILL"])?.success()?;
    container.wait_for("stopped")
}

fn pause_twice(container: &mut Container) -> Test {
    container.start_script("sleep 100")?;
    container.verb("pause")?.success()?;
    ensure!(container.verb("pause")?.code == 1, "paused twice");
    container.verb("resume")?.success()?;
    let output = container.verb("resume")?;
    ensure!(output.code == 1 && output.stderr.contains("container not paused"), "{output:?}");
    Ok(())
}

/// The runtime is killed at many points of its work; whatever it leaves, `delete --force` removes.
fn killed_runtime(container: &mut Container) -> Test {
    container.script("sleep 100");
    container.save()?;
    for delay in (0..4000).step_by(250) {
        let mut command =
            container.command(&["create", "--bundle", &container.bundle(), &container.id]);
        command
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let mut child = command.spawn()?;
        std::thread::sleep(Duration::from_micros(delay));
        let _ = child.kill();
        child.wait()?;
        // Init sees that the runtime is gone and ends by itself.
        std::thread::sleep(Duration::from_millis(20));
        container.runtime(&["delete", "--force", &container.id])?.success()?;
        container.nothing_left().with_context(|| format!("killed after {delay} us"))?;
    }
    Ok(())
}

fn short_programs_do_not_hang(container: &mut Container) -> Test {
    for _ in 0..100 {
        same!(container.run_script("true")?.code, 0);
    }
    Ok(())
}

fn unexecutable_format(container: &mut Container) -> Test {
    use std::os::unix::fs::PermissionsExt as _;
    let program = container.rootfs().join("bin/junk");
    fs::write(&program, [0x7f, b'E', b'L', b'F', 9, 9, 9])?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    container.set("/process/args", json!(["/bin/junk"]));
    container.save()?;
    let output = container.runtime(&["run", "--bundle", &container.bundle(), &container.id])?;
    container.refused(&output, &["exec format error"])
}

fn a_damaged_state(container: &mut Container) -> Test {
    container.start_script("sleep 100")?;
    let pid = container.pid()?;
    let file = container.root().join(&container.id).join("state.json");
    let saved = fs::read(&file)?;
    fs::write(&file, &saved[..saved.len() / 2])?;
    ensure!(container.verb("state")?.code == 1, "a damaged state is shown");
    fs::write(&file, &saved)?;
    same!(container.pid()?, pid);
    Ok(())
}
