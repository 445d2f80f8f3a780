//! `process.capabilities` as bit sets.

use oci_spec::runtime::{Capabilities as Names, LinuxCapabilities};

use super::{Capabilities, Violations};

/// Capability names of the spec, by number (capabilities(7)).
pub(crate) const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The names of all capabilities.
#[must_use]
pub const fn names() -> &'static [&'static str] {
    &NAMES
}

/// The sets that can be had. What this host cannot give is left out with a warning (config.md,
/// "Linux Process": a capability that cannot be granted should not be an error). Without
/// `capabilities` the program has none.
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
            found.warn(format!("{pointer}/capabilities/{name}: {} {why}", list(missing)));
        }
        wanted & limit
    };
    let here = "cannot be given by this host";
    let bounding = set("bounding", given.bounding(), available, here);
    let permitted = set("permitted", given.permitted(), available, here);
    let inheritable = set("inheritable", given.inheritable(), available, here);
    let effective = set("effective", given.effective(), permitted, "must be in permitted too");
    let both = permitted & inheritable;
    let ambient = set("ambient", given.ambient(), both, "must be in permitted and inheritable too");
    Capabilities { bounding, effective, inheritable, permitted, ambient }
}

fn bits(names: &Names) -> u64 {
    names.iter().filter_map(|name| bit(&name.to_string())).fold(0, |bits, bit| bits | bit)
}

/// The bit of a capability, with or without the prefix.
pub(crate) fn bit(name: &str) -> Option<u64> {
    let name = name.strip_prefix("CAP_").unwrap_or(name);
    NAMES
        .iter()
        .position(|known| known.strip_prefix("CAP_") == Some(name))
        .map(|number| 1 << number)
}

fn list(bits: u64) -> String {
    let names = NAMES.iter().enumerate().filter(|(number, _)| bits & (1 << number) != 0);
    names.map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{NAMES, bit};

    #[test]
    fn every_capability_of_the_crate_has_its_bit() {
        for capability in caps::all() {
            assert_eq!(bit(&capability.to_string()), Some(capability.bitmask()));
        }
        assert_eq!(NAMES.len(), caps::all().len());
    }
}
