//! New limits for a cgroup that has some.

use libviolation::Violation;
use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::plan_limits;
use crate::limits::{Limits, Table};
use crate::{Layout, Present};

/// Turns `resources`, but for its devices, into limits for a cgroup that has `present` ones. What is absent, zero or
/// empty stays as it is.
///
/// # Errors
/// Everything that cannot be expressed, and with `checkBeforeUpdate` a limit below what is in use.
pub fn plan_update(
    resources: &LinuxResources,
    layout: &Layout,
    present: &Present,
) -> Result<Limits, Vec<Violation>> {
    let mut resources = resources.clone();
    if resources.pids().as_ref().is_some_and(|pids| pids.limit() == 0) {
        resources.set_pids(None);
    }
    if let Some(memory) = resources.memory() {
        check_use(memory, layout, present)?;
        resources.set_memory(Some(complete_memory(*memory, present)));
    }
    if let Some(cpu) = resources.cpu() {
        resources.set_cpu(Some(complete_cpu(cpu.clone(), present)));
    }
    let limits = plan_limits(&resources, layout)?;
    Ok(in_order(limits, present))
}

fn check_use(
    memory: &LinuxMemory,
    layout: &Layout,
    present: &Present,
) -> Result<(), Vec<Violation>> {
    let limit = memory.limit().filter(|limit| *limit > 0);
    let (Some(limit), Some(used), Some(true)) =
        (limit, present.memory_in_use, memory.check_before_update())
    else {
        return Ok(());
    };
    let mut table = Table::new(layout);
    if limit < used {
        let rule = format!("is below the {used} bytes in use, and checkBeforeUpdate is set");
        table.not_here("/memory/limit", limit, &rule, "give more, or leave checkBeforeUpdate out");
    }
    table.into_writes().map(|_| ())
}

/// Swap is memory and swap together (config-linux.md, "Memory"): v2 counts it alone, so the present memory has to be
/// known. Without a limit of memory there is none of both.
fn complete_memory(mut memory: LinuxMemory, present: &Present) -> LinuxMemory {
    let set = |value: Option<i64>| value.filter(|value| *value != 0);
    let (limit, swap) = (set(memory.limit()), set(memory.swap()));
    let counts_swap = present.swap.or(present.memory_and_swap).is_some();
    if limit == Some(-1) && swap.is_none() && counts_swap {
        memory.set_swap(Some(-1));
    }
    let counts_it_alone = present.memory_and_swap.is_none();
    if limit.is_none() && swap.is_some_and(|swap| swap > 0) && counts_it_alone {
        memory.set_limit(present.memory.filter(|memory| *memory != -1));
    }
    memory
}

/// v2 has quota and period in one file, of which the quota comes first.
fn complete_cpu(mut cpu: LinuxCpu, present: &Present) -> LinuxCpu {
    let sets_period = cpu.period().is_some_and(|period| period != 0);
    if sets_period && cpu.quota().is_none_or(|quota| quota == 0) {
        cpu.set_quota(present.cpu_quota.or(cpu.quota()));
    }
    cpu
}

/// v1 refuses less memory and swap together than memory, at any moment: of the two, what has to grow grows first.
fn in_order(limits: Limits, present: &Present) -> Limits {
    let mut writes = limits.writes().to_vec();
    let at = |name: &str| writes.iter().position(|write| write.file == name);
    let both = at("memory.limit_in_bytes").zip(at("memory.memsw.limit_in_bytes"));
    let size = |text: &str| text.parse().ok().filter(|size| *size >= 0).unwrap_or(i64::MAX);
    if let Some((memory, swap)) = both
        && let Some(now) = present.memory_and_swap
        && size(&writes[memory].value) > now
    {
        writes.swap(memory, swap);
    }
    Limits::of(writes)
}

#[cfg(test)]
mod tests {
    use super::plan_update;
    use crate::{Layout, Present};

    const V1: &str =
        "1 0 0:1 / /c/cpu rw - cgroup c rw,cpu\n2 0 0:2 / /c/memory rw - cgroup c rw,memory";
    const V2: &str = "1 0 0:1 / /c rw - cgroup2 c rw";

    fn writes(json: &str, mounts: &str, present: Present) -> Result<Vec<String>, Vec<String>> {
        let layout = Layout::parse(mounts, "").unwrap();
        let limits = plan_update(&serde_json::from_str(json).unwrap(), &layout, &present);
        let text = |limits: crate::Limits| {
            limits.writes().iter().map(|one| format!("{} {}", one.file, one.value)).collect()
        };
        limits.map(text).map_err(|all| all.into_iter().map(|one| one.pointer).collect())
    }

    #[test]
    fn memory_and_swap_grow_and_shrink() {
        let json = r#"{"memory":{"limit":1000,"swap":2000}}"#;
        let of = |both| Present { memory_and_swap: Some(both), ..Present::default() };
        let memory = "memory.limit_in_bytes 1000".to_owned();
        let swap = "memory.memsw.limit_in_bytes 2000".to_owned();
        assert_eq!(writes(json, V1, of(5000)).unwrap(), [memory.clone(), swap.clone()]);
        assert_eq!(writes(json, V1, of(500)).unwrap(), [swap, memory]);
    }

    #[test]
    fn what_v2_counts_together_is_completed() {
        let present = Present {
            memory: Some(1000),
            swap: Some(0),
            cpu_quota: Some(5000),
            ..Present::default()
        };
        let json = r#"{"memory":{"swap":1500},"cpu":{"period":20000}}"#;
        let expected = ["memory.max 1000", "memory.swap.max 500", "cpu.max 5000 20000"];
        assert_eq!(writes(json, V2, present).unwrap(), expected);
        let unlimited = Present { memory: Some(-1), ..present };
        let pointers = ["/linux/resources/memory/swap"];
        assert_eq!(writes(r#"{"memory":{"swap":1500}}"#, V2, unlimited).unwrap_err(), pointers);
        let json = r#"{"memory":{"limit":-1},"pids":{"limit":0}}"#;
        assert_eq!(writes(json, V2, present).unwrap(), ["memory.max max", "memory.swap.max max"]);
    }

    #[test]
    fn a_limit_below_what_is_in_use() {
        let json = r#"{"memory":{"limit":1000,"checkBeforeUpdate":true}}"#;
        let used = |bytes| Present { memory_in_use: Some(bytes), ..Present::default() };
        assert_eq!(writes(json, V2, used(999)).unwrap(), ["memory.max 1000"]);
        let pointers = ["/linux/resources/memory/limit"];
        assert_eq!(writes(json, V2, used(1001)).unwrap_err(), pointers);
    }
}
