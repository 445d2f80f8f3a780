//! `update`: other limits for a container that is there.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::ensure;
use serde_json::{Value, json};

use super::cgroups::{need, read};
use super::{Test, cases, same, systemd};
use crate::command::{Output, called_by};
use crate::container::Container;
use crate::systemd::systemctl;

cases!("update":
    by_flags, by_a_file, by_standard_input, sizes_with_units, memory_and_swap, no_limit_of_memory,
    period_and_quota, what_is_not_mentioned_stays, devices_stay, one_refused_leaves_all,
    huge_pages, created_and_paused, stopped, unknown_container, wrong_values, memory_in_use,
    what_it_limits, nothing_at_all, with_systemd, without_a_bus,
);

fn update(container: &Container, flags: &[&str]) -> anyhow::Result<Output> {
    container.runtime(&[&["update"], flags, &[&container.id]].concat())
}

/// The same with JSON in a file.
fn update_to(container: &Container, resources: Value) -> anyhow::Result<Output> {
    let path = container.file("resources.json");
    fs::write(&path, resources.to_string())?;
    update(container, &["--resources", &path])
}

const MEMORY: [&str; 2] = ["memory.limit_in_bytes", "memory.max"];

fn by_flags(container: &mut Container) -> Test {
    for controller in ["memory", "pids", "cpu", "cpuset"] {
        need(controller)?;
    }
    container.start_idle()?;
    let flags = [
        "--memory",
        "67108864",
        "--memory-reservation",
        "33554432",
        "--pids-limit",
        "50",
        "--cpu-share",
        "512",
        "--cpu-quota",
        "30000",
        "--cpu-period",
        "60000",
        "--cpuset-cpus",
        "0",
        "--cpuset-mems",
        "0",
    ];
    update(container, &flags)?.success()?;
    same!(read(container, &MEMORY)?, "67108864");
    same!(read(container, &["memory.soft_limit_in_bytes", "memory.low"])?, "33554432");
    same!(read(container, &["pids.max"])?, "50");
    same!(read(container, &["cpuset.cpus"])?, "0");
    match read(container, &["cpu.max"]) {
        Ok(both) => same!(both, "30000 60000"),
        Err(_) => {
            same!(read(container, &["cpu.cfs_quota_us"])?, "30000");
            same!(read(container, &["cpu.cfs_period_us"])?, "60000");
            same!(read(container, &["cpu.shares"])?, "512");
        }
    }
    update(container, &["--pids-limit", "-1", "--cpu-quota", "-1"])?.success()?;
    same!(read(container, &["pids.max"])?, "max");
    ensure!(["-1", "max 60000"].contains(&&*read(container, &["cpu.cfs_quota_us", "cpu.max"])?));
    Ok(())
}

fn by_a_file(container: &mut Container) -> Test {
    need("pids")?;
    container.start_idle()?;
    let path = container.file("resources.json");
    for (count, flag) in [("41", "--resources"), ("42", "-r")] {
        fs::write(&path, format!("{{\"pids\":{{\"limit\":{count}}}}}"))?;
        update(container, &[flag, &path, "--pids-limit", "7"])?.success()?;
        same!(read(container, &["pids.max"])?, count);
    }
    Ok(())
}

/// As containerd and CRI-O do it, and newer engines in one word.
fn by_standard_input(container: &mut Container) -> Test {
    need("pids")?;
    container.start_idle()?;
    let path = container.file("resources.json");
    for (count, flags) in [("41", &["--resources", "-"][..]), ("42", &["--resources=-"])] {
        fs::write(&path, format!("{{\"pids\":{{\"limit\":{count}}}}}"))?;
        let command = container.command(&[&["update"], flags, &[&container.id]].concat());
        container.finish_command(command, fs::File::open(&path)?.into())?.success()?;
        same!(read(container, &["pids.max"])?, count);
    }
    Ok(())
}

