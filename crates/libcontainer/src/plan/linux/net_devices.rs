//! `linux.netDevices`.

use libnamespaces::{Kind, Namespaces, NetworkDevice};
use oci_spec::runtime::Linux;

use crate::plan::Violations;
use crate::spec::token;

/// The longest name, in bytes (`IFNAMSIZ`, linux/if.h, without the NUL).
const LONGEST_NAME: usize = 15;

/// The devices in the order of their names.
pub(crate) fn plan(
    linux: &Linux,
    namespaces: &Namespaces,
    found: &mut Violations,
) -> Vec<NetworkDevice> {
    let mut given: Vec<_> = linux.net_devices().iter().flatten().collect();
    given.sort_unstable_by_key(|(name, _)| *name);
    if !given.is_empty() && !namespaces.has(Kind::Network) {
        let rule = "needs a network namespace (config-linux.md, \"Network Devices\")";
        let fix = "add {\"type\": \"network\"} to linux.namespaces";
        found.add("/linux/netDevices", format!("{} entries", given.len()), rule, fix);
    }
    let mut devices: Vec<NetworkDevice> = Vec::new();
    for (name, device) in given {
        let pointer = format!("/linux/netDevices/{}", token(name));
        check_name(&pointer, name, false, found);
        let new_name = device.name().as_deref().filter(|name| !name.is_empty()).unwrap_or(name);
        if new_name != name {
            check_name(&format!("{pointer}/name"), new_name, true, found);
        }
        let is_taken = devices.iter().any(|other| other.new_name == new_name);
        if is_taken && !new_name.contains('%') {
            let rule = "is the name of another device too";
            found.add(&format!("{pointer}/name"), new_name, rule, "write a name for each");
        }
        devices.push(NetworkDevice { name: name.clone(), new_name: new_name.to_owned() });
    }
    devices
}

/// The names that the kernel takes (net/core/dev.c, `dev_valid_name`). In a new one it replaces
/// one `%d`.
fn check_name(pointer: &str, name: &str, is_new: bool, found: &mut Violations) {
    let plain = if is_new { name.replacen("%d", "", 1) } else { name.to_owned() };
    let is_wrong = name.is_empty()
        || name.len() > LONGEST_NAME
        || matches!(name, "." | "..")
        || plain.contains(|letter: char| {
            matches!(letter, '/' | ':' | '%' | '\0') || letter.is_whitespace()
        });
    if is_wrong {
        let rule = "is no name of a network device: 1 to 15 bytes without /, :, % and white space";
        found.add(pointer, name, rule, "write the name that `ip link` shows");
    }
}

#[cfg(test)]
mod tests {
    use libnamespaces::{Kind, KindSet, Namespaces};
    use oci_spec::runtime::Linux;
    use serde_json::{Value, json};

    use super::{Violations, plan};

    /// The old and new names, or the pointers of what is wrong.
    fn planned(devices: Value) -> Result<Vec<String>, Vec<String>> {
        let linux: Linux = serde_json::from_value(json!({"netDevices": devices})).unwrap();
        let new = KindSet::EMPTY.with(Kind::Network);
        let namespaces = Namespaces { new, ..Namespaces::default() };
        let mut found = Violations::default();
        let devices = plan(&linux, &namespaces, &mut found);
        if found.all.is_empty() {
            let shown = devices.iter().map(|one| format!("{} {}", one.name, one.new_name));
            return Ok(shown.collect());
        }
        Err(found.all.into_iter().map(|one| one.pointer).collect())
    }

    #[test]
    fn names() {
        let devices = json!({"eth1": {"name": "net%d"}, "eth0": {}, "eth2": {"name": "net%d"},
            "eth3": {"name": ""}});
        let expected = ["eth0 eth0", "eth1 net%d", "eth2 net%d", "eth3 eth3"];
        assert_eq!(planned(devices).unwrap(), expected);
    }

    #[test]
    fn names_the_kernel_does_not_take() {
        for name in ["a/b", "a b", "a:b", "..", "sixteen-letters-", "x%s", "%d%d", "a%"] {
            let wrong = planned(json!({"eth0": {"name": name}}));
            assert_eq!(wrong, Err(vec!["/linux/netDevices/eth0/name".to_owned()]), "{name}");
        }
        assert_eq!(planned(json!({"": {}})), Err(vec!["/linux/netDevices/".to_owned()]));
        assert_eq!(planned(json!({"a%d": {}})), Err(vec!["/linux/netDevices/a%d".to_owned()]));
    }

    #[test]
    fn one_name_for_two() {
        let wrong = planned(json!({"eth0": {}, "eth1": {"name": "eth0"}}));
        assert_eq!(wrong, Err(vec!["/linux/netDevices/eth1/name".to_owned()]));
    }
}
