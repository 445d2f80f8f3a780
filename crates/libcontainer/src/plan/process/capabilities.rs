//! `process.capabilities` as bit sets.

use oci_spec::runtime::{Capabilities as Names, Capability, LinuxCapabilities};
use serde::{Deserialize, Serialize};

use crate::plan::Violations;

/// The five capability sets as bit sets: bit n is capability n (capabilities(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// The bounding set.
    pub bounding: u64,
    /// The effective set.
    pub effective: u64,
    /// The inheritable set.
    pub inheritable: u64,
    /// The permitted set.
    pub permitted: u64,
    /// The ambient set.
    pub ambient: u64,
}

/// The names of all capabilities, by number.
pub fn names() -> impl Iterator<Item = String> {
    list(!0)
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
            let missing = list(missing).collect::<Vec<_>>().join(" ");
            found.warn(format!("{pointer}/{name}: left out {missing}: {why}"));
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
    let known = format!("CAP_{name}").parse::<caps::Capability>();
    known.map_or(0, |capability| capability.bitmask())
}

fn list(bits: u64) -> impl Iterator<Item = String> {
    let mut all = Vec::from_iter(caps::all());
    all.retain(|capability| bits & capability.bitmask() != 0);
    all.sort_by_key(caps::Capability::index);
    all.into_iter().map(|capability| capability.to_string())
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxCapabilities;
    use serde_json::{Value, json};

    use super::{Capabilities, Violations, bit, names, plan};

    const ALL: u64 = (1 << 41) - 1;

    #[test]
    fn each_capability_has_the_bit_of_the_kernel() {
        for (number, name) in names().enumerate() {
            let read = serde_json::from_value(Value::from(name)).unwrap();
            assert_eq!(bit(read), 1 << number);
        }
        assert_eq!(names().count(), 41);
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
