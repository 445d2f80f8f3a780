//! A runtime that an ordinary user of the machine calls: without root, without a user namespace around it.

use std::fs;
use std::os::unix::fs::chown;
use std::process::{Command, Stdio};

use anyhow::ensure;
use serde_json::{Value, json};

use super::rootless::{USER, own_cgroup, reachable, without_groups};
use super::{Test, cases, same};
use crate::command::{Output, called_as, called_by};
use crate::container::Container;
use crate::pty::{Own, with_socket};

cases!("ordinary_user":
    own_id_alone, ranges, ranges_of_others, without_newuidmap, groups_beside_his_own_alone, whole_life,
    of_another_user_inside, clocks, out_of_memory_score, network_of_the_host, limits_without_a_cgroup, cgroup_that_was_delegated,
    mapped_mounts, needs_a_user_namespace, reads_no_more_than_he_may, terminal, pod,
    flags_of_exec, processes_that_exec_refuses, terminals_of_exec, foreground_on_a_terminal, commands_on_his_container,
    delete_by_force, detached_run, others_are_not_his,
);

/// The runtime with `arguments`, called by the user. His are the ids from 300000 on, as /etc/subuid and /etc/subgid say.
pub(super) fn called(container: &Container, arguments: &[&str]) -> anyhow::Result<Command> {
    let user = format!("user:x:{USER}:{USER}::/:/bin/sh\n");
    let files = [("passwd", user), ("subuid", RANGE.to_owned()), ("subgid", RANGE.to_owned())];
    for (name, text) in files {
        let before =
            if name == "passwd" { fs::read_to_string("/etc/passwd")? } else { String::new() };
        fs::write(container.file(name), before + &text)?;
    }
    for path in [&container.bundle(), &container.file("rootfs")] {
        chown(path, Some(USER), Some(USER))?;
    }
    let mut shell = Command::new("/usr/bin/unshare");
    let script = r#"cd "$0" && for file in passwd subuid subgid; do
        /bin/mount --bind "$file" "/etc/$file" || exit 99
    done && exec "$@""#;
    shell.args(["--mount", "/bin/sh", "-c", script, &container.bundle()]);
    shell.args(["/usr/bin/setpriv", &format!("--reuid={USER}"), &format!("--regid={USER}")]);
    shell.arg("--clear-groups");
    let command = container.command(arguments);
    let copy = Command::new(reachable(container, command.get_program().as_ref())?);
    Ok(called_by(shell, &called_as(copy, &command)))
}

const RANGE: &str = "user:300000:65536\n";

fn as_user(container: &Container, arguments: &[&str]) -> anyhow::Result<Output> {
    container.finish_command(called(container, arguments)?, Stdio::null())
}

fn run_script(container: &mut Container, script: &str) -> anyhow::Result<Output> {
    container.script(script);
    container.save()?;
    as_user(container, &["run", "--bundle", &container.bundle(), &container.id])
}

fn map(container: &mut Container, mappings: &Value) {
    container.push("/linux/namespaces", json!({ "type": "user" }));
    container.set("/linux/uidMappings", mappings.clone());
    container.set("/linux/gidMappings", mappings.clone());
}

/// He is root inside, and nobody else is there.
pub(super) fn map_own_id(container: &mut Container) {
    without_groups(container);
    map(container, &json!([{ "containerID": 0, "hostID": USER, "size": 1 }]));
}

/// He is root inside, and the others are those of his range.
fn map_range(container: &mut Container) {
    map(
        container,
        &json!([
            { "containerID": 0, "hostID": USER, "size": 1 },
            { "containerID": 1, "hostID": 300_000, "size": 65536 },
        ]),
    );
}

fn own_id_alone(container: &mut Container) -> Test {
    map_own_id(container);
    container.script("id -u; cat /proc/self/uid_map /proc/self/setgroups; >/dev/null; exit 3");
    container.save()?;
    let mut command = called(container, &["run", "--bundle", &container.bundle(), &container.id])?;
    // It takes no newuidmap(1).
    command.env("PATH", "/nowhere");
    let output = container.finish_command(command, Stdio::null())?;
    same!(output.code, 3);
    same!(output.words(), ["0", "0", "1000", "1", "deny"]);
    container.nothing_left()
}

