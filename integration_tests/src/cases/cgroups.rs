//! Cgroups: where a container is, and what its limits do.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{Test, cases, same};
use crate::container::Container;
use crate::leftovers::{cgroups, remove_cgroup};
use crate::skip::Skip;
use crate::view::{CGROUPS, Layout, layout};

cases!("cgroups":
    every_hierarchy, absolute_path, relative_path, nested_path, existing_parent_is_kept,
    memory_limit, memory_swap, memory_unlimited, memory_of_tcp, cpu_weight,
    cpu_quota, cpuset, several_limits, block_io_weight, shares_that_cannot_be, no_class_of_the_network, a_way_up_is_refused, a_used_cgroup_is_refused,
    a_cgroup_used_in_one_hierarchy_is_refused, a_frozen_cgroup_is_refused, threads_are_no_processes,
    a_missing_controller_is_named, none_of_its_own, processes_are_counted, delete_removes_sub_cgroups,
    delete_removes_every_hierarchy, failed_create_removes_every_hierarchy,
    no_resources,
);

/// The directories of a process's cgroups, one for each hierarchy.
pub(super) fn directories(pid: i64) -> anyhow::Result<Vec<PathBuf>> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let directories = text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (names, path) = (fields.next()?, fields.next()?);
        let is_hybrid = Path::new(CGROUPS).join("unified").exists();
        let name = match names.strip_prefix("name=").unwrap_or(names) {
            "" if is_hybrid => "unified",
            name => name,
        };
        Some(Path::new(CGROUPS).join(name).join(path.trim_start_matches('/')))
    });
    // In a view of one version, /proc names hierarchies of the other too.
    Ok(directories.filter(|path| path.join("cgroup.procs").exists()).collect())
}

/// The content of the first of these files that the container's cgroups have: the names differ
/// between the versions.
pub(super) fn read(container: &Container, names: &[&str]) -> anyhow::Result<String> {
    for directory in directories(container.pid()?)? {
        for name in names {
            if let Ok(text) = fs::read_to_string(directory.join(name)) {
                return Ok(text.trim().to_owned());
            }
        }
    }
    anyhow::bail!("no cgroup of the container has {names:?}")
}

/// Whether the hierarchies of this view have `controller`.
pub(super) fn has(controller: &str) -> bool {
    let v1 = Path::new(CGROUPS).join(controller).exists();
    let v2 = ["cgroup.controllers", "unified/cgroup.controllers"].iter().any(|file| {
        let list = fs::read_to_string(Path::new(CGROUPS).join(file)).unwrap_or_default();
        list.split_whitespace().any(|name| name == controller)
    });
    v1 || v2
}

/// Skips the test in a view without `controller`.
pub(super) fn need(controller: &str) -> Test {
    if has(controller) {
        return Ok(());
    }
    Err(Skip(format!("no hierarchy of this view has the {controller} controller")).into())
}

fn every_hierarchy(container: &mut Container) -> Test {
    container.start_idle()?;
    let pid = container.pid()?;
    let all = directories(pid)?;
    ensure!(!all.is_empty(), "no cgroup");
    for directory in all {
        ensure!(directory.ends_with(&container.id), "not its own: {}", directory.display());
        let processes = fs::read_to_string(directory.join("cgroup.procs"))?;
        same!(processes.split_whitespace().collect::<Vec<_>>(), [pid.to_string()]);
    }
    Ok(())
}

/// Starts in the cgroup `path`, whose last part is the id, and deletes it again.
fn at_path(container: &mut Container, path: &str) -> Test {
    container.set("/linux/cgroupsPath", json!(path));
    container.start_idle()?;
    for directory in directories(container.pid()?)? {
        let end = path.trim_start_matches('/');
        ensure!(directory.ends_with(end), "{} is not {path}", directory.display());
    }
    container.delete_force()
}

/// What is above the container's cgroup is left to whoever chose the path.
pub(super) fn remove_parents(name: &str) {
    cgroups(name).iter().for_each(|path| remove_cgroup(path));
}

fn absolute_path(container: &mut Container) -> Test {
    let parent = format!("tests-{}-absolute", container.runtime.token);
    let path = format!("/{parent}/{}", container.id);
    let outcome = at_path(container, &path);
    remove_parents(&parent);
    outcome
}

fn relative_path(container: &mut Container) -> Test {
    let parent = format!("tests-{}-relative", container.runtime.token);
    let path = format!("{parent}/{}", container.id);
    let outcome = at_path(container, &path);
    remove_parents(&parent);
    outcome
}

