//! Profiles as JSON: what their parts mean, and the filter that they become.

use std::collections::BTreeSet;

use libseccompiler::{Filter, compile};
use libviolation::Violation;
use oci_spec::runtime::LinuxSeccomp;
use serde_json::{Value, json};

use crate::interpreter::Instruction;
use crate::machine::Machine;

pub(crate) fn verdict_of(action: &str, errno: Option<u64>) -> u32 {
    let errno = u32::try_from(errno.unwrap_or(1)).unwrap();
    match action {
        "SCMP_ACT_ALLOW" => 0x7fff_0000,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | errno,
        "SCMP_ACT_ERRNO" => 0x0005_0000 | errno,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => 0,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        other => panic!("{other}"),
    }
}

/// Whether the default lets calls pass.
pub(crate) fn is_permissive(profile: &Value) -> bool {
    ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"].contains(&text(&profile["defaultAction"]))
}

pub(crate) fn operator_of(name: &str) -> u32 {
    let names = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
    let at = names.iter().position(|one| name == format!("SCMP_CMP_{one}")).expect(name);
    u32::try_from(at).unwrap() + 1
}

pub(crate) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

pub(crate) fn compiled(profile: &Value, group: &[Machine]) -> Filter {
    try_compiled(profile, group).unwrap()
}

pub(crate) fn try_compiled(profile: &Value, group: &[Machine]) -> Result<Filter, Vec<Violation>> {
    let profile = with_architectures(profile, group);
    let profile: LinuxSeccomp = serde_json::from_value(profile).unwrap();
    compile(&profile, group[0].architecture)
}

/// The profile for these architectures.
pub(crate) fn with_architectures(profile: &Value, group: &[Machine]) -> Value {
    let mut profile = profile.clone();
    let names: Vec<&str> = group.iter().map(|machine| machine.architecture.name()).collect();
    profile["architectures"] = json!(names);
    profile
}

pub(crate) fn instructions(filter: &Filter) -> Vec<Instruction> {
    filter
        .instructions()
        .map(|one| (one.code, one.jump_true, one.jump_false, one.operand))
        .collect()
}

/// Values at, below and above each that the rules compare with, in both halves.
pub(crate) fn boundaries<'a>(rules: impl IntoIterator<Item = &'a Value>) -> Vec<u64> {
    let mut values = BTreeSet::from([0, 1, u64::from(u32::MAX), 1 << 32, u64::MAX]);
    for one in rules.into_iter().flat_map(|rule| list(rule, "args")) {
        for value in [one["value"].as_u64(), one["valueTwo"].as_u64()].into_iter().flatten() {
            let low = u64::from(u32::MAX);
            values.extend([value.wrapping_sub(1), value, value.wrapping_add(1)]);
            values.extend([value ^ 1 << 32, value ^ 1 << 63, value | 0xff00, !value]);
            values.extend([value.wrapping_sub(1 << 32), value.wrapping_add(1 << 32)]);
            values.extend([value & !low, value | low, value & low]);
        }
    }
    values.into_iter().collect()
}
