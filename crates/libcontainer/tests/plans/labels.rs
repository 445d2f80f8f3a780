//! Labels of security modules, on machines that have them and on others.

use libcontainer::host::{Host, SecurityModules};
use libcontainer::{Class, plan};
use serde_json::{Value, json};

use crate::hosts::{base, legacy, plan, set};

const PROFILE: &str = "/process/apparmorProfile";
const LABEL: &str = "/process/selinuxLabel";

fn with(apparmor: bool, selinux: bool) -> Host {
    Host { security_modules: SecurityModules { apparmor, selinux }, ..legacy() }
}

/// The labels that the program has with `value` at `pointer`.
fn labels(host: &Host, pointer: &str, value: Value) -> Result<plan::Labels, Vec<Class>> {
    let mut config = base();
    set(&mut config, pointer, value);
    let planned = plan(&config, host);
    planned.map(|planned| planned.plan.process.unwrap().labels).map_err(|found| {
        found
            .into_iter()
            .map(|one| {
                assert_eq!(one.pointer, pointer);
                one.class
            })
            .collect()
    })
}

#[test]
fn each_is_of_its_own_module() {
    let found = labels(&with(true, false), PROFILE, json!("a profile")).unwrap();
    assert_eq!((found.apparmor.as_deref(), found.selinux), (Some(c"a profile"), None));
    let found = labels(&with(false, true), LABEL, json!("u:r:t:s0")).unwrap();
    assert_eq!((found.apparmor, found.selinux.as_deref()), (None, Some(c"u:r:t:s0")));
    assert_eq!(labels(&with(false, true), PROFILE, json!("x")), Err(vec![Class::Host]));
    assert_eq!(labels(&with(true, false), LABEL, json!("x")), Err(vec![Class::Host]));
}

/// What AppArmor does not confine is not confined where it is off either.
#[test]
fn unconfined_is_what_every_process_is() {
    let found = labels(&with(false, true), PROFILE, json!("unconfined")).unwrap();
    assert_eq!(found, plan::Labels::default());
    let found = labels(&with(true, false), PROFILE, json!("unconfined")).unwrap();
    assert_eq!(found.apparmor.as_deref(), Some(c"unconfined"));
    assert_eq!(labels(&with(true, false), LABEL, json!("unconfined")), Err(vec![Class::Host]));
}

#[test]
fn what_the_kernel_would_cut() {
    for (pointer, longest) in [(PROFILE, 4000), (LABEL, 4000)] {
        let host = with(true, true);
        assert!(labels(&host, pointer, json!("x".repeat(longest))).is_ok(), "{pointer}");
        for wrong in ["x".repeat(longest + 1), "x\0y".to_owned()] {
            let found = labels(&host, pointer, json!(wrong));
            assert_eq!(found, Err(vec![Class::Specification]), "{pointer}");
        }
    }
}
