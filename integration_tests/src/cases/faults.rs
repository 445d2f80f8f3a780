//! Calls that fail: strace(1) has one system call of a command fail, wherever it is made. Whatever the command says to
//! that, nothing of a container stays that nobody knows of.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{Test, cases};
use crate::command::{Output, called_by};
use crate::config;
use crate::container::Container;
use crate::leftovers::{cgroups, remove_cgroup};
use crate::skip::Skip;
use crate::view::{Layout, layout};

cases!("faults":
    create, create_in_a_user_namespace, run, start, exec, delete, delete_by_force, update,
);

/// What is made by these is what has to be undone: each call of them fails in turn. Of others the first and the last
/// do, and in a view of one version none, since there only the cgroups are others.
const MAKING: [&str; 9] =
    ["bind", "clone3", "mkdir", "mkdirat", "renameat", "rename", "setxattr", "socketpair", "write"];
/// Memory, the process's own start and end, what fails without consequence, and the work of the program.
const PASSED_OVER: [&str; 13] = [
    "brk",
    "mmap",
    "mprotect",
    "munmap",
    "madvise",
    "arch_prctl",
    "execve",
    "execveat",
    "exit",
    "exit_group",
    "close",
    "rt_sigreturn",
    "clock_nanosleep",
];
/// What never fails, by its manual page.
const NEVER_FAIL: [&str; 8] =
    ["geteuid", "getegid", "getuid", "getgid", "getpid", "getppid", "gettid", "umask"];
/// No command has less: fewer would mean that they are not seen.
const FEWEST_CALLS: usize = 50;

/// The command under strace with `flags`. The tracer stays beside it, since it traces until init ends.
pub(super) fn traced(
    container: &Container,
    flags: &[&str],
    args: &[&str],
) -> anyhow::Result<Output> {
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-qq"]).args(flags);
    container.finish_command(called_by(strace, &container.command(args)), Stdio::null())
}

/// Skips the test without strace.
pub(crate) fn need_strace() -> Test {
    match Command::new("strace").arg("-V").stdout(Stdio::null()).status() {
        Ok(_) => Ok(()),
        Err(_) => Err(Skip("strace is not installed".to_owned()).into()),
    }
}

/// The calls of a command that are made to fail: a name, and which one of that name.
pub(crate) fn calls(container: &Container, args: &[&str]) -> anyhow::Result<Vec<(String, usize)>> {
    need_strace()?;
    let trace = container.file("trace");
    traced(container, &["-o", &trace], args)?.success()?;
    let text = fs::read_to_string(&trace)?;
    if text.contains("|CLONE_THREAD") {
        let why =
            "this runtime has threads: what is its first or its last call is another each time";
        return Err(Skip(why.to_owned()).into());
    }
    let mut counts: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for line in text.lines() {
        let (process, call) =
            line.split_once(char::is_whitespace).context("a line without a process")?;
        let Some((name, _)) = call.trim().split_once('(') else { continue };
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let is_tried = !PASSED_OVER.contains(&name) && !NEVER_FAIL.contains(&name);
        if name.chars().all(is_name) && is_tried {
            *counts.entry(name).or_default().entry(process).or_default() += 1;
        }
    }
    let total: usize = counts.values().flat_map(BTreeMap::values).sum();
    ensure!(total > FEWEST_CALLS, "strace saw no more than {total} calls");
    let with_others = layout()? == Layout::Hybrid;
    let chosen = counts.into_iter().flat_map(|(name, processes)| {
        // strace counts for each process by itself.
        let last = processes.into_values().max().unwrap_or(0);
        let all = MAKING.contains(&name);
        let is_chosen = move |n: &usize| all || with_others && (*n == 1 || *n == last);
        (1..=last).filter(is_chosen).map(move |n| (name.to_owned(), n))
    });
    Ok(chosen.collect())
}

/// Has each call of `args` fail in turn, after `before` and followed by `after`.
fn each_fails(
    container: &Container,
    args: &[&str],
    before: impl Fn(&Container) -> Test,
    after: impl Fn(&Container, &Output) -> Test,
) -> Test {
    before(container)?;
    let calls = calls(container, args);
    container.delete_force()?;
    let calls = calls?;
    for (name, n) in calls {
        before(container)?;
        let (trace, inject) =
            (container.file("trace"), format!("inject={name}:error=EIO:when={n}"));
        let output = traced(container, &["-o", &trace, "-e", &inject], args)?;
        let failed = fs::read_to_string(&trace)?.matches("(INJECTED)").count();
        // Of two that fail, one may be the undoing of the other: that can be deleted.
        if failed == 1 {
            after(container, &output)
                .with_context(|| format!("{name} {n}: {}", output.message()))?;
        }
        container.delete_force().with_context(|| format!("delete --force after {name} {n}"))?;
    }
    Ok(())
}

