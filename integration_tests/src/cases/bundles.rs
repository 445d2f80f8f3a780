//! What engines really ask for: the configs that Docker and containerd wrote, recorded in
//! `tests/bundles`.

use std::fs;

use anyhow::ensure;
use serde_json::{Value, json};

use super::cgroups::{need, read};
use super::{Test, cases, same};
use crate::config;
use crate::container::Container;

cases!("bundles":
        containerd_plain, containerd_limits, containerd_seccomp, docker_plain, docker_plain_v2,
    docker_limits, docker_readonly, docker_volume_user, docker_exec, process_without_a_user,
);

/// A recorded file, with its placeholders filled in.
fn recorded(container: &Container, text: &str) -> anyhow::Result<Value> {
    let bundle = container.directory.join("docker");
    fs::create_dir_all(container.file("volume"))?;
    fs::create_dir_all(&bundle)?;
    for name in ["resolv.conf", "hostname", "hosts"] {
        fs::write(bundle.join(name), format!("{name} of the bundle\n"))?;
    }
    let short: String = container.id.chars().take(12).collect();
    let text = text
        .replace("@ROOTFS@", &container.rootfs().display().to_string())
        .replace("@BUNDLE@", &bundle.display().to_string())
        .replace("@VOLUME@", &container.file("volume"))
        .replace("@SHORT_ID@", &short)
        .replace("@ID@", &container.id);
    Ok(serde_json::from_str(&text)?)
}

/// Makes a recorded config the container's, without the hook of an engine that is not there.
pub(super) fn use_config(container: &mut Container, text: &str) -> Test {
    container.config = recorded(container, text)?;
    container.remove("/hooks");
    // No engine is there to clean up above the container's own cgroup.
    let path = format!("/{}", container.id);
    container.set("/linux/cgroupsPath", json!(path));
    Ok(())
}

/// Runs a recorded config with another program. What it prints.
fn run(container: &mut Container, text: &str, script: &str) -> anyhow::Result<Vec<String>> {
    use_config(container, text)?;
    container.set("/process/args", json!(["/bin/sh", "-c", script]));
    let output = container.run()?.success()?;
    Ok(output.lines().into_iter().map(str::to_owned).collect())
}

/// A config with limits needs hierarchies that have the controllers.
fn need_limits() -> Test {
    need("memory")?;
    need("cpu")
}

const STATUS: &str =
    "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status | tr -s '\\t\\n' '  '";

fn containerd_plain(container: &mut Container) -> Test {
    need_limits()?;
    let text = include_str!("../../../tests/bundles/containerd-plain/config.json");
    let lines = run(container, text, STATUS)?;
    same!(lines, ["CapEff: 00000000a80425fb NoNewPrivs: 1 Seccomp: 0"]);
    Ok(())
}

fn containerd_limits(container: &mut Container) -> Test {
    need_limits()?;
    let text = include_str!("../../../tests/bundles/containerd-limits/config.json");
    use_config(container, text)?;
    container.start_idle()?;
    same!(read(container, &["memory.limit_in_bytes", "memory.max"])?, "268435456");
    let quota = read(container, &["cpu.cfs_quota_us", "cpu.max"])?;
    ensure!(["50000", "50000 100000"].contains(&&*quota), "{quota}");
    Ok(())
}

fn containerd_seccomp(container: &mut Container) -> Test {
    need_limits()?;
    let text = include_str!("../../../tests/bundles/containerd-seccomp/config.json");
    let script = format!("{STATUS}; unshare -U true; echo $?");
    let lines = run(container, text, &script)?;
    same!(lines, ["CapEff: 00000000a80425fb NoNewPrivs: 1 Seccomp: 2 1"]);
    Ok(())
}

fn docker_plain(container: &mut Container) -> Test {
    let text = include_str!("../../../tests/bundles/docker-plain/config.json");
    let script = "cat /etc/resolv.conf /etc/hosts /etc/hostname; stat -c %a /dev/shm";
    let lines = run(container, text, script)?;
    let files = ["resolv.conf of the bundle", "hosts of the bundle", "hostname of the bundle"];
    same!(lines, [&files[..], &["1777"]].concat());
    Ok(())
}

fn docker_plain_v2(container: &mut Container) -> Test {
    let text = include_str!("../../../tests/bundles/docker-plain-v2/config.json");
    let lines = run(container, text, &format!("{STATUS}; hostname"))?;
    ensure!(lines[0].contains("Seccomp: 2"), "{lines:?}");
    Ok(())
}

fn docker_limits(container: &mut Container) -> Test {
    need_limits()?;
    let text = include_str!("../../../tests/bundles/docker-limits/config.json");
    // It has no cgroup namespace: a cgroup2 mount shows the whole hierarchy.
    let script = "cd /sys/fs/cgroup; test -e memory/memory.limit_in_bytes && \
        exec cat memory/memory.limit_in_bytes pids/pids.max cpuset/cpuset.cpus; \
        cd ./$(sed -n s/^0:://p /proc/self/cgroup) && exec cat memory.max pids.max cpuset.cpus";
    same!(run(container, text, script)?, ["268435456", "64", "0"]);
    Ok(())
}

fn docker_readonly(container: &mut Container) -> Test {
    let text = include_str!("../../../tests/bundles/docker-readonly/config.json");
    let script = "touch /x; echo $?; touch /tmp/x /run/x; echo $?; df -k /tmp | tail -1 | awk '{ print $2 }'";
    same!(run(container, text, script)?, ["1", "0", "16384"]);
    Ok(())
}

fn docker_volume_user(container: &mut Container) -> Test {
    let text = include_str!("../../../tests/bundles/docker-volume-user/config.json");
    let script = "id -u; pwd; echo $GREETING; ulimit -n; grep CapBnd /proc/self/status; touch /data/x; echo $?";
    let lines = run(container, text, script)?;
    same!(lines, ["1000", "/data", "hello", "512", "CapBnd:\t0000000000000000", "1"]);
    Ok(())
}

fn docker_exec(container: &mut Container) -> Test {
    use_config(container, include_str!("../../../tests/bundles/docker-plain/config.json"))?;
    config::set(&mut container.config, "/process/args", json!(["/bin/sleep", "100"]));
    container.create()?.success()?;
    container.verb("start")?.success()?;
    let text = include_str!("../../../tests/bundles/docker-exec/process.json");
    let mut process = recorded(container, text)?;
    process["args"] = json!(["/bin/sh", "-c", "id -u; pwd; echo $GREETING"]);
    fs::write(container.file("process.json"), process.to_string())?;
    let id = container.id.clone();
    let output = container.runtime(&["exec", "--process", &container.file("process.json"), &id])?;
    same!(output.success()?.words(), ["1000", "/tmp", "hello"]);
    Ok(())
}

/// The schema requires neither the user nor its ids.
fn process_without_a_user(container: &mut Container) -> Test {
    container.remove("/process/user");
    same!(container.run_script("id -u; id -g")?.success()?.words(), ["0", "0"]);
    container.set("/process/user", json!({ "gid": 7 }));
    same!(container.run_script("id -u; id -g")?.success()?.words(), ["0", "7"]);
    Ok(())
}
