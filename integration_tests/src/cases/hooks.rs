//! Hooks: kinds, order, state, environment, failures.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::{Test, cases, same};
use crate::command::called_by;
use crate::container::Container;

cases!("hooks":
    order_before_start, order_from_start_to_delete, order_of_run, state_on_standard_input,
    state_has_the_version_of_the_config, environment_exact, environment_absent_is_empty, arguments,
    arguments_absent, working_directory, hosts_namespaces, containers_namespaces, before_pivot_root,
    start_container_is_in_the_container, poststart_is_after_the_program, descriptors,
    signals_are_default, umask_is_the_callers, state_that_nobody_reads, long_state_that_nobody_reads,
    poststop_of_run, poststop_waits_for_delete, prestart_sees_the_network,
    start_container_is_confined_as_the_program, cve_2025_23266_containers_environment,
);

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A shell as a hook; startContainer hooks have the container's.
pub(super) fn shell(script: &str) -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] })
}

/// Where hooks write: a directory of the container's root, or seen by them at `/`.
fn place(container: &Container, kind: &str) -> String {
    let inside = kind == "startContainer";
    if inside { String::new() } else { container.rootfs().display().to_string() }
}

/// Two hooks of each kind, that add their names to a file of the container's root.
fn log_all(container: &mut Container) {
    container.set("/root/readonly", json!(false));
    for kind in KINDS {
        let log = place(container, kind);
        let hook = |at| shell(&format!("cat > /dev/null; echo {kind}{at} >> {log}/log"));
        container.set(&format!("/hooks/{kind}"), json!([hook(1), hook(2)]));
    }
    container.script("echo program >> /log");
}

fn logged(container: &Container) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(container.rootfs().join("log"))?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

const CREATED: [&str; 6] = [
    "prestart1",
    "prestart2",
    "createRuntime1",
    "createRuntime2",
    "createContainer1",
    "createContainer2",
];

fn order_before_start(container: &mut Container) -> Test {
    log_all(container);
    container.create()?.success()?;
    same!(logged(container)?, CREATED);
    Ok(())
}

fn order_from_start_to_delete(container: &mut Container) -> Test {
    log_all(container);
    container.create()?.success()?;
    container.verb("start")?.success()?;
    container.wait_for("stopped")?;
    let mut all = logged(container)?;
    container.verb("delete")?.success()?;
    same!(all[..6], CREATED);
    same!(all[6..8], ["startContainer1", "startContainer2"]);
    // The program and the poststart hooks run at the same time.
    all[8..].sort_unstable();
    same!(all[8..], ["poststart1", "poststart2", "program"]);
    same!(logged(container)?[11..], ["poststop1", "poststop2"]);
    Ok(())
}

fn order_of_run(container: &mut Container) -> Test {
    log_all(container);
    container.run()?.success()?;
    let all = logged(container)?;
    same!(all[..6], CREATED);
    same!(all[6..8], ["startContainer1", "startContainer2"]);
    same!(all[11..], ["poststop1", "poststop2"]);
    Ok(())
}

/// Runs a container whose hooks of all kinds keep what they read. The pid it had.
fn keep_states(container: &mut Container) -> anyhow::Result<i64> {
    container.set("/root/readonly", json!(false));
    for kind in KINDS {
        let script = format!("cat > {}/{kind}.json", place(container, kind));
        container.set(&format!("/hooks/{kind}"), json!([shell(&script)]));
    }
    container.create()?.success()?;
    let pid = container.pid()?;
    container.verb("start")?.success()?;
    container.wait_for("stopped")?;
    container.verb("delete")?.success()?;
    Ok(pid)
}

fn kept_state(container: &Container, kind: &str) -> anyhow::Result<Value> {
    let text = fs::read_to_string(container.rootfs().join(format!("{kind}.json")))?;
    serde_json::from_str(&text).with_context(|| format!("{kind}: {text:?}"))
}

fn state_on_standard_input(container: &mut Container) -> Test {
    let pid = keep_states(container)?;
    let statuses = ["creating", "creating", "creating", "created", "running", "stopped"];
    for (kind, status) in KINDS.iter().zip(statuses) {
        let state = kept_state(container, kind)?;
        same!((*kind, &state["status"]), (*kind, &json!(status)));
        same!(state["id"], container.id.as_str());
        same!(state["bundle"], container.bundle());
        same!(state["annotations"]["org.example.key"], "value");
        // The pid as the hook's namespace has it (runtime-spec, state).
        match *kind {
            "createContainer" | "startContainer" => {
                same!((*kind, &state["pid"]), (*kind, &json!(1)))
            }
            "poststop" => {}
            _ => same!((*kind, &state["pid"]), (*kind, &json!(pid))),
        }
    }
    Ok(())
}

