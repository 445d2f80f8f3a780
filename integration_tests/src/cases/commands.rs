//! The commands, their flags, and what they print.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::{Test, cases, same};
use crate::command::wait_until;
use crate::config;
use crate::container::Container;
use crate::skip::Skip;
use crate::view::{Layout, layout};

cases!("commands":
    version, help, help_of_each_command, usage_errors, features, feature_versions_are_accepted, spec,
    spec_runs, spec_is_not_overwritten, spec_rootless, state, state_owner, state_version, list,
    list_of_none, list_after_the_end, ps_json, ps_table, ps_options, run_detached,
    run_prints_nothing_of_its_own, run_keep, run_passes_standard_input, run_forwards_signals,
    kill_by_name_and_number, kill_is_term, unknown_signal, unknown_id, delete_force_unknown,
    values_after_equals_signs, single_dash, bundle_is_the_working_directory, relative_bundle,
    root_slash_is_refused, systemd_cgroup, old_flags,
);

fn version(container: &mut Container) -> Test {
    let output = container.runtime(&["--version"])?.success()?;
    ensure!(output.lines()[0].contains(" version "), "{output:?}");
    ensure!(output.lines().iter().any(|line| line.starts_with("spec: 1.")), "{output:?}");
    ensure!(output.stdout.contains("commit: "), "{output:?}");
    same!(container.runtime(&["-v"])?.success()?.stdout, output.stdout);
    Ok(())
}

const COMMANDS: [(&str, &[&str]); 13] = [
    ("create", &["--bundle", "--console-socket", "--pid-file", "--no-pivot", "--preserve-fds"]),
    ("start", &[]),
    ("state", &[]),
    ("kill", &[]),
    ("delete", &["--force"]),
    ("run", &["--bundle", "--console-socket", "--pid-file", "--no-pivot", "--detach", "--keep"]),
    (
        "exec",
        &["--cwd", "--env", "--tty", "--user", "--process", "--detach", "--pid-file", "--cap"],
    ),
    ("list", &["--format", "--quiet"]),
    ("ps", &["--format"]),
    ("pause", &[]),
    ("resume", &[]),
    ("spec", &["--bundle", "--rootless"]),
    ("features", &[]),
];

fn help(container: &mut Container) -> Test {
    for arguments in [&["--help"][..], &["-h"], &[]] {
        let output = container.runtime(arguments)?.success()?;
        for (command, _) in COMMANDS {
            ensure!(output.stdout.contains(command), "{arguments:?}: does not show {command}");
        }
        for global in ["--root", "--log", "--log-format", "--debug", "--systemd-cgroup"] {
            ensure!(output.stdout.contains(global), "{arguments:?}: does not show {global}");
        }
    }
    Ok(())
}

fn help_of_each_command(container: &mut Container) -> Test {
    for (command, flags) in COMMANDS {
        let output = container.runtime(&[command, "--help"])?.success()?;
        for flag in flags {
            ensure!(output.stdout.contains(flag), "{command} --help does not show {flag}");
        }
    }
    Ok(())
}

fn usage_errors(container: &mut Container) -> Test {
    container.save()?;
    let wrong: [&[&str]; 14] = [
        &["create"],
        &["create", "a", "b"],
        &["create", "--no-such-flag", "a"],
        &["create", "--preserve-fds", "x", "a"],
        &["start"],
        &["state"],
        &["state", "a", "b"],
        &["kill"],
        &["delete"],
        &["exec"],
        &["exec", "a"],
        &["ps"],
        &["pause"],
        &["--no-such-flag", "list"],
    ];
    for arguments in wrong {
        let output = container.runtime(arguments)?;
        ensure!(output.code != 0, "{arguments:?} is accepted");
        container.nothing_left()?;
    }
    Ok(())
}

fn has(document: &Value, pointer: &str, word: &str) -> bool {
    let list = document.pointer(pointer).and_then(Value::as_array);
    list.is_some_and(|list| list.iter().any(|one| one == word))
}

fn features(container: &mut Container) -> Test {
    let output = container.runtime(&["features"])?.success()?;
    same!(output.stderr, "");
    let document = output.json()?;
    for (pointer, words) in [
        ("/hooks", &["prestart", "createRuntime", "createContainer", "poststop"][..]),
        ("/mountOptions", &["rro", "bind", "rshared", "nosuid"]),
        ("/linux/namespaces", &["pid", "network", "mount", "ipc", "uts", "user", "cgroup"]),
        ("/linux/capabilities", &["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"]),
        ("/linux/seccomp/actions", &["SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"]),
    ] {
        for word in words {
            ensure!(has(&document, pointer, word), "{pointer} has no {word}: {document}");
        }
    }
    same!(document["linux"]["cgroup"]["v1"], true);
    same!(document["linux"]["cgroup"]["v2"], true);
    Ok(())
}

