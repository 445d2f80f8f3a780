//! config.json: from the disk to a type, or to every reason why not.

use std::path::Path;

use anyhow::Context as _;
use oci_spec::runtime::{LinuxResources, Process, Spec};
use pointer::Removed;
use repair::Reader;
use serde::de::DeserializeOwned;
use serde_json::json;
use shape::Object;

use crate::request::Resources;
use crate::{Error, Result, Violation};

mod default;
mod file;
mod pointer;
mod repair;
mod shape;

pub use default::default_spec;
pub(crate) use pointer::token;
pub(crate) use repair::is_capability;

/// A config, or as much of it as has the right types.
#[derive(Debug)]
pub struct Loaded<T> {
    /// Warnings.
    pub warnings: Vec<String>,
    value: T,
    violations: Vec<Violation>,
    removed: Removed,
}

impl<T> Loaded<T> {
    /// Plans what was loaded, and gives it back with the plan.
    ///
    /// # Errors
    /// Every property of a wrong type, and every violation that `plan` found in the others.
    pub fn plan<P>(
        self,
        plan: impl FnOnce(&T) -> std::result::Result<P, Vec<Violation>>,
    ) -> Result<(T, P)> {
        let Self { value, mut violations, removed, .. } = self;
        match plan(&value) {
            Ok(planned) if violations.is_empty() => return Ok((value, planned)),
            Ok(_) => {}
            Err(found) => {
                let named = |pointer: &str| violations.iter().any(|one| one.pointer == pointer);
                let moved = found.into_iter().map(|violation| Violation {
                    pointer: removed.original(&violation.pointer),
                    ..violation
                });
                // What was taken out for its type may then be missing.
                let new: Vec<_> = moved.filter(|violation| !named(&violation.pointer)).collect();
                violations.extend(new);
            }
        }
        Err(Error::invalid(violations))
    }
}

/// Loads `config.json` of `bundle`.
///
/// # Errors
/// It is missing, or is not JSON.
pub fn load(bundle: &Path) -> Result<Loaded<Spec>> {
    let path = bundle.join("config.json");
    match file::read(&path) {
        Err(error) if is_missing(&error) => {
            let place = bundle.display();
            let text = format!("JSON specification file config.json not found in {place}");
            Err(anyhow::Error::msg(text).into())
        }
        read => parse(&read?, &path),
    }
}

fn is_missing(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<std::io::Error>();
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::NotFound)
}

/// Loads a process (`exec --process`).
///
/// # Errors
/// Like [`load`].
pub fn load_process(path: &Path) -> Result<Loaded<Process>> {
    parse(&file::read(path)?, path)
}

/// Loads limits (`update --resources`). Pointers are those of a config.
///
/// # Errors
/// Like [`load`].
pub fn load_resources(resources: &Resources) -> Result<Loaded<LinuxResources>> {
    let json = |bytes: Vec<u8>, name| {
        serde_json::from_slice(&bytes).with_context(|| format!("{name} is not JSON"))
    };
    let given = match resources {
        Resources::File(path) => json(file::read(path)?, path.display().to_string())?,
        Resources::StandardInput => {
            json(file::read_standard_input()?, "standard input".to_owned())?
        }
        Resources::Given(value) => value.clone(),
    };
    let config = json!({ "ociVersion": "1.0.0", "linux": { "resources": given } });
    let Loaded { warnings, value, violations, removed } = Reader::default().read::<Spec>(config)?;
    let resources = value.linux().as_ref().and_then(|linux| linux.resources().clone());
    Ok(Loaded { warnings, value: resources.unwrap_or_default(), violations, removed })
}

/// What is read from JSON.
trait Config: DeserializeOwned {
    /// Its objects.
    type Shape: DeserializeOwned;
    /// The pointer to the process in it.
    const PROCESS: &str;
}

impl Config for Spec {
    type Shape = Object<shape::Spec>;
    const PROCESS: &str = "/process";
}

impl Config for Process {
    type Shape = Object<shape::Process>;
    const PROCESS: &str = "";
}

