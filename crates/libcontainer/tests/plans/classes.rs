//! Whose rule a config breaks: `plan` and `validate` tell what is wrong everywhere from what is wrong here.

use libcontainer::Class;
use libcontainer::host::Host;
use serde_json::{Value, json};

use crate::hosts::{base, legacy, plan, rootless, set, unified};

/// The class of the one thing that is wrong with the config when `pointer` has `value`.
fn class_of(pointer: &str, value: Value, host: &Host) -> Class {
    let mut config = base();
    set(&mut config, pointer, value);
    let found = plan(&config, host).unwrap_err();
    let [one] = found.as_slice() else { panic!("{found:?}") };
    one.class
}

#[test]
fn the_class_says_who_can_do_something_about_it() {
    let specification = [
        ("/process/cwd", json!("relative")),
        ("/linux/rootfsPropagation", json!("everywhere")),
        ("/linux/resources/pids", json!({"limit": -2})),
        ("/linux/resources/blockIO", json!({"weightDevice": [{"major": 8, "minor": 0}]})),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{
            "names": [], "action": "SCMP_ACT_ERRNO"}]}),
        ),
    ];
    for (pointer, value) in specification {
        assert_eq!(class_of(pointer, value, &legacy()), Class::Specification, "{pointer}");
    }
    assert_eq!(class_of("/linux/intelRdt", json!({}), &legacy()), Class::Host);
    let swappiness = ("/linux/resources/memory", json!({"swappiness": 10}));
    assert_eq!(class_of(swappiness.0, swappiness.1, &unified()), Class::Host);
    let unified_file = ("/linux/resources/unified", json!({"memory.high": "1"}));
    assert_eq!(class_of(unified_file.0, unified_file.1, &legacy()), Class::Host);
    assert_eq!(class_of("/hostname", json!("h"), &rootless()), Class::Host);
    for pointer in ["/process/apparmorProfile", "/process/selinuxLabel", "/linux/mountLabel"] {
        assert_eq!(class_of(pointer, json!("label"), &legacy()), Class::Host, "{pointer}");
    }
}
