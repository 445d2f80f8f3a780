//! What is inherited from whoever calls the runtime: what it cannot do fails, nothing stays, and the rest is not about
//! the container.

use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{Test, cases, same};
use crate::command::{Output, called_by};
use crate::container::Container;

cases!("callers_limits": file_size, open_files, stack, children_are_ignored, cpus);

/// Creates a container with a limit of the shell's (`ulimit`).
fn create_with_limit(container: &Container, limit: &str) -> anyhow::Result<Output> {
    container.save()?;
    with_limit(container, limit, &["create", "--bundle", &container.bundle(), &container.id])
}

/// Any command with one.
fn with_limit(container: &Container, limit: &str, arguments: &[&str]) -> anyhow::Result<Output> {
    let mut shell = Command::new("sh");
    let script = format!("ulimit {limit}; exec env --default-signal=XFSZ \"$@\"");
    shell.args(["-c", &script, "sh"]);
    container.finish_command(called_by(shell, &container.command(arguments)), Stdio::null())
}

/// It is made, or fails with a message, whatever the limit is.
fn is_made_or_fails(container: &mut Container, letter: char, limits: &[u32]) -> Test {
    for limit in limits {
        let output = create_with_limit(container, &format!("-{letter} {limit}"))?;
        let ended = output.code == 0 || (output.code == 1 && !output.message().is_empty());
        ensure!(ended, "{limit}: exit code {}: {}", output.code, output.message());
        if output.code == 0 {
            container.delete_force()?;
        }
        container.nothing_left().with_context(|| format!("{limit}: {}", output.message()))?;
    }
    Ok(())
}

/// As many supervisors do it: ended children are not to be waited for (waitpid(2)).
fn children_are_ignored(container: &mut Container) -> Test {
    let ignoring = |container: &Container, arguments: &[&str]| {
        let mut shell = Command::new("env");
        shell.arg("--ignore-signal=CHLD");
        container.finish_command(called_by(shell, &container.command(arguments)), Stdio::null())
    };
    container.set("/hooks/createRuntime", json!([{ "path": "/bin/true" }]));
    container.script("exit 42");
    container.save()?;
    let bundle = container.bundle();
    same!(ignoring(container, &["run", "--bundle", &bundle, &container.id])?.code, 42);
    container.start_idle()?;
    same!(ignoring(container, &["exec", &container.id, "sh", "-c", "exit 43"])?.code, 43);
    Ok(())
}

/// SIGXFSZ would end it in the middle of a file (setrlimit(2)).
fn file_size(container: &mut Container) -> Test {
    // What it says goes to a file, too.
    let output = create_with_limit(container, "-f 0")?;
    ensure!(output.code == 1, "exit code {}: {}", output.code, output.message());
    container.nothing_left()?;
    is_made_or_fails(container, 'f', &[1, 2, 4, 8, 16])?;
    let directory = container.victim.display().to_string();
    for arguments in [&["spec", "--bundle", &directory][..], &["state", "nobody"]] {
        let output = with_limit(container, "-f 0", arguments)?;
        ensure!(output.code == 1, "{arguments:?}: exit code {}", output.code);
    }
    Ok(())
}

fn open_files(container: &mut Container) -> Test {
    is_made_or_fails(container, 'n', &[8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48])
}

/// A stack that is too small ends a program at any moment.
fn stack(container: &mut Container) -> Test {
    is_made_or_fails(container, 's', &[32, 64, 96, 128, 256, 512, 1023])?;
    // The deepest that is read.
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!({ "deep": [deep] });
    }
    container.set("/linux/deep", deep);
    is_made_or_fails(container, 's', &[512, 1024])
}

/// taskset(1) around the runtime is not about the container.
fn cpus(container: &mut Container) -> Test {
    const OWN: &str = "grep Cpus_allowed_list /proc/self/status | cut -f 2";
    let all = container.run_script(OWN)?.success()?.stdout;
    let bundle = container.bundle();
    let on_the_first = |arguments: &[&str]| {
        let mut taskset = Command::new("taskset");
        taskset.args(["-c", "0"]);
        container.finish_command(called_by(taskset, &container.command(arguments)), Stdio::null())
    };
    same!(on_the_first(&["run", "--bundle", &bundle, &container.id])?.success()?.stdout, all);
    let mut container = Container::new(&container.runtime, &format!("{}-2", container.id))?;
    container.start_idle()?;
    let mut taskset = Command::new("taskset");
    taskset.args(["-c", "0"]);
    let exec = container.command(&["exec", &container.id, "sh", "-c", OWN]);
    let output = container.finish_command(called_by(taskset, &exec), Stdio::null());
    container.finish()?;
    same!(output?.success()?.stdout, all);
    Ok(())
}