fn state_has_the_version_of_the_config(container: &mut Container) -> Test {
    keep_states(container)?;
    for kind in KINDS {
        same!(kept_state(container, kind)?["ociVersion"], "1.0.2");
    }
    Ok(())
}

/// The environment of a createRuntime hook, when the runtime is called with SECRET in its own.
fn environment(container: &mut Container, env: Option<Value>) -> anyhow::Result<String> {
    let mut hook =
        json!({ "path": "/bin/cp", "args": ["cp", "/proc/self/environ", container.file("env")] });
    if let Some(env) = env {
        hook["env"] = env;
    }
    container.set("/hooks/createRuntime", json!([hook]));
    container.save()?;
    let mut command = container.command(&["run", "--bundle", &container.bundle(), &container.id]);
    command.env("SECRET", "of the caller");
    container.finish_command(command, Stdio::null())?.success()?;
    Ok(fs::read_to_string(container.file("env"))?)
}

fn environment_exact(container: &mut Container) -> Test {
    same!(environment(container, Some(json!(["B=2", "A=1", "C="])))?, "B=2\0A=1\0C=\0");
    Ok(())
}

fn environment_absent_is_empty(container: &mut Container) -> Test {
    same!(environment(container, None)?, "");
    same!(environment(container, Some(json!([])))?, "");
    Ok(())
}

fn arguments(container: &mut Container) -> Test {
    let log = container.file("args");
    let args = [
        "name",
        "-c",
        &format!("echo $0 $1 > {log}; cat /proc/$$/cmdline >> {log}"),
        "zero",
        "one",
    ];
    container.set("/hooks/createRuntime", json!([{ "path": "/bin/sh", "args": args }]));
    container.run()?.success()?;
    let text = fs::read_to_string(&log)?;
    ensure!(text.starts_with("zero one\nname\0-c\0"), "{text:?}");
    Ok(())
}

