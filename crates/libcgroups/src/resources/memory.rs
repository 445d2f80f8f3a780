//! `memory` (config-linux.md, "Memory").

use oci_spec::runtime::LinuxMemory;

use crate::limits::{Hierarchy, Table, or_max};

pub(crate) fn plan(memory: &LinuxMemory, table: &mut Table<'_>) {
    let sizes = [
        ("/memory/limit", memory.limit()),
        ("/memory/reservation", memory.reservation()),
        ("/memory/swap", memory.swap()),
        ("/memory/kernelTCP", memory.kernel_tcp()),
    ];
    for (pointer, value) in sizes {
        if let Some(value) = value.filter(|value| *value < -1) {
            let fix = "write a number of bytes, or -1 for no limit";
            table.violation(pointer, value, "a memory size cannot be negative", fix);
        }
    }
    let asks = sizes.iter().any(|(_, value)| set(*value).is_some())
        || memory.swappiness().is_some()
        || memory.disable_oom_killer() == Some(true)
        || memory.use_hierarchy().is_some()
        || (kernel_tcp(memory).is_some() && table.has_legacy("memory"));
    if !asks {
        return;
    }
    match table.hierarchy("memory", "/memory") {
        Some(hierarchy @ Hierarchy::Legacy(_)) => legacy(memory, hierarchy, table),
        Some(Hierarchy::Unified) => unified(memory, table),
        None => {}
    }
}

/// The limit of the kernel's buffers for TCP, which v2 does not have.
fn kernel_tcp(memory: &LinuxMemory) -> Option<i64> {
    set(memory.kernel_tcp())
}

/// Zero means unset, as engines write it.
fn set(value: Option<i64>) -> Option<i64> {
    value.filter(|value| *value != 0)
}

fn legacy(memory: &LinuxMemory, hierarchy: Hierarchy, table: &mut Table<'_>) {
    // Memory and swap together may not be less than memory, so memory comes first when both are
    // set on a new cgroup.
    let sizes = [
        ("memory.limit_in_bytes", "/memory/limit", memory.limit()),
        ("memory.memsw.limit_in_bytes", "/memory/swap", memory.swap()),
        ("memory.soft_limit_in_bytes", "/memory/reservation", memory.reservation()),
    ];
    for (file, pointer, value) in sizes {
        if let Some(value) = set(value) {
            table.write(hierarchy, file, value, pointer);
        }
    }
    if let Some(swappiness) = memory.swappiness() {
        if swappiness > 100 {
            let (rule, fix) = ("swappiness is a percentage", "write 0 to 100");
            table.violation("/memory/swappiness", swappiness, rule, fix);
        }
        table.write(hierarchy, "memory.swappiness", swappiness, "/memory/swappiness");
    }
    if memory.disable_oom_killer() == Some(true) {
        table.write(hierarchy, "memory.oom_control", 1, "/memory/disableOOMKiller");
    }
    if let Some(limit) = kernel_tcp(memory) {
        table.write(hierarchy, "memory.kmem.tcp.limit_in_bytes", limit, "/memory/kernelTCP");
    }
    if memory.use_hierarchy() == Some(false) {
        refuse_flat(table);
    }
}

fn unified(memory: &LinuxMemory, table: &mut Table<'_>) {
    let limit = set(memory.limit());
    if let Some(limit) = limit {
        table.write(Hierarchy::Unified, "memory.max", or_max(limit), "/memory/limit");
    }
    match (set(memory.swap()), limit) {
        (None, _) => {}
        (Some(-1), _) => table.write(Hierarchy::Unified, "memory.swap.max", "max", "/memory/swap"),
        // In the spec swap is memory and swap together; v2 counts swap alone.
        (Some(swap), Some(limit)) if limit >= 0 && swap >= limit => {
            table.write(Hierarchy::Unified, "memory.swap.max", swap - limit, "/memory/swap");
        }
        (Some(swap), _) => {
            let rule = "swap is memory and swap together, so it cannot be less than the limit, nor \
                        be set without one";
            table.violation(
                "/memory/swap",
                swap,
                rule,
                "set memory.limit, and swap at least as high",
            );
        }
    }
    if let Some(reservation) = set(memory.reservation()) {
        let value = or_max(reservation);
        table.write(Hierarchy::Unified, "memory.low", value, "/memory/reservation");
    }
    if let Some(swappiness) = memory.swappiness() {
        table.only_v1("/memory/swappiness", swappiness);
    }
    if memory.disable_oom_killer() == Some(true) {
        table.only_v1("/memory/disableOOMKiller", true);
    }
    if memory.use_hierarchy() == Some(false) {
        refuse_flat(table);
    }
}

fn refuse_flat(table: &mut Table<'_>) {
    let rule = "the kernel counts memory hierarchically, always since Linux 5.11";
    table.not_here("/memory/useHierarchy", false, rule, "leave it out");
}