/// Straight to the type; only when that fails, the long way that names everything.
fn parse<T: Config>(bytes: &[u8], path: &Path) -> Result<Loaded<T>> {
    match (serde_json::from_slice(bytes), serde_json::from_slice::<T::Shape>(bytes)) {
        (Ok(value), Ok(_)) => Ok(Loaded {
            warnings: Vec::new(),
            value,
            violations: Vec::new(),
            removed: Removed::default(),
        }),
        _ => {
            let json = serde_json::from_slice(bytes);
            let json = json.with_context(|| format!("{} is not JSON", path.display()))?;
            Reader::default().read(json)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use oci_spec::runtime::{Process, Spec};
    use serde_json::{Value, json};

    use super::{Loaded, Reader, Removed, Violation};
    use crate::{Class, Error, ErrorKind};

    fn read(config: Value) -> crate::Result<Loaded<Spec>> {
        Reader::default().read(config)
    }

    fn pointers(error: Error) -> Vec<String> {
        match error.kind {
            ErrorKind::Invalid(all) => all.into_iter().map(|one| one.pointer).collect(),
            kind => panic!("{kind:?}"),
        }
    }

    /// The pointers of what is wrong in `config`, when planning finds fault with `planned`.
    fn wrong(config: Value, planned: &[&str]) -> Vec<String> {
        let plan = |_: &Spec| -> Result<Infallible, Vec<Violation>> {
            let one = |pointer: &&str| Violation::new(Class::Specification, *pointer, "", "", "");
            Err(planned.iter().map(one).collect())
        };
        let mut found = pointers(read(config).and_then(|loaded| loaded.plan(plan)).unwrap_err());
        found.sort();
        found
    }

    #[test]
    fn every_wrong_type_is_named() {
        let config = json!({"ociVersion": "1.0.0", "hostname": 5, "linux": {
            "namespaces": [{"type": "x"}, {"type": "pid"}, {"type": "y"}, {"type": 1}],
            "sysctl": {"a/b": 1}}});
        let expected = [
            "/hostname",
            "/linux/namespaces/0/type",
            "/linux/namespaces/2/type",
            "/linux/namespaces/3/type",
            "/linux/sysctl/a~1b",
        ];
        assert_eq!(wrong(config, &[]), expected);
    }

    #[test]
    fn planning_names_what_is_left_by_the_numbers_it_had() {
        let config = json!({"mounts": [{"destination": 1}, {"destination": "/a"}, 5,
            {"destination": "/b", "options": [1, "x", 2, "y"]}]});
        let found = wrong(config, &["/mounts/1/options/1", "/mounts/0/source", "/hostname"]);
        let expected = [
            "/hostname",
            "/mounts/0/destination",
            "/mounts/1/source",
            "/mounts/2",
            "/mounts/3/options/0",
            "/mounts/3/options/2",
            "/mounts/3/options/3",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_list_is_no_object() {
        let config = json!({"root": ["rootfs"], "linux": [], "mounts": [[], {"destination": []}]});
        let expected = ["/linux", "/mounts/0", "/mounts/1/destination", "/root"];
        assert_eq!(wrong(config, &[]), expected);
        let (config, shape) = (r#"{"linux": []}"#, "/linux");
        let loaded = super::parse::<Spec>(config.as_bytes(), "config.json".as_ref());
        let error = loaded.and_then(|loaded| loaded.plan(|_| Ok(()))).unwrap_err();
        assert_eq!(pointers(error), [shape]);
    }

    #[test]
    fn what_is_wrong_is_not_missing_too() {
        let config = json!({"process": {"args": 1, "cwd": "/", "user": {}}});
        assert_eq!(wrong(config, &["/process/args"]), ["/process/args"]);
    }

    #[test]
    fn what_is_required_is_named() {
        let config = json!({"process": {"args": ["x"], "user": {}}, "hostname": 5});
        assert_eq!(wrong(config, &[]), ["/hostname", "/process/cwd"]);
        let error = Reader::default().read::<Process>(json!({"user": {}})).unwrap_err();
        assert_eq!(pointers(error), ["/cwd"]);
    }

    #[test]
    fn an_unknown_capability_is_only_warned_about() {
        let config = json!({"process": {"cwd": "/", "user": {},
            "capabilities": {"bounding": ["CAP_FLY", "CAP_KILL", "cap_chown", "CHOWN", "CAP_CAP_CHOWN"],
            "ambient": ["CAP_KILL"]}}});
        let loaded = read(config).unwrap();
        let expected = "/process/capabilities/bounding: unknown capabilities";
        assert_eq!(loaded.warnings.len(), 1);
        assert!(loaded.warnings[0].starts_with(expected) && loaded.warnings[0].contains("CAP_FLY"));
        let (spec, ()) = loaded.plan(|_| Ok(())).unwrap();
        let capabilities = spec.process().as_ref().unwrap().capabilities().clone().unwrap();
        assert_eq!(capabilities.bounding().as_ref().map(|set| set.len()), Some(1));
    }

    #[test]
    fn what_is_no_capability_keeps_its_number() {
        let set = ["CAP_FLY", "CAP_KILL", "CAP_SWIM"].map(Value::from);
        let set: Vec<Value> = set.into_iter().chain([json!(5)]).collect();
        let config = json!({"process": {"cwd": "/", "user": {}, "capabilities": {"ambient": set}}});
        assert_eq!(wrong(config, &[]), ["/process/capabilities/ambient/3"]);
    }

    #[test]
    fn null_is_as_good_as_nothing() {
        let config = json!({"process": {"cwd": "/", "user": {"uid": null}}, "mounts": null});
        assert!(read(config).unwrap().plan(|_| Ok(())).is_ok());
    }

    #[test]
    fn an_empty_list_of_cpus_is_none() {
        let affinity = json!({"initial": "", "final": "1"});
        let config = json!({"process": {"cwd": "/", "user": {}, "execCPUAffinity": affinity}});
        let (spec, ()) = read(config).unwrap().plan(|_| Ok(())).unwrap();
        let affinity = spec.process().as_ref().unwrap().exec_cpu_affinity().clone().unwrap();
        assert_eq!(affinity.initial(), &None);
        assert_eq!(affinity.cpu_affinity_final().as_deref(), Some("1"));
    }

    #[test]
    fn the_flags_of_the_scheduler_have_the_names_of_the_spec() {
        let names = ["RESET_ON_FORK", "RECLAIM", "DL_OVERRUN", "KEEP_POLICY", "KEEP_PARAMS"];
        let names = names.iter().chain(&["UTIL_CLAMP_MIN", "UTIL_CLAMP_MAX"]);
        let flags: Vec<String> = names.map(|name| format!("SCHED_FLAG_{name}")).collect();
        let scheduler = json!({"policy": "SCHED_OTHER", "flags": flags});
        let config = json!({"process": {"cwd": "/", "user": {}, "scheduler": scheduler}});
        assert!(read(config).unwrap().plan(|_| Ok(())).is_ok());
    }

    #[test]
    fn a_hundred_thousand_wrong_items_take_no_time() {
        let mappings: Vec<Value> = (0..100_000).map(|_| json!({"size": "x"})).collect();
        let found = wrong(json!({"linux": {"uidMappings": mappings}}), &[]);
        assert_eq!(found.len(), super::repair::MOST_WRONG);
    }

    #[test]
    fn a_value_is_shown_short_and_on_one_line() {
        let typ = format!("x\n{}", "y".repeat(1 << 20));
        let config = json!({"linux": {"namespaces": [{"type": typ}]}});
        let error = read(config).and_then(|loaded| loaded.plan(|_| Ok(()))).unwrap_err();
        let text = error.to_string();
        assert!(text.len() < 500 && !text.contains('\n'), "{text}");
        assert!(text.contains(r#"/linux/namespaces/0/type "x\nyy"#), "{text}");
    }

    #[test]
    fn what_is_no_object_is_no_config() {
        for text in ["[]", " [1]", "5", "", "null", "{", "{} x", "\"\"", "{\"a\": \u{1}}"] {
            let error = super::parse::<Spec>(text.as_bytes(), "config.json".as_ref());
            let message = error.unwrap_err().to_string();
            assert!(message.contains("config.json"), "{text}: {message}");
        }
    }

    #[test]
    fn pointers_move_back_by_what_was_taken_before() {
        let removed = Removed(vec![("/a".to_owned(), 0), ("/a".to_owned(), 1)]);
        assert_eq!(removed.original("/a/0/b"), "/a/1/b");
        assert_eq!(removed.original("/a/1"), "/a/3");
        assert_eq!(removed.original("/ab/1"), "/ab/1");
        assert_eq!(removed.original("/a"), "/a");
    }
}