fn ranges(container: &mut Container) -> Test {
    map_range(container);
    container.set("/process/user", json!({ "uid": 5, "gid": 7, "additionalGids": [9] }));
    let script =
        "id -u; id -G; touch /dev/shm/x; stat -c %u:%g /dev/shm/x; tail -n 1 /proc/self/uid_map";
    let output = run_script(container, script)?.success()?;
    same!(output.words(), ["5", "7", "9", "5:7", "1", "300000", "65536"]);
    container.nothing_left()
}

/// Nobody may take ids that are not his.
fn ranges_of_others(container: &mut Container) -> Test {
    map_range(container);
    for (pointer, file) in
        [("/linux/gidMappings", "/etc/subgid"), ("/linux/uidMappings", "/etc/subuid")]
    {
        container.set(&format!("{pointer}/1/hostID"), json!(200_000));
        let output = run_script(container, "echo runs")?;
        container.refused(&output, &[pointer, "not allowed", file])?;
        container.set(&format!("{pointer}/1/hostID"), json!(300_000));
    }
    // Root of the host is not his, either.
    container.set("/linux/uidMappings", json!([{ "containerID": 0, "hostID": 0, "size": 1 }]));
    let output = run_script(container, "echo runs")?;
    container.refused(&output, &["/linux/uidMappings"])
}

fn without_newuidmap(container: &mut Container) -> Test {
    map_range(container);
    container.save()?;
    let bundle = container.bundle();
    let mut command = called(container, &["create", "--bundle", &bundle, &container.id])?;
    command.env("PATH", "/nowhere");
    let output = container.finish_command(command, Stdio::null())?;
    container.refused(&output, &["/linux/gidMappings", "newgidmap", "uidmap"])
}

fn groups_beside_his_own_alone(container: &mut Container) -> Test {
    map_own_id(container);
    container.set("/process/user", json!({ "uid": 0, "gid": 0, "additionalGids": [0] }));
    let output = run_script(container, "echo runs")?;
    container.refused(&output, &["/process/user/additionalGids/0", "/etc/subgid"])
}

fn whole_life(container: &mut Container) -> Test {
    map_own_id(container);
    live(container, "0")
}

/// Processes of the container are of users whom its owner may signal and enter all the same.
fn of_another_user_inside(container: &mut Container) -> Test {
    map_range(container);
    container.set("/process/user", json!({ "uid": 5, "gid": 5 }));
    live(container, "5")
}

fn live(container: &mut Container, user: &str) -> Test {
    container.script("trap 'exit 5' TERM; while :; do sleep 0.01; done");
    container.save()?;
    let verb = |arguments: &[&str]| as_user(container, &[arguments, &[&container.id]].concat());
    verb(&["create", "--bundle", &container.bundle()])?.success()?;
    same!(verb(&["state"])?.success()?.json()?["status"], json!("created"));
    verb(&["start"])?.success()?;
    let exec = |flags: &[&str], program: &[&str]| {
        as_user(container, &[&["exec"], flags, &[&container.id], program].concat())
    };
    same!(exec(&[], &["id", "-u"])?.success()?.words(), [user]);
    same!(exec(&["--user", "0"], &["sh", "-c", "id -u; exit 7"])?.words(), ["0"]);
    same!(exec(&[], &["sh", "-c", "exit 7"])?.code, 7);
    ensure!(as_user(container, &["list"])?.success()?.stdout.contains(&container.id), "not listed");
    let refused = verb(&["delete"])?;
    ensure!(refused.code != 0, "a container that runs was deleted");
    verb(&["kill"])?.success()?;
    container.wait_for("stopped")?;
    verb(&["delete"])?.success()?;
    container.nothing_left()
}

fn run_detached(container: &Container) -> Test {
    container.save()?;
    let bundle = container.bundle();
    as_user(container, &["run", "--detach", "--bundle", &bundle, &container.id])?.success()?;
    Ok(())
}

