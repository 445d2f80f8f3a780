//! The keys of whoever calls the runtime (keyrings(7)).

use std::process::{Command, Stdio};

use anyhow::ensure;
use serde_json::json;

use super::{Test, cases};
use crate::command::{Output, called_by};
use crate::config;
use crate::container::Container;

cases!("keyrings":
    run, exec, in_a_user_namespace, callers_is_kept_on_request, callers_is_kept_by_exec_on_request,
    name_taken_beforehand,
);

/// Adds a key to the session that only its possessor sees, and executes the arguments after its
/// name.
const WITH_KEY: &str = r#"
    key=$(keyctl add user "$1" secret @s) && keyctl setperm "$key" 0x3f000000 || exit
    shift
    exec "$@""#;

pub(super) fn key(container: &Container) -> String {
    format!("key-of-{}", container.id)
}

/// Runs `command` in a session, a new one or that of the name, which has the key.
pub(super) fn in_session(
    container: &Container,
    session: &str,
    command: &Command,
) -> anyhow::Result<Output> {
    let mut keyctl = Command::new("keyctl");
    keyctl.args(["session", session, "sh", "-c", WITH_KEY, "sh", &key(container)]);
    container.finish_command(called_by(keyctl, command), Stdio::null())?.success()
}

/// The keys that a program possesses are listed, and the caller's is, if it should be, among them.
fn listed(container: &Container, output: &Output, expected: bool) -> Test {
    ensure!(output.stdout.contains("keyring"), "no keys are listed: {output:?}");
    let found = output.stdout.contains(&key(container));
    ensure!(found == expected, "the caller's key is listed: {found}: {}", output.stdout);
    Ok(())
}

/// A container that lists keys, with the flags of `run`.
fn listing(container: &mut Container, flags: &[&str]) -> anyhow::Result<Command> {
    container.set("/linux/maskedPaths", json!([]));
    container.script("cat /proc/keys");
    container.save()?;
    let bundle = container.bundle();
    Ok(container.command(&[&["run", "--bundle", &bundle], flags, &[&container.id]].concat()))
}

fn run(container: &mut Container) -> Test {
    let run = listing(container, &[])?;
    listed(container, &in_session(container, "-", &run)?, false)
}

fn in_a_user_namespace(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    run(container)
}

fn exec(container: &mut Container) -> Test {
    container.set("/linux/maskedPaths", json!([]));
    container.start_idle()?;
    let exec = container.command(&["exec", &container.id, "cat", "/proc/keys"]);
    listed(container, &in_session(container, "-", &exec)?, false)
}

/// This shows, too, that the others would see the key.
fn callers_is_kept_on_request(container: &mut Container) -> Test {
    let run = listing(container, &["--no-new-keyring"])?;
    listed(container, &in_session(container, "-", &run)?, true)
}

fn callers_is_kept_by_exec_on_request(container: &mut Container) -> Test {
    container.set("/linux/maskedPaths", json!([]));
    container.script("exec sleep 100");
    container.create_with(&["--no-new-keyring"])?.success()?;
    container.verb("start")?.success()?;
    let exec = container.command(&["exec", &container.id, "cat", "/proc/keys"]);
    listed(container, &in_session(container, "-", &exec)?, true)
}

/// A keyring that another user of the machine, or another container, has given the name that runc
/// and crun give to that of a container, for all to join.
fn name_taken_beforehand(container: &mut Container) -> Test {
    let run = listing(container, &[])?;
    let mut shell = Command::new("sh");
    shell.args(["-c", "keyctl setperm @s 0x3f3f3f3f && exec \"$@\"", "sh"]);
    let run = called_by(shell, &run);
    listed(container, &in_session(container, &format!("_ses.{}", container.id), &run)?, false)
}