/// A failure leaves nothing, not even above the container's cgroup; and a success leaves a container.
fn is_whole_or_nothing(container: &Container, output: &Output) -> Test {
    if output.code == 0 {
        return container.verb("state")?.success().map(|_| ());
    }
    container.nothing_left()?;
    let above = cgroups(&above(container));
    ensure!(above.is_empty(), "a cgroup is left: {above:?}");
    ensure!(!fs::exists(container.file("pid"))?, "a pid file is left");
    Ok(())
}

/// The name of a cgroup above the container's that is made for it.
fn above(container: &Container) -> String {
    format!("{}-above", container.id)
}

fn made(container: &mut Container, verb: &str) -> Test {
    let above = above(container);
    container.set("/linux/cgroupsPath", json!(format!("/{above}/{}", container.id)));
    if super::cgroups::need("pids").is_ok() {
        container.set("/linux/resources/pids", json!({ "limit": 100 }));
    }
    container.script("sleep 100");
    container.save()?;
    let (bundle, pid_file) = (container.bundle(), container.file("pid"));
    let args = [&[verb, "--bundle", &bundle, "--pid-file", &pid_file][..], &[&container.id]];
    let args = match verb {
        "run" => [args[0], &["--detach"], args[1]].concat(),
        _ => args.concat(),
    };
    let before = |container: &Container| {
        cgroups(&above).iter().for_each(|path| remove_cgroup(path));
        let _ = fs::remove_file(container.file("pid"));
        Ok(())
    };
    let outcome = each_fails(container, &args, before, is_whole_or_nothing);
    cgroups(&above).iter().for_each(|path| remove_cgroup(path));
    outcome
}

fn create(container: &mut Container) -> Test {
    made(container, "create")
}

fn create_in_a_user_namespace(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    made(container, "create")
}

fn run(container: &mut Container) -> Test {
    made(container, "run")
}

/// Creates a container, and with `start` starts it.
fn there_is_one(container: &Container, start: bool) -> Test {
    container.create()?.success()?;
    if start {
        container.verb("start")?.success()?;
    }
    Ok(())
}

fn start(container: &mut Container) -> Test {
    container.script("sleep 100");
    let args = ["start", &container.id.clone()];
    each_fails(
        container,
        &args,
        |container| there_is_one(container, false),
        |container, _| {
            let status = container.state()?["status"].clone();
            ensure!(status == "running" || status == "created" || status == "stopped", "{status}");
            Ok(())
        },
    )
}

fn exec(container: &mut Container) -> Test {
    container.script("sleep 100");
    let pid_file = container.file("pid");
    let args = ["exec", "--detach", "--pid-file", &pid_file, &container.id.clone(), "sleep", "50"];
    let before = |container: &Container| {
        let _ = fs::remove_file(container.file("pid"));
        there_is_one(container, true)
    };
    each_fails(container, &args, before, |container, output| {
        let pids = container.pids()?;
        let expected = if output.code == 0 { 2 } else { 1 };
        ensure!(pids.len() == expected, "exit code {}, processes {pids:?}", output.code);
        let pid_file = fs::exists(container.file("pid"))?;
        ensure!(pid_file == (output.code == 0), "exit code {}, pid file {pid_file}", output.code);
        Ok(())
    })
}

/// Whoever is told that a container is deleted finds nothing of it; whoever is not can try again.
fn is_deleted_or_known(container: &Container, output: &Output) -> Test {
    if output.code == 0 {
        return container.nothing_left();
    }
    Ok(())
}

fn delete(container: &mut Container) -> Test {
    container.script("sleep 100");
    let args = ["delete", &container.id.clone()];
    each_fails(container, &args, |container| there_is_one(container, false), is_deleted_or_known)
}

/// What cannot be read is not damaged.
fn delete_by_force(container: &mut Container) -> Test {
    container.script("sleep 100");
    let args = ["delete", "--force", &container.id.clone()];
    each_fails(container, &args, |container| there_is_one(container, true), is_deleted_or_known)
}

/// All limits or none.
fn update(container: &mut Container) -> Test {
    super::cgroups::need("pids")?;
    container.script("sleep 100");
    container.set("/linux/resources/pids", json!({ "limit": 100 }));
    let args = ["update", "--pids-limit", "50", &container.id.clone()];
    each_fails(
        container,
        &args,
        |container| there_is_one(container, true),
        |container, output| {
            let limit = super::cgroups::read(container, &["pids.max"])?;
            let expected = if output.code == 0 { "50" } else { "100" };
            ensure!(limit == expected, "exit code {}, pids.max {limit}", output.code);
            Ok(())
        },
    )
}
