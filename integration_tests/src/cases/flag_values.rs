//! Every flag that takes a value, with wrong ones: an error that says which, and nothing is made or left.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{Test, cases, same};
use crate::container::Container;
use crate::skip::Skip;
use crate::view::{Layout, layout};

cases!("flag_values":
    of_create, of_run, of_exec, of_kill, of_update, of_the_others, of_all_commands, process_files, every_flag_is_tried,
);

/// A flag, values that are wrong for it, and a part of what the error says.
type Wrong = (&'static str, &'static [&'static str], &'static str);

const CREATE: &[Wrong] = &[
    ("--bundle", &["", "/no/such", "/bin/sh"], ""),
    ("--console-socket", &["", "/no/such"], "console"),
    ("--pidfd-socket", &["", "/no/such", "/bin/sh"], "pidfd"),
    ("--pid-file", &["", "/no/such/pid", "/tmp"], "pid"),
    ("--preserve-fds", &["", "x", "-1", "1", "4294967295", "4294967296"], "--preserve-fds"),
];

const EXEC: &[Wrong] = &[
    ("--console-socket", &["", "/no/such"], "console"),
    ("--pidfd-socket", &["", "/no/such", "/bin/sh"], "pidfd"),
    ("--cwd", &["", "relative", "/no/such", "/bin/sh"], "cwd"),
    ("--env", &["", "=value", "NAME"], "/env/"),
    (
        "--user",
        &["", "x", "1000x", "-1", "4294967295", "4294967296", "1:", ":1", "1:2:3"],
        "--user",
    ),
    ("--additional-gids", &["", "x", "-1", "4294967296"], "--additional-gids"),
    ("--additional-gids", &["4294967295"], "/user/additionalGids"),
    ("--process", &["", "/no/such", "/tmp", "/dev/null"], ""),
    ("--pid-file", &["", "/no/such/pid", "/tmp"], "pid"),
    ("--process-label", &["no-such"], "/selinuxLabel"),
    ("--apparmor", &["no-such"], "/apparmorProfile"),
    ("--no-new-privs", &["", "x", "2"], "--no-new-privs"),
    ("--preserve-fds", &["", "x", "-1", "1", "4294967295", "4294967296"], "--preserve-fds"),
    ("--cgroup", &["..", "../x", "/no/such", "a:b:c", "nosuch:/"], "cgroup"),
];

/// An unknown capability is warned about, as in the config.
const NONE_IS_WRONG: [&str; 1] = ["--cap"];

const KILL: &[Wrong] = &[("--timeout", &["", "x", "-1", "1.5"], "--timeout")];

const UPDATE: &[Wrong] = &[
    ("--resources", &["", "/no/such", "/tmp"], ""),
    ("--memory", &["", "x", "-2", "1x"], "--memory"),
    ("--memory-reservation", &["", "x", "-2"], "--memory-reservation"),
    ("--memory-swap", &["", "x", "-2"], "--memory-swap"),
    ("--cpu-period", &["", "x", "-1"], "--cpu-period"),
    ("--cpu-quota", &["", "x"], "--cpu-quota"),
    ("--cpu-burst", &["", "x", "-1"], "--cpu-burst"),
    ("--cpu-share", &["", "x", "-1"], "--cpu-share"),
    ("--cpu-rt-period", &["", "x", "-1"], "--cpu-rt-period"),
    ("--cpu-rt-runtime", &["", "x"], "--cpu-rt-runtime"),
    ("--cpuset-cpus", &["x", "-1", "3-1"], "cpus"),
    ("--cpuset-mems", &["x", "-1", "3-1"], "mems"),
    ("--cpu-idle", &["", "x"], "--cpu-idle"),
    ("--blkio-weight", &["", "x", "-1", "65536"], "--blkio-weight"),
    ("--blkio-weight", &["1"], "blockIO"),
    ("--pids-limit", &["", "x"], "--pids-limit"),
    ("--l3-cache-schema", &["x"], "/linux/intelRdt"),
    ("--mem-bw-schema", &["x"], "/linux/intelRdt"),
];

const LIST: &[Wrong] = &[("--format", &["", "xml"], "format")];
const PS: &[Wrong] = &[("--format", &["", "xml"], "format")];
const SPEC: &[Wrong] = &[("--bundle", &["", "/no/such", "/bin/sh"], "")];

/// Before the command.
const ALL: &[Wrong] = &[
    ("--root", &["", "/", "/bin/sh"], ""),
    ("--log", &["", "/no/such/log", "/tmp"], "--log"),
    ("--log-format", &["", "xml"], "--log-format"),
    ("--cgroup-manager", &["x"], "--cgroup-manager"),
    ("--rootless", &["x"], "--rootless"),
];

/// A level that is not known is as good as none, as in crun.
const NO_LEVEL_IS_WRONG: [&str; 1] = ["--log-level"];

/// Tries each value: `command` with the flag and what comes `after` it.
fn each(container: &Container, command: &[&str], flags: &[Wrong], after: &[&str]) -> Test {
    for (flag, values, word) in flags {
        for value in *values {
            let given = format!("{flag}={value}");
            let output = container.runtime(&[command, &[&given], after].concat())?;
            let code = output.code;
            ensure!(code == 1 || (code == 255 && command == ["exec"]), "{given:?}: code {code}");
            let message = output.message();
            let says = message.contains(word) || (value.is_empty() && message.contains(flag));
            ensure!(says && !message.contains("defect"), "{given:?}: {message}");
        }
    }
    Ok(())
}

fn of_create(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(false));
    container.save()?;
    let bundle = container.bundle();
    each(container, &["create"], &CREATE[..1], &[&container.id])?;
    each(container, &["create", "--bundle", &bundle], &CREATE[1..], &[&container.id])?;
    container.nothing_left()
}

