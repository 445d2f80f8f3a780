//! A config that is not right as a whole: what is wrong is named and taken out, one property at a
//! time, until the rest is.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::pointer::{Removed, pointer_of, token};
use super::{Config, Loaded};
use crate::{Class, Error, Result, Violation};

/// The most properties of a wrong type that are named: each takes another pass.
pub(super) const MOST_WRONG: usize = 64;

/// The most of serde's words that are shown, in characters.
const LONGEST_RULE: usize = 200;

/// What to do about a wrong type.
const FIX: &str = "see the schema of runtime-spec 1.3.0";

/// Takes out what does not fit, one property at a time, until the rest does.
#[derive(Default)]
pub(super) struct Reader {
    warnings: Vec<String>,
    violations: Vec<Violation>,
    removed: Removed,
}

/// Whether capabilities(7) has this name. oci-spec would take it in any case, and without its prefix, which other
/// runtimes leave out.
pub(crate) fn is_capability(name: &str) -> bool {
    name.parse::<caps::Capability>().is_ok()
}

impl Reader {
    pub(super) fn read<T: Config>(mut self, mut json: Value) -> Result<Loaded<T>> {
        let process = T::PROCESS;
        drop_nulls(&mut json);
        supply_user(json.pointer_mut(process));
        rename_scheduler_flags(json.pointer_mut(&format!("{process}/scheduler/flags")));
        drop_empty_lists_of_cpus(json.pointer_mut(&format!("{process}/execCPUAffinity")));
        for set in ["bounding", "effective", "inheritable", "permitted", "ambient"] {
            let pointer = format!("{process}/capabilities/{set}");
            self.drop_unknown_capabilities(&pointer, json.pointer_mut(&pointer));
        }
        let value = match self.fit::<T::Shape>(&mut json) {
            Some(_) => self.fit(&mut json),
            None => None,
        };
        let Self { warnings, violations, removed } = self;
        match value {
            Some(value) => Ok(Loaded { warnings, value, violations, removed }),
            None => Err(Error::invalid(violations)),
        }
    }

    /// Reads `json` as a `T`, without what does not fit; nothing if the rest does not fit either.
    fn fit<T: DeserializeOwned>(&mut self, json: &mut Value) -> Option<T> {
        while self.violations.len() < MOST_WRONG {
            match serde_path_to_error::deserialize(&*json) {
                Ok(value) => return Some(value),
                Err(error) if self.take_out(json, &error) => {}
                Err(_) => break,
            }
        }
        None
    }

    /// Notes what is wrong and removes it; false if it cannot be removed.
    fn take_out(
        &mut self,
        json: &mut Value,
        error: &serde_path_to_error::Error<serde_json::Error>,
    ) -> bool {
        let place = pointer_of(error.path());
        let pointer = self.removed.original(&place);
        let taken = self.removed.take(json, &place);
        let text = error.inner().to_string();
        let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        let violation = match missing {
            Some(name) => {
                let pointer = format!("{pointer}/{}", token(name));
                Violation::new(Class::Specification, pointer, "", "is required", FIX)
            }
            None => {
                let value = shown(taken.as_ref());
                Violation::new(Class::Specification, pointer, value, one_line(&text), FIX)
            }
        };
        // What was taken out for its type is then missing.
        if self.violations.iter().all(|known| known.pointer != violation.pointer) {
            self.violations.push(violation);
        }
        taken.is_some()
    }

    /// Leaves out names that are not known, which is no error (config.md, "Linux Process").
    fn drop_unknown_capabilities(&mut self, pointer: &str, set: Option<&mut Value>) {
        let Some(names) = set.and_then(Value::as_array_mut) else { return };
        let (mut unknown, mut kept) = (Vec::new(), 0);
        names.retain(|name| {
            // What is no name at all is an error, which reading the set finds.
            let keep = name.as_str().is_none_or(is_capability);
            if keep {
                kept += 1;
            } else {
                unknown.push(name.clone());
                self.removed.0.push((pointer.to_owned(), kept));
            }
            keep
        });
        if !unknown.is_empty() {
            let shown = Violation::shown(Value::from(unknown));
            self.warnings.push(format!("{pointer}: unknown capabilities {shown}, left out"));
        }
    }
}

/// The schema requires neither the user of a process nor its ids, and oci-spec does: root, as all peers have it.
fn supply_user(process: Option<&mut Value>) {
    let Some(process) = process.and_then(Value::as_object_mut) else { return };
    let user = process.entry("user").or_insert_with(|| Value::Object(Map::new()));
    let Some(user) = user.as_object_mut() else { return };
    for name in ["uid", "gid"] {
        user.entry(name).or_insert_with(|| Value::from(0));
    }
}

fn shown(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

/// What serde says, which may hold the value as it is: on one line, and not too long.
fn one_line(text: &str) -> String {
    text.chars()
        .take(LONGEST_RULE)
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}

/// A property that is null is as good as none, as in Go, which engines are written in.
fn drop_nulls(json: &mut Value) {
    match json {
        Value::Object(properties) => {
            properties.retain(|_, value| !value.is_null());
            properties.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// oci-spec spells two flags differently from the spec.
fn rename_scheduler_flags(flags: Option<&mut Value>) {
    const SPELLINGS: [(&str, &str); 2] = [
        ("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"),
        ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN"),
    ];
    for flag in flags.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some((_, other)) = SPELLINGS.iter().find(|(name, _)| flag == name) {
            *flag = (*other).into();
        }
    }
}

/// An empty list is as good as none (config.md, "Linux Process"), which oci-spec does not know.
fn drop_empty_lists_of_cpus(affinity: Option<&mut Value>) {
    if let Some(lists) = affinity.and_then(Value::as_object_mut) {
        lists.retain(|_, list| list != "");
    }
}
