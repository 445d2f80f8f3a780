//! Cgroups: where a container is, and what its limits do.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{cases, same};
use crate::harness::{Container, Skip, find_directory};

type Test = anyhow::Result<()>;

cases!("cgroups":
    own_cgroup, absolute_path, relative_path, memory_limit, memory_kills, pids_limit, cpu_limit,
    cpuset, devices_denied, devices_allowed, a_way_up_is_refused, a_used_cgroup_is_refused,
    a_missing_controller_is_named, exec_is_in_the_cgroup, delete_removes_sub_cgroups,
);

/// The directory of the container's cgroup that has `file`.
fn directory(container: &Container, file: &str) -> anyhow::Result<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{}/cgroup", container.pid()?))?;
    let candidates = text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (names, path) = (fields.next()?, fields.next()?);
        let name = names.strip_prefix("name=").unwrap_or(names);
        let name = if name.is_empty() && Path::new("/sys/fs/cgroup/unified").exists() {
            "unified"
        } else {
            name
        };
        Some(Path::new("/sys/fs/cgroup").join(name).join(path.trim_start_matches('/')))
    });
    candidates
        .into_iter()
        .find(|path| path.join(file).exists())
        .with_context(|| Skip(format!("no hierarchy here has {file}")))
}

fn read(container: &Container, file: &str) -> anyhow::Result<String> {
    let path = directory(container, file)?.join(file);
    Ok(fs::read_to_string(&path).with_context(|| path.display().to_string())?.trim().to_owned())
}

/// A file of the first of two names that a hierarchy here has.
fn either(container: &Container, v1: &str, v2: &str) -> anyhow::Result<String> {
    read(container, v1).or_else(|_| read(container, v2))
}

/// A hierarchy has `controller`, else the test is skipped.
fn need(controller: &str) -> Test {
    let v1 = Path::new("/sys/fs/cgroup").join(controller).exists();
    let v2 = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    if v1 || v2.split_whitespace().any(|name| name == controller) {
        return Ok(());
    }
    Err(Skip(format!("no hierarchy of this view has the {controller} controller")).into())
}

fn own_cgroup(container: &mut Container) -> Test {
    container.start_script("sleep 100")?;
    let text = fs::read_to_string(format!("/proc/{}/cgroup", container.pid()?))?;
    let found = find_directory(Path::new("/sys/fs/cgroup"), &container.id, 5)
        .context("no cgroup of its own")?;
    ensure!(text.contains(&container.id), "{text}");
    let procs = fs::read_to_string(found.join("cgroup.procs"))?;
    ensure!(procs.contains(&container.pid()?.to_string()), "{procs}");
    Ok(())
}

fn absolute_path(container: &mut Container) -> Test {
    let path = format!("/aril-test/{}", container.id);
    container.set("/linux/cgroupsPath", json!(path));
    container.start_script("sleep 100")?;
    let text = fs::read_to_string(format!("/proc/{}/cgroup", container.pid()?))?;
    ensure!(text.lines().any(|line| line.ends_with(&path)), "{text}");
    container.runtime(&["delete", "--force", &container.id])?.success()?;
    container.nothing_left()?;
    remove_parents("aril-test")
}

