//! What belongs to a container belongs to every process of it: the first one and one of `exec` say the same of themselves.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::{Test, cases, same};
use crate::config;
use crate::container::Container;

cases!("exec_likeness": everything, in_a_user_namespace, with_a_process_file);

/// What a process can say of itself, by the property of the config: umask, cwd, user, env, rlimits, oomScoreAdj,
/// capabilities, noNewPrivileges, seccomp, execCPUAffinity (none) and the cpuset, personality, scheduler, ioPriority,
/// memoryPolicy, cgroupsPath, namespaces, hostname, domainname, sysctl, maskedPaths and readonlyPaths.
const SAYS: &str = "
    umask; pwd; id; env | sort; cat /proc/self/limits /proc/self/oom_score_adj
    grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp|Cpus_allowed|Mems_allowed|Speculation)' /proc/self/status
    cat /proc/self/personality; cut -d' ' -f 19,41 /proc/self/stat; ionice
    grep -o ' bind:0 ' /proc/self/numa_maps | sort -u; cat /proc/self/cgroup
    for kind in cgroup ipc mnt net pid time user uts; do readlink /proc/self/ns/$kind; done
    hostname; cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_forward
    cut -d' ' -f 5- /proc/self/mountinfo; stat -c %t:%T /proc/keys; ls /proc/self/fd | wc -l
    cat /proc/self/attr/current 2>/dev/null; true";

/// Everything that a config can say of a process.
fn fill(container: &mut Container) {
    container.set("/root/readonly", json!(false));
    container.set(
        "/process/user",
        json!({ "uid": 1000, "gid": 1001, "additionalGids": [7], "umask": 0o27 }),
    );
    container.set("/process/cwd", json!("/tmp"));
    container.push("/process/env", json!("GREETING=hello"));
    container.set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 77, "hard": 78 }]));
    container.set("/process/oomScoreAdj", json!(55));
    container.set("/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": 5 }));
    container.set("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 0 }));
    container.set("/linux/personality", json!({ "domain": "LINUX32" }));
    container.set("/linux/memoryPolicy", json!({ "mode": "MPOL_BIND", "nodes": "0" }));
    container.set("/domainname", json!("example.org"));
    container.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }));
    container.set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["reboot"], "action": "SCMP_ACT_ERRNO" }],
        }),
    );
}

/// What the first process of a new container says.
fn first(container: &mut Container) -> anyhow::Result<String> {
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(container.rootfs().join("tmp"), open)?;
    container.start_script(&format!("({SAYS}) >/tmp/.said; mv /tmp/.said /tmp/said; sleep 100"))?;
    container.wait_for_file("rootfs/tmp/said")
}

/// Compares line by line, so that a difference can be read.
fn compare(first: &str, other: &str) -> Test {
    for (one, another) in first.lines().zip(other.lines()) {
        same!(one, another);
    }
    same!(first.lines().count(), other.lines().count());
    Ok(())
}

fn everything(container: &mut Container) -> Test {
    fill(container);
    let said = first(container)?;
    compare(&said, &container.exec(&["sh", "-c", SAYS])?.success()?.stdout)
}

fn in_a_user_namespace(container: &mut Container) -> Test {
    fill(container);
    config::add_user_namespace(&mut container.config);
    let said = first(container)?;
    compare(&said, &container.exec(&["sh", "-c", SAYS])?.success()?.stdout)
}

/// The file says all that is the process's, and has the rest from the container.
fn with_a_process_file(container: &mut Container) -> Test {
    fill(container);
    let said = first(container)?;
    let mut process = container.config["process"].clone();
    process["args"] = json!(["sh", "-c", SAYS]);
    fs::write(container.file("process.json"), process.to_string())?;
    let file = container.file("process.json");
    let output = container.runtime(&["exec", "--process", &file, &container.id])?.success()?;
    compare(&said, &output.stdout)
}
