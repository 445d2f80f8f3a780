//! Who owns the container's cgroup (config-linux.md, "Cgroup ownership").

use libcontainer::host::Host;
use serde_json::{Value, json};

use crate::hosts::{base, legacy, plan, set, unified};

/// The owner, where a user namespace maps 0 to 100000 and the cgroup is mounted as `mount` says.
#[track_caller]
fn owner(host: &Host, mount: &Value, changes: &[(&str, Value)]) -> Option<u32> {
    let mut config = base();
    let range = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    set(&mut config, "/linux/namespaces/6", json!({"type": "user"}));
    set(&mut config, "/linux/namespaces/5", json!({"type": "cgroup"}));
    set(&mut config, "/linux/uidMappings", range.clone());
    set(&mut config, "/linux/gidMappings", range);
    set(&mut config, "/process/user/uid", json!(7));
    set(&mut config, "/mounts", json!([mount]));
    for (pointer, value) in changes {
        set(&mut config, pointer, value.clone());
    }
    plan(&config, host).unwrap().plan.cgroup_owner
}

fn writable() -> Value {
    json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]})
}

#[test]
fn it_is_the_user_of_the_program() {
    assert_eq!(owner(&unified(), &writable(), &[]), Some(100_007));
    let root = [("/process/user/uid", json!(0))];
    assert_eq!(owner(&unified(), &writable(), &root), Some(100_000));
}

#[test]
fn only_a_mount_that_can_be_written_at_its_place_counts() {
    for (key, value) in [
        ("options", json!(["ro"])),
        ("destination", json!("/mnt")),
        ("source", json!("cgroup2")),
        ("type", json!("tmpfs")),
    ] {
        let mut mount = writable();
        mount[key] = value;
        assert_eq!(owner(&unified(), &mount, &[]), None, "{mount}");
    }
    let mut mount = writable();
    mount["destination"] = json!("//sys/fs/cgroup/");
    assert_eq!(owner(&unified(), &mount, &[]), Some(100_007));
}

#[test]
fn only_a_new_cgroup_namespace_of_v2_has_another_owner() {
    assert_eq!(owner(&legacy(), &writable(), &[]), None);
    let shared = [("/linux/namespaces/5", json!({"type": "time"}))];
    assert_eq!(owner(&unified(), &writable(), &shared), None);
    let joined = [("/linux/namespaces/5", json!({"type": "cgroup", "path": "/proc/1/ns/cgroup"}))];
    assert_eq!(owner(&unified(), &writable(), &joined), None);
}
