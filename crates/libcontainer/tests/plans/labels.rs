//! Labels of security modules, on machines that have them and on others.

use libcontainer::host::{Host, SecurityModules};
use libcontainer::plan::{Labels, MountKind, Plan};
use libcontainer::{Class, Violation};
use serde_json::{Value, json};

use crate::hosts::{base, labelling, legacy, plan, set};

const PROFILE: &str = "/process/apparmorProfile";
const LABEL: &str = "/process/selinuxLabel";
const MOUNTS: &str = "/linux/mountLabel";

fn with(apparmor: bool, selinux: bool) -> Host {
    Host { security_modules: SecurityModules { apparmor, selinux }, ..legacy() }
}

/// What is planned with `value` at `pointer`, or the classes of what is wrong with it.
fn planned(host: &Host, pointer: &str, value: Value) -> Result<Plan, Vec<Class>> {
    let mut config = base();
    set(&mut config, pointer, value);
    let class = |one: &Violation| {
        assert_eq!(one.pointer, pointer);
        one.class
    };
    let planned = plan(&config, host);
    planned.map(|planned| planned.plan).map_err(|found| found.iter().map(class).collect())
}

/// The labels that the program has.
fn labels(host: &Host, pointer: &str, value: Value) -> Result<Labels, Vec<Class>> {
    planned(host, pointer, value).map(|plan| plan.process.unwrap().labels)
}

#[test]
fn each_is_of_its_own_module() {
    let found = labels(&with(true, false), PROFILE, json!("a profile")).unwrap();
    assert_eq!((found.apparmor.as_deref(), found.selinux), (Some(c"a profile"), None));
    let found = labels(&with(false, true), LABEL, json!("u:r:t:s0")).unwrap();
    assert_eq!((found.apparmor, found.selinux.as_deref()), (None, Some(c"u:r:t:s0")));
    assert_eq!(labels(&with(false, true), PROFILE, json!("x")), Err(vec![Class::Host]));
    assert_eq!(labels(&with(true, false), LABEL, json!("x")), Err(vec![Class::Host]));
    assert_eq!(labels(&with(true, false), MOUNTS, json!("x")), Err(vec![Class::Host]));
}

/// What AppArmor does not confine is not confined where it is off either.
#[test]
fn unconfined_is_what_every_process_is() {
    let found = labels(&with(false, true), PROFILE, json!("unconfined")).unwrap();
    assert_eq!(found, Labels::default());
    let found = labels(&with(true, false), PROFILE, json!("unconfined")).unwrap();
    assert_eq!(found.apparmor.as_deref(), Some(c"unconfined"));
    assert_eq!(labels(&with(true, false), LABEL, json!("unconfined")), Err(vec![Class::Host]));
}

#[test]
fn what_the_kernel_would_cut() {
    for (pointer, longest) in [(PROFILE, 4000), (LABEL, 4000), (MOUNTS, 255)] {
        assert!(labels(&labelling(), pointer, json!("x".repeat(longest))).is_ok(), "{pointer}");
        for wrong in ["x".repeat(longest + 1), "x\0y".to_owned()] {
            let found = labels(&labelling(), pointer, json!(wrong));
            assert_eq!(found, Err(vec![Class::Specification]), "{pointer}");
        }
    }
}

/// The label that each mount is made with.
#[test]
fn new_filesystems_have_the_label_of_mounts() {
    let mut config = base();
    set(&mut config, MOUNTS, json!("u:r:t:s0:c1,c2"));
    for mount in [
        json!({"destination": "/a", "type": "tmpfs", "options": ["context=\"u:r:own:s0:c3,c4\""]}),
        json!({"destination": "/b", "type": "tmpfs", "options": ["rootcontext=u:r:own:s0"]}),
        json!({"destination": "/c", "type": "bind", "source": "/c"}),
        json!({"destination": "/dev/shm", "options": ["remount"]}),
    ] {
        set(&mut config, "/mounts/-", mount);
    }
    let planned = plan(&config, &labelling()).unwrap().plan;
    let found: Vec<_> = planned
        .mounts
        .iter()
        .map(|mount| {
            let MountKind::Filesystem { parameters, .. } = &mount.kind else {
                return String::new();
            };
            let contexts = parameters.iter().filter(|one| one.key.as_c_str() == c"context");
            let values = contexts.flat_map(|one| &one.value).map(|value| value.to_str().unwrap());
            format!("{}: {}", mount.destination, values.collect::<Vec<_>>().join(" "))
        })
        .filter(|text| !text.is_empty())
        .collect();
    let expected = [
        "/proc: ",
        "/dev: u:r:t:s0:c1,c2",
        "/dev/pts: u:r:t:s0:c1,c2",
        "/dev/shm: u:r:t:s0:c1,c2",
        "/dev/mqueue: ",
        "/sys: ",
        "/a: u:r:own:s0:c3,c4",
        "/b: u:r:t:s0:c1,c2",
    ];
    assert_eq!(found, expected);
}
