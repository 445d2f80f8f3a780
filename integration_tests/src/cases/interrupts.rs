//! A signal to a command that is at work, as of an engine that has lost patience: what the command has
//! made goes, and it says why.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::ensure;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::hooks::shell;
use super::{Test, cases, same};
use crate::command::{Output, called_by, wait, wait_until};
use crate::container::Container;

cases!("interrupts":
    create_in_a_hook, run_in_a_hook, run_in_a_hook_of_the_container, exec_in_a_frozen_container,
    detached_exec_in_a_frozen_container, what_the_caller_ignores,
);

/// Starts a command, sends it `signal` when it is `at_work`, and waits for its end.
fn interrupted(
    container: &Container,
    mut command: Command,
    signal: Signal,
    at_work: impl Fn(&Child) -> anyhow::Result<bool>,
) -> anyhow::Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.process_group(0).spawn()?;
    let sent = wait_until("the command is at work", || at_work(&child))
        .and_then(|()| Ok(kill_process(Pid::from_child(&child), signal)?));
    let code = wait(&mut child)?;
    sent?;
    let log = fs::read_to_string(container.file("log.json")).unwrap_or_default();
    Ok(Output { code, stdout: String::new(), stderr: String::new(), log })
}

/// Interrupts `verb` in a hook of this kind, whose script can write to `place`.
fn in_a_hook(container: &mut Container, verb: &str, kind: &str, place: &str) -> Test {
    let hook = shell(&format!("echo x >{place}/at-work; exec sleep 100"));
    container.set("/root/readonly", json!(false));
    container.set(&format!("/hooks/{kind}"), json!([hook]));
    container.save()?;
    let command = container.command(&[verb, "--bundle", &container.bundle(), &container.id]);
    let file = container.rootfs().join("at-work");
    let output = interrupted(container, command, Signal::TERM, |_| Ok(fs::exists(&file)?))?;
    output.fails(1, &["interrupted by SIGTERM"])?;
    container.nothing_left()
}

fn create_in_a_hook(container: &mut Container) -> Test {
    let place = container.rootfs().display().to_string();
    in_a_hook(container, "create", "createRuntime", &place)
}

fn run_in_a_hook(container: &mut Container) -> Test {
    let place = container.rootfs().display().to_string();
    in_a_hook(container, "run", "createContainer", &place)
}

fn run_in_a_hook_of_the_container(container: &mut Container) -> Test {
    in_a_hook(container, "run", "startContainer", "")
}

/// Nobody in the container answers.
fn exec_in_frozen(container: &mut Container, flags: &[&str]) -> Test {
    container.start_idle()?;
    container.pause()?;
    let arguments = [&["exec", "--ignore-paused"], flags, &[&container.id, "true"]].concat();
    let command = container.command(&arguments);
    let output = interrupted(container, command, Signal::TERM, |child| {
        let pid = child.id();
        Ok(!fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?.is_empty())
    });
    container.verb("resume")?.success()?;
    output?.fails(255, &["exec failed", "interrupted by SIGTERM"])?;
    wait_until("the container is alone", || Ok(container.pids()?.len() == 1))
}

fn exec_in_a_frozen_container(container: &mut Container) -> Test {
    exec_in_frozen(container, &[])
}

fn detached_exec_in_a_frozen_container(container: &mut Container) -> Test {
    exec_in_frozen(container, &["--detach"])
}

/// As nohup(1) has it.
fn what_the_caller_ignores(container: &mut Container) -> Test {
    let file = container.directory.join("at-work");
    let hook = shell(&format!("echo x >{}; sleep 0.3", file.display()));
    container.set("/hooks/createRuntime", json!([hook]));
    container.save()?;
    let create = container.command(&["create", "--bundle", &container.bundle(), &container.id]);
    let mut caller = Command::new("sh");
    caller.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]);
    let caller = called_by(caller, &create);
    let output = interrupted(container, caller, Signal::HUP, |_| Ok(fs::exists(&file)?))?;
    ensure!(output.code == 0, "exit code {}: {}", output.code, output.message());
    same!(container.state()?["status"], "created");
    Ok(())
}
