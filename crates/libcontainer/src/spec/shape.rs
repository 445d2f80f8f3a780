//! Where the spec has objects.
//!
//! serde lets a list stand for a struct, its items in the order of the fields, so that
//! `"linux": []` would be a container without namespaces. These types are read beside those of
//! oci-spec and take objects only. Whether their properties are right is not their business.

#![expect(dead_code, reason = "read for whether they can be read")]

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// An object with the properties of `T`, and no list.
pub(super) struct Object<T = IgnoredAny>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
    type Value = Self;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|_| self)
    }
}

type Property<T = IgnoredAny> = Option<Object<T>>;
type List<T = IgnoredAny> = Option<Vec<Object<T>>>;
type Map = Option<BTreeMap<String, Object>>;

/// config.json.
#[derive(Deserialize)]
pub(super) struct Spec {
    root: Property,
    mounts: List<Mount>,
    process: Property<Process>,
    hooks: Property<Hooks>,
    linux: Property<Linux>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mount {
    uid_mappings: List,
    gid_mappings: List,
}

/// `process`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Process {
    console_size: Property,
    user: Property,
    capabilities: Property,
    rlimits: List,
    io_priority: Property,
    scheduler: Property,
    #[serde(rename = "execCPUAffinity")]
    exec_cpu_affinity: Property,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hooks {
    prestart: List,
    create_runtime: List,
    create_container: List,
    start_container: List,
    poststart: List,
    poststop: List,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: List,
    uid_mappings: List,
    gid_mappings: List,
    time_offsets: Map,
    devices: List,
    net_devices: Map,
    resources: Property<Resources>,
    intel_rdt: Property,
    memory_policy: Property,
    seccomp: Property<Seccomp>,
    personality: Property,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resources {
    memory: Property,
    cpu: Property,
    pids: Property,
    #[serde(rename = "blockIO")]
    block_io: Property<BlockIo>,
    hugepage_limits: List,
    network: Property<Network>,
    rdma: Map,
    devices: List,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockIo {
    weight_device: List,
    throttle_read_bps_device: List,
    throttle_write_bps_device: List,
    #[serde(rename = "throttleReadIOPSDevice")]
    throttle_read_iops_device: List,
    #[serde(rename = "throttleWriteIOPSDevice")]
    throttle_write_iops_device: List,
}

#[derive(Deserialize)]
struct Network {
    priorities: List,
}

#[derive(Deserialize)]
struct Seccomp {
    syscalls: List<Syscall>,
}

#[derive(Deserialize)]
struct Syscall {
    args: List,
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    /// The pointers of all objects but those with names of the user's own choice.
    fn objects(json: &Value, pointer: &str, found: &mut Vec<String>) {
        let maps = ["annotations", "sysctl", "unified", "rdma", "timeOffsets", "netDevices"];
        if json.is_object() && !maps.iter().any(|name| pointer.ends_with(name)) {
            found.push(pointer.to_owned());
        }
        for (key, value) in json.as_object().into_iter().flatten() {
            objects(value, &format!("{pointer}/{key}"), found);
        }
        for (index, value) in json.as_array().into_iter().flatten().enumerate() {
            objects(value, &format!("{pointer}/{index}"), found);
        }
    }

    #[test]
    fn no_list_stands_for_an_object() {
        let text = include_str!("../../tests/plans/schema.json");
        let config: Value = serde_json::from_str(text).unwrap();
        let mut pointers = Vec::new();
        objects(&config, "", &mut pointers);
        assert!(pointers.len() > 50);
        for pointer in pointers {
            let mut config = config.clone();
            *config.pointer_mut(&pointer).unwrap() = Value::Array(Vec::new());
            let error = serde_path_to_error::deserialize::<_, super::Object<super::Spec>>(&config);
            let Err(error) = error else { panic!("{pointer} may be a list") };
            assert_eq!(crate::spec::pointer::pointer_of(error.path()), pointer);
        }
        assert!(serde_json::from_str::<super::Object<super::Spec>>(text).is_ok());
    }
}
