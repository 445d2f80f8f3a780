//! Signals sent again and again to a command that is at work, or to it and all that it has made: those that nobody ends of
//! change nothing, and those that end it leave a container that works, or one that `delete --force` takes away.

use std::fs;
use std::os::unix::net::UnixListener;

use anyhow::ensure;
use serde_json::json;

use super::{Test, cases, same};
use crate::command::wait_until;
use crate::config;
use crate::container::Container;
use crate::pty::Own;
use crate::storm::{Attack, ENDING, Way};
use crate::view::{Layout, layout};

cases!("signal_storm":
    create, create_in_a_user_namespace, create_with_a_terminal, create_with_hooks, start, run, detached_run,
    run_on_a_terminal, exec, detached_exec, exec_on_a_terminal, delete, delete_by_force,
    each_call_of_create, each_call_of_create_in_a_user_namespace, each_call_of_run, each_call_of_start, each_call_of_exec,
    each_call_of_delete, each_call_of_update,
);

/// Who has been asked to end says so, or was killed before there was anything to undo.
fn was_asked_to_end(code: i32, said: &str, failure: i32) -> Test {
    let is_known = code < 0 || (code == failure && is_interruption(said));
    ensure!(is_known, "an exit code or an error that is not of the signal");
    Ok(())
}

/// The command itself was interrupted; or what it had made was killed, which got the same signal.
fn is_interruption(said: &str) -> bool {
    ["interrupted by SIG", "killed by signal", "the process is gone"]
        .iter()
        .any(|word| said.contains(word))
}

/// A created container can be started, and its program comes to run; of another nothing is left.
fn is_whole_or_nothing(container: &Container, code: i32, said: &str) -> Test {
    if code != 0 {
        was_asked_to_end(code, said, 1)?;
        return container.nothing_left();
    }
    same!(container.state()?["status"], "created");
    container.verb("start")?.success()?;
    runs(container)
}

/// The program of the container runs.
fn runs(container: &Container) -> Test {
    let pid = container.pid()?;
    let program = || Ok(fs::read_to_string(format!("/proc/{pid}/cmdline"))?.starts_with("sleep"));
    wait_until("the program", program)?;
    container.exec(&["true"])?.success().map(drop)
}

fn attack_create(container: &mut Container, flags: &[&str], way: Way) -> Test {
    container.script("exec sleep 100");
    let bundle = container.bundle();
    container.save()?;
    let attack = Attack {
        arguments: [&["create", "--bundle", &bundle], flags, &[&container.id]].concat(),
        terminal: None,
        code: 0,
        before: &|| Ok(()),
        after: &|code, said| is_whole_or_nothing(container, code, said),
    };
    attack.by(way, container)
}

fn create(container: &mut Container) -> Test {
    attack_create(container, &[], Way::AllAlong)
}

fn each_call_of_create(container: &mut Container) -> Test {
    attack_create(container, &[], Way::AtItsCalls)
}

fn each_call_of_create_in_a_user_namespace(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    attack_create(container, &[], Way::AtAllCalls)
}

fn create_in_a_user_namespace(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    attack_create(container, &[], Way::AllAlong)
}

/// Nobody takes the terminal: it waits in the socket.
fn create_with_a_terminal(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    container.script("exec sleep 100");
    // A bundle's path may be too long for a socket's.
    let path = std::env::temp_dir().join(format!("storm-{}", std::process::id()));
    let listener = UnixListener::bind(&path)?;
    // Every command waits in its queue.
    rustix::net::listen(&listener, 1000)?;
    let attacked =
        attack_create(container, &["--console-socket", &path.display().to_string()], Way::AllAlong);
    fs::remove_file(&path)?;
    attacked
}

/// Each kind of hook that runs before the program: none outlives a command that is interrupted.
fn create_with_hooks(container: &mut Container) -> Test {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        container.set(&format!("/hooks/{kind}"), json!([super::hooks::shell("sleep 0.01")]));
    }
    attack_create(container, &[], Way::AllAlong)
}

/// A container that was not started can be, and in one that runs the program does.
fn attack_start(container: &mut Container, way: Way) -> Test {
    container.script("exec sleep 100");
    let attack = Attack {
        arguments: vec!["start", &container.id],
        terminal: None,
        code: 0,
        before: &|| container.create()?.success().map(drop),
        after: &|code, _| {
            ensure!(code <= 0, "an error of start");
            if container.state()?["status"] == "created" {
                ensure!(code < 0, "it is not started");
                container.verb("start")?.success()?;
            }
            runs(container)
        },
    };
    attack.by(way, container)
}

fn start(container: &mut Container) -> Test {
    attack_start(container, Way::AllAlong)
}

fn each_call_of_start(container: &mut Container) -> Test {
    attack_start(container, Way::AtItsCalls)
}

/// The program's exit code, or that of the signal, which is the program's too.
fn is_the_programs(code: i32, own: i32) -> bool {
    code == own || ENDING.iter().any(|signal| code == 128 + signal.as_raw())
}

/// A program that runs for a moment in the foreground.
const MOMENT: &str = "sleep 0.01; exit 7";

fn attack_run(container: &mut Container, terminal: Option<&Own>) -> Test {
    container.set("/process/terminal", json!(terminal.is_some()));
    container.script(MOMENT);
    container.save()?;
    let bundle = container.bundle();
    Attack {
        arguments: vec!["run", "--bundle", &bundle, &container.id],
        terminal,
        code: 7,
        before: &|| Ok(()),
        after: &|code, said| {
            if !is_the_programs(code, 7) {
                was_asked_to_end(code, said, 1)?;
            }
            container.nothing_left()
        },
    }
    .by(Way::AllAlong, container)
}