fn nested_path(container: &mut Container) -> Test {
    let parent = format!("tests-{}-nested", container.runtime.token);
    let path = format!("/{parent}/a/b/c/{}", container.id);
    let outcome = at_path(container, &path);
    remove_parents(&parent);
    outcome
}

fn existing_parent_is_kept(container: &mut Container) -> Test {
    let parent = format!("tests-{}-kept", container.runtime.token);
    let one = cgroups_of_view().join(&parent);
    fs::create_dir(&one)?;
    let path = format!("/{parent}/{}", container.id);
    let outcome = at_path(container, &path);
    let kept = one.exists();
    remove_parents(&parent);
    ensure!(kept, "the parent is gone");
    outcome
}

/// A hierarchy that every view has.
fn cgroups_of_view() -> PathBuf {
    let pids = Path::new(CGROUPS).join("pids");
    if pids.exists() { pids } else { CGROUPS.into() }
}

fn memory_limit(container: &mut Container) -> Test {
    need("memory")?;
    let memory = json!({ "limit": 33554432, "reservation": 16777216 });
    container.set("/linux/resources/memory", memory);
    container.start_idle()?;
    same!(read(container, &["memory.limit_in_bytes", "memory.max"])?, "33554432");
    same!(read(container, &["memory.soft_limit_in_bytes", "memory.low"])?, "16777216");
    Ok(())
}

fn memory_swap(container: &mut Container) -> Test {
    need("memory")?;
    container.set("/linux/resources/memory", json!({ "limit": 33554432, "swap": 67108864 }));
    container.start_idle()?;
    let v1 = read(container, &["memory.memsw.limit_in_bytes"]);
    match v1 {
        Ok(both) => same!(both, "67108864"),
        Err(_) => same!(read(container, &["memory.swap.max"])?, "33554432"),
    }
    Ok(())
}

fn memory_unlimited(container: &mut Container) -> Test {
    need("memory")?;
    container.set("/linux/resources/memory", json!({ "limit": -1 }));
    container.start_idle()?;
    let limit = read(container, &["memory.limit_in_bytes", "memory.max"])?;
    ensure!(limit == "max" || limit.parse::<u64>()? > 1 << 50, "{limit}");
    Ok(())
}

/// A control of v1, which v2 does not have: there it is passed over.
fn memory_of_tcp(container: &mut Container) -> Test {
    need("memory")?;
    container.set("/linux/resources/memory", json!({ "kernelTCP": 33554432 }));
    container.start_idle()?;
    if layout()? != Layout::V2 {
        same!(read(container, &["memory.kmem.tcp.limit_in_bytes"])?, "33554432");
    }
    Ok(())
}

fn cpu_weight(container: &mut Container) -> Test {
    need("cpu")?;
    container.set("/linux/resources/cpu", json!({ "shares": 512 }));
    container.start_idle()?;
    if let Ok(shares) = read(container, &["cpu.shares"]) {
        same!(shares, "512");
        return Ok(());
    }
    let weight: u64 = read(container, &["cpu.weight"])?.parse()?;
    ensure!((1..100).contains(&weight), "half the default is {weight}");
    Ok(())
}

fn cpu_quota(container: &mut Container) -> Test {
    need("cpu")?;
    container.set("/linux/resources/cpu", json!({ "quota": 30000, "period": 60000 }));
    container.start_idle()?;
    match read(container, &["cpu.max"]) {
        Ok(both) => same!(both, "30000 60000"),
        Err(_) => {
            same!(read(container, &["cpu.cfs_quota_us"])?, "30000");
            same!(read(container, &["cpu.cfs_period_us"])?, "60000");
        }
    }
    Ok(())
}

/// The time that a process has had a CPU, in hundredths of a second.
pub(super) fn ticks(pid: i64) -> anyhow::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The times in user and kernel mode are fields 14 and 15.
    let after_name = stat.rsplit_once(") ").context("no name")?.1;
    let times = after_name.split(' ').skip(11).take(2).map(str::parse::<u64>);
    Ok(times.sum::<Result<u64, _>>()?)
}

/// v1 has had only BFQ's file since Linux 5.0.
fn block_io_weight(container: &mut Container) -> Test {
    if need("blkio").is_err() {
        need("io")?;
    }
    container.set("/linux/resources/blockIO", json!({ "weight": 500 }));
    container.start_idle()?;
    let files = ["blkio.weight", "blkio.bfq.weight", "io.weight", "io.bfq.weight"];
    let text = read(container, &files)?;
    ensure!(text.starts_with("500") || text.starts_with("default 4950"), "{text}");
    Ok(())
}

