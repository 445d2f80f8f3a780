//! `state.json`: what is left of a damaged one is enough to end the container, and two commands at once
//! lose nothing.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::{Test, cases, same};
use crate::command::wait_until;
use crate::container::Container;
use crate::skip::Skip;

cases!("state":
    cut_at_every_fiftieth_byte, without_a_field, of_a_newer_version, of_an_older_version,
    two_starts_at_once, pause_waits_for_start, delete_force_ends_a_start,
    delete_force_ends_a_create, a_container_that_is_made_cannot_be_started,
);

fn file(container: &Container) -> PathBuf {
    container.root().join(&container.id).join("state.json")
}

/// The state of a running container, as it is saved. Its form is aril's own.
fn saved(container: &Container) -> anyhow::Result<String> {
    let text = fs::read_to_string(file(container))?;
    let state: Value = serde_json::from_str(&text)?;
    if state.get("version") == Some(&json!(1)) {
        return Ok(text);
    }
    Err(Skip("this runtime's state.json has another form".to_owned()).into())
}

fn runs(pid: i64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

/// Starts a container, damages its state, and has it deleted by force: whatever is `named` must be
/// gone, and whatever is not must be said.
fn end_damaged(
    container: &mut Container,
    damage: impl Fn(&str) -> anyhow::Result<Damaged>,
) -> Test {
    container.start_idle()?;
    let pid = container.pid()?;
    let whole = saved(container)?;
    let Damaged { text, init, cgroup, hooks } = damage(&whole)?;
    fs::write(file(container), &text)?;
    container.verb("state")?.fails(1, &["state.json", "delete --force removes the container"])?;
    container.verb("delete")?.fails(1, &["state.json"])?;
    let output = container.runtime(&["delete", "--force", &container.id])?;
    let text = output.message();
    let lost = [(!init && !cgroup, "/init: "), (!cgroup, "/cgroup: "), (!hooks, "/hooks: ")];
    for (lost, pointer) in lost {
        ensure!(text.contains(pointer) == lost, "{pointer}: {text}");
    }
    same!(output.code, i32::from(!cgroup || !hooks));
    ensure!(!file(container).exists(), "the state is still there");
    same!(runs(pid), !init && !cgroup);
    if !cgroup {
        // What could not be named ends by the whole state.
        fs::create_dir(container.root().join(&container.id))?;
        fs::write(file(container), whole)?;
        container.delete_force()?;
    }
    container.nothing_left()
}

/// A state that is not whole, and what it still names.
struct Damaged {
    text: String,
    init: bool,
    cgroup: bool,
    hooks: bool,
}

fn cut_at_every_fiftieth_byte(container: &mut Container) -> Test {
    container.start_idle()?;
    let length = saved(container)?.len();
    container.delete_force()?;
    ensure!(length > 500, "{length} bytes are no state");
    for cut in (0..length).step_by(50) {
        let damage = |whole: &str| {
            let at = |name: &str| whole.find(name).with_context(|| format!("no {name}"));
            let (init, cgroup) = (cut >= at(r#","mark""#)?, cut >= at(r#","namespaces""#)?);
            let hooks = cut >= at(r#","process""#)?;
            Ok(Damaged { text: whole[..cut].to_owned(), init, cgroup, hooks })
        };
        end_damaged(container, damage).with_context(|| format!("cut at {cut}"))?;
    }
    Ok(())
}

/// The status and the end need three fields; what joins the container needs to know all of it.
fn without_a_field(container: &mut Container) -> Test {
    container.start_idle()?;
    let whole: Value = serde_json::from_str(&saved(container)?)?;
    container.delete_force()?;
    let names: Vec<String> =
        whole.as_object().into_iter().flatten().map(|one| one.0.clone()).collect();
    ensure!(names.len() > 10, "{names:?}");
    for name in &names {
        let without = |text: &str| {
            let mut state: Value = serde_json::from_str(text)?;
            state.as_object_mut().context("no object")?.remove(name);
            Ok::<_, anyhow::Error>(state.to_string())
        };
        if ["version", "id", "init", "cgroup"].contains(&name.as_str()) {
            let damage = |whole: &str| {
                let text = without(whole)?;
                Ok(Damaged { text, init: name != "init", cgroup: name != "cgroup", hooks: true })
            };
            end_damaged(container, damage).with_context(|| format!("without {name}"))?;
            continue;
        }
        container.start_idle()?;
        fs::write(file(container), without(&saved(container)?)?)?;
        same!(container.state()?["status"], "running");
        let joined = container.exec(&["true"])?;
        if ["namespaces", "confinement"].contains(&name.as_str()) {
            joined.fails(255, &[&format!("state.json: /{name} is missing")])?;
        } else {
            joined.success().with_context(|| format!("without {name}"))?;
        }
        let output = container.runtime(&["delete", "--force", &container.id])?;
        same!((name, output.code), (name, i32::from(name == "hooks")));
        container.nothing_left()?;
    }
    Ok(())
}

fn of_version(container: &mut Container, version: &str) -> Test {
    let damage = |whole: &str| {
        let text = whole.replacen(r#""version":1,"#, version, 1);
        Ok(Damaged { text, init: true, cgroup: true, hooks: true })
    };
    end_damaged(container, damage)
}

fn of_a_newer_version(container: &mut Container) -> Test {
    of_version(container, r#""version":2,"later":{"x":[1]},"#)
}

fn of_an_older_version(container: &mut Container) -> Test {
    of_version(container, "")
}

/// A hook that keeps `start` at work for `seconds`.
fn slow_start(container: &mut Container, seconds: &str) {
    let hook = json!({"path": "/bin/busybox", "args": ["sleep", seconds]});
    container.set("/hooks/startContainer", json!([hook]));
    container.script("sleep 100");
}

/// Starts, and waits until init runs its hook.
fn begin_start(container: &Container) -> anyhow::Result<std::process::Child> {
    let mut start = container.command(&["start", &container.id]);
    let child = start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    wait_until("the hook runs", || Ok(container.pids()?.len() > 1))?;
    Ok(child)
}

fn two_starts_at_once(container: &mut Container) -> Test {
    slow_start(container, "1");
    container.create()?.success()?;
    let mut first = begin_start(container)?;
    container.verb("start")?.fails(1, &["cannot start an already running container"])?;
    ensure!(first.wait()?.success(), "the first start failed");
    same!(container.state()?["status"], "running");
    Ok(())
}

fn pause_waits_for_start(container: &mut Container) -> Test {
    slow_start(container, "1");
    container.create()?.success()?;
    let mut start = begin_start(container)?;
    container.pause()?;
    // It has waited: else the hook would be frozen, and the start with it.
    wait_until("start ends", || Ok(start.try_wait()?.is_some()))?;
    ensure!(start.wait()?.success(), "start failed");
    same!(container.state()?["status"], "paused");
    container.verb("resume")?.success()?;
    Ok(())
}

fn delete_force_ends_a_start(container: &mut Container) -> Test {
    slow_start(container, "100");
    container.create()?.success()?;
    let mut start = begin_start(container)?;
    container.delete_force()?;
    // Whether it says so depends on what init was at when it was killed.
    start.wait()?;
    container.nothing_left()
}

/// A hook of the runtime's that takes `seconds`, and says that it runs.
fn begin_create(container: &mut Container, seconds: &str) -> anyhow::Result<std::process::Child> {
    let file = container.file("hook");
    let script = format!("echo runs > {file}; exec sleep {seconds}");
    let hook =
        json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]});
    container.set("/hooks/createRuntime", json!([hook]));
    container.script("sleep 100");
    container.save()?;
    let (bundle, id) = (container.bundle(), container.id.clone());
    let mut create = container.command(&["create", "--bundle", &bundle, &id]);
    let child = create.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    container.wait_for_file("hook")?;
    Ok(child)
}

fn delete_force_ends_a_create(container: &mut Container) -> Test {
    let mut create = begin_create(container, "2")?;
    container.delete_force()?;
    ensure!(!create.wait()?.success(), "a container that is deleted was created");
    container.nothing_left()
}

fn a_container_that_is_made_cannot_be_started(container: &mut Container) -> Test {
    let mut create = begin_create(container, "2")?;
    let started = container.verb("start")?;
    let there = create.try_wait()?.is_some();
    ensure!(create.wait()?.success(), "create failed");
    ensure!(!there, "start waited for create");
    started.fails(1, &["creating"])?;
    container.verb("start")?.success()?;
    Ok(())
}
