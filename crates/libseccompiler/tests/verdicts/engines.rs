//! The default profiles of the engines, for every kind of container.

use std::collections::BTreeSet;

use libseccompiler::Architecture;
use serde_json::{Value, json};

use crate::machine::Machine;
use crate::profile::{list, text};

/// What Docker and containerd gave a runtime (tests/bundles).
const DOCKER: &str = include_str!("../../../../tests/bundles/docker-plain/config.json");
const CONTAINERD: &str = include_str!("../../../../tests/bundles/containerd-seccomp/config.json");
/// Their rules for all architectures and capabilities (hack/record-seccomp).
const DOCKERS_RULES: &str = include_str!("../../../../tests/seccomp/docker.json");
const PODMANS_RULES: &str = include_str!("../../../../tests/seccomp/podman.json");

/// Those that a container has by default, in Docker and in Podman.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Docker's profile for a plain container.
pub(crate) fn docker() -> Value {
    recorded(DOCKER)
}

/// Every profile for a machine of the group's first architecture, with what it is.
pub(crate) fn profiles(group: &[Machine]) -> Vec<(String, Value)> {
    let mut profiles =
        vec![("docker".to_owned(), docker()), ("containerd".to_owned(), recorded(CONTAINERD))];
    for (engine, rules) in [("docker", DOCKERS_RULES), ("podman", PODMANS_RULES)] {
        let rules: Value = serde_json::from_str(rules).unwrap();
        let all = list(&rules, "syscalls").iter().flat_map(|rule| list(rule, "caps")).map(text);
        let sets = [
            ("no capabilities", BTreeSet::new()),
            ("default capabilities", BTreeSet::from(DEFAULT_CAPABILITIES)),
            ("all capabilities", all.collect()),
        ];
        for (name, capabilities) in sets {
            let profile = taken(&rules, group[0].architecture, &capabilities);
            profiles.push((format!("{engine}, {name}"), profile));
        }
    }
    profiles
}

fn recorded(text: &str) -> Value {
    let config: Value = serde_json::from_str(text).unwrap();
    config["linux"]["seccomp"].clone()
}

/// What an engine makes of its rules.
fn taken(rules: &Value, native: Architecture, capabilities: &BTreeSet<&str>) -> Value {
    let named = |rule: &Value, key: &str| list(rule, key).iter().any(|one| text(one) == go(native));
    let has = |one: &Value| capabilities.contains(text(one));
    let holds = |rule: &&Value| {
        (rule["arches"].is_null() || named(rule, "arches"))
            && !named(rule, "withoutArches")
            && list(rule, "caps").iter().all(has)
            && !list(rule, "withoutCaps").iter().any(has)
    };
    let mut syscalls: Vec<Value> = list(rules, "syscalls").iter().filter(holds).cloned().collect();
    for rule in syscalls.iter_mut().filter_map(Value::as_object_mut) {
        rule.retain(|key, _| {
            !["arches", "withoutArches", "caps", "withoutCaps"].contains(&key.as_str())
        });
    }
    let mut profile = json!({ "defaultAction": rules["defaultAction"], "syscalls": syscalls });
    if !rules["defaultErrnoRet"].is_null() {
        profile["defaultErrnoRet"] = rules["defaultErrnoRet"].clone();
    }
    profile
}

/// The engines' name for an architecture.
fn go(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86 => "x86",
        Architecture::X86_64 => "amd64",
        Architecture::X32 => "x32",
        Architecture::Arm => "arm",
        Architecture::Aarch64 => "arm64",
        Architecture::Mips => "mips",
        Architecture::Mips64 => "mips64",
        Architecture::Mipsel => "mipsel",
        Architecture::Mipsel64 => "mipsel64",
        Architecture::Ppc => "ppc",
        Architecture::Ppc64 => "ppc64",
        Architecture::Ppc64le => "ppc64le",
        Architecture::Riscv64 => "riscv64",
        Architecture::S390x => "s390x",
        Architecture::Loongarch64 => "loong64",
        Architecture::S390 => "s390",
        Architecture::Mips64n32 => "mips64n32",
        Architecture::Mipsel64n32 => "mipsel64n32",
        Architecture::Parisc => "parisc",
        Architecture::Parisc64 => "parisc64",
        Architecture::M68k => "m68k",
        Architecture::Sh => "sh",
        Architecture::Sheb => "sheb",
    }
}