fn of_run(container: &mut Container) -> Test {
    container.save()?;
    let bundle = container.bundle();
    each(container, &["run"], &CREATE[..1], &[&container.id])?;
    each(container, &["run", "--bundle", &bundle], &CREATE[1..], &[&container.id])?;
    each(container, &["run", "--detach", "--bundle", &bundle], &CREATE[1..], &[&container.id])?;
    container.nothing_left()
}

fn of_exec(container: &mut Container) -> Test {
    container.start_idle()?;
    each(container, &["exec"], EXEC, &[&container.id, "true"])?;
    same!(container.pids()?.len(), 1);
    container.exec(&["true"])?.success().map(drop)
}

fn of_kill(container: &mut Container) -> Test {
    container.start_idle()?;
    each(container, &["kill", "--wait"], KILL, &[&container.id, "TERM"])?;
    for signal in ["x", "-1", "65", "SIG", "RTMIN+31", "9x", " 9"] {
        container.runtime(&["kill", &container.id, signal])?.fails(1, &["unknown signal"])?;
    }
    same!(container.state()?["status"], "running");
    Ok(())
}

fn of_update(container: &mut Container) -> Test {
    let in_hierarchies: &[&str] = match layout()? {
        // What no hierarchy here has is another error.
        Layout::V2 => &["--cpu-rt-period", "--cpu-rt-runtime"],
        _ => &[],
    };
    container.start_idle()?;
    let is_tried = |(flag, ..): &&Wrong| !in_hierarchies.contains(flag);
    let flags: Vec<Wrong> = UPDATE.iter().filter(is_tried).copied().collect();
    each(container, &["update"], &flags, &[&container.id])?;
    same!(container.state()?["status"], "running");
    Ok(())
}

fn of_the_others(container: &mut Container) -> Test {
    container.start_idle()?;
    each(container, &["list"], LIST, &[])?;
    each(container, &["ps"], PS, &[&container.id])?;
    each(container, &["spec"], SPEC, &[])
}

