//! `blockIO` (config-linux.md, "Block IO").

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use crate::limits::{Hierarchy, Table};

pub(crate) fn plan(block_io: &LinuxBlockIo, table: &mut Table<'_>) {
    let weights =
        [("/blockIO/weight", block_io.weight()), ("/blockIO/leafWeight", block_io.leaf_weight())];
    for (pointer, value) in weights {
        let Some(value) = value.filter(|value| *value != 0) else { continue };
        if !(10..=1000).contains(&value) {
            table.violation(
                pointer,
                value,
                "a weight is between 10 and 1000",
                "write such a number",
            );
        }
        match (table.hierarchy("blkio", pointer), pointer) {
            (Some(hierarchy @ Hierarchy::Legacy(_)), "/blockIO/weight") => {
                table.write(hierarchy, "blkio.weight", value, pointer);
            }
            (Some(hierarchy @ Hierarchy::Legacy(_)), _) => {
                table.write(hierarchy, "blkio.leaf_weight", value, pointer);
            }
            (Some(Hierarchy::Unified), "/blockIO/weight") => {
                // 10 to 1000 become 1 to 10000.
                let converted = 1 + (u64::from(value).saturating_sub(10)) * 9999 / 990;
                table.write(
                    Hierarchy::Unified,
                    "io.weight",
                    format!("default {converted}"),
                    pointer,
                );
            }
            (Some(Hierarchy::Unified), _) => table.only_v1(pointer, value),
            (None, _) => {}
        }
    }
    if block_io.weight_device().as_ref().is_some_and(|devices| !devices.is_empty()) {
        let rule = "weights of single devices are not supported by aril yet";
        table.not_yet("/blockIO/weightDevice", rule);
    }
    for throttle in &THROTTLES {
        for (index, device) in (throttle.devices)(block_io).iter().flatten().enumerate() {
            let pointer = format!("/blockIO/{}/{index}", throttle.property);
            limit_rate(throttle, &pointer, device, table);
        }
    }
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