fn sizes_with_units(container: &mut Container) -> Test {
    need("memory")?;
    container.start_idle()?;
    for (size, bytes) in [("64m", "67108864"), ("0.5g", "536870912"), ("131072k", "134217728")] {
        update(container, &["--memory", size])?.success()?;
        same!(read(container, &MEMORY)?, bytes);
    }
    update(container, &["--memory", "64 apples"])?.fails(1, &["64 apples"])?;
    same!(read(container, &MEMORY)?, "134217728");
    Ok(())
}

/// Both grow, and both shrink: in neither order the one is refused for the other.
fn memory_and_swap(container: &mut Container) -> Test {
    need("memory")?;
    container.start_idle()?;
    for (memory, swap) in [(64, 128), (256, 512), (32, 48), (512, 512), (64, 64)] {
        let resources = json!({ "memory": { "limit": memory << 20, "swap": swap << 20 } });
        update_to(container, resources)?.success()?;
        same!(read(container, &MEMORY)?, (memory << 20).to_string());
        match read(container, &["memory.memsw.limit_in_bytes"]) {
            Ok(both) => same!(both, (swap << 20).to_string()),
            Err(_) => {
                let alone = (swap - memory) << 20;
                same!(read(container, &["memory.swap.max"])?, alone.to_string());
            }
        }
    }
    Ok(())
}

fn no_limit_of_memory(container: &mut Container) -> Test {
    need("memory")?;
    container.set("/linux/resources/memory", json!({ "limit": 33554432, "swap": 67108864 }));
    container.start_idle()?;
    update(container, &["--memory", "-1"])?.success()?;
    for names in [&MEMORY, &["memory.memsw.limit_in_bytes", "memory.swap.max"]] {
        let limit = read(container, names)?;
        ensure!(limit == "max" || limit.parse::<u64>()? > 1 << 50, "{names:?} {limit}");
    }
    Ok(())
}

/// Each alone leaves the other as it was.
fn period_and_quota(container: &mut Container) -> Test {
    need("cpu")?;
    container.set("/linux/resources/cpu", json!({ "quota": 20000, "period": 50000 }));
    container.start_idle()?;
    let now = || match read(container, &["cpu.max"]) {
        Ok(both) => Ok(both),
        Err(_) => Ok::<_, anyhow::Error>(format!(
            "{} {}",
            read(container, &["cpu.cfs_quota_us"])?,
            read(container, &["cpu.cfs_period_us"])?
        )),
    };
    update(container, &["--cpu-period", "100000"])?.success()?;
    same!(now()?, "20000 100000");
    update(container, &["--cpu-quota", "70000"])?.success()?;
    same!(now()?, "70000 100000");
    Ok(())
}

fn what_is_not_mentioned_stays(container: &mut Container) -> Test {
    for controller in ["memory", "pids"] {
        need(controller)?;
    }
    container.set("/linux/resources/memory", json!({ "limit": 33554432 }));
    container.set("/linux/resources/pids", json!({ "limit": 20 }));
    container.start_idle()?;
    update(container, &["--pids-limit", "30"])?.success()?;
    same!(
        (read(container, &MEMORY)?.as_str(), read(container, &["pids.max"])?.as_str()),
        ("33554432", "30")
    );
    // Engines write what they do not set as zero.
    update_to(
        container,
        json!({ "memory": { "limit": 0 }, "pids": { "limit": 0 }, "cpu": { "shares": 0 } }),
    )?
    .success()?;
    same!(
        (read(container, &MEMORY)?.as_str(), read(container, &["pids.max"])?.as_str()),
        ("33554432", "30")
    );
    Ok(())
}