/// What stood above the container's cgroup belongs to whoever chose the path.
fn remove_parents(name: &str) -> Test {
    while let Some(path) = find_directory(Path::new("/sys/fs/cgroup"), name, 3) {
        fs::remove_dir(&path).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn relative_path(container: &mut Container) -> Test {
    let path = format!("{}/inner", container.id);
    container.set("/linux/cgroupsPath", json!(path));
    container.start_script("sleep 100")?;
    let text = fs::read_to_string(format!("/proc/{}/cgroup", container.pid()?))?;
    ensure!(text.lines().any(|line| line.ends_with(&path)), "{text}");
    container.runtime(&["delete", "--force", &container.id])?.success()?;
    remove_parents(&container.id)
}

fn memory_limit(container: &mut Container) -> Test {
    need("memory")?;
    container.set("/linux/resources/memory", json!({ "limit": 33554432, "reservation": 16777216 }));
    container.start_script("sleep 100")?;
    same!(either(container, "memory.limit_in_bytes", "memory.max")?, "33554432");
    same!(either(container, "memory.soft_limit_in_bytes", "memory.low")?, "16777216");
    Ok(())
}

fn memory_kills(container: &mut Container) -> Test {
    need("memory")?;
    container.set("/linux/resources/memory", json!({ "limit": 20971520, "swap": 20971520 }));
    let output = container.run_script(
        "sh -c 'head -c 60000000 /dev/zero | tail -c 50000000 | wc -c'; echo survived",
    )?;
    ensure!(!output.stdout.contains("50000000"), "{output:?}");
    Ok(())
}

fn pids_limit(container: &mut Container) -> Test {
    need("pids")?;
    container.set("/linux/resources/pids", json!({ "limit": 5 }));
    let output = container.run_script("for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait")?;
    ensure!(output.stderr.contains("fork"), "{output:?}");
    Ok(())
}

fn cpu_limit(container: &mut Container) -> Test {
    need("cpu")?;
    container
        .set("/linux/resources/cpu", json!({ "quota": 20000, "period": 100_000, "shares": 512 }));
    container.start_script("while :; do :; done")?;
    std::thread::sleep(Duration::from_millis(1000));
    let stat = fs::read_to_string(format!("/proc/{}/stat", container.pid()?))?;
    let after = stat.rsplit_once(") ").context("no stat")?.1;
    let ticks: u64 =
        after.split(' ').skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
    ensure!((5..=45).contains(&ticks), "{ticks} of 100 ticks used with a fifth allowed");
    Ok(())
}

fn cpuset(container: &mut Container) -> Test {
    need("cpuset")?;
    container.set("/linux/resources/cpu", json!({ "cpus": "0", "mems": "0" }));
    let output = container.run_script("grep Cpus_allowed_list /proc/self/status")?.success()?;
    same!(output.stdout.split_whitespace().last(), Some("0"));
    Ok(())
}

/// A program that may make and open device nodes, and a place where it can.
fn with_device_rights(container: &mut Container) {
    let capabilities = json!(["CAP_MKNOD", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_SYSLOG"]);
    for set in ["bounding", "effective", "permitted"] {
        container.set(&format!("/process/capabilities/{set}"), capabilities.clone());
    }
}

fn devices_denied(container: &mut Container) -> Test {
    with_device_rights(container);
    let output =
        container.run_script("mknod /dev/kmsg2 c 1 11 && echo made; head -c 1 /dev/kmsg2")?;
    ensure!(output.code != 0 && output.stderr.contains("Operation not permitted"), "{output:?}");
    Ok(())
}

fn devices_allowed(container: &mut Container) -> Test {
    with_device_rights(container);
    container.push(
        "/linux/resources/devices",
        json!({ "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" }),
    );
    container.push(
        "/linux/resources/devices",
        json!({ "allow": true, "type": "c", "major": 1, "minor": 11, "access": "r" }),
    );
    let output = container.run_script(
        "mknod /dev/log c 1 11; dd if=/dev/log of=/dev/null bs=8192 count=1; : > /dev/log",
    )?;
    ensure!(
        output.stderr.contains("1+0 records") || output.stderr.contains("0+1 records"),
        "{output:?}"
    );
    ensure!(
        output.code != 0
            && output.stderr.contains("can't create /dev/log: Operation not permitted"),
        "{output:?}"
    );
    Ok(())
}

fn a_way_up_is_refused(container: &mut Container) -> Test {
    container.set("/linux/cgroupsPath", json!("/a/../../b"));
    container.create_refused(&["/linux/cgroupsPath", ".."])
}

fn a_used_cgroup_is_refused(container: &mut Container) -> Test {
    container.set("/linux/cgroupsPath", json!(format!("/{}", container.id)));
    container.start_script("sleep 100")?;
    let other = format!("{}-2", container.id);
    let output = container.runtime(&["create", "--bundle", &container.bundle(), &other])?;
    container.runtime(&["delete", "--force", &other])?;
    ensure!(output.code == 1 && output.stderr.contains("not empty"), "{output:?}");
    same!(container.state()?["status"], "running");
    Ok(())
}

fn a_missing_controller_is_named(container: &mut Container) -> Test {
    if need("rdma").is_ok() {
        return Err(Skip("this machine has the rdma controller".to_owned()).into());
    }
    container.set("/linux/resources/rdma", json!({ "mlx5_0": { "hcaHandles": 2 } }));
    container.create_refused(&["rdma"])
}

fn exec_is_in_the_cgroup(container: &mut Container) -> Test {
    container.start_script("sleep 100")?;
    container.runtime(&["exec", "--detach", &container.id, "sleep", "50"])?.success()?;
    let pids = container.runtime(&["ps", "--format", "json", &container.id])?.success()?.json()?;
    ensure!(pids.as_array().is_some_and(|pids| pids.len() == 2), "{pids}");
    Ok(())
}

fn delete_removes_sub_cgroups(container: &mut Container) -> Test {
    container.start_script("sleep 100")?;
    let own = directory(container, "cgroup.procs")?;
    fs::create_dir_all(own.join("sub/deeper"))?;
    container.runtime(&["delete", "--force", &container.id])?.success()?;
    container.nothing_left()
}
