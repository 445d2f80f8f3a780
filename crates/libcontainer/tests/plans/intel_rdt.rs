//! `linux.intelRdt`: which groups, what is written, and what is wrong.

use libcontainer::plan::{ClassOfService, IntelRdt};
use serde_json::{Value, json};

use crate::hosts::{base, labelling, plan, set};

/// What is planned on a machine with resctrl, or the pointers of what is wrong, from `/linux/intelRdt` on.
fn planned(rdt: Value) -> Result<IntelRdt, Vec<String>> {
    let mut config = base();
    set(&mut config, "/linux/intelRdt", rdt);
    match plan(&config, &labelling()) {
        Ok(planned) => planned.plan.intel_rdt.ok_or_else(Vec::new),
        Err(violations) => Err(violations
            .into_iter()
            .map(|one| one.pointer.replacen("/linux/intelRdt", "", 1))
            .collect()),
    }
}

#[test]
fn without_it_nothing_is_touched() {
    assert_eq!(plan(&base(), &labelling()).unwrap().plan.intel_rdt, None);
}

#[test]
fn the_class() {
    let schema = "L3:0=f";
    for (rdt, class, directory, is_own) in [
        (json!({}), ClassOfService::Made, "/sys/fs/resctrl/c1", true),
        (
            json!({"closID": "", "l3CacheSchema": schema}),
            ClassOfService::Made,
            "/sys/fs/resctrl/c1",
            true,
        ),
        (json!({"closID": "gold"}), ClassOfService::Present, "/sys/fs/resctrl/gold", false),
        (
            json!({"closID": "gold", "l3CacheSchema": ""}),
            ClassOfService::Present,
            "/sys/fs/resctrl/gold",
            false,
        ),
        (
            json!({"closID": "gold", "l3CacheSchema": schema}),
            ClassOfService::MadeOrCompared,
            "/sys/fs/resctrl/gold",
            false,
        ),
        (
            json!({"closID": "gold", "memBwSchema": "MB:0=5"}),
            ClassOfService::MadeOrCompared,
            "/sys/fs/resctrl/gold",
            false,
        ),
        (
            json!({"closID": "gold", "schemata": [schema]}),
            ClassOfService::MadeOrCompared,
            "/sys/fs/resctrl/gold",
            false,
        ),
        (json!({"closID": "/"}), ClassOfService::Present, "/sys/fs/resctrl", false),
        (
            json!({"closID": "/", "schemata": [schema]}),
            ClassOfService::MadeOrCompared,
            "/sys/fs/resctrl",
            false,
        ),
    ] {
        let found = planned(rdt.clone()).unwrap();
        assert_eq!(found.class, class, "{rdt}");
        assert_eq!(found.group.directory.to_str(), Some(directory), "{rdt}");
        assert_eq!(found.group.is_own, is_own, "{rdt}");
        assert_eq!(found.group.monitoring, None, "{rdt}");
    }
}

#[test]
fn names_of_classes() {
    for name in [".", "..", "a/b", "/gold", "../x", "info", "mon_groups", "a\nb"] {
        assert_eq!(planned(json!({"closID": name})), Err(vec!["/closID".to_owned()]), "{name}");
    }
}

#[test]
fn both_schemas_are_written_at_once() {
    let lines = |rdt: Value| planned(rdt).map(|found| found.schema);
    let cache = "L3:0=f\nMB:0=9\nL2:0=1";
    assert_eq!(lines(json!({"memBwSchema": "MB:0=5"})).unwrap(), ["MB:0=5"]);
    assert_eq!(lines(json!({"l3CacheSchema": cache})).unwrap(), ["L3:0=f", "MB:0=9", "L2:0=1"]);
    let both = json!({"l3CacheSchema": cache, "memBwSchema": "MB:0=5"});
    assert_eq!(lines(both).unwrap(), ["L3:0=f", "L2:0=1", "MB:0=5"]);
    for wrong in ["L3:0=f", "mb:0=5", "MB:0=5\nL3:0=f"] {
        assert_eq!(lines(json!({"memBwSchema": wrong})), Err(vec!["/memBwSchema".to_owned()]));
    }
}

#[test]
fn schemata_are_lines_of_their_own() {
    let found =
        planned(json!({"l3CacheSchema": "L3:0=f", "schemata": ["L3:0=7", "MB:0=5"]})).unwrap();
    assert_eq!(
        (found.schema.concat(), found.schemata.concat()),
        ("L3:0=f".to_owned(), "L3:0=7MB:0=5".to_owned())
    );
    let wrong = planned(json!({"schemata": ["L3:0=7", "L3:0=7\nMB:0=5"]}));
    assert_eq!(wrong, Err(vec!["/schemata/1".to_owned()]));
}

#[test]
fn monitoring_is_below_the_class() {
    let monitoring = |rdt: Value| planned(rdt).unwrap().group.monitoring.unwrap();
    let expected = "/sys/fs/resctrl/c1/mon_groups/c1";
    assert_eq!(monitoring(json!({"enableMonitoring": true})).to_str(), Some(expected));
    let expected = "/sys/fs/resctrl/mon_groups/c1";
    let root = json!({"closID": "/", "enableMonitoring": true});
    assert_eq!(monitoring(root).to_str(), Some(expected));
    assert_eq!(planned(json!({"enableMonitoring": false})).unwrap().group.monitoring, None);
}