/// The rules of the config hold, whatever the resources repeat.
fn devices_stay(container: &mut Container) -> Test {
    crate::config::allow_capabilities(&mut container.config, &["CAP_MKNOD"]);
    container.start_script("mknod /dev/memory c 1 1; sleep 100")?;
    let tried = |container: &Container| container.exec(&["head", "-c", "1", "/dev/memory"]);
    let node = || Ok(container.exec(&["test", "-e", "/dev/memory"])?.code == 0);
    crate::command::wait_until("the device", node)?;
    ensure!(tried(container)?.code != 0, "it can be read");
    let rules = json!([{ "allow": true, "access": "rwm" }]);
    update_to(container, json!({ "devices": rules }))?.success()?;
    ensure!(tried(container)?.code != 0, "it can be read now");
    Ok(())
}

fn one_refused_leaves_all(container: &mut Container) -> Test {
    for controller in ["memory", "pids", "cpuset", "cpu"] {
        need(controller)?;
    }
    container.set("/linux/resources/memory", json!({ "limit": 134217728 }));
    container.set("/linux/resources/pids", json!({ "limit": 20 }));
    container.set("/linux/resources/cpu", json!({ "quota": 20000, "period": 50000 }));
    container.start_idle()?;
    let names = [&MEMORY[..], &["pids.max"], &["cpu.cfs_quota_us", "cpu.max"], &["cpuset.cpus"]];
    let all = |container: &Container| -> anyhow::Result<Vec<String>> {
        names.iter().map(|names| read(container, names)).collect()
    };
    let before = all(container)?;
    let resources = json!({
        "memory": { "limit": 67108864 }, "pids": { "limit": 30 },
        "cpu": { "quota": 30000, "cpus": "0-9999" },
    });
    let refused = update_to(container, resources)?;
    refused.fails(1, &["cpus", "0-9999"])?;
    same!(all(container)?, before);
    let resources = json!({ "memory": { "limit": 67108864 }, "hugepageLimits": [{ "pageSize": "7MB", "limit": 1 }] });
    refused_or_not_here(&update_to(container, resources)?)?;
    same!(all(container)?, before);
    Ok(())
}

fn refused_or_not_here(output: &Output) -> Test {
    output.fails(1, &["hugepageLimits"])
}

/// The one controller of the second version that every machine of the tests has.
fn huge_pages(container: &mut Container) -> Test {
    need("hugetlb")?;
    container.start_idle()?;
    let limit = json!([{ "pageSize": "2MB", "limit": 4194304 }]);
    update_to(container, json!({ "hugepageLimits": limit }))?.success()?;
    same!(read(container, &["hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"])?, "4194304");
    let reservations = ["hugetlb.2MB.rsvd.limit_in_bytes", "hugetlb.2MB.rsvd.max"];
    same!(read(container, &reservations)?, "4194304");
    let limits =
        json!([{ "pageSize": "2MB", "limit": 2097152 }, { "pageSize": "7MB", "limit": 1 }]);
    update_to(container, json!({ "hugepageLimits": limits }))?.fails(1, &["hugepageLimits/1"])?;
    same!(read(container, &["hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"])?, "4194304");
    Ok(())
}

fn created_and_paused(container: &mut Container) -> Test {
    need("pids")?;
    container.script("sleep 100");
    container.create()?.success()?;
    update(container, &["--pids-limit", "30"])?.success()?;
    same!(read(container, &["pids.max"])?, "30");
    container.verb("start")?.success()?;
    container.pause()?;
    update(container, &["--pids-limit", "31"])?.success()?;
    same!(container.state()?["status"], "paused");
    container.verb("resume")?.success()?;
    same!(read(container, &["pids.max"])?, "31");
    Ok(())
}

fn stopped(container: &mut Container) -> Test {
    container.start_script("true")?;
    container.wait_for("stopped")?;
    update(container, &["--pids-limit", "30"])?.fails(1, &["container not running"])
}

fn unknown_container(container: &mut Container) -> Test {
    update(container, &["--pids-limit", "30"])?.fails(1, &["container does not exist"])
}

