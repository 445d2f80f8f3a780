//! Planning a container whose cgroup systemd makes (`--systemd-cgroup`).

use std::path::Path;

use libcontainer::default_spec;
use libcontainer::host::Host;
use libcontainer::plan::{self, Plan};
use libcontainer::request::{self, Bus, CgroupManager};
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use crate::hosts::{base, legacy, rootless, set, unified};

/// The plan, or where what is wrong is.
fn plan_on(host: &Host, changes: &[(&str, Value)]) -> Result<Plan, Vec<String>> {
    let mut config = match host.euid {
        0 => base(),
        user => default_spec(Some((user, user)), true),
    };
    set(&mut config, "/process/terminal", json!(false));
    for (pointer, value) in changes {
        set(&mut config, pointer, value.clone());
    }
    let spec: Spec = serde_json::from_value(config).unwrap();
    let user = (host.euid != 0).then_some(host.euid);
    let bus = Bus { socket: "/run/bus".into(), user };
    let cgroup_manager = CgroupManager::Systemd(bus);
    let request =
        request::Create { id: "c1".to_owned(), cgroup_manager, ..request::Create::default() };
    let planned = plan::create(&spec, host, &request, Path::new("/bundle"));
    planned
        .map(|planned| planned.plan)
        .map_err(|all| all.into_iter().map(|one| one.pointer).collect())
}

#[track_caller]
fn check(host: &Host, changes: &[(&str, Value)], directory: &str) {
    let plan = plan_on(host, changes).unwrap();
    assert_eq!(plan.cgroup.unified().unwrap().directory, Path::new(directory));
    assert!(plan.cgroup.unit().is_some());
}

#[track_caller]
fn wrong(pointer: &str, value: Value) {
    let pointers = plan_on(&unified(), &[(pointer, value.clone())]).err();
    assert_eq!(pointers, Some(vec![pointer.to_owned()]), "{value}");
}

#[test]
fn the_path_names_a_scope() {
    check(&unified(), &[], "/sys/fs/cgroup/system.slice/aril-c1.scope");
    let path = json!("pod-a.slice:cri:c1");
    let directory = "/sys/fs/cgroup/pod.slice/pod-a.slice/cri-c1.scope";
    check(&unified(), &[("/linux/cgroupsPath", path)], directory);
}

#[test]
fn a_users_is_below_his_own_systemd() {
    let directory =
        "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/user.slice/aril-c1.scope";
    check(&rootless(), &[], directory);
}

#[test]
fn paths_that_are_no_scope_are_wrong() {
    for path in [
        "/a/b",
        "a",
        "a:b",
        "a.slice:b:c:d",
        "a:b:c",
        "a/b.slice:c:d",
        "../a.slice:b:c",
        "a..slice:b:c",
        "a.slice:b:c/d",
    ] {
        wrong("/linux/cgroupsPath", json!(path));
    }
}

#[test]
fn v1_is_not_there_yet() {
    assert_eq!(plan_on(&legacy(), &[]).err().unwrap(), ["/linux/cgroupsPath"]);
}

#[test]
fn annotations_are_properties_and_some_are_refused() {
    let annotations = json!({
        "org.systemd.property.TimeoutStopSec": "3",
        "org.systemd.property.After": "['a.service']",
        "other": "x",
    });
    let plan = plan_on(&unified(), &[("/annotations", annotations)]).unwrap();
    let names: Vec<_> = plan.unit_properties.iter().map(|one| one.name()).collect();
    assert_eq!(names, ["After", "TimeoutStopUSec"]);
    for name in ["ExecStopPost", "BindPaths", "Wants", "FailureAction", "PIDs"] {
        wrong(&format!("/annotations/org.systemd.property.{name}"), json!("'x'"));
    }
    wrong("/annotations/org.systemd.property.After", json!("[1"));
}
