//! The features document (runtime-spec, features.md), made of the tables that parse the config.

use libnamespaces::Kind;
use libseccompiler::{ACTIONS, Architecture, FLAGS, OPERATORS, flag};
use libsyscall::seccomp::supports;
use serde_json::{Value, json};

use crate::plan::{
    HOOK_NAMES, MEMORY_POLICY_FLAGS, MEMORY_POLICY_MODES, VERSIONS, capability_names,
    mount_option_names,
};

/// The oldest kernel that the container tests are run on (`hack/vm run --kernel`). What it lacks for a part of a
/// config is an error.
const LOWEST_KERNEL: &str = "5.10";

/// What `features` prints: only what works, from the tables that read the config.
#[must_use]
pub fn features() -> Value {
    let [oldest, newest] = VERSIONS;
    let mut namespaces = Kind::ALL.map(Kind::name);
    namespaces.sort_unstable();
    json!({
        "ociVersionMin": oldest,
        "ociVersionMax": newest,
        "hooks": HOOK_NAMES,
        "mountOptions": mount_option_names().collect::<Vec<_>>(),
        "linux": {
            "namespaces": namespaces,
            "capabilities": capability_names().collect::<Vec<_>>(),
            "cgroup": {
                "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true
            },
            "seccomp": seccomp(),
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": true, "schemata": true, "monitoring": true },
            "memoryPolicy": {
                "modes": MEMORY_POLICY_MODES.map(|mode| mode.to_string()),
                "flags": MEMORY_POLICY_FLAGS.map(|flag| flag.to_string())
            },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": true }
        },
        "annotations": {
            "org.aril.version": env!("CARGO_PKG_VERSION"),
            "org.aril.kernel.lowest": LOWEST_KERNEL
        },
        "potentiallyUnsafeConfigAnnotations": ["org.systemd.property."]
    })
}

fn seccomp() -> Value {
    if Architecture::native().is_none() {
        return json!({ "enabled": false });
    }
    // Newer than the oldest kernel that aril runs on.
    let killable = supports(flag::NEW_LISTENER | flag::WAIT_KILLABLE_RECV);
    let mut flags = FLAGS.to_vec();
    flags.retain(|flag| killable || *flag != "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV");
    let mut architectures: Vec<_> = Architecture::ALL.iter().map(|one| one.name()).collect();
    architectures.sort_unstable();
    json!({
        "enabled": true,
        "actions": ACTIONS,
        "operators": OPERATORS,
        "archs": architectures,
        "knownFlags": FLAGS,
        "supportedFlags": flags
    })
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::Features;

    use super::features;

    #[test]
    fn the_document_is_one_of_the_spec() {
        let document: Features = serde_json::from_value(features()).unwrap();
        assert_eq!(document.oci_version_max(), "1.3.0");
        let linux = document.linux().clone().unwrap();
        assert_eq!(linux.namespaces().as_ref().map(Vec::len), Some(8));
        assert_eq!(linux.capabilities().as_ref().map(Vec::len), Some(41));
    }

    #[test]
    fn the_lowest_kernel_is_that_of_the_readme() {
        let document = features();
        let lowest = document["annotations"]["org.aril.kernel.lowest"].as_str().unwrap();
        let readme = include_str!("../../../../README.md");
        assert!(readme.contains(&format!("Kernel: Linux {lowest} or later")), "{lowest}");
    }

    #[test]
    fn lists_have_one_order() {
        let document = features();
        for pointer in [
            "/mountOptions",
            "/linux/namespaces",
            "/linux/seccomp/actions",
            "/linux/seccomp/archs",
            "/linux/memoryPolicy/modes",
            "/linux/memoryPolicy/flags",
        ] {
            let list: Vec<&str> = document
                .pointer(pointer)
                .and_then(|list| list.as_array())
                .into_iter()
                .flatten()
                .filter_map(|name| name.as_str())
                .collect();
            assert!(!list.is_empty() && list.is_sorted(), "{pointer}");
        }
    }
}