fn feature_versions_are_accepted(container: &mut Container) -> Test {
    let document = container.runtime(&["features"])?.success()?.json()?;
    for name in ["ociVersionMin", "ociVersionMax"] {
        container.set("/ociVersion", document[name].clone());
        container.run()?.success()?;
    }
    Ok(())
}

fn spec_at(container: &Container, flags: &[&str]) -> anyhow::Result<Value> {
    let output =
        container.runtime(&[&["spec", "--bundle", &container.bundle()], flags].concat())?;
    same!(output.success()?.stdout, "");
    Ok(serde_json::from_str(&fs::read_to_string(container.directory.join("config.json"))?)?)
}

/// What runc's has, which all that is written about it relies on.
fn spec(container: &mut Container) -> Test {
    let written = spec_at(container, &[])?;
    let expected = config::default();
    same!(written["process"]["args"], json!(["sh"]));
    same!(written["process"]["terminal"], true);
    for pointer in [
        "/process/user",
        "/process/env",
        "/process/cwd",
        "/process/rlimits",
        "/process/noNewPrivileges",
        "/process/capabilities/bounding",
        "/process/capabilities/effective",
        "/process/capabilities/permitted",
        "/root",
        "/mounts",
        "/linux/resources/devices",
    ] {
        same!(written.pointer(pointer), expected.pointer(pointer));
    }
    for path in expected["linux"]["maskedPaths"].as_array().into_iter().flatten() {
        ensure!(has(&written, "/linux/maskedPaths", path.as_str().unwrap_or_default()), "{path}");
    }
    same!(written["linux"]["readonlyPaths"], expected["linux"]["readonlyPaths"]);
    // A cgroup namespace is for machines with cgroup v2 alone.
    let namespaces = written["linux"]["namespaces"].to_string();
    same!(namespaces.contains("cgroup"), layout()? == Layout::V2);
    Ok(())
}

fn spec_runs(container: &mut Container) -> Test {
    let mut written = spec_at(container, &[])?;
    written["process"]["terminal"] = json!(false);
    written["process"]["args"] = json!(["sh", "-c", "echo it runs"]);
    container.config = written;
    same!(container.run()?.success()?.stdout, "it runs\n");
    Ok(())
}

fn spec_is_not_overwritten(container: &mut Container) -> Test {
    container.save()?;
    container.runtime(&["spec", "--bundle", &container.bundle()])?.fails(1, &["exists"])?;
    let kept: Value = serde_json::from_str(&fs::read_to_string(container.file("config.json"))?)?;
    same!(kept, container.config);
    Ok(())
}

fn spec_rootless(container: &mut Container) -> Test {
    let written = spec_at(container, &["--rootless"])?;
    let kinds = written["linux"]["namespaces"].as_array().cloned().unwrap_or_default();
    ensure!(kinds.iter().any(|one| one["type"] == "user"), "{kinds:?}");
    ensure!(!kinds.iter().any(|one| one["type"] == "network"), "{kinds:?}");
    same!(written["linux"]["uidMappings"][0]["size"], 1);
    ensure!(written["linux"]["resources"].is_null(), "limits without the right to set them");
    Ok(())
}

fn state(container: &mut Container) -> Test {
    container.create()?.success()?;
    let state = container.state()?;
    same!(state["status"], "created");
    same!(state["id"], container.id.as_str());
    same!(state["bundle"], container.bundle());
    same!(state["rootfs"], container.rootfs().display().to_string());
    same!(state["annotations"]["org.example.key"], "value");
    let pid = state["pid"].as_i64().context("no pid")?;
    ensure!(Path::new(&format!("/proc/{pid}")).exists(), "{pid} is no process");
    ensure!(super::log::is_time(state["created"].as_str().unwrap_or_default()), "{state}");
    Ok(())
}

fn state_owner(container: &mut Container) -> Test {
    container.create()?.success()?;
    same!(container.state()?["owner"], "root");
    Ok(())
}

/// state.ociVersion is the version of the specification that the state complies with; what the
/// bundle was made for is what hooks and engines are told.
fn state_version(container: &mut Container) -> Test {
    container.set("/ociVersion", json!("1.1.0"));
    container.create()?.success()?;
    same!(container.state()?["ociVersion"], "1.1.0");
    Ok(())
}

