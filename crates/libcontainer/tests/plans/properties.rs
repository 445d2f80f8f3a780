//! No property of the spec is ignored: each changes the plan, or is refused, or warned about.

use libcontainer::plan::Planned;
use libcontainer::{Violation, spec};
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use crate::hosts::{base, labelling, legacy, plan, set, unified};

/// Every property of runtime-spec 1.3.0 that is for Linux.
fn all() -> Value {
    serde_json::from_str(include_str!("schema.json")).unwrap()
}

/// The pointers of all that is no object or list, or empty.
fn leaves(json: &Value, pointer: &str, found: &mut Vec<String>) {
    let before = found.len();
    if let Value::Object(properties) = json {
        for (key, value) in properties {
            let key = key.replace('~', "~0").replace('/', "~1");
            leaves(value, &format!("{pointer}/{key}"), found);
        }
    }
    for (index, value) in json.as_array().into_iter().flatten().enumerate() {
        leaves(value, &format!("{pointer}/{index}"), found);
    }
    if found.len() == before {
        found.push(pointer.to_owned());
    }
}

/// oci-spec reads every property under the name that the spec gives it.
#[test]
fn every_property_is_read() {
    let written = all();
    let bundle = std::env::temp_dir().join(format!("aril-properties-{}", std::process::id()));
    std::fs::create_dir(&bundle).unwrap();
    std::fs::write(bundle.join("config.json"), written.to_string()).unwrap();
    let loaded = spec::load(&bundle).and_then(|loaded| loaded.plan(|_| Ok(())));
    std::fs::remove_dir_all(&bundle).unwrap();
    let (read, ()) = loaded.unwrap();
    let read = serde_json::to_value(read).unwrap();
    let mut pointers = Vec::new();
    leaves(&written, "", &mut pointers);
    for pointer in pointers {
        // Sets have no order, and the flags of the scheduler other names in oci-spec.
        if pointer.contains("/capabilities/") || pointer.contains("/scheduler/flags") {
            assert!(read.pointer(&pointer).is_some(), "{pointer} is not read");
        } else {
            assert_eq!(read.pointer(&pointer), written.pointer(&pointer), "{pointer} is not read");
        }
    }
}

/// What planning comes to, as text.
fn outcome(config: &Value) -> String {
    // A value that no type holds is refused by parsing, which other tests are about.
    serde_json::from_value::<Spec>(config.clone()).unwrap();
    let show = |planned: Result<Planned, Vec<Violation>>| match planned {
        Ok(planned) => format!("{planned:?}"),
        Err(violations) => format!("{violations:?}"),
    };
    // A property may be for one of these kinds of machines.
    [legacy(), unified(), labelling()].map(|host| show(plan(config, &host))).concat()
}

/// The rows of properties.json: a property, a value other than its default, and the name of what
/// it needs to have an effect.
fn rows() -> (Value, Vec<Value>) {
    let mut table: Value = serde_json::from_str(include_str!("properties.json")).unwrap();
    (table["needs"].take(), table["properties"].as_array().unwrap().clone())
}

#[test]
fn every_property_has_an_effect() {
    let (needs, rows) = rows();
    let mut ignored = Vec::new();
    for row in rows {
        let pointer = row[0].as_str().unwrap();
        let mut config = base();
        let needed = row[2].as_str().map(|name| needs[name].as_array().unwrap());
        for need in needed.into_iter().flatten() {
            set(&mut config, need[0].as_str().unwrap(), need[1].clone());
        }
        let before = outcome(&config);
        set(&mut config, pointer, row[1].clone());
        if before == outcome(&config) {
            ignored.push(pointer.to_owned());
        }
    }
    assert!(ignored.is_empty(), "ignored: {ignored:#?}");
}

/// Of items of a list, one stands for all.
fn without_numbers(pointer: &str) -> String {
    let tokens = pointer.split('/');
    let tokens = tokens.map(|token| if token.parse::<usize>().is_ok() { "-" } else { token });
    tokens.collect::<Vec<_>>().join("/") + "/"
}

#[test]
fn the_table_has_every_property() {
    // What is for update alone.
    let elsewhere = "/linux/resources/memory/checkBeforeUpdate/";
    let (_, rows) = rows();
    let known: Vec<String> =
        rows.iter().map(|row| without_numbers(row[0].as_str().unwrap())).collect();
    let mut pointers = Vec::new();
    leaves(&all(), "", &mut pointers);
    for pointer in pointers.iter().map(|pointer| without_numbers(pointer)) {
        let is_known =
            known.iter().any(|row| pointer.starts_with(row.as_str()) || row.starts_with(&pointer));
        assert!(is_known || pointer.starts_with(elsewhere), "{pointer} is not in properties.json");
    }
}

/// Engines send these for what is not set.
#[test]
fn what_is_empty_asks_for_nothing() {
    let rows = [
        ("/process/apparmorProfile", json!("")),
        ("/process/selinuxLabel", json!("")),
        ("/process/user/additionalGids", json!([])),
        ("/process/consoleSize", json!({"height": 0, "width": 0})),
        ("/process/consoleSize", json!({"height": 5, "width": 5})),
        ("/domainname", json!("")),
        ("/annotations", json!({})),
        ("/hooks", json!({"poststop": []})),
        ("/linux/mountLabel", json!("")),
        ("/linux/cgroupsPath", json!("")),
        ("/linux/rootfsPropagation", json!("")),
        ("/linux/devices", json!([])),
        ("/linux/sysctl", json!({})),
        ("/linux/netDevices", json!({})),
        ("/linux/uidMappings", json!([])),
        ("/linux/timeOffsets", json!({})),
        ("/linux/namespaces/0/path", json!("")),
        ("/linux/resources/memory", json!({})),
        ("/linux/resources/unified", json!({})),
        ("/mounts/0/options", json!([""])),
        ("/mounts/0/uidMappings", json!([])),
        ("/unknown", json!(5)),
        ("/linux/unknown", json!({"a": []})),
    ];
    let before = outcome(&base());
    for (pointer, value) in rows {
        let mut config = base();
        set(&mut config, pointer, value);
        assert!(before == outcome(&config), "{pointer} is not nothing");
    }
}
