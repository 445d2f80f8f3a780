//! What can still be read of a state that cannot be read whole: cut, of another version, or wrong in
//! some field.

use std::fmt;

use libcgroups::Location;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::{State, VERSION};

/// What is left of a state.
pub(crate) struct Remains {
    /// The state. What is lost is as in a container that has it not.
    pub state: State,
    /// What is lost of the fields by which a container ends, each with what follows from it.
    pub lost: Vec<&'static str>,
}

impl Remains {
    /// Reads what can be read of `bytes`, of the container `id`.
    pub(crate) fn of(bytes: &[u8], id: &str) -> Self {
        let mut fields = Fields(complete_fields(bytes));
        let init = fields.take("init");
        let cgroup = fields.take("cgroup");
        let hooks = fields.take("hooks");
        let told = [
            // Whoever is in its cgroup is found there.
            (init.is_none() && cgroup.is_none(), "/init: its first process may still run"),
            (cgroup.is_none(), "/cgroup: its cgroup is left, with what may run in it"),
            (hooks.is_none(), "/hooks: its poststop hooks did not run"),
        ];
        let lost = told.into_iter().filter_map(|(lost, text)| lost.then_some(text)).collect();
        let state = State {
            version: VERSION,
            id: id.to_owned(),
            init: init.flatten(),
            mark: fields.take("mark"),
            cgroup: cgroup.unwrap_or(Location::Nobody),
            namespaces: fields.take("namespaces"),
            confinement: fields.take("confinement"),
            resource_group: fields.take("resourceGroup"),
            oci_version: fields.take("ociVersion").unwrap_or_default(),
            bundle: fields.take("bundle").unwrap_or_default(),
            rootfs: fields.take("rootfs").unwrap_or_default(),
            annotations: fields.take("annotations").unwrap_or_default(),
            created: fields.take("created").unwrap_or_default(),
            owner: fields.take("owner").unwrap_or_default(),
            hooks: hooks.unwrap_or_default(),
            process: fields.take("process"),
        };
        Self { state, lost }
    }
}

struct Fields(Map<String, Value>);

impl Fields {
    /// The field, if it is there and right.
    fn take<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        self.0.remove(name).and_then(|value| serde_json::from_value(value).ok())
    }
}

/// The fields of the object in `bytes`, up to the first that is not whole.
fn complete_fields(bytes: &[u8]) -> Map<String, Value> {
    let mut fields = Map::new();
    // Whatever ends the reading, what was read before it is what counts.
    let _ = Collect(&mut fields).deserialize(&mut serde_json::Deserializer::from_slice(bytes));
    fields
}

struct Collect<'a>(&'a mut Map<String, Value>);

impl<'de> DeserializeSeed<'de> for Collect<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Collect<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry()? {
            self.0.insert(name, value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use libcgroups::Location;
    use serde_json::{Value, json};

    use super::Remains;
    use crate::state::{InitProcess, State};

    fn saved() -> Value {
        json!({
            "version": 1,
            "id": "c1",
            "init": {"pid": 5, "startTime": 7},
            "mark": {"token": "0123456789abcdef0123456789abcdef", "inode": 9},
            "cgroup": {"files": {"legacy": [], "unified": {
                "mountPoint": "/sys/fs/cgroup", "directory": "/sys/fs/cgroup/c1"}}},
            "namespaces": ["pid", "mount"],
            "confinement": {"seccomp": null, "memoryPolicy": null, "callersKeyring": false},
            "ociVersion": "1.3.0",
            "bundle": "/bundle",
            "rootfs": "/bundle/rootfs",
            "annotations": {"a": "b"},
            "created": "2026-01-01T00:00:00Z",
            "owner": 0,
            "hooks": {"prestart": [], "createRuntime": [], "createContainer": [],
                "startContainer": [], "poststart": [], "poststop": []},
            "process": null,
        })
    }

    /// In the order in which a state is written: serde_json sorts the fields of a value.
    fn text() -> String {
        let state: State = serde_json::from_value(saved()).unwrap();
        serde_json::to_string(&state).unwrap()
    }

    #[test]
    fn of_a_whole_state_nothing_is_lost() {
        let text = text();
        let remains = Remains::of(text.as_bytes(), "c1");
        assert!(remains.lost.is_empty());
        assert_eq!(serde_json::to_string(&remains.state).unwrap(), text);
    }

    #[test]
    fn the_form_is_what_it_was() {
        let state: Value = serde_json::from_str(&text()).unwrap();
        assert_eq!(state, saved());
    }

    /// The fields by which a container ends come first, so a cut behind them loses none of them.
    #[test]
    fn what_is_whole_before_a_cut_is_kept() {
        let text = text();
        let init = text.find(r#","mark""#).unwrap();
        let cgroup = text.find(r#","namespaces""#).unwrap();
        let hooks = text.find(r#","process""#).unwrap();
        assert!(cgroup < 330, "{text}");
        for cut in 0..text.len() {
            let remains = Remains::of(&text.as_bytes()[..cut], "c1");
            let kept = InitProcess { pid: 5, start_time: 7 };
            assert_eq!(remains.state.init, (cut >= init).then_some(kept), "{cut}");
            assert_eq!(remains.state.cgroup == Location::Nobody, cut < cgroup, "{cut}");
            let lost = [cut < init, cut < cgroup, cut < hooks];
            assert!(init < cgroup && cgroup < hooks);
            assert_eq!(remains.lost.len(), lost.iter().filter(|lost| **lost).count(), "{cut}");
        }
    }

    #[test]
    fn a_field_that_is_missing_or_wrong_takes_no_other_with_it() {
        for name in saved().as_object().unwrap().keys() {
            for wrong in [None, Some(json!([[]]))] {
                let mut state = saved();
                let fields = state.as_object_mut().unwrap();
                fields.remove(name);
                fields.extend(wrong.map(|value| (name.clone(), value)));
                let remains = Remains::of(state.to_string().as_bytes(), "c1");
                assert_eq!(remains.state.init.is_none(), name == "init");
                assert_eq!(remains.state.cgroup == Location::Nobody, name == "cgroup");
                let told = ["cgroup", "hooks"].contains(&name.as_str());
                assert_eq!(remains.lost.len(), usize::from(told), "{name}: {:?}", remains.lost);
            }
        }
    }

    #[test]
    fn junk_is_nothing() {
        for junk in ["", "[]", "5", "\0", "{{", "{\"init\": {\"pid\": \"x\"}}"] {
            assert_eq!(Remains::of(junk.as_bytes(), "c1").lost.len(), 3, "{junk}");
        }
    }

    /// A state without init or cgroup is none; without another field it can still be read.
    #[test]
    fn only_what_names_the_container_is_required() {
        for name in saved().as_object().unwrap().keys() {
            let mut state = saved();
            state.as_object_mut().unwrap().remove(name);
            let read = serde_json::from_value::<State>(state);
            let required = ["version", "id", "init", "cgroup"].contains(&name.as_str());
            assert_eq!(read.is_err(), required, "{name}");
            let Ok(read) = read else { continue };
            assert_eq!(read.namespaces().is_err(), name == "namespaces");
            assert_eq!(read.confinement().is_err(), name == "confinement");
        }
    }
}
