//! Cgroups that the systemd of an ordinary user makes (`--systemd-cgroup` without root). They need a machine on which a
//! user has one: `hack/vm run --user`, `hack/test --vm systemd_user::`.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::ensure;
use serde_json::json;

use super::ordinary_user::{called, map_own_id};
use super::rootless::USER;
use super::{Test, cases, same};
use crate::command::{Output, called_by, wait_until};
use crate::container::Container;
use crate::leftovers::remove_cgroup;
use crate::skip::Skip;
use crate::systemd::ask;
use crate::view::CGROUPS;

cases!("systemd_user":
    whole_life, run_in_the_foreground, limits_survive_a_reload, a_slice_of_his, a_failed_create_leaves_no_unit,
    a_limit_that_is_not_delegated, from_elsewhere, without_a_bus, features,
);

/// Where his systemd has its cgroups.
const SERVICE: &str = "user.slice/user-1000.slice/user@1000.service";

/// Where his bus is.
const DIRECTORY: &str = "/run/user/1000";

fn need_user(container: &mut Container) -> Test {
    let is_there = Path::new(DIRECTORY).join("bus").exists();
    if !is_there || !Path::new(CGROUPS).join(SERVICE).exists() {
        let text = format!("needs a systemd of the user {USER}: hack/test --vm systemd_user::");
        return Err(Skip(text).into());
    }
    map_own_id(container);
    container.set("/linux/cgroupsPath", json!(format!("user.slice:test:{}", container.id)));
    container.flags = &["--systemd-cgroup"];
    Ok(())
}

fn unit(container: &Container) -> String {
    format!("test-{}.scope", container.id)
}

fn directory(container: &Container) -> PathBuf {
    Path::new(CGROUPS).join(SERVICE).join("user.slice").join(unit(container))
}

fn read(container: &Container, file: &str) -> anyhow::Result<String> {
    Ok(fs::read_to_string(directory(container).join(file))?.trim().to_owned())
}

/// The runtime as he calls it from outside of his systemd's cgroups, as by ssh.
fn elsewhere(container: &Container, arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = called(container, arguments)?;
    command.env("XDG_RUNTIME_DIR", DIRECTORY);
    container.finish_command(command, Stdio::null())
}

