//! Each limit of `linux.resources`, alone: what the file of the cgroup says.

use std::fs;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::cgroups::{has, read};
use super::{Test, cases, same};
use crate::container::Container;
use crate::skip::Skip;
use crate::view::{Layout, layout};

cases!("limits": each, of_a_block_device, weights_of_nothing, what_v2_has_not);

/// The controller, the property below `linux.resources`, its value, the file of v1 and of v2 (empty: it has none), and what
/// they say then.
type Limit = (&'static str, &'static str, Value, [&'static str; 2], &'static str);

fn limits() -> [Limit; 14] {
    let mebi = json!(1 << 25);
    let text = "33554432";
    [
        ("memory", "memory/limit", mebi.clone(), ["memory.limit_in_bytes", "memory.max"], text),
        ("memory", "memory/reservation", mebi, ["memory.soft_limit_in_bytes", "memory.low"], text),
        ("memory", "memory/swappiness", json!(7), ["memory.swappiness", ""], "7"),
        (
            "memory",
            "memory/disableOOMKiller",
            json!(true),
            ["memory.oom_control", ""],
            "oom_kill_disable 1",
        ),
        ("cpu", "cpu/shares", json!(512), ["cpu.shares", ""], "512"),
        ("cpu", "cpu/period", json!(50_000), ["cpu.cfs_period_us", "cpu.max"], "50000"),
        ("cpu", "cpu/idle", json!(1), ["cpu.idle", "cpu.idle"], "1"),
        ("cpu", "cpu/realtimePeriod", json!(900_000), ["cpu.rt_period_us", ""], "900000"),
        ("cpu", "cpu/realtimeRuntime", json!(5000), ["cpu.rt_runtime_us", ""], "5000"),
        ("cpuset", "cpu/cpus", json!("0"), ["cpuset.cpus", "cpuset.cpus"], "0"),
        ("cpuset", "cpu/mems", json!("0"), ["cpuset.mems", "cpuset.mems"], "0"),
        ("pids", "pids/limit", json!(77), ["pids.max", "pids.max"], "77"),
        (
            "hugetlb",
            "hugepageLimits",
            huge(),
            ["hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"],
            "4194304",
        ),
        (
            "hugetlb",
            "hugepageLimits",
            huge(),
            ["hugetlb.2MB.rsvd.limit_in_bytes", "hugetlb.2MB.rsvd.max"],
            "4194304",
        ),
    ]
}

fn huge() -> Value {
    json!([{ "pageSize": "2MB", "limit": 4_194_304 }])
}

fn each(container: &mut Container) -> Test {
    let mut tried = 0;
    for (controller, property, value, files, expected) in limits() {
        let is_there = has(controller) && !(layout()? == Layout::V2 && files[1].is_empty());
        if !is_there {
            continue;
        }
        container.set("/linux/resources", json!({}));
        container.set(&format!("/linux/resources/{property}"), value);
        container.start_idle().context(property)?;
        let files = files.map(|file| if file.is_empty() { "none" } else { file });
        let text = read(container, &files)?;
        ensure!(
            text.split('\n').any(|line| line == expected),
            "{property}: {text:?} is not {expected:?}"
        );
        container.delete_force()?;
        tried += 1;
    }
    ensure!(tried > 0, "no controller here");
    Ok(())
}

/// The numbers of a block device that the machine has.
fn block_device() -> anyhow::Result<[u64; 2]> {
    for entry in fs::read_dir("/sys/block")? {
        let numbers = fs::read_to_string(entry?.path().join("dev"))?;
        let numbers: Vec<u64> = numbers.trim().split(':').flat_map(str::parse).collect();
        // A loop device that is not bound has no queue.
        if let Ok([major, minor]) = <[u64; 2]>::try_from(numbers)
            && major != 7
        {
            return Ok([major, minor]);
        }
    }
    Err(Skip("this machine has no block device".to_owned()).into())
}

fn of_a_block_device(container: &mut Container) -> Test {
    if !has("blkio") && !has("io") {
        return Err(
            Skip("no hierarchy of this view has a controller of block devices".to_owned()).into()
        );
    }
    let [major, minor] = block_device()?;
    for (property, file, key) in [
        ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
        ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
        ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
        ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
    ] {
        let limit = json!([{ "major": major, "minor": minor, "rate": 1_048_576 }]);
        container.set("/linux/resources/blockIO", json!({ property: limit }));
        container.start_idle()?;
        let text = read(container, &[file, "io.max"])?;
        let numbers = format!("{major}:{minor} ");
        let is_set = text.starts_with(&numbers)
            && (text.ends_with(" 1048576") || text.contains(&format!("{key}=1048576")));
        ensure!(is_set, "{property}: {text}");
        container.delete_force()?;
    }
    Ok(())
}

/// An entry says something.
fn weights_of_nothing(container: &mut Container) -> Test {
    let entry = json!([{ "major": 8, "minor": 0 }]);
    container.set("/linux/resources/blockIO", json!({ "weightDevice": entry }));
    container.create_refused(&["weightDevice"])?;
    container.set("/linux/resources", json!({ "rdma": { "mlx5_1": {} } }));
    container.create_refused(&["rdma"])
}

/// What has no counterpart is an error, and not passed over.
fn what_v2_has_not(container: &mut Container) -> Test {
    if layout()? != Layout::V2 {
        return Err(Skip("only where v2 is all there is".to_owned()).into());
    }
    for (property, value) in [
        ("memory/swappiness", json!(7)),
        ("memory/disableOOMKiller", json!(true)),
        ("cpu/realtimeRuntime", json!(5000)),
        ("cpu/realtimePeriod", json!(900_000)),
        ("blockIO/leafWeight", json!(500)),
        ("network/classID", json!(7)),
        ("network/priorities", json!([{ "name": "lo", "priority": 5 }])),
    ] {
        container.set("/linux/resources", json!({}));
        container.set(&format!("/linux/resources/{property}"), value);
        let area = property.split('/').next().unwrap_or_default();
        container.create_refused(&[&format!("/linux/resources/{area}")]).context(property)?;
    }
    same!(container.verb("state")?.code, 1);
    Ok(())
}