/// A container of a pod: it joins the namespaces of another.
fn pod(container: &mut Container) -> Test {
    map_own_id(container);
    container.script("while :; do sleep 0.01; done");
    run_detached(container)?;
    let pid = container.pid()?;
    let path = |kind: &str| format!("/proc/{pid}/ns/{kind}");
    let joined: Vec<_> = [("user", "user"), ("network", "net"), ("ipc", "ipc"), ("pid", "pid")]
        .map(|(kind, file)| json!({ "type": kind, "path": path(file) }))
        .into_iter()
        .chain([json!({ "type": "mount" }), json!({ "type": "uts" })])
        .collect();
    container.set("/linux/namespaces", json!(joined));
    container.script("id -u; [ $$ != 1 ] && kill -0 1 && echo joined");
    container.save()?;
    let id = format!("{}-2", container.id);
    let output = as_user(container, &["run", "--bundle", &container.bundle(), &id])?.success()?;
    same!(output.words(), ["0", "joined"]);
    as_user(container, &["delete", "--force", &container.id])?.success()?;
    container.nothing_left()
}

fn clocks(container: &mut Container) -> Test {
    map_own_id(container);
    container.push("/linux/namespaces", json!({ "type": "time" }));
    container.set("/linux/timeOffsets", json!({ "boottime": { "secs": 400_000_000 } }));
    let output = run_script(container, "cut -d. -f1 /proc/uptime")?.success()?;
    let uptime: u64 = output.stdout.trim().parse()?;
    ensure!(uptime > 400_000_000, "the clock says {uptime}");
    Ok(())
}

/// Everybody may be killed rather, and nobody rather not.
fn out_of_memory_score(container: &mut Container) -> Test {
    map_own_id(container);
    container.set("/process/oomScoreAdj", json!(77));
    same!(run_script(container, "cat /proc/self/oom_score_adj")?.success()?.words(), ["77"]);
    container.set("/process/oomScoreAdj", json!(-77));
    let output = run_script(container, "echo runs")?;
    container.refused(&output, &["oomScoreAdj", "CAP_SYS_RESOURCE"])
}

/// A sysfs of the host's network namespace cannot be mounted: the host's is shown.
fn network_of_the_host(container: &mut Container) -> Test {
    map_own_id(container);
    let namespaces = container.config["linux"]["namespaces"].as_array_mut();
    namespaces.into_iter().for_each(|all| all.retain(|one| one["type"] != "network"));
    let writable =
        "awk '$5 ~ \"^/sys\" && $6 !~ \"^ro\" { print \"writable\", $5 }' /proc/self/mountinfo";
    let script = format!("{writable}; ls /sys/class/net; touch /sys/fs/cgroup/x 2>&1");
    let output = run_script(container, &script)?;
    ensure!(!output.stdout.contains("writable"), "{output:?}");
    ensure!(output.code == 1 && output.stdout.contains("Read-only"), "{output:?}");
    let devices: Vec<_> = fs::read_dir("/sys/class/net")?.collect::<std::io::Result<_>>()?;
    for device in devices {
        let name = device.file_name().to_string_lossy().into_owned();
        ensure!(output.words().contains(&name.as_str()), "{name} is missing: {output:?}");
    }
    Ok(())
}

fn limits_without_a_cgroup(container: &mut Container) -> Test {
    map_own_id(container);
    container.set("/linux/resources/pids", json!({ "limit": 64 }));
    let output = run_script(container, "echo runs")?;
    container.refused(&output, &["/linux/resources/pids", "delegated"])
}