/// The same from a cgroup of his systemd's, as engines do.
fn as_user(container: &Container, arguments: &[&str]) -> anyhow::Result<Output> {
    let caller = Path::new(CGROUPS).join(SERVICE).join(format!("caller-{}", container.id));
    fs::create_dir_all(&caller)?;
    for file in ["", "cgroup.procs"] {
        chown(caller.join(file), Some(USER), Some(USER))?;
    }
    let mut command = called(container, arguments)?;
    command.env("XDG_RUNTIME_DIR", DIRECTORY);
    let mut shell = Command::new("/bin/sh");
    let script = format!(r#"echo $$ >{}/cgroup.procs && exec "$0" "$@""#, caller.display());
    shell.args(["-c", &script]);
    let output = container.finish_command(called_by(shell, &command), Stdio::null());
    remove_cgroup(&caller);
    output
}

fn verb(container: &Container, verb: &[&str]) -> anyhow::Result<Output> {
    as_user(container, &[verb, &[&container.id]].concat())
}

fn create(container: &Container) -> anyhow::Result<Output> {
    container.save()?;
    verb(container, &["create", "--bundle", &container.bundle()])
}

fn start(container: &mut Container, script: &str) -> Test {
    container.script(script);
    create(container)?.success()?;
    verb(container, &["start"])?.success()?;
    Ok(())
}

/// His systemd, over his bus.
fn systemctl(args: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups"]);
    command.args(["systemctl", "--user"]).args(args);
    ask(command.env("XDG_RUNTIME_DIR", DIRECTORY).env("SYSTEMCTL_FORCE_BUS", "1"))
}

fn property(container: &Container, name: &str) -> anyhow::Result<String> {
    systemctl(&["show", "--property", name, "--value", &unit(container)])
}

/// Neither his systemd nor the hierarchy knows the unit.
fn no_unit(container: &Container) -> Test {
    let gone = || Ok(property(container, "LoadState")? == "not-found");
    wait_until("systemd forgets the unit", gone)?;
    ensure!(!directory(container).exists(), "{} is left", directory(container).display());
    Ok(())
}

fn delete(container: &Container) -> Test {
    verb(container, &["delete", "--force"])?.success()?;
    container.nothing_left()?;
    no_unit(container)
}

fn whole_life(container: &mut Container) -> Test {
    need_user(container)?;
    start(container, "while :; do sleep 0.1; done")?;
    same!(property(container, "ActiveState")?, "active");
    same!(property(container, "Slice")?, "user.slice");
    let pid = container.pid()?.to_string();
    ensure!(read(container, "cgroup.procs")?.lines().any(|one| one == pid), "init is elsewhere");
    let exec = ["exec", &container.id, "sh", "-c", "grep ^0: /proc/self/cgroup; exit 7"];
    let output = as_user(container, &exec)?;
    same!((output.code, output.words()), (7, vec!["0::/"]));
    verb(container, &["pause"])?.success()?;
    same!(read(container, "cgroup.freeze")?, "1");
    verb(container, &["resume"])?.success()?;
    as_user(container, &["kill", &container.id, "KILL"])?.success()?;
    wait_until("stopped", || Ok(verb(container, &["state"])?.json()?["status"] == "stopped"))?;
    verb(container, &["delete"])?.success()?;
    container.nothing_left()?;
    no_unit(container)
}

fn run_in_the_foreground(container: &mut Container) -> Test {
    need_user(container)?;
    container.script("id -u; cat /proc/self/cgroup; exit 7");
    container.save()?;
    let output = verb(container, &["run", "--bundle", &container.bundle()])?;
    same!((output.code, output.words()), (7, vec!["0", "0::/"]));
    container.nothing_left()?;
    no_unit(container)
}

/// The controllers that systemd gives a user by itself.
fn limits_survive_a_reload(container: &mut Container) -> Test {
    need_user(container)?;
    let limits = json!({
        "memory": { "limit": 67108864 }, "pids": { "limit": 20 },
        "cpu": { "quota": 50000, "period": 100_000 },
    });
    container.set("/linux/resources", limits);
    start(container, "exec sleep 100")?;
    let update = ["update", "--pids-limit", "5", &container.id];
    as_user(container, &update)?.success()?;
    systemctl(&["daemon-reload"])?;
    for (file, value) in
        [("memory.max", "67108864"), ("pids.max", "5"), ("cpu.max", "50000 100000")]
    {
        same!(read(container, file)?, value);
    }
    same!(property(container, "MemoryMax")?, "67108864");
    same!(property(container, "TasksMax")?, "5");
    let forks = "for n in 1 2 3 4 5 6 7 8; do sleep 100 & done; echo all";
    let output = as_user(container, &["exec", &container.id, "sh", "-c", forks])?;
    ensure!(output.stderr.contains("fork") && output.stdout.is_empty(), "{output:?}");
    delete(container)
}

fn a_slice_of_his(container: &mut Container) -> Test {
    need_user(container)?;
    let slice = format!("t{}-a.slice", container.runtime.token);
    container.set("/linux/cgroupsPath", json!(format!("{slice}:test:{}", container.id)));
    start(container, "exec sleep 100")?;
    same!(property(container, "Slice")?, slice);
    let above = format!("t{}.slice/{slice}", container.runtime.token);
    let procs = Path::new(CGROUPS).join(SERVICE).join(above).join(unit(container));
    same!(fs::read_to_string(procs.join("cgroup.procs"))?.trim(), container.pid()?.to_string());
    delete(container)?;
    systemctl(&["stop", &format!("t{}.slice", container.runtime.token)])?;
    Ok(())
}

fn a_failed_create_leaves_no_unit(container: &mut Container) -> Test {
    need_user(container)?;
    container.set("/process/args", json!(["/no/such/program"]));
    let output = create(container)?;
    container.refused(&output, &["no such file"])?;
    no_unit(container)
}

fn a_limit_that_is_not_delegated(container: &mut Container) -> Test {
    need_user(container)?;
    let controllers = Path::new(CGROUPS).join(SERVICE).join("cgroup.controllers");
    if fs::read_to_string(controllers)?.contains("cpuset") {
        return Err(Skip("needs a controller that systemd does not give users".to_owned()).into());
    }
    container.set("/linux/resources/cpu", json!({ "cpus": "0" }));
    container.script("exec sleep 100");
    let output = create(container)?;
    container.refused(&output, &["cpuset"])?;
    no_unit(container)
}

/// His systemd has the machine's move the first process; who enters later has to be where it can go by itself.
fn from_elsewhere(container: &mut Container) -> Test {
    need_user(container)?;
    container.script("exec sleep 100");
    container.save()?;
    let bundle = container.bundle();
    elsewhere(container, &["create", "--bundle", &bundle, &container.id])?.success()?;
    elsewhere(container, &["start", &container.id])?.success()?;
    same!(read(container, "cgroup.procs")?, container.pid()?.to_string());
    let output = elsewhere(container, &["exec", &container.id, "true"])?;
    output.fails(255, &["clone3", "systemd-run --user --scope"])?;
    elsewhere(container, &["delete", "--force", &container.id])?.success()?;
    container.nothing_left()?;
    no_unit(container)
}

fn without_a_bus(container: &mut Container) -> Test {
    need_user(container)?;
    container.script("true");
    container.save()?;
    let create = ["create", "--bundle", &container.bundle(), &container.id];
    let with = |variables: &[(&str, &str)]| {
        let mut command = called(container, &create)?;
        command.env_remove("XDG_RUNTIME_DIR").env_remove("DBUS_SESSION_BUS_ADDRESS");
        command.envs(variables.iter().copied());
        container.finish_command(command, Stdio::null())
    };
    container.refused(&with(&[])?, &["DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"])?;
    container.refused(&with(&[("XDG_RUNTIME_DIR", "/nowhere")])?, &["/nowhere/bus"])?;
    no_unit(container)
}

fn features(container: &mut Container) -> Test {
    let features = container.runtime(&["features"])?.success()?.json()?;
    same!(features["linux"]["cgroup"]["systemdUser"], json!(true));
    Ok(())
}
