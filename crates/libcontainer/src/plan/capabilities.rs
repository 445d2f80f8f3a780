//! `process.capabilities` as bit sets.

use oci_spec::runtime::{Capabilities as Names, Capability, LinuxCapabilities};

use super::{Capabilities, Violations};

/// The names of all capabilities, by number.
pub fn names() -> impl Iterator<Item = String> {
    list(u64::MAX).into_iter()
}

/// The sets that can be had when `available` are the capabilities that can be given at all. The
/// others are left out with a warning (config.md, "Linux Process": a capability that cannot be
/// granted should not be an error). Without `capabilities` the program has none.
pub(crate) fn plan(
    given: Option<&LinuxCapabilities>,
    available: u64,
    pointer: &str,
    found: &mut Violations,
) -> Capabilities {
    let Some(given) = given else { return Capabilities::default() };
    let mut set = |name: &str, names: &Option<Names>, limit: u64, why: &str| {
        let wanted = names.as_ref().map_or(0, bits);
        let missing = wanted & !limit;
        if missing != 0 {
            found.warn(format!("{pointer}/{name}: left out {}: {why}", list(missing).join(" ")));
        }
        wanted & limit
    };
    // The limits are those of capset(2) and prctl(2).
    let here = "cannot be given here";
    let bounding = set("bounding", given.bounding(), available, here);
    let permitted = set("permitted", given.permitted(), available, here);
    let effective = set("effective", given.effective(), permitted, "is not in permitted");
    let inheritable = set("inheritable", given.inheritable(), bounding, "is not in bounding");
    let both = permitted & inheritable;
    let ambient = set("ambient", given.ambient(), both, "is not in permitted and inheritable");
    Capabilities { bounding, effective, inheritable, permitted, ambient }
}

fn bits(names: &Names) -> u64 {
    names.iter().fold(0, |bits, name| bits | bit(*name))
}

/// oci-spec has the names and caps the numbers.
fn bit(name: Capability) -> u64 {
    let name = serde_json::to_value(name).unwrap_or_default();
    let known = name.as_str().and_then(|name| name.parse().ok());
    known.map_or(0, |known: caps::Capability| known.bitmask())
}

/// The names in a set, by number.
fn list(bits: u64) -> Vec<String> {
    let mut all: Vec<_> = caps::all().into_iter().collect();
    all.sort_unstable_by_key(caps::Capability::index);
    all.retain(|capability| bits & capability.bitmask() != 0);
    all.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxCapabilities;
    use serde_json::{Value, json};

    use super::{Capabilities, Capability, Violations, bit, names, plan};

    const ALL: u64 = (1 << 41) - 1;

    #[test]
    fn each_capability_has_the_bit_of_the_kernel() {
        for capability in caps::all() {
            let name = capability.to_string();
            let ours: Capability = serde_json::from_value(Value::from(name.as_str())).unwrap();
            assert_eq!(bit(ours), capability.bitmask(), "{name}");
        }
        let all: Vec<_> = names().collect();
        assert_eq!(
            (all.len(), all[0].as_str(), all[21].as_str()),
            (41, "CAP_CHOWN", "CAP_SYS_ADMIN")
        );
    }

    fn planned(given: Value, available: u64) -> (Capabilities, Vec<String>) {
        let given: LinuxCapabilities = serde_json::from_value(given).unwrap();
        let mut found = Violations::default();
        let planned = plan(Some(&given), available, "/capabilities", &mut found);
        assert!(found.all.is_empty());
        (planned, found.warnings)
    }

    #[test]
    fn what_this_host_lacks_is_left_out_with_a_warning() {
        let given = json!({"bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_KILL"]});
        let (planned, warnings) = planned(given, 1);
        let expected = Capabilities { bounding: 1, ..Capabilities::default() };
        assert_eq!(planned, expected);
        let expected = [
            "/capabilities/bounding: left out CAP_KILL: cannot be given here",
            "/capabilities/permitted: left out CAP_KILL: cannot be given here",
        ];
        assert_eq!(warnings, expected);
    }

    #[test]
    fn the_sets_are_such_as_the_kernel_takes() {
        let one = ["CAP_CHOWN"];
        let given = json!({"effective": one, "inheritable": one, "ambient": one});
        let (set, warnings) = planned(given, ALL);
        assert_eq!((set, warnings.len()), (Capabilities::default(), 3));
        let given = json!({"bounding": one, "effective": one, "permitted": one, "inheritable": one,
            "ambient": one});
        let (set, warnings) = planned(given, ALL);
        assert_eq!((set.ambient, set.effective, warnings.len()), (1, 1, 0));
    }

    #[test]
    fn a_process_without_capabilities_has_none() {
        assert_eq!(plan(None, ALL, "", &mut Violations::default()), Capabilities::default());
    }
}
