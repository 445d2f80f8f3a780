//! Hooks that fail, hang or are not there.

use std::fs;
use std::time::Instant;

use anyhow::ensure;
use serde_json::{Value, json};

use super::hooks::shell;
use super::{Test, cases, same};
use crate::container::Container;

cases!("hook_failures":
    timeout_kills, timeout_of_start_container, prestart_fails, create_runtime_fails,
    create_container_fails, start_container_fails, failure_stops_the_list, failing_poststart,
    failing_poststop_only_warns, failing_poststop_does_not_stop_the_list,
    poststop_after_failed_create, poststop_after_failed_start_container, missing_program,
    killed_hook, output_takes_no_memory, output_without_end, output_of_what_stays,
);

fn sleeping(path: &str) -> Value {
    json!([{ "path": path, "args": ["sleep", "15"], "timeout": 1 }])
}

fn timeout_kills(container: &mut Container) -> Test {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        container.set("/hooks", json!({ kind: sleeping("/bin/sleep") }));
        let before = Instant::now();
        container.create_refused(&["hook"])?;
        let seconds = before.elapsed().as_secs_f32();
        ensure!((1.0..8.0).contains(&seconds), "{kind} after {seconds} s");
    }
    Ok(())
}

fn timeout_of_start_container(container: &mut Container) -> Test {
    container.set("/hooks/startContainer", sleeping("/bin/sleep"));
    let before = Instant::now();
    let output = container.run()?;
    container.refused(&output, &["hook"])?;
    ensure!(before.elapsed().as_secs() < 8, "not killed");
    Ok(())
}

/// A create whose hook of this kind fails: the error says how, and nothing is left.
fn fails(container: &mut Container, kind: &str) -> Test {
    container.set("/hooks", json!({ kind: [shell("echo because >&2; exit 3")] }));
    container.create_refused(&["hook", "exit status 3", "because"])
}

fn prestart_fails(container: &mut Container) -> Test {
    fails(container, "prestart")
}

fn create_runtime_fails(container: &mut Container) -> Test {
    fails(container, "createRuntime")
}

fn create_container_fails(container: &mut Container) -> Test {
    fails(container, "createContainer")
}

fn start_container_fails(container: &mut Container) -> Test {
    container.set("/hooks", json!({ "startContainer": [shell("exit 3")] }));
    container.create()?.success()?;
    container.verb("start")?.fails(1, &["exit status 3"])?;
    container.nothing_left()
}

fn failure_stops_the_list(container: &mut Container) -> Test {
    let log = container.file("second");
    let hooks = json!([shell("exit 3"), shell(&format!("touch {log}"))]);
    container.set("/hooks/createRuntime", hooks);
    container.set("/hooks/createContainer", json!([shell(&format!("touch {log}"))]));
    container.create_refused(&["exit status 3"])?;
    ensure!(!fs::exists(&log)?, "a hook ran after one that failed");
    Ok(())
}

fn failing_poststart(container: &mut Container) -> Test {
    container.set("/hooks/poststart", json!([shell("exit 3")]));
    container.script("exec sleep 100");
    container.create()?.success()?;
    container.verb("start")?.fails(1, &["exit status 3"])?;
    container.nothing_left()
}

fn failing_poststop_only_warns(container: &mut Container) -> Test {
    container.set("/hooks/poststop", json!([shell("exit 3")]));
    container.start_idle()?;
    container.delete_force()
}

fn failing_poststop_does_not_stop_the_list(container: &mut Container) -> Test {
    let log = container.file("second");
    let hooks = json!([shell("exit 3"), shell(&format!("touch {log}"))]);
    container.set("/hooks/poststop", hooks);
    container.run()?.success()?;
    ensure!(fs::exists(&log)?, "the second hook did not run");
    Ok(())
}

/// runtime-spec, lifecycle: what fails while creating goes on with destroying, poststop included.
fn poststop_after_failed_create(container: &mut Container) -> Test {
    let log = container.file("stopped");
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let poststop = shell(&format!("echo {kind} >> {log}"));
        container.set("/hooks", json!({ kind: [shell("exit 3")], "poststop": [poststop] }));
        container.create_refused(&["exit status 3"])?;
    }
    let text = fs::read_to_string(&log).unwrap_or_default();
    same!(
        text.split_whitespace().collect::<Vec<_>>(),
        ["prestart", "createRuntime", "createContainer"]
    );
    Ok(())
}

fn poststop_after_failed_start_container(container: &mut Container) -> Test {
    let log = container.file("stopped");
    let poststop = shell(&format!("touch {log}"));
    container.set("/hooks", json!({ "startContainer": [shell("exit 3")], "poststop": [poststop] }));
    let output = container.run()?;
    container.refused(&output, &["exit status 3"])?;
    ensure!(fs::exists(&log)?, "poststop did not run");
    Ok(())
}

fn missing_program(container: &mut Container) -> Test {
    for kind in ["createRuntime", "createContainer"] {
        container.set("/hooks", json!({ kind: [{ "path": "/no/such/hook" }] }));
        container.create_refused(&["/no/such/hook", "no such file or directory"])?;
    }
    Ok(())
}

/// However much a hook prints, the runtime keeps the beginning only.
fn output_takes_no_memory(container: &mut Container) -> Test {
    let script = "echo because; head -c 20000000 /dev/zero; stat -Lc %s /proc/self/fd/1 >&2
        [ $(stat -Lc %s /proc/self/fd/1) = 0 ] && exit 3";
    for kind in ["createRuntime", "createContainer"] {
        container.set("/hooks", json!({ kind: [shell(script)] }));
        container.create_refused(&["exit status 3", "because"])?;
    }
    Ok(())
}

fn output_without_end(container: &mut Container) -> Test {
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", "exec yes"], "timeout": 1 });
    for kind in ["createRuntime", "createContainer"] {
        container.set("/hooks", json!({ kind: [hook] }));
        container.create_refused(&["timeout"])?;
    }
    Ok(())
}

/// What a hook leaves behind may keep its output open, and nobody waits for that.
fn output_of_what_stays(container: &mut Container) -> Test {
    container.set("/hooks/createRuntime", json!([shell("sleep 3 & exit 0")]));
    let before = Instant::now();
    container.run()?.success()?;
    ensure!(before.elapsed().as_secs() < 3, "waited for");
    std::thread::sleep(std::time::Duration::from_secs(3));
    Ok(())
}

fn killed_hook(container: &mut Container) -> Test {
    container.set("/hooks/createRuntime", json!([shell("kill -9 $$")]));
    container.create_refused(&["hook", "signal", "killed"])
}