/// What systemd's `Delegate=yes` gives a user is where his containers are.
fn cgroup_that_was_delegated(container: &mut Container) -> Test {
    own_cgroup(container, |container, first| {
        map_own_id(container);
        container.script("cat /proc/self/cgroup");
        container.save()?;
        let command = called(container, &["run", "--bundle", &container.bundle(), &container.id])?;
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!(r#"{first}exec "$0" "$@""#)]);
        container.finish_command(called_by(shell, &command), Stdio::null())
    })
}

fn mapped_mounts(container: &mut Container) -> Test {
    map_own_id(container);
    let ids = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    container.mount(json!({
        "destination": "/mapped", "type": "tmpfs", "source": "tmpfs",
        "uidMappings": ids, "gidMappings": ids,
    }));
    let output = run_script(container, "echo runs")?;
    container.refused(&output, &["/mounts/", "CAP_SYS_ADMIN"])
}

fn needs_a_user_namespace(container: &mut Container) -> Test {
    without_groups(container);
    let output = run_script(container, "echo runs")?;
    container.refused(&output, &["rootless container requires user namespaces"])
}

/// He binds what he can reach, and reads what he can read: root of his container has no more rights to the host's files.
fn reads_no_more_than_he_may(container: &mut Container) -> Test {
    map_own_id(container);
    let secret = container.file("secret");
    fs::write(&secret, "of root alone\n")?;
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    container.mount(json!({ "destination": "/secret", "source": secret, "options": ["bind"] }));
    let output = run_script(container, "cat /secret || chmod 666 /secret || chown 0 /secret")?;
    ensure!(output.code != 0 && !output.stdout.contains("of root"), "{output:?}");
    let place = container.file("private");
    fs::create_dir(&place)?;
    fs::write(format!("{place}/file"), "of root alone\n")?;
    fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    let last = container.config["mounts"].as_array().map_or(0, |mounts| mounts.len() - 1);
    container.set(&format!("/mounts/{last}/source"), json!(format!("{place}/file")));
    let output = run_script(container, "cat /secret")?;
    container.refused(&output, &["ermission denied"])
}

fn terminal(container: &mut Container) -> Test {
    map_own_id(container);
    container.set("/process/terminal", json!(true));
    let output =
        run_script(container, "tty; stat -c %u /dev/console; test -c /dev/ptmx && echo is")?;
    same!(output.success()?.words(), ["/dev/pts/0", "0", "is"]);
    Ok(())
}

/// A container of his that idles, with all ids of his range.
fn idle(container: &mut Container) -> Test {
    map_range(container);
    container.script("exec sleep 100");
    run_detached(container)
}

fn exec(container: &Container, flags: &[&str], program: &[&str]) -> anyhow::Result<Output> {
    as_user(container, &[&["exec"], flags, &[&container.id], program].concat())
}

fn flags_of_exec(container: &mut Container) -> Test {
    idle(container)?;
    let flags = ["--cwd", "/tmp", "--env", "A=b", "--user", "5:6", "--additional-gids", "9"];
    let more = ["--cap", "CAP_NET_RAW", "--no-new-privs"];
    let script = "pwd; echo $A; id -u; id -G; grep -E 'NoNewPrivs|CapInh' /proc/self/status";
    let output = exec(container, &[&flags[..], &more].concat(), &["sh", "-c", script])?;
    let words = ["/tmp", "b", "5", "6", "9", "CapInh:", "0000000000000000", "NoNewPrivs:", "1"];
    same!(output.success()?.words(), words);
    let process = json!({ "args": ["sh", "-c", "id -u; pwd"], "cwd": "/mnt",
        "user": { "uid": 7, "gid": 7 }, "env": ["PATH=/bin"] });
    fs::write(container.file("process.json"), process.to_string())?;
    let file = container.file("process.json");
    let output = as_user(container, &["exec", "--process", &file, &container.id])?.success()?;
    same!(output.words(), ["7", "/mnt"]);
    // Where he can write.
    let pid_file = container.file("pid");
    exec(container, &["--detach", "--pid-file", &pid_file], &["sleep", "50"])?.success()?;
    let pid = fs::read_to_string(&pid_file)?;
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
    ensure!(line.starts_with("sleep"), "{line:?}");
    Ok(())
}

/// An id that is not mapped, what is not his to write to, and a limit that is the machine's.
fn processes_that_exec_refuses(container: &mut Container) -> Test {
    idle(container)?;
    exec(container, &["--user", "70000"], &["true"])?.fails(255, &["70000"])?;
    exec(container, &["--pid-file", "/proc/pid"], &["true"])?.fails(255, &["/proc/pid"])?;
    exec(container, &["--cgroup", "below"], &["true"])?.fails(255, &["cgroup"])?;
    exec(container, &[], &["no-such-program"])?.fails(255, &["executable file not found"])?;
    let pid = container.pid()?;
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    same!(children, "");
    Ok(())
}

fn terminals_of_exec(container: &mut Container) -> Test {
    idle(container)?;
    let (output, master) = with_socket(container, |path| {
        chown(path, Some(USER), Some(USER))?;
        let flags = ["--tty", "--detach", "--user", "5", "--console-socket", path];
        exec(container, &flags, &["sh", "-c", "tty; stat -c %u $(tty); sleep 1"])
    })?;
    output.success()?;
    let mut master = master.ok_or_else(|| anyhow::Error::msg("no master"))?;
    let text = master.read_until("5\r\n")?;
    ensure!(text.contains("/dev/pts/"), "{text:?}");
    exec(container, &["--tty", "--detach", "--console-socket", "/no/such"], &["true"])?
        .fails(255, &["console socket /no/such"])
}

/// A terminal of root's, which was given to him as login(1) does.
fn foreground_on_a_terminal(container: &mut Container) -> Test {
    map_own_id(container);
    container.set("/process/terminal", json!(true));
    container.script("stty size; read line; echo got $line; exit 6");
    container.save()?;
    let mut own = Own::new(33, 77)?;
    let mut command = called(container, &["run", "--bundle", &container.bundle(), &container.id])?;
    command.stdin(own.stream()?).stdout(own.stream()?).stderr(Stdio::null());
    let before = own.modes()?;
    let mut child = command.spawn()?;
    let talked = own.master.read_until("33 77").and_then(|_| {
        own.master.write(b"hello\r")?;
        own.master.read_until("got hello").map(drop)
    });
    if talked.is_err() {
        let _ = child.kill();
    }
    let code = crate::command::wait(&mut child)?;
    talked?;
    same!(code, 6);
    same!(own.modes()?, before);
    container.nothing_left()
}

/// Each works, or says why it cannot: he has no cgroup.
fn commands_on_his_container(container: &mut Container) -> Test {
    idle(container)?;
    let id = container.id.clone();
    for command in [
        &["ps", &id][..],
        &["pause", &id],
        &["update", "--pids-limit", "10", &id],
        &["kill", "--all", &id, "TERM"],
    ] {
        let output = as_user(container, command)?;
        let says_why = output.code == 1 && output.message().contains("cgroup");
        ensure!(says_why, "{command:?}: exit code {}: {}", output.code, output.message());
    }
    let list = as_user(container, &["list", "--format", "json"])?.success()?.json()?;
    same!(list[0]["status"], "running");
    as_user(container, &["start", &id])?.fails(1, &["already running"])?;
    as_user(container, &["kill", "--all", "--wait", "--timeout", "10", &id, "KILL"])?.success()?;
    same!(as_user(container, &["state", &id])?.success()?.json()?["status"], "stopped");
    exec(container, &[], &["true"])?.fails(255, &["not running"])?;
    as_user(container, &["kill", &id, "TERM"])?.fails(1, &["not running"])
}

fn delete_by_force(container: &mut Container) -> Test {
    idle(container)?;
    exec(container, &["--detach", "--user", "5"], &["sleep", "50"])?.success()?;
    as_user(container, &["delete", "--force", &container.id])?.success()?;
    container.nothing_left()?;
    as_user(container, &["delete", "--force", &container.id])?.success()?;
    as_user(container, &["delete", &container.id])?.fails(1, &["does not exist"])
}

fn detached_run(container: &mut Container) -> Test {
    map_range(container);
    container.script("exit 3");
    run_detached(container)?;
    container.wait_for("stopped")?;
    as_user(container, &["delete", &container.id])?.success()?;
    container.nothing_left()
}

/// He does nothing with a container of root.
fn others_are_not_his(container: &mut Container) -> Test {
    container.start_idle()?;
    let id = container.id.clone();
    for command in [
        &["state", &id][..],
        &["exec", &id, "true"],
        &["kill", &id, "KILL"],
        &["delete", "--force", &id],
    ] {
        let output = as_user(container, command)?;
        ensure!(output.code != 0, "{command:?} of a container of root");
    }
    same!(container.state()?["status"], "running");
    Ok(())
}
