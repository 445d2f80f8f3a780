//! `cpu` (config-linux.md, "CPU").

use oci_spec::runtime::LinuxCpu;

use crate::limits::{Hierarchy, Table};

/// The shares that v1 has (`MIN_SHARES` and `MAX_SHARES`, kernel/sched/sched.h).
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

pub(crate) fn plan(cpu: &LinuxCpu, table: &mut Table<'_>) {
    let time = cpu.shares().is_some_and(|shares| shares != 0)
        || cpu.quota().is_some_and(|quota| quota != 0)
        || [cpu.period(), cpu.burst(), cpu.realtime_period()]
            .iter()
            .flatten()
            .any(|value| *value != 0)
        || cpu.idle().is_some()
        || cpu.realtime_runtime().is_some_and(|runtime| runtime != 0);
    if time {
        match table.hierarchy("cpu", "/cpu") {
            Some(hierarchy @ Hierarchy::Legacy(_)) => legacy(cpu, hierarchy, table),
            Some(Hierarchy::Unified) => unified(cpu, table),
            None => {}
        }
    }
    let sets = [
        ("cpuset.cpus", "/cpu/cpus", cpu.cpus().as_deref()),
        ("cpuset.mems", "/cpu/mems", cpu.mems().as_deref()),
    ];
    for (file, pointer, value) in sets {
        let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
        if let Some(hierarchy) = table.hierarchy("cpuset", pointer) {
            table.write(hierarchy, file, value, pointer);
        }
    }
}

fn legacy(cpu: &LinuxCpu, hierarchy: Hierarchy, table: &mut Table<'_>) {
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0 && !SHARES.contains(shares)) {
        let rule = "the kernel takes 2 to 262144, and would take the nearest of these in its place";
        table.not_here("/cpu/shares", shares, rule, "write such a number");
    }
    let nonzero =
        |value: Option<u64>| value.filter(|value| *value != 0).map(|value| value.to_string());
    let nonzero_signed =
        |value: Option<i64>| value.filter(|value| *value != 0).map(|value| value.to_string());
    // The quota is checked against the period, and the burst against the quota.
    let values = [
        ("cpu.shares", "/cpu/shares", nonzero(cpu.shares())),
        ("cpu.cfs_period_us", "/cpu/period", nonzero(cpu.period())),
        ("cpu.cfs_quota_us", "/cpu/quota", nonzero_signed(cpu.quota())),
        ("cpu.cfs_burst_us", "/cpu/burst", nonzero(cpu.burst())),
        ("cpu.rt_period_us", "/cpu/realtimePeriod", nonzero(cpu.realtime_period())),
        ("cpu.rt_runtime_us", "/cpu/realtimeRuntime", nonzero_signed(cpu.realtime_runtime())),
        ("cpu.idle", "/cpu/idle", cpu.idle().map(|idle| idle.to_string())),
    ];
    for (file, pointer, value) in values {
        if let Some(value) = value {
            table.write(hierarchy, file, value, pointer);
        }
    }
}

fn unified(cpu: &LinuxCpu, table: &mut Table<'_>) {
    let hierarchy = Hierarchy::Unified;
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        table.write(hierarchy, "cpu.weight", weight(shares), "/cpu/shares");
    }
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    if quota.is_some() || period.is_some() {
        let quota = match quota {
            Some(quota) if quota > 0 => quota.to_string(),
            _ => "max".to_owned(),
        };
        let value = period.map_or_else(|| quota.clone(), |period| format!("{quota} {period}"));
        table.write(hierarchy, "cpu.max", value, "/cpu/quota");
    }
    if let Some(burst) = cpu.burst().filter(|burst| *burst != 0) {
        table.write(hierarchy, "cpu.max.burst", burst, "/cpu/burst");
    }
    if let Some(idle) = cpu.idle() {
        table.write(hierarchy, "cpu.idle", idle, "/cpu/idle");
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|runtime| *runtime != 0) {
        table.only_v1("/cpu/realtimeRuntime", runtime);
    }
    if let Some(period) = cpu.realtime_period().filter(|period| *period != 0) {
        table.only_v1("/cpu/realtimePeriod", period);
    }
}

/// v1 shares (2 to 262144, normally 1024) as a v2 weight (1 to 10000, normally 100): the curve
/// through these three points that runc has used since 1.4 (opencontainers/cgroups,
/// `ConvertCPUSharesToCgroupV2Value`).
fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        shares => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::weight;

    #[test]
    fn the_ends_and_the_middle_meet() {
        assert_eq!([0, 2, 1024, 262_144, u64::MAX].map(weight), [1, 1, 100, 10_000, 10_000]);
    }
}
