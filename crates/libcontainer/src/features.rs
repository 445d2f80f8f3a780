//! The features document (runtime-spec, features.md), made of the tables that parse the config.

use libnamespaces::Kind;
use serde_json::{Value, json};

use crate::plan::{capability_names, mount_option_names};

/// The newest version of the spec that aril knows, and the oldest.
pub(crate) const VERSIONS: [&str; 2] = ["1.0.0", "1.3.0"];

/// What `features` prints.
#[must_use]
pub fn features() -> Value {
    let namespaces: Vec<&str> = Kind::ALL.into_iter().map(Kind::name).collect();
    json!({
        "ociVersionMin": VERSIONS[0],
        "ociVersionMax": VERSIONS[1],
        "hooks": [
            "prestart", "createRuntime", "createContainer", "startContainer", "poststart",
            "poststop"
        ],
        "mountOptions": mount_option_names().collect::<Vec<_>>(),
        "linux": {
            "namespaces": namespaces,
            "capabilities": capability_names(),
            "cgroup": {
                "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": true
            },
            "seccomp": { "enabled": false },
            "apparmor": { "enabled": false },
            "selinux": { "enabled": false },
            "intelRdt": { "enabled": false },
            "mountExtensions": { "idmap": { "enabled": false } },
            "netDevices": { "enabled": false }
        },
        "annotations": { "org.aril.version": env!("CARGO_PKG_VERSION") },
        "potentiallyUnsafeConfigAnnotations": []
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_document_is_one_of_the_spec() {
        let document: oci_spec::runtime::Features =
            serde_json::from_value(super::features()).unwrap();
        assert_eq!(document.oci_version_max(), "1.3.0");
    }
}
