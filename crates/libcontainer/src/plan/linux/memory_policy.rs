//! `linux.memoryPolicy`.

use oci_spec::runtime::{Linux, LinuxMemoryPolicy, MemoryPolicyFlagType, MemoryPolicyModeType};
use serde::{Deserialize, Serialize};

use crate::plan::{NumberSet, Violations};

/// The arguments of set_mempolicy(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPolicy {
    /// `MPOL_*` with `MPOL_F_*`.
    pub mode: u32,
    /// The memory nodes.
    pub nodes: NumberSet,
}

/// Every mode, for the features document.
pub(crate) const MODES: [MemoryPolicyModeType; 7] = [
    MemoryPolicyModeType::MpolBind,
    MemoryPolicyModeType::MpolDefault,
    MemoryPolicyModeType::MpolInterleave,
    MemoryPolicyModeType::MpolLocal,
    MemoryPolicyModeType::MpolPreferred,
    MemoryPolicyModeType::MpolPreferredMany,
    MemoryPolicyModeType::MpolWeightedInterleave,
];
/// Every flag, for the same.
pub(crate) const FLAGS: [MemoryPolicyFlagType; 3] = [
    MemoryPolicyFlagType::MpolFNumaBalancing,
    MemoryPolicyFlagType::MpolFRelativeNodes,
    MemoryPolicyFlagType::MpolFStaticNodes,
];

/// `MPOL_F_STATIC_NODES`.
const STATIC_NODES: u32 = 1 << 15;
/// `MPOL_F_RELATIVE_NODES`.
const RELATIVE_NODES: u32 = 1 << 14;
/// `MPOL_F_NUMA_BALANCING`.
const NUMA_BALANCING: u32 = 1 << 13;

pub(crate) fn plan(linux: &Linux, found: &mut Violations) -> Option<MemoryPolicy> {
    let given = linux.memory_policy().as_ref()?;
    let flags = given.flags().iter().flatten().fold(0, |bits, one| bits | flag(*one));
    check_flags(given.mode(), flags, found);
    Some(MemoryPolicy { mode: mode(given.mode()) | flags, nodes: nodes(given, flags, found) })
}

/// `MPOL_*` (linux/mempolicy.h).
const fn mode(name: MemoryPolicyModeType) -> u32 {
    match name {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    }
}

const fn flag(name: MemoryPolicyFlagType) -> u32 {
    match name {
        MemoryPolicyFlagType::MpolFStaticNodes => STATIC_NODES,
        MemoryPolicyFlagType::MpolFRelativeNodes => RELATIVE_NODES,
        MemoryPolicyFlagType::MpolFNumaBalancing => NUMA_BALANCING,
    }
}

/// What set_mempolicy(2) answers with EINVAL.
fn check_flags(mode: MemoryPolicyModeType, flags: u32, found: &mut Violations) {
    let balanced = [MemoryPolicyModeType::MpolBind, MemoryPolicyModeType::MpolPreferredMany];
    let both = STATIC_NODES | RELATIVE_NODES;
    let wrong = if flags & both == both {
        "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other (set_mempolicy(2))"
    } else if flags & NUMA_BALANCING != 0 && !balanced.contains(&mode) {
        "MPOL_F_NUMA_BALANCING is for MPOL_BIND and MPOL_PREFERRED_MANY (set_mempolicy(2))"
    } else {
        return;
    };
    found.add("/linux/memoryPolicy/flags", mode, wrong, "leave one out");
}

fn nodes(given: &LinuxMemoryPolicy, flags: u32, found: &mut Violations) -> NumberSet {
    use MemoryPolicyModeType::{MpolDefault, MpolLocal, MpolPreferred};
    let pointer = "/linux/memoryPolicy/nodes";
    let (mode, text) = (given.mode(), given.nodes().as_deref().unwrap_or(""));
    if text.is_empty() {
        let none = matches!(mode, MpolDefault | MpolLocal | MpolPreferred);
        if !none || flags & (STATIC_NODES | RELATIVE_NODES) != 0 {
            let rule = format!("{mode} with these flags needs nodes (set_mempolicy(2))");
            found.add(pointer, text, &rule, "name them, such as 0-3,7");
        }
        return NumberSet::default();
    }
    if matches!(mode, MpolDefault | MpolLocal) {
        let rule = format!("{mode} takes no nodes (set_mempolicy(2))");
        found.add(pointer, text, &rule, "leave them out");
    }
    NumberSet::parse(text).unwrap_or_else(|rule| {
        found.add(pointer, text, rule, "name memory nodes of this machine");
        NumberSet::default()
    })
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::Linux;
    use serde_json::{Value, json};

    use super::{Violations, plan};

    /// The mode and the nodes, or the pointers of what is wrong.
    fn planned(policy: Value) -> Result<(u32, Vec<usize>), Vec<String>> {
        let linux: Linux = serde_json::from_value(json!({"memoryPolicy": policy})).unwrap();
        let mut found = Violations::default();
        let policy = plan(&linux, &mut found).unwrap();
        if found.all.is_empty() {
            return Ok((policy.mode, policy.nodes.numbers().collect()));
        }
        Err(found
            .all
            .into_iter()
            .map(|one| one.pointer.replace("/linux/memoryPolicy", ""))
            .collect())
    }

    #[test]
    fn what_the_kernel_takes() {
        let flags = json!(["MPOL_F_STATIC_NODES", "MPOL_F_NUMA_BALANCING"]);
        let bind = json!({"mode": "MPOL_BIND", "nodes": "0-1,3", "flags": flags});
        assert_eq!(planned(bind), Ok((0xa002, vec![0, 1, 3])));
        assert_eq!(planned(json!({"mode": "MPOL_DEFAULT", "nodes": ""})), Ok((0, vec![])));
        assert_eq!(planned(json!({"mode": "MPOL_LOCAL"})), Ok((4, vec![])));
        assert_eq!(planned(json!({"mode": "MPOL_PREFERRED"})), Ok((1, vec![])));
        let weighted = json!({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "5"});
        assert_eq!(planned(weighted), Ok((6, vec![5])));
    }

    #[test]
    fn what_it_does_not() {
        let wrong = |policy, pointers: &[&str]| {
            let expected = pointers.iter().map(|pointer| (*pointer).to_owned()).collect();
            assert_eq!(planned(policy), Err(expected));
        };
        wrong(json!({"mode": "MPOL_BIND"}), &["/nodes"]);
        wrong(json!({"mode": "MPOL_BIND", "nodes": "x"}), &["/nodes"]);
        wrong(json!({"mode": "MPOL_LOCAL", "nodes": "0"}), &["/nodes"]);
        wrong(json!({"mode": "MPOL_PREFERRED", "flags": ["MPOL_F_STATIC_NODES"]}), &["/nodes"]);
        let both = json!(["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]);
        wrong(json!({"mode": "MPOL_BIND", "nodes": "0", "flags": both}), &["/flags"]);
        let balanced = json!(["MPOL_F_NUMA_BALANCING"]);
        wrong(json!({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": balanced}), &["/flags"]);
    }
}