fn wrong_values(container: &mut Container) -> Test {
    container.start_idle()?;
    for (resources, words) in [
        (json!({ "memory": { "limit": "much" } }), "/linux/resources/memory/limit"),
        (json!({ "memory": { "limit": -2 } }), "/linux/resources/memory/limit"),
        (json!({ "pids": { "limit": -7 } }), "/linux/resources/pids/limit"),
        (json!([]), "/linux/resources"),
    ] {
        update_to(container, resources)?.fails(1, &[words])?;
    }
    let path = container.file("resources.json");
    fs::write(&path, "{")?;
    update(container, &["--resources", &path])?.fails(1, &["JSON"])?;
    update(container, &["--resources", "/no/such/file"])?.fails(1, &["/no/such/file"])?;
    update(container, &["--resources", "/dev/zero"])?.fails(1, &["regular file"])?;
    Ok(())
}

/// config-linux.md, "Memory": with checkBeforeUpdate a limit below what is in use is refused.
fn memory_in_use(container: &mut Container) -> Test {
    need("memory")?;
    container.set("/linux/resources/memory", json!({ "limit": 268435456 }));
    container.start_script(
        "head -c 40000000 /dev/zero > /dev/shm/much; touch /dev/shm/done; sleep 100",
    )?;
    crate::command::wait_until("memory in use", || {
        Ok(container.exec(&["test", "-e", "/dev/shm/done"])?.code == 0)
    })?;
    let memory = json!({ "memory": { "limit": 20000000, "checkBeforeUpdate": true } });
    update_to(container, memory)?.fails(1, &["/linux/resources/memory/limit", "in use"])?;
    same!(read(container, &MEMORY)?, "268435456");
    Ok(())
}

fn what_it_limits(container: &mut Container) -> Test {
    need("pids")?;
    container.start_idle()?;
    let script = "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait";
    container.exec(&["sh", "-c", script])?.success()?;
    update(container, &["--pids-limit", "5"])?.success()?;
    ensure!(container.exec(&["sh", "-c", script])?.stderr.contains("fork"), "more than five");
    Ok(())
}

fn nothing_at_all(container: &mut Container) -> Test {
    container.start_idle()?;
    update(container, &[])?.success()?;
    update_to(container, json!({}))?.success()?;
    Ok(())
}

/// systemd writes what it knows anew, so it knows of the change.
fn with_systemd(container: &mut Container) -> Test {
    systemd::need_systemd(container)?;
    systemd::set_limits(container);
    container.start_idle()?;
    let flags = ["update", "--pids-limit", "33", "--memory", "128m", &container.id];
    container.runtime(&flags)?.success()?;
    systemctl(&["daemon-reload"])?;
    systemctl(&["set-property", "--runtime", &systemd::unit(container), "CPUWeight=77"])?;
    same!(
        (
            systemd::read(container, "pids.max")?.as_str(),
            systemd::property(container, "TasksMax")?.as_str()
        ),
        ("33", "33")
    );
    same!(systemd::read(container, "memory.max")?, "134217728");
    Ok(())
}

/// What systemd does not hear of does not stay in the files either.
fn without_a_bus(container: &mut Container) -> Test {
    systemd::need_systemd(container)?;
    systemd::set_limits(container);
    container.start_idle()?;
    let limits = |container: &Container| {
        ["pids.max", "memory.max"].map(|name| systemd::read(container, name).ok())
    };
    let before = limits(container);
    let update =
        container.command(&["update", "--pids-limit", "33", "--memory", "128m", &container.id]);
    let mut covering = Command::new("unshare");
    let script = "mount --bind /dev/null /run/dbus/system_bus_socket && exec \"$@\"";
    covering.args(["--mount", "sh", "-c", script, "sh"]);
    let output = container.finish_command(called_by(covering, &update), Stdio::null())?;
    output.fails(1, &["system_bus_socket"])?;
    same!(limits(container), before);
    Ok(())
}