/// Without arguments the program is told its own path.
fn arguments_absent(container: &mut Container) -> Test {
    use std::os::unix::fs::PermissionsExt as _;
    let path = container.file("hook");
    fs::write(&path, format!("#!/bin/sh\necho $# $0 > {path}.log\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    container.set("/hooks/createRuntime", json!([{ "path": path }]));
    container.run()?.success()?;
    same!(fs::read_to_string(format!("{path}.log"))?, format!("0 {path}\n"));
    Ok(())
}

/// Hooks whose programs are the host's run in the bundle, wherever the caller is.
fn working_directory(container: &mut Container) -> Test {
    let kinds = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    for kind in kinds {
        let hook = shell(&format!("pwd > {}", container.file(kind)));
        container.set(&format!("/hooks/{kind}"), json!([hook]));
    }
    container.save()?;
    let mut command = container.command(&["run", "--bundle", &container.bundle(), &container.id]);
    command.current_dir(&container.victim);
    container.finish_command(command, Stdio::null())?.success()?;
    for kind in kinds {
        let directory = fs::read_to_string(container.file(kind))?;
        same!((kind, directory.trim_end()), (kind, container.bundle().as_str()));
    }
    Ok(())
}

/// The namespaces of a hook of this kind, and those of the container's first process at that time.
fn namespaces(container: &mut Container, kind: &str) -> anyhow::Result<[Vec<String>; 2]> {
    let log = container.file("namespaces");
    // The shell has no tool to read JSON: the pid is the digits after its name.
    let script = format!(
        "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); \
         for who in self $pid; do for kind in pid net mnt uts; do readlink /proc/$who/ns/$kind; done; done > {log}"
    );
    container.set(&format!("/hooks/{kind}"), json!([shell(&script)]));
    // A program that ended by itself might do so before the hook has looked at it.
    container.start_idle()?;
    container.delete_force()?;
    let text = fs::read_to_string(&log)?;
    let all: Vec<String> = text.lines().map(str::to_owned).collect();
    same!(all.len(), 8);
    let (hook, init) = all.split_at(4);
    Ok([hook.to_vec(), init.to_vec()])
}

fn hosts_namespaces(container: &mut Container) -> Test {
    let kinds = ["pid", "net", "mnt", "uts"];
    let host: Vec<_> = kinds
        .iter()
        .map(|kind| Ok(fs::read_link(format!("/proc/self/ns/{kind}"))?.display().to_string()))
        .collect::<anyhow::Result<_>>()?;
    for kind in ["prestart", "createRuntime", "poststart"] {
        let [hook, init] = namespaces(container, kind)?;
        same!((kind, &hook), (kind, &host));
        // The namespaces have been made when the hooks run.
        ensure!(init.iter().zip(&host).all(|(init, host)| init != host), "{kind}: {init:?}");
        container.remove("/hooks");
    }
    Ok(())
}

/// createContainer hooks are the host's programs in the container's namespaces.
fn containers_namespaces(container: &mut Container) -> Test {
    let log = container.file("namespaces");
    let script =
        format!("for kind in net mnt uts ipc; do readlink /proc/self/ns/$kind; done > {log}");
    container.set("/hooks/createContainer", json!([shell(&script)]));
    container.create()?.success()?;
    let text = fs::read_to_string(&log)?;
    for (line, kind) in text.lines().zip(["net", "mnt", "uts", "ipc"]) {
        let link = fs::read_link(format!("/proc/{}/ns/{kind}", container.pid()?))?;
        same!(line, link.display().to_string());
    }
    same!(text.lines().count(), 4);
    Ok(())
}

/// They see the host's files, and the mounts that the container will have.
fn before_pivot_root(container: &mut Container) -> Test {
    let log = container.file("mounts");
    let bundle = container.bundle();
    let script = format!(
        "ls {bundle}/config.json > {log}; grep -c {bundle}/rootfs/dev/shm /proc/self/mountinfo >> {log}"
    );
    container.set("/hooks/createContainer", json!([shell(&script)]));
    container.run()?.success()?;
    same!(fs::read_to_string(&log)?, format!("{bundle}/config.json\n1\n"));
    Ok(())
}

fn start_container_is_in_the_container(container: &mut Container) -> Test {
    let script = "hostname > /dev/shm/x; ls / >> /dev/shm/x; grep NoNewPrivs /proc/self/status >> /dev/shm/x";
    container.set("/hooks/startContainer", json!([shell(script)]));
    let output = container.run_script("cat /dev/shm/x")?.success()?;
    same!(output.lines()[0], "box");
    ensure!(output.words().contains(&"etc") && !output.words().contains(&"boot"), "{output:?}");
    Ok(())
}

/// What confines a process: its filter, which forbids mkdir here, ids, capabilities and limits.
const CONFINEMENT: &str = "
    mkdir /dev/shm/made 2>/dev/null && echo made
    grep -E '^(Seccomp|NoNewPrivs|Cap|Uid|Gid|Groups|Cpus_allowed)' /proc/self/status
    cat /proc/self/limits /proc/self/oom_score_adj";

/// The hook's program is a file of the image, as the container's is.
fn start_container_is_confined_as_the_program(container: &mut Container) -> Test {
    for no_new_privileges in [true, false] {
        container.set("/process/noNewPrivileges", json!(no_new_privileges));
        container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
        container.set(
            "/linux/seccomp",
            json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }],
            }),
        );
        let hook = shell(&format!("{{ {CONFINEMENT}; }} >/dev/shm/hook"));
        container.set("/hooks/startContainer", json!([hook]));
        let hooks = container.run_script("cat /dev/shm/hook")?.success()?.stdout;
        let programs = container.run_script(CONFINEMENT)?.success()?.stdout;
        same!(hooks, programs);
        ensure!(hooks.contains("Seccomp:\t2") && !hooks.contains("made"), "{hooks}");
    }
    Ok(())
}

/// poststart hooks run after the program has been started, by `start` and not by `create`.
fn poststart_is_after_the_program(container: &mut Container) -> Test {
    let log = container.file("comm");
    let script =
        format!("pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); cat /proc/$pid/cmdline > {log}");
    container.set("/hooks/poststart", json!([shell(&script)]));
    container.set("/process/args", json!(["/bin/sleep", "98765"]));
    container.create()?.success()?;
    ensure!(!fs::exists(&log)?, "poststart at create");
    container.verb("start")?.success()?;
    same!(fs::read_to_string(&log)?, "/bin/sleep\x0098765\0");
    Ok(())
}

fn descriptors(container: &mut Container) -> Test {
    let log = container.file("descriptors");
    // ls has its own for the directory.
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", format!("ls /proc/self/fd > {log}")], "env": ["PATH=/bin"] });
    for kind in ["createRuntime", "createContainer"] {
        container.set("/hooks", json!({ kind: [hook] }));
        container.save()?;
        let runtime = container.command(&["run", "--bundle", &container.bundle(), &container.id]);
        super::process::with_two_descriptors(container, &runtime, &[])?;
        same!((kind, fs::read_to_string(&log)?), (kind, "0\n1\n2\n3\n".to_owned()));
    }
    Ok(())
}