/// The kernel would take the nearest that it has.
fn shares_that_cannot_be(container: &mut Container) -> Test {
    need("cpu")?;
    if layout()? == Layout::V2 {
        return Err(Skip("v2 has weights, which the shares become".to_owned()).into());
    }
    for shares in [1, 262_145] {
        container.set("/linux/resources/cpu", json!({ "shares": shares }));
        container.create_refused(&["shares"])?;
    }
    Ok(())
}

fn no_class_of_the_network(container: &mut Container) -> Test {
    container.set("/linux/resources/network", json!({ "classID": 0 }));
    container.start_idle()
}

fn cpuset(container: &mut Container) -> Test {
    need("cpuset")?;
    container.set("/linux/resources/cpu", json!({ "cpus": "0", "mems": "0" }));
    let script = "grep -E '(Cpus|Mems)_allowed_list' /proc/self/status";
    let output = container.run_script(script)?.success()?;
    same!(output.words(), ["Cpus_allowed_list:", "0", "Mems_allowed_list:", "0"]);
    Ok(())
}

fn several_limits(container: &mut Container) -> Test {
    for controller in ["memory", "cpu", "pids", "cpuset"] {
        need(controller)?;
    }
    container.set("/linux/resources/memory", json!({ "limit": 268435456 }));
    container
        .set("/linux/resources/cpu", json!({ "quota": 50000, "period": 100_000, "cpus": "0" }));
    container.set("/linux/resources/pids", json!({ "limit": 64 }));
    container.start_idle()?;
    same!(read(container, &["memory.limit_in_bytes", "memory.max"])?, "268435456");
    same!(read(container, &["pids.max"])?, "64");
    same!(read(container, &["cpuset.cpus"])?, "0");
    Ok(())
}

fn a_way_up_is_refused(container: &mut Container) -> Test {
    for path in ["/a/../../b", "../b", "/.."] {
        container.set("/linux/cgroupsPath", json!(path));
        container.create_refused(&[".."])?;
    }
    Ok(())
}

fn a_used_cgroup_is_refused(container: &mut Container) -> Test {
    container.set("/linux/cgroupsPath", json!(format!("/{}", container.id)));
    container.start_idle()?;
    let other = format!("{}-2", container.id);
    let output = container.runtime(&["create", "--bundle", &container.bundle(), &other])?;
    container.runtime(&["delete", "--force", &other])?;
    output.fails(1, &["not empty"])?;
    same!(container.state()?["status"], "running");
    Ok(())
}

/// The container would never start.
fn a_frozen_cgroup_is_refused(container: &mut Container) -> Test {
    let (hierarchy, file, frozen, thawed) = match layout()? {
        Layout::V2 => ("", "cgroup.freeze", "1", "0"),
        Layout::V1 | Layout::Hybrid => ("freezer", "freezer.state", "FROZEN", "THAWED"),
    };
    let name = format!("{}-frozen", container.id);
    let directory = Path::new(CGROUPS).join(hierarchy).join(&name);
    container.set("/linux/cgroupsPath", json!(format!("/{name}")));
    fs::create_dir(&directory)?;
    let output = fs::write(directory.join(file), frozen)
        .map_err(Into::into)
        .and_then(|()| container.create());
    fs::write(directory.join(file), thawed)?;
    container.delete_force()?;
    cgroups(&name).iter().for_each(|path| remove_cgroup(path));
    output?.fails(1, &["frozen"])
}

/// A threaded cgroup cannot list its processes: the one above does (cgroups(7), "Thread mode").
fn threads_are_no_processes(container: &mut Container) -> Test {
    if layout()? != Layout::V2 {
        return Err(Skip("only where v2 is all there is".to_owned()).into());
    }
    container.start_idle()?;
    for directory in directories(container.pid()?)? {
        fs::create_dir(directory.join("threads"))?;
        fs::write(directory.join("threads/cgroup.type"), "threaded")?;
    }
    same!(container.pids()?, [container.pid()?]);
    container.delete_force()
}

/// The hierarchy that comes last has a process, and what was made in the others goes again.
fn a_cgroup_used_in_one_hierarchy_is_refused(container: &mut Container) -> Test {
    container.set("/linux/cgroupsPath", json!(format!("/{}", container.id)));
    container.start_idle()?;
    let pid = container.pid()?.to_string();
    let own = directories(container.pid()?)?;
    let last = own.iter().max().filter(|_| own.len() > 1);
    let last = last.ok_or_else(|| Skip("this view has one hierarchy".to_owned()))?;
    let other = format!("{}-2", container.id);
    let used = last.with_file_name(&other);
    fs::create_dir(&used)?;
    fs::write(used.join("cgroup.procs"), &pid)?;
    container.set("/linux/cgroupsPath", json!(format!("/{other}")));
    container.save()?;
    let output = container.runtime(&["create", "--bundle", &container.bundle(), &other])?;
    let found = cgroups(&other);
    fs::write(last.join("cgroup.procs"), &pid)?;
    container.runtime(&["delete", "--force", &other])?;
    found.iter().for_each(|path| remove_cgroup(path));
    output.fails(1, &["not empty"])?;
    same!(found, [used]);
    Ok(())
}

