//! `blockIO` (config-linux.md, "Block IO").

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use crate::limits::{Hierarchy, Table};

/// The weights that the kernel takes.
const WEIGHTS: std::ops::RangeInclusive<u16> = 10..=1000;

pub(crate) fn plan(block_io: &LinuxBlockIo, table: &mut Table<'_>) {
    let everywhere = "";
    set_weight(everywhere, block_io.weight(), "/blockIO/weight", table);
    set_leaf_weight(everywhere, block_io.leaf_weight(), "/blockIO/leafWeight", table);
    for (index, device) in block_io.weight_device().iter().flatten().enumerate() {
        let number = format!("{}:{}", device.major(), device.minor());
        let pointer = format!("/blockIO/weightDevice/{index}");
        let (weight, leaf_weight) = (device.weight(), device.leaf_weight());
        if weight.is_none() && leaf_weight.is_none() {
            let rule = "needs weight or leafWeight (config-linux.md, \"Block IO\")";
            table.violation(&pointer, &number, rule, "set at least one of them");
        }
        set_weight(&number, weight, &format!("{pointer}/weight"), table);
        set_leaf_weight(&number, leaf_weight, &format!("{pointer}/leafWeight"), table);
    }
    for throttle in &THROTTLES {
        for (index, device) in (throttle.devices)(block_io).iter().flatten().enumerate() {
            let pointer = format!("/blockIO/{}/{index}", throttle.property);
            limit_rate(throttle, &pointer, device, table);
        }
    }
}

/// The weight for the device of this number, or everywhere. The files without `bfq` are those of schedulers that
/// kernels have lost (v1, Linux 5.0) or may lack (v2's iocost).
fn set_weight(device: &str, value: Option<u16>, pointer: &str, table: &mut Table<'_>) {
    let Some(value) = checked_weight(value, pointer, table) else { return };
    match table.hierarchy("blkio", pointer) {
        Some(hierarchy @ Hierarchy::Legacy(_)) if device.is_empty() => {
            table.write(hierarchy, "blkio.weight", value, pointer);
            table.or_write("blkio.bfq.weight", value);
        }
        Some(hierarchy @ Hierarchy::Legacy(_)) => {
            let line = format!("{device} {value}");
            table.write(hierarchy, "blkio.weight_device", &line, pointer);
            table.or_write("blkio.bfq.weight_device", &line);
        }
        Some(Hierarchy::Unified) => {
            // 10 to 1000 become 1 to 10000.
            let converted = 1 + (u64::from(value) - 10) * 9999 / 990;
            let key = if device.is_empty() { "default" } else { device };
            table.write(Hierarchy::Unified, "io.weight", format!("{key} {converted}"), pointer);
            table.or_write("io.bfq.weight", format!("{key} {value}"));
        }
        None => {}
    }
}

/// The same of processes in the cgroup beside cgroups below it, which only v1 has.
fn set_leaf_weight(device: &str, value: Option<u16>, pointer: &str, table: &mut Table<'_>) {
    let Some(value) = checked_weight(value, pointer, table) else { return };
    let Some(hierarchy) = table.legacy("blkio", pointer, value) else { return };
    if device.is_empty() {
        table.write(hierarchy, "blkio.leaf_weight", value, pointer);
    } else {
        let line = format!("{device} {value}");
        table.write(hierarchy, "blkio.leaf_weight_device", line, pointer);
    }
}

/// A weight that is asked for (zero asks for nothing), if there can be such a one.
fn checked_weight(value: Option<u16>, pointer: &str, table: &mut Table<'_>) -> Option<u16> {
    let value = value.filter(|value| *value != 0)?;
    if WEIGHTS.contains(&value) {
        return Some(value);
    }
    table.violation(pointer, value, "a weight is between 10 and 1000", "write such a number");
    None
}

/// A limit of rates, with a value for each device.
struct Throttle {
    /// Its name in `blockIO`.
    property: &'static str,
    /// The v1 file.
    file: &'static str,
    /// The key in v2's io.max.
    key: &'static str,
    devices: fn(&LinuxBlockIo) -> &Option<Vec<LinuxThrottleDevice>>,
}

const THROTTLES: [Throttle; 4] = [
    Throttle {
        property: "throttleReadBpsDevice",
        file: "blkio.throttle.read_bps_device",
        key: "rbps",
        devices: LinuxBlockIo::throttle_read_bps_device,
    },
    Throttle {
        property: "throttleWriteBpsDevice",
        file: "blkio.throttle.write_bps_device",
        key: "wbps",
        devices: LinuxBlockIo::throttle_write_bps_device,
    },
    Throttle {
        property: "throttleReadIOPSDevice",
        file: "blkio.throttle.read_iops_device",
        key: "riops",
        devices: LinuxBlockIo::throttle_read_iops_device,
    },
    Throttle {
        property: "throttleWriteIOPSDevice",
        file: "blkio.throttle.write_iops_device",
        key: "wiops",
        devices: LinuxBlockIo::throttle_write_iops_device,
    },
];

fn limit_rate(
    throttle: &Throttle,
    pointer: &str,
    device: &LinuxThrottleDevice,
    table: &mut Table<'_>,
) {
    let Throttle { file, key, .. } = throttle;
    let number = format!("{}:{}", device.major(), device.minor());
    let rate = device.rate();
    match table.hierarchy("blkio", pointer) {
        Some(hierarchy @ Hierarchy::Legacy(_)) => {
            table.write(hierarchy, file, format!("{number} {rate}"), pointer);
        }
        // Zero lifts the limit, which v2 writes as "max".
        Some(Hierarchy::Unified) if rate == 0 => {
            table.write(Hierarchy::Unified, "io.max", format!("{number} {key}=max"), pointer);
        }
        Some(Hierarchy::Unified) => {
            table.write(Hierarchy::Unified, "io.max", format!("{number} {key}={rate}"), pointer);
        }
        None => {}
    }
}