fn list(container: &mut Container) -> Test {
    container.start_idle()?;
    let table = container.runtime(&["list"])?.success()?;
    let cells =
        |at: usize| table.lines().get(at).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
    same!(cells(0).as_deref(), Some(&head[..]));
    let row = cells(1).context("no row")?;
    let pid = container.pid()?.to_string();
    let bundle = container.bundle();
    same!(row[..4], [container.id.as_str(), pid.as_str(), "running", bundle.as_str()]);
    ensure!(super::log::is_time(row[4]), "{row:?}");
    same!(row[5], "root");
    for flags in [&["list", "--format", "json"][..], &["list", "-f", "json"]] {
        let json = container.runtime(flags)?.success()?.json()?;
        same!(json[0]["id"], container.id.as_str());
        same!(json[0]["status"], "running");
        same!(json[0]["pid"].to_string(), pid);
        same!(json[0]["bundle"], bundle);
        same!(json[0]["owner"], "root");
    }
    for flag in ["-q", "--quiet"] {
        same!(container.runtime(&["list", flag])?.success()?.lines(), [container.id.as_str()]);
    }
    ensure!(container.runtime(&["list", "--format", "xml"])?.code == 1, "a format xml");
    Ok(())
}

fn list_of_none(container: &mut Container) -> Test {
    same!(container.runtime(&["list"])?.success()?.lines().len(), 1);
    same!(container.runtime(&["list", "-q"])?.success()?.stdout, "");
    let json = container.runtime(&["list", "--format", "json"])?.success()?.json()?;
    ensure!(json.is_null() || json.as_array().is_some_and(Vec::is_empty), "{json}");
    Ok(())
}

fn list_after_the_end(container: &mut Container) -> Test {
    container.start_script("true")?;
    container.wait_for("stopped")?;
    let json = container.runtime(&["list", "--format", "json"])?.success()?.json()?;
    same!(json[0]["status"], "stopped");
    same!(json[0]["pid"], 0);
    Ok(())
}

fn ps_json(container: &mut Container) -> Test {
    container.start_script("sleep 100 & sleep 100 & wait")?;
    wait_until("three processes", || Ok(container.pids()?.len() == 3))?;
    ensure!(container.pids()?.contains(&container.pid()?), "not the first process");
    same!(container.runtime(&["ps", "-f", "json", &container.id])?.success()?.code, 0);
    Ok(())
}

fn ps_table(container: &mut Container) -> Test {
    container.start_script("exec sleep 12345")?;
    wait_until("the program", || Ok(container.verb("ps")?.stdout.contains("sleep 12345")))?;
    let output = container.verb("ps")?.success()?;
    ensure!(output.lines()[0].contains("PID"), "{output:?}");
    same!(output.lines().len(), 2);
    Ok(())
}

fn ps_options(container: &mut Container) -> Test {
    container.start_idle()?;
    let output = container.runtime(&["ps", &container.id, "-e", "-o", "pid,uid"])?.success()?;
    let pid = container.pid()?.to_string();
    same!(output.words(), ["PID", "UID", pid.as_str(), "0"]);
    Ok(())
}

fn run_detached(container: &mut Container) -> Test {
    container.script("exec sleep 100");
    container.run_with(&["--detach", "--pid-file", &container.file("pid")])?.success()?;
    same!(container.state()?["status"], "running");
    same!(fs::read_to_string(container.file("pid"))?, container.pid()?.to_string());
    Ok(())
}

fn run_prints_nothing_of_its_own(container: &mut Container) -> Test {
    let output = container.run()?.success()?;
    same!((output.stdout, output.stderr, output.log), <(String, String, String)>::default());
    container.create()?.success()?;
    for verb in ["start", "delete"] {
        let output = container.verb(verb)?.success();
        wait_until(
            "stopped",
            || Ok(verb == "delete" || container.state()?["status"] == "stopped"),
        )?;
        same!(output?.stdout, "");
    }
    Ok(())
}

fn run_keep(container: &mut Container) -> Test {
    container.script("exit 3");
    same!(container.run_with(&["--keep"])?.code, 3);
    same!(container.state()?["status"], "stopped");
    container.verb("delete")?.success()?;
    container.nothing_left()
}

fn run_passes_standard_input(container: &mut Container) -> Test {
    fs::write(container.file("input"), "one\ntwo\n")?;
    container.script("cat");
    container.save()?;
    let command = container.command(&["run", "--bundle", &container.bundle(), &container.id]);
    let input = Stdio::from(fs::File::open(container.file("input"))?);
    same!(container.finish_command(command, input)?.success()?.stdout, "one\ntwo\n");
    Ok(())
}

fn run_forwards_signals(container: &mut Container) -> Test {
    container.set("/root/readonly", json!(false));
    container.script("trap 'exit 7' TERM; echo x > /ready; while :; do sleep 0.02; done");
    container.save()?;
    let mut command = container.command(&["run", "--bundle", &container.bundle(), &container.id]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let ready = container.wait_for_file("rootfs/ready");
    let signal =
        if ready.is_ok() { rustix::process::Signal::TERM } else { rustix::process::Signal::KILL };
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal)?;
    let code = crate::command::wait(&mut child)?;
    ready?;
    same!(code, 7);
    container.nothing_left()
}

