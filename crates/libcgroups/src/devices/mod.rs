//! `devices`: rules in order, as writes to v1 files or as a v2 program.

use libviolation::Violation;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use crate::Layout;
use crate::limits::{Hierarchy, Table, Write};

mod legacy;
#[cfg(test)]
mod machine;
mod program;

/// Which devices a container's processes may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceAccess {
    /// Writes to the files of the v1 controller, in the order they are to be done.
    Legacy(Vec<Write>),
    /// The v2 program, 8 bytes an instruction.
    Unified(Vec<u64>),
    /// All that the caller may use: no cgroup of the container's own was asked for, or the caller is an ordinary
    /// user or root of a user namespace, who can set no rule.
    Unlimited,
}

/// One rule about one kind of device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub allow: bool,
    pub kind: Kind,
    /// Nothing stands for every number.
    pub major: Option<u32>,
    /// Nothing stands for every number.
    pub minor: Option<u32>,
    /// [`READ`], [`WRITE`] and [`MAKE`].
    pub access: u8,
}

/// A rule of the config.
pub(crate) struct ConfigRule {
    /// Its place in `devices`.
    pub index: usize,
    pub rule: Rule,
}

/// The kind of node a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Block,
    Character,
}

/// `BPF_DEVCG_ACC_MKNOD` (linux/bpf.h).
pub(crate) const MAKE: u8 = 1;
/// `BPF_DEVCG_ACC_READ`.
pub(crate) const READ: u8 = 2;
/// `BPF_DEVCG_ACC_WRITE`.
pub(crate) const WRITE: u8 = 4;
const ALL: u8 = MAKE | READ | WRITE;

/// What every container may use, as in runc: making any node (which the other rules keep from
/// being used), the spec's default devices, and the terminals of its devpts. /dev/console is one of
/// these; the machine's own (c 5:1) is not for containers.
const DEFAULT_RULES: [Rule; 11] = [
    allowed(Kind::Character, None, None, MAKE),
    allowed(Kind::Block, None, None, MAKE),
    allowed(Kind::Character, Some(1), Some(3), ALL),
    allowed(Kind::Character, Some(1), Some(8), ALL),
    allowed(Kind::Character, Some(1), Some(7), ALL),
    allowed(Kind::Character, Some(5), Some(0), ALL),
    allowed(Kind::Character, Some(1), Some(5), ALL),
    allowed(Kind::Character, Some(1), Some(9), ALL),
    allowed(Kind::Character, Some(136), None, ALL),
    allowed(Kind::Character, Some(5), Some(2), ALL),
    // /dev/net/tun: what it can do is decided by CAP_NET_ADMIN, and VPNs bind it.
    allowed(Kind::Character, Some(10), Some(200), ALL),
];

const fn allowed(kind: Kind, major: Option<u32>, minor: Option<u32>, access: u8) -> Rule {
    Rule { allow: true, kind, major, minor, access }
}

/// Plans the rules of the config, then the default ones, for the hierarchies of `layout`. What no
/// rule allows is denied.
///
/// # Errors
/// Everything that cannot be expressed.
pub fn plan_devices(
    devices: &[LinuxDeviceCgroup],
    layout: &Layout,
) -> Result<DeviceAccess, Vec<Violation>> {
    let mut table = Table::new(layout);
    let rules = parse_all(devices, &mut table);
    let hierarchy =
        if table.has_violations() { None } else { table.hierarchy("devices", "/devices") };
    match hierarchy {
        Some(Hierarchy::Unified) => {
            let all: Vec<Rule> =
                rules.into_iter().map(|given| given.rule).chain(DEFAULT_RULES).collect();
            return Ok(DeviceAccess::Unified(program::assemble(&all)));
        }
        Some(hierarchy) => legacy::plan(&rules, &DEFAULT_RULES, hierarchy, &mut table),
        None => {}
    }
    table.into_writes().map(DeviceAccess::Legacy)
}

/// Checks the rules of a container for which none can be set.
///
/// # Errors
/// Everything that is wrong.
pub fn check_devices(devices: &[LinuxDeviceCgroup]) -> Result<(), Vec<Violation>> {
    let layout = Layout::default();
    let mut table = Table::new(&layout);
    parse_all(devices, &mut table);
    table.into_writes().map(drop)
}

fn parse_all(devices: &[LinuxDeviceCgroup], table: &mut Table<'_>) -> Vec<ConfigRule> {
    let devices = devices.iter().enumerate();
    let rules = devices.flat_map(|(index, device)| {
        parse(index, device, table).into_iter().map(move |rule| ConfigRule { index, rule })
    });
    rules.collect()
}

/// One rule of the config; type `a` is about both kinds of node.
fn parse(index: usize, device: &LinuxDeviceCgroup, table: &mut Table<'_>) -> Vec<Rule> {
    let pointer = format!("/devices/{index}");
    let access = access_bits(device.allow(), device.access().as_deref());
    if access.is_none() {
        let shown = device.access().as_deref().unwrap_or_default();
        let rule = "access is made of r, w and m (config-linux.md, \"Allowed Device list\")";
        table.violation(
            &format!("{pointer}/access"),
            shown,
            rule,
            "write such letters, at least one",
        );
    }
    let mut number = |name: &str, value: Option<i64>| match value {
        None | Some(-1) => Some(None),
        Some(value) => u32::try_from(value).ok().map(Some).or_else(|| {
            let fix = "write a device number, or leave it out for all";
            let rule = "a device number is not negative and below 2^32";
            table.violation(&format!("{pointer}/{name}"), value, rule, fix);
            None
        }),
    };
    let (major, minor) = (number("major", device.major()), number("minor", device.minor()));
    let kinds: &[Kind] = match device.typ() {
        None | Some(LinuxDeviceType::A) => &[Kind::Block, Kind::Character],
        Some(LinuxDeviceType::B) => &[Kind::Block],
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => &[Kind::Character],
        Some(LinuxDeviceType::P) => {
            let rule = "a rule is about devices of type a, b or c";
            table.violation(
                &format!("{pointer}/type"),
                "p",
                rule,
                "leave the rule out: a fifo is no device",
            );
            &[]
        }
    };
    let (Some(access), Some(major), Some(minor)) = (access, major, minor) else {
        return Vec::new();
    };
    let allow = device.allow();
    kinds.iter().map(|kind| Rule { allow, kind: *kind, major, minor, access }).collect()
}

/// To deny without a text is to deny all; nothing is allowed by saying nothing.
fn access_bits(allow: bool, text: Option<&str>) -> Option<u8> {
    match text {
        None | Some("") => (!allow).then_some(ALL),
        Some(text) => text.chars().try_fold(0, |bits, letter| match letter {
            'm' => Some(bits | MAKE),
            'r' => Some(bits | READ),
            'w' => Some(bits | WRITE),
            _ => None,
        }),
    }
}
