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

/// The capabilities, each at the place of its number (capabilities(7), linux/capability.h).
const TABLE: [(Capability, &str); 41] = [
    (Capability::Chown, "CAP_CHOWN"),
    (Capability::DacOverride, "CAP_DAC_OVERRIDE"),
    (Capability::DacReadSearch, "CAP_DAC_READ_SEARCH"),
    (Capability::Fowner, "CAP_FOWNER"),
    (Capability::Fsetid, "CAP_FSETID"),
    (Capability::Kill, "CAP_KILL"),
    (Capability::Setgid, "CAP_SETGID"),
    (Capability::Setuid, "CAP_SETUID"),
    (Capability::Setpcap, "CAP_SETPCAP"),
    (Capability::LinuxImmutable, "CAP_LINUX_IMMUTABLE"),
    (Capability::NetBindService, "CAP_NET_BIND_SERVICE"),
    (Capability::NetBroadcast, "CAP_NET_BROADCAST"),
    (Capability::NetAdmin, "CAP_NET_ADMIN"),
    (Capability::NetRaw, "CAP_NET_RAW"),
    (Capability::IpcLock, "CAP_IPC_LOCK"),
    (Capability::IpcOwner, "CAP_IPC_OWNER"),
    (Capability::SysModule, "CAP_SYS_MODULE"),
    (Capability::SysRawio, "CAP_SYS_RAWIO"),
    (Capability::SysChroot, "CAP_SYS_CHROOT"),
    (Capability::SysPtrace, "CAP_SYS_PTRACE"),
    (Capability::SysPacct, "CAP_SYS_PACCT"),
    (Capability::SysAdmin, "CAP_SYS_ADMIN"),
    (Capability::SysBoot, "CAP_SYS_BOOT"),
    (Capability::SysNice, "CAP_SYS_NICE"),
    (Capability::SysResource, "CAP_SYS_RESOURCE"),
    (Capability::SysTime, "CAP_SYS_TIME"),
    (Capability::SysTtyConfig, "CAP_SYS_TTY_CONFIG"),
    (Capability::Mknod, "CAP_MKNOD"),
    (Capability::Lease, "CAP_LEASE"),
    (Capability::AuditWrite, "CAP_AUDIT_WRITE"),
    (Capability::AuditControl, "CAP_AUDIT_CONTROL"),
    (Capability::Setfcap, "CAP_SETFCAP"),
    (Capability::MacOverride, "CAP_MAC_OVERRIDE"),
    (Capability::MacAdmin, "CAP_MAC_ADMIN"),
    (Capability::Syslog, "CAP_SYSLOG"),
    (Capability::WakeAlarm, "CAP_WAKE_ALARM"),
    (Capability::BlockSuspend, "CAP_BLOCK_SUSPEND"),
    (Capability::AuditRead, "CAP_AUDIT_READ"),
    (Capability::Perfmon, "CAP_PERFMON"),
    (Capability::Bpf, "CAP_BPF"),
    (Capability::CheckpointRestore, "CAP_CHECKPOINT_RESTORE"),
];

/// Every capability, as a bit set.
pub(crate) const ALL: u64 = (1 << TABLE.len()) - 1;

/// The names of all capabilities, by number.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(_, name)| *name)
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
            found.warn(format!("{pointer}/{name}: left out {}: {why}", list(missing)));
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

fn bit(name: Capability) -> u64 {
    let number = TABLE.iter().position(|(known, _)| *known == name);
    number.map_or(0, |number| 1 << number)
}

fn list(bits: u64) -> String {
    let names = names().enumerate().filter(|(number, _)| bits & (1 << number) != 0);
    names.map(|(_, name)| name).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxCapabilities;
    use serde_json::{Value, json};

    use super::{ALL, Capabilities, TABLE, Violations, bit, plan};

    #[test]
    fn each_capability_has_the_bit_of_the_kernel() {
        for capability in caps::all() {
            let (ours, name) = TABLE[usize::from(capability.index())];
            assert_eq!((bit(ours), name), (capability.bitmask(), capability.to_string().as_str()));
            assert_eq!(serde_json::to_value(ours).unwrap(), name);
        }
        assert_eq!(ALL, caps::all().iter().fold(0, |bits, one| bits | one.bitmask()));
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
