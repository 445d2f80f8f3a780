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
        let (rule, fix) =
            ("weights of single devices are not supported by aril yet", "leave it out");
        table.violation("/blockIO/weightDevice", "", rule, fix);
    }
    let throttles = [
        (
            "throttleReadBpsDevice",
            "blkio.throttle.read_bps_device",
            "rbps",
            block_io.throttle_read_bps_device(),
        ),
        (
            "throttleWriteBpsDevice",
            "blkio.throttle.write_bps_device",
            "wbps",
            block_io.throttle_write_bps_device(),
        ),
        (
            "throttleReadIOPSDevice",
            "blkio.throttle.read_iops_device",
            "riops",
            block_io.throttle_read_iops_device(),
        ),
        (
            "throttleWriteIOPSDevice",
            "blkio.throttle.write_iops_device",
            "wiops",
            block_io.throttle_write_iops_device(),
        ),
    ];
    for (property, file, key, devices) in throttles {
        for (index, device) in devices.iter().flatten().enumerate() {
            throttle((&format!("/blockIO/{property}/{index}"), file, key), device, table);
        }
    }
}

fn throttle(
    (pointer, file, key): (&str, &str, &str),
    device: &LinuxThrottleDevice,
    table: &mut Table<'_>,
) {
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