/// A limit that cannot be set is an error, and says what is missing.
fn a_missing_controller_is_named(container: &mut Container) -> Test {
    let limits = [
        ("memory", "/linux/resources/memory", json!({ "limit": 33554432 })),
        ("cpu", "/linux/resources/cpu", json!({ "quota": 20000, "period": 100_000 })),
        ("pids", "/linux/resources/pids", json!({ "limit": 5 })),
        ("cpuset", "/linux/resources/cpu", json!({ "cpus": "0" })),
        ("rdma", "/linux/resources/rdma", json!({ "mlx5_0": { "hcaHandles": 2 } })),
    ];
    let missing: Vec<_> = limits.into_iter().filter(|(name, _, _)| !has(name)).collect();
    if missing.is_empty() {
        return Err(Skip("this machine has every controller".to_owned()).into());
    }
    for (name, pointer, value) in missing {
        container.set(pointer, value);
        container.create_refused(&[name])?;
        container.remove(pointer);
    }
    Ok(())
}

fn processes_are_counted(container: &mut Container) -> Test {
    container.start_script("sleep 100 & sleep 100 & wait")?;
    crate::command::wait_until("three processes", || Ok(container.pids()?.len() == 3))?;
    for directory in directories(container.pid()?)? {
        let processes = fs::read_to_string(directory.join("cgroup.procs"))?;
        same!(processes.lines().count(), 3);
    }
    Ok(())
}

fn delete_removes_sub_cgroups(container: &mut Container) -> Test {
    container.start_idle()?;
    for directory in directories(container.pid()?)? {
        fs::create_dir_all(directory.join("sub/deeper"))?;
    }
    container.delete_force()
}

fn delete_removes_every_hierarchy(container: &mut Container) -> Test {
    container.start_script("true")?;
    container.wait_for("stopped")?;
    container.verb("delete")?.success()?;
    container.nothing_left()
}

fn failed_create_removes_every_hierarchy(container: &mut Container) -> Test {
    container.set("/process/args", json!(["/no/such"]));
    container.create_refused(&["/no/such"])
}

fn no_resources(container: &mut Container) -> Test {
    container.remove("/linux/resources");
    container.start_idle()?;
    every_cgroup_is_there(container)
}

fn every_cgroup_is_there(container: &Container) -> Test {
    let found = cgroups(&container.id);
    let expected = directories(container.pid()?)?;
    same!(found.len(), expected.len());
    Ok(())
}

/// crun's `--cgroup-manager disabled`, which Podman uses for `--cgroups disabled`.
fn none_of_its_own(container: &mut Container) -> Test {
    container.script("exec sleep 1000");
    container.set("/linux/resources", json!({"memory": {"limit": 67_108_864}}));
    container.save()?;
    let bundle = container.bundle();
    let create = |flags: &[&str]| {
        let command = ["create", "--bundle", &bundle, &container.id];
        container.runtime(&[&["--cgroup-manager", "disabled"], flags, &command].concat())
    };
    create(&["--systemd-cgroup"])?.fails(1, &["--systemd-cgroup", "exclude"])?;
    create(&[])?.success()?;
    container.verb("start")?.success()?;
    let own = fs::read_to_string("/proc/self/cgroup")?;
    same!(fs::read_to_string(format!("/proc/{}/cgroup", container.pid()?))?, own);
    same!(container.exec(&["cat", "/proc/self/comm"])?.success()?.lines(), ["cat"]);
    container.verb("pause")?.fails(1, &["no cgroup of its own"])?;
    container.verb("ps")?.fails(1, &["no cgroup of its own"])?;
    container
        .runtime(&["kill", "--all", &container.id, "TERM"])?
        .fails(1, &["no cgroup of its own"])?;
    container.exec_with(&["--cgroup", "a"], &["true"])?.fails(255, &["no cgroup of its own"])?;
    container.runtime(&["kill", &container.id, "KILL"])?.success()?;
    container.wait_for("stopped")?;
    container.verb("delete")?.success()?;
    container.nothing_left()
}
