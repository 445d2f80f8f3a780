//! `update`.

use std::path::Path;

use libcontainer::Context;
use libcontainer::request::{self, Resources, Schema};
use serde_json::{Map, Value};

use crate::arguments::{CpuFlags, MemoryFlags, Update};

/// Changes the limits.
pub(crate) fn run(context: &Context, update: Update) -> anyhow::Result<()> {
    let resources = match &update.resources {
        Some(path) if path == Path::new("-") => Resources::StandardInput,
        Some(path) => Resources::File(path.clone()),
        None => Resources::Given(of_flags(&update).into()),
    };
    let schema =
        Schema { l3_cache: update.l3_cache_schema, memory_bandwidth: update.mem_bw_schema };
    Ok(libcontainer::update(context, &request::Update { id: update.id, resources, schema })?)
}

/// The flags as `linux.resources`. Zero and nothing stand for what stays as it is.
fn of_flags(update: &Update) -> Map<String, Value> {
    let MemoryFlags { memory, memory_reservation, memory_swap, .. } = update.memory;
    let cpu: &CpuFlags = &update.cpu;
    let values = [
        ("memory", "limit", memory.map(Value::from)),
        ("memory", "reservation", memory_reservation.map(Value::from)),
        ("memory", "swap", memory_swap.map(Value::from)),
        ("cpu", "period", cpu.cpu_period.map(Value::from)),
        ("cpu", "quota", cpu.cpu_quota.map(Value::from)),
        ("cpu", "burst", cpu.cpu_burst.map(Value::from)),
        ("cpu", "shares", cpu.cpu_share.map(Value::from)),
        ("cpu", "realtimePeriod", cpu.cpu_rt_period.map(Value::from)),
        ("cpu", "realtimeRuntime", cpu.cpu_rt_runtime.map(Value::from)),
        ("cpu", "cpus", cpu.cpuset_cpus.as_deref().map(Value::from)),
        ("cpu", "mems", cpu.cpuset_mems.as_deref().map(Value::from)),
        ("cpu", "idle", cpu.cpu_idle.map(Value::from)),
        ("blockIO", "weight", update.blkio_weight.map(Value::from)),
        ("pids", "limit", update.pids_limit.map(Value::from)),
    ];
    let mut resources = Map::new();
    for (part, name, value) in values {
        if let Some(value) = value {
            let part = resources.entry(part).or_insert_with(|| Value::Object(Map::new()));
            part[name] = value;
        }
    }
    resources
}