/// Whatever the caller ignores, and what the runtime blocks in the foreground.
fn signals_are_default(container: &mut Container) -> Test {
    container.set("/root/readonly", json!(false));
    for kind in KINDS {
        let script = format!(
            "grep -E '^Sig(Blk|Ign)' /proc/self/status > {}/{kind}",
            place(container, kind)
        );
        container.set(&format!("/hooks/{kind}"), json!([shell(&script)]));
    }
    container.save()?;
    let run = container.command(&["run", "--bundle", &container.bundle(), &container.id]);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP PIPE USR1; exec \"$@\"", "sh"]);
    command.arg(run.get_program()).args(run.get_args());
    container.finish_command(command, Stdio::null())?.success()?;
    for kind in KINDS {
        let text = fs::read_to_string(container.rootfs().join(kind))?;
        let sets = text.split_whitespace().skip(1).step_by(2);
        let sets: Vec<u64> =
            sets.map(|set| u64::from_str_radix(set, 16)).collect::<Result<_, _>>()?;
        // The container's shell ignores signals of its own.
        let (hangup, user_1, pipe) = (1, 1 << 9, 1 << 12);
        ensure!(sets.len() == 2 && sets[0] == 0, "{kind}: {text}");
        ensure!(sets[1] & (hangup | user_1 | pipe) == 0, "{kind}: {text}");
    }
    Ok(())
}

/// What they make is not writable for everybody.
fn umask_is_the_callers(container: &mut Container) -> Test {
    container.set("/root/readonly", json!(false));
    let kinds = ["createRuntime", "createContainer", "poststop"];
    for kind in kinds {
        let place = place(container, kind);
        container.set(&format!("/hooks/{kind}"), json!([shell(&format!("umask >{place}/{kind}"))]));
    }
    container.save()?;
    let run = container.command(&["run", "--bundle", &container.bundle(), &container.id]);
    let mut caller = Command::new("sh");
    caller.args(["-c", "umask 027; exec \"$@\"", "sh"]);
    container.finish_command(called_by(caller, &run), Stdio::null())?.success()?;
    for kind in kinds {
        same!((kind, fs::read_to_string(container.rootfs().join(kind))?.trim()), (kind, "0027"));
    }
    Ok(())
}

fn state_that_nobody_reads(container: &mut Container) -> Test {
    for kind in KINDS {
        container.set(&format!("/hooks/{kind}"), json!([{ "path": "/bin/true" }]));
    }
    container.run()?.success()?;
    Ok(())
}

/// More than a pipe holds: the runtime must neither hang nor fail.
fn long_state_that_nobody_reads(container: &mut Container) -> Test {
    container.set("/annotations", json!({ "org.example.long": "x".repeat(300_000) }));
    container.set("/hooks/createRuntime", json!([{ "path": "/bin/true" }]));
    container.set("/hooks/poststop", json!([{ "path": "/bin/true" }]));
    container.run()?.success()?;
    Ok(())
}

fn poststop_of_run(container: &mut Container) -> Test {
    let log = container.file("stopped");
    container.set("/hooks/poststop", json!([shell(&format!("echo x >> {log}"))]));
    container.run()?.success()?;
    same!(fs::read_to_string(&log)?, "x\n");
    Ok(())
}

fn poststop_waits_for_delete(container: &mut Container) -> Test {
    let log = container.file("stopped");
    container.set("/hooks/poststop", json!([shell(&format!("echo x >> {log}"))]));
    container.start_script("true")?;
    container.wait_for("stopped")?;
    ensure!(!fs::exists(&log)?, "poststop before delete");
    container.verb("delete")?.success()?;
    same!(fs::read_to_string(&log)?, "x\n");
    Ok(())
}

/// Docker's prestart hook configures the network of the pid that it is told.
fn prestart_sees_the_network(container: &mut Container) -> Test {
    let log = container.file("network");
    let script = format!(
        "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); ls /proc/$pid/net/dev > {log}; \
         nsenter --net=/proc/$pid/ns/net busybox brctl addbr test0"
    );
    let mut hook = shell(&script);
    hook["env"] = json!(["PATH=/bin:/usr/bin:/sbin:/usr/sbin"]);
    container.set("/hooks/prestart", json!([hook]));
    let output = container.run_script("ls /sys/class/net")?.success()?;
    same!(output.words(), ["lo", "test0"]);
    Ok(())
}

/// A hook of the host that has the container's environment runs what an image says.
fn cve_2025_23266_containers_environment(container: &mut Container) -> Test {
    container.push("/process/env", json!("LD_PRELOAD=/evil.so"));
    let log = container.file("env");
    let hook = json!({ "path": "/bin/cp", "args": ["cp", "/proc/self/environ", log] });
    for kind in ["createRuntime", "createContainer", "poststart"] {
        container.set("/hooks", json!({ kind: [hook] }));
        container.run()?.success()?;
        let text = fs::read_to_string(&log)?;
        ensure!(!text.contains("LD_PRELOAD"), "{kind}: {text:?}");
        fs::remove_file(&log)?;
    }
    Ok(())
}