fn run(container: &mut Container) -> Test {
    attack_run(container, None)
}

fn run_on_a_terminal(container: &mut Container) -> Test {
    attack_run(container, Some(&Own::new(24, 80)?))
}

fn attack_detached_run(container: &mut Container, way: Way) -> Test {
    container.script("exec sleep 100");
    container.save()?;
    let bundle = container.bundle();
    let attack = Attack {
        arguments: vec!["run", "--detach", "--bundle", &bundle, &container.id],
        terminal: None,
        code: 0,
        before: &|| Ok(()),
        after: &|code, said| {
            if code == 0 {
                return runs(container);
            }
            was_asked_to_end(code, said, 1)?;
            container.nothing_left()
        },
    };
    attack.by(way, container)
}

fn detached_run(container: &mut Container) -> Test {
    attack_detached_run(container, Way::AllAlong)
}

fn each_call_of_run(container: &mut Container) -> Test {
    attack_detached_run(container, Way::AtItsCalls)
}

/// Whatever ends a process of exec, the container lives on without it.
fn attack_exec(
    container: &mut Container,
    flags: &[&str],
    program: &str,
    terminal: Option<&Own>,
    way: Way,
) -> Test {
    container.script("exec sleep 100");
    let detached = flags.contains(&"--detach");
    let own = if detached { 0 } else { 7 };
    let pid_file = container.file("pid");
    let more = ["--pid-file", &pid_file, &container.id, "sh", "-c", program];
    let attack = Attack {
        arguments: [&["exec"], flags, &more].concat(),
        terminal,
        code: own,
        before: &|| {
            let _ = fs::remove_file(&pid_file);
            container.create()?.success()?;
            container.verb("start")?.success()?;
            runs(container)
        },
        after: &|code, said| {
            let has_run = if detached { code == 0 } else { is_the_programs(code, own) };
            if !has_run {
                was_asked_to_end(code, said, 255)?;
                ensure!(!said.contains(": init was"), "init lives");
                ensure!(!fs::exists(&pid_file)?, "a pid file is left");
            }
            // A signal at all calls may be for the program itself, which it ends.
            let is_one_of_two = detached && has_run && matches!(way, Way::AtAllCalls);
            let expected = if detached && has_run { 2 } else { 1 };
            wait_until("the container's processes", || {
                let found = container.pids()?.len();
                Ok(found == expected || (is_one_of_two && found == 1))
            })?;
            runs(container)
        },
    };
    attack.by(way, container)
}

fn each_call_of_exec(container: &mut Container) -> Test {
    attack_exec(container, &["--detach"], "exec sleep 50", None, Way::AtAllCalls)
}

fn exec(container: &mut Container) -> Test {
    attack_exec(container, &[], MOMENT, None, Way::AllAlong)
}

fn detached_exec(container: &mut Container) -> Test {
    attack_exec(container, &["--detach"], "exec sleep 50", None, Way::AllAlong)
}

fn exec_on_a_terminal(container: &mut Container) -> Test {
    attack_exec(container, &["--tty"], MOMENT, Some(&Own::new(24, 80)?), Way::AllAlong)
}

/// Who was not told that it is deleted can delete it.
fn attack_delete(container: &mut Container, flags: &[&str], started: bool, way: Way) -> Test {
    container.script("exec sleep 100");
    let attack = Attack {
        arguments: [&["delete"], flags, &[&container.id]].concat(),
        terminal: None,
        code: 0,
        before: &|| {
            container.create()?.success()?;
            if started {
                container.verb("start")?.success()?;
            }
            Ok(())
        },
        after: &|code, _| {
            ensure!(code <= 0, "an error of delete");
            if code == 0 { container.nothing_left() } else { Ok(()) }
        },
    };
    attack.by(way, container)
}

fn delete(container: &mut Container) -> Test {
    attack_delete(container, &[], false, Way::AllAlong)
}

fn delete_by_force(container: &mut Container) -> Test {
    attack_delete(container, &["--force"], true, Way::AllAlong)
}

fn each_call_of_delete(container: &mut Container) -> Test {
    attack_delete(container, &["--force"], true, Way::AtItsCalls)
}

/// All limits are changed, or none.
fn each_call_of_update(container: &mut Container) -> Test {
    super::cgroups::need("pids")?;
    super::cgroups::need("cpu")?;
    container.script("exec sleep 100");
    container.set("/linux/resources/pids", json!({ "limit": 100 }));
    container.set("/linux/resources/cpu", json!({ "shares": 1024 }));
    let shares = match layout()? {
        Layout::V2 => "cpu.weight",
        _ => "cpu.shares",
    };
    let limits = || -> anyhow::Result<Vec<String>> {
        ["pids.max", shares].iter().map(|file| super::cgroups::read(container, &[file])).collect()
    };
    let before = || {
        container.create()?.success()?;
        container.verb("start")?.success().map(drop)
    };
    before()?;
    let old = limits()?;
    container.delete_force()?;
    Attack {
        arguments: vec!["update", "--pids-limit", "50", "--cpu-share", "512", &container.id],
        terminal: None,
        code: 0,
        before: &before,
        after: &|code, _| {
            ensure!(code <= 0, "an error of update");
            let new = limits()?;
            let changed = old.iter().zip(&new).filter(|(old, new)| old != new).count();
            ensure!(changed == old.len() || (code < 0 && changed == 0), "{old:?} became {new:?}");
            runs(container)
        },
    }
    .by(Way::AtItsCalls, container)
}
