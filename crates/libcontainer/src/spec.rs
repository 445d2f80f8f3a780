//! config.json: from the disk to a type, or to every reason why not.

use std::path::Path;

use anyhow::Context as _;
use oci_spec::runtime::{Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Error, Result, Violation};

/// A config and what is worth saying about it.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The config.
    pub value: T,
    /// Warnings.
    pub warnings: Vec<String>,
}

/// Loads `config.json` of `bundle`.
///
/// # Errors
/// It is missing or is not JSON; or every property that is not of the type the spec says.
pub fn load(bundle: &Path) -> Result<Loaded<Spec>> {
    let path = bundle.join("config.json");
    match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = format!("JSON specification file {} not found", path.display());
            Err(anyhow::Error::msg(text).into())
        }
        read => parse(&read.with_context(|| format!("read {}", path.display()))?, &path),
    }
}

/// Loads a process (`exec --process`).
///
/// # Errors
/// Like [`load`].
pub fn load_process(path: &Path) -> Result<Loaded<Process>> {
    parse(&std::fs::read(path).with_context(|| format!("read {}", path.display()))?, path)
}

/// Straight to the type; only when that fails, the long way that names everything.
fn parse<T: DeserializeOwned>(bytes: &[u8], path: &Path) -> Result<Loaded<T>> {
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(Loaded { value, warnings: Vec::new() }),
        Err(_) => {
            let context = || format!("{} is not JSON", path.display());
            parse_slowly(serde_json::from_slice(bytes).with_context(context)?)
        }
    }
}

/// Takes away what does not fit, one property at a time, until the rest does.
fn parse_slowly<T: DeserializeOwned>(mut json: Value) -> Result<Loaded<T>> {
    let schema = "see the schema of runtime-spec 1.3.0";
    let (mut violations, mut warnings) = (Vec::new(), Vec::new());
    let mut removed = Removed::default();
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(&json) {
            Ok(value) if violations.is_empty() => return Ok(Loaded { value, warnings }),
            Ok(_) => return Err(Error::invalid(violations)),
            Err(error) => error,
        };
        let (place, pointer) = removed.places(error.path());
        let text = error.inner().to_string();
        let Some(wrong) = removed.take(&mut json, &place) else {
            violations.push(Violation::new(&pointer, "", text, schema));
            return Err(Error::invalid(violations));
        };
        if pointer.contains("/capabilities/") && wrong.is_string() {
            // The spec wants a warning here, not an error (config.md, "Linux Process").
            warnings.push(format!("{pointer} {wrong}: unknown capability, left out"));
        } else {
            violations.push(Violation::new(&pointer, &wrong, text, schema));
        }
    }
}

/// The items taken out of lists, so that those after them are still named by their own numbers.
#[derive(Default)]
struct Removed(Vec<(String, usize)>);

impl Removed {
    /// The place of an error in what is left, and in what was read, as JSON pointers.
    fn places(&self, path: &serde_path_to_error::Path) -> (String, String) {
        use serde_path_to_error::Segment;
        let (mut place, mut pointer) = (String::new(), String::new());
        for segment in path.iter() {
            let (now, then) = match segment {
                Segment::Seq { index } => {
                    (index.to_string(), self.original(&pointer, *index).to_string())
                }
                Segment::Map { key } => (crate::plan::token(key), crate::plan::token(key)),
                // An enum is a plain string in config.json, and its variant no part of the place.
                Segment::Enum { .. } | Segment::Unknown => continue,
            };
            place = format!("{place}/{now}");
            pointer = format!("{pointer}/{then}");
        }
        (place, pointer)
    }

    fn original(&self, list: &str, index: usize) -> usize {
        let mut gone: Vec<usize> =
            self.0.iter().filter(|(other, _)| other == list).map(|(_, index)| *index).collect();
        gone.sort_unstable();
        gone.into_iter().fold(index, |index, gone| if gone <= index { index + 1 } else { index })
    }

    /// Removes and returns the value at `place`.
    fn take(&mut self, json: &mut Value, place: &str) -> Option<Value> {
        let (parent, last) = place.rsplit_once('/')?;
        match json.pointer_mut(parent)? {
            Value::Object(properties) => {
                properties.remove(&last.replace("~1", "/").replace("~0", "~"))
            }
            Value::Array(items) => {
                let index: usize = last.parse().ok().filter(|index| *index < items.len())?;
                let original = self.original(parent, index);
                self.0.push((parent.to_owned(), original));
                Some(items.remove(index))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::Spec;
    use serde_json::json;

    use super::parse_slowly;
    use crate::ErrorKind;

    #[track_caller]
    fn pointers(config: serde_json::Value) -> Vec<String> {
        match parse_slowly::<Spec>(config).map(|_| ()).unwrap_err().kind {
            ErrorKind::Invalid(all) => all.into_iter().map(|one| one.pointer).collect(),
            kind => panic!("{kind:?}"),
        }
    }

    #[test]
    fn every_wrong_type_is_named() {
        let config = json!({"ociVersion": "1.0.0", "hostname": 5,
            "linux": {"namespaces": [{"type": "x"}, {"type": "pid"}, {"type": "y"}], "sysctl": {"a/b": 1}}});
        let mut found = pointers(config);
        found.sort();
        let expected = [
            "/hostname",
            "/linux/namespaces/0/type",
            "/linux/namespaces/2/type",
            "/linux/sysctl/a~1b",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_unknown_capability_is_only_warned_about() {
        let config = json!({"ociVersion": "1.0.0", "process": {"cwd": "/", "user": {}, "args": ["x"],
            "capabilities": {"bounding": ["CAP_FLY", "CAP_KILL"]}}});
        let loaded = parse_slowly::<Spec>(config).unwrap();
        assert_eq!(loaded.warnings.len(), 1);
        assert!(loaded.warnings[0].contains("CAP_FLY"));
        let process = loaded.value.process().clone().unwrap();
        let bounding = process.capabilities().clone().unwrap().bounding().clone().unwrap();
        assert_eq!(bounding.len(), 1);
    }

    #[test]
    fn what_is_missing_is_named_too() {
        assert_eq!(pointers(json!({"process": {"args": ["x"], "user": {}}})), ["/process"]);
    }
}