/// Starts a program that ends at `signal` only, and is ready for it.
fn start_waiting_for(container: &mut Container, signal: &str) -> Test {
    container.set("/root/readonly", json!(false));
    let _ = fs::remove_file(container.rootfs().join("ready"));
    container.start_script(&format!(
        "trap 'exit 7' {signal}; echo x > /ready; while :; do sleep 0.02; done"
    ))?;
    container.wait_for_file("rootfs/ready").map(drop)
}

fn kill_by_name_and_number(container: &mut Container) -> Test {
    for (name, signal) in [
        ("TERM", "TERM"),
        ("SIGUSR1", "USR1"),
        ("usr2", "USR2"),
        ("1", "HUP"),
        ("KILL", "KILL"),
        ("9", "KILL"),
    ] {
        start_waiting_for(container, signal)?;
        container.runtime(&["kill", &container.id, name])?.success()?;
        container.wait_for("stopped").map_err(|error| error.context(name))?;
        container.verb("delete")?.success()?;
    }
    Ok(())
}

fn kill_is_term(container: &mut Container) -> Test {
    start_waiting_for(container, "TERM")?;
    container.verb("kill")?.success()?;
    container.wait_for("stopped")
}

fn unknown_signal(container: &mut Container) -> Test {
    container.start_idle()?;
    for name in ["FOO", "SIGFOO", "0x9", "65", "-1"] {
        let output = container.runtime(&["kill", &container.id, name])?;
        ensure!(output.code == 1, "{name:?} is a signal");
    }
    container.runtime(&["kill", &container.id, "FOO"])?.fails(1, &["unknown signal \"FOO\""])?;
    same!(container.state()?["status"], "running");
    Ok(())
}

fn unknown_id(container: &mut Container) -> Test {
    for verb in ["state", "start", "kill", "delete", "pause", "resume", "ps"] {
        let output = container.runtime(&[verb, "no-such-container"])?;
        output.fails(1, &["container does not exist"]).map_err(|error| error.context(verb))?;
    }
    container
        .runtime(&["exec", "no-such-container", "true"])?
        .fails(255, &["container does not exist"])
}

fn delete_force_unknown(container: &mut Container) -> Test {
    container.runtime(&["delete", "--force", "no-such-container"])?.success()?;
    container.runtime(&["delete", "-f", "no-such-container"])?.success()?;
    Ok(())
}

fn values_after_equals_signs(container: &mut Container) -> Test {
    container.save()?;
    let mut command = container.bare_command();
    let bundle = format!("--bundle={}", container.bundle());
    let pid_file = format!("--pid-file={}", container.file("pid"));
    command.arg(format!("--root={}", container.root().display()));
    command.args([format!("--log={}", container.file("log.json")), "--log-format=json".to_owned()]);
    command.args(["create", &bundle, &pid_file, &container.id]);
    container.finish_command(command, Stdio::null())?.success()?;
    same!(container.state()?["status"], "created");
    Ok(())
}

/// go-runc writes `-no-subreaper`.
fn single_dash(container: &mut Container) -> Test {
    container.run_with(&["-no-subreaper"])?.success()?;
    Ok(())
}

fn bundle_is_the_working_directory(container: &mut Container) -> Test {
    container.save()?;
    let mut command = container.command(&["create", &container.id]);
    command.current_dir(&container.directory);
    container.finish_command(command, Stdio::null())?.success()?;
    same!(container.state()?["bundle"], container.bundle());
    Ok(())
}

fn relative_bundle(container: &mut Container) -> Test {
    container.save()?;
    let mut command = container.command(&["create", "-b", "../.", &container.id]);
    command.current_dir(container.rootfs());
    container.finish_command(command, Stdio::null())?.success()?;
    same!(container.state()?["bundle"], container.bundle());
    Ok(())
}

fn root_slash_is_refused(container: &mut Container) -> Test {
    let mut command = container.bare_command();
    command.args(["--root", "/", "list"]);
    same!(container.finish_command(command, Stdio::null())?.code, 1);
    Ok(())
}

/// There is no systemd to ask: an error that names it, not cgroups by another way. Where there is one,
/// it is asked (`systemd::`).
fn systemd_cgroup(container: &mut Container) -> Test {
    if Path::new("/run/systemd/system").is_dir() {
        return Err(Skip("there is a systemd here".to_owned()).into());
    }
    container.save()?;
    container.set("/linux/cgroupsPath", json!(format!("system.slice:test:{}", container.id)));
    container.save()?;
    let bundle = container.bundle();
    let output =
        container.runtime(&["--systemd-cgroup", "create", "--bundle", &bundle, &container.id])?;
    container.refused(&output, &["systemd"])
}

/// Old callers still send these.
fn old_flags(container: &mut Container) -> Test {
    container.runtime(&["--criu", "/usr/sbin/criu", "list"])?.success()?;
    container.runtime(&["--debug", "list"])?.success()?;
    Ok(())
}