/// These are read before there is a log.
fn of_all_commands(container: &mut Container) -> Test {
    container.save()?;
    for (flag, values, word) in ALL {
        for value in *values {
            let mut command = container.bare_command();
            command.arg(format!("{flag}={value}"));
            if *flag != "--root" {
                command.arg("--root").arg(container.root());
            }
            command.args(["create", "--bundle", &container.bundle(), &container.id]);
            let output = container.finish_command(command, std::process::Stdio::null())?;
            ensure!(output.code == 1, "{flag}={value}: exit code {}", output.code);
            ensure!(output.stderr.contains(word), "{flag}={value}: {}", output.stderr);
        }
    }
    container.nothing_left()
}

/// What `--process` names is a whole process, or an error that says what of it is wrong.
fn process_files(container: &mut Container) -> Test {
    container.start_idle()?;
    let file = container.file("process.json");
    for (text, words) in [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("{}x", "not JSON"),
        ("\0", "not JSON"),
        ("null", "object"),
        ("[1]", "object"),
        ("{}", "/cwd"),
        (r#"{"args": [], "cwd": "/"}"#, "/args"),
        (r#"{"args": "true", "cwd": "/"}"#, "/args"),
        (r#"{"args": ["true"], "cwd": 5}"#, "/cwd"),
        (r#"{"args": ["true"], "cwd": "relative"}"#, "/cwd"),
        (r#"{"args": ["true"], "cwd": "/", "user": {"uid": -1, "gid": 0}}"#, "/user/uid"),
        (r#"{"args": ["true"], "cwd": "/", "env": ["NAME"]}"#, "/env/0"),
        (
            r#"{"args": ["true"], "cwd": "/", "rlimits": [{"type": "RLIMIT_X", "soft": 1, "hard": 1}]}"#,
            "/rlimits/0",
        ),
    ] {
        fs::write(&file, text)?;
        let output = container.runtime(&["exec", "--process", &file, &container.id])?;
        output.fails(255, &[words]).with_context(|| format!("{text:?}"))?;
    }
    same!(container.pids()?.len(), 1);
    Ok(())
}

/// The flags of a command that take a value, as its help shows them.
fn flags_of(container: &Container, command: &[&str]) -> anyhow::Result<BTreeSet<String>> {
    let help = container.runtime(&[command, &["--help"]].concat())?.success()?.stdout;
    let words: Vec<&str> = help.split_whitespace().collect();
    let flags = words.windows(2).filter_map(|pair| {
        let is_value = pair[1].starts_with('<');
        // Of which the value is optional: --flag[=<VALUE>].
        let flag = pair[0].split_once("[=<").map(|(flag, _)| flag).or(is_value.then_some(pair[0]));
        flag.filter(|flag| flag.starts_with("--")).map(str::to_owned)
    });
    Ok(flags.collect())
}

/// A flag that comes finds its values here.
fn every_flag_is_tried(container: &mut Container) -> Test {
    if flags_of(container, &["exec"])?.is_empty() {
        return Err(Skip("the help of this runtime is of another form".to_owned()).into());
    }
    let commands: [(&[&str], &[Wrong], &[&str]); 9] = [
        (&[], ALL, &NO_LEVEL_IS_WRONG),
        (&["create"], CREATE, &[]),
        (&["run"], CREATE, &[]),
        (&["exec"], EXEC, &NONE_IS_WRONG),
        (&["kill"], KILL, &[]),
        (&["update"], UPDATE, &[]),
        (&["list"], LIST, &[]),
        (&["ps"], PS, &[]),
        (&["spec"], SPEC, &[]),
    ];
    for (command, tried, others) in commands {
        let known = tried.iter().map(|(flag, ..)| *flag).chain(others.iter().copied());
        let known: BTreeSet<String> = known.map(str::to_owned).collect();
        same!(flags_of(container, command)?, known);
    }
    for command in ["start", "state", "delete", "pause", "resume", "features"] {
        same!(flags_of(container, &[command])?, BTreeSet::new());
    }
    Ok(())
}
