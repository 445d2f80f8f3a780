//! What a profile means to deny and does not: names that no architecture has.

use oci_spec::runtime::LinuxSeccomp;

use crate::Architecture;
use crate::names::{self, Name};
use crate::profile::is_permissive;

/// A name among the rules that deny.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    /// JSON pointer below `linux.seccomp`.
    pub pointer: String,
    /// The name as it is written.
    pub name: String,
}

/// The names that a profile which lets calls pass by default denies in vain.
///
/// A filter passes over names that an architecture does not have, as profiles are written for many; in a list of
/// what is allowed that is safe. In a list of what is denied, a name that no architecture has is misspelt or newer
/// than this crate, and the call it means is let through.
#[must_use]
pub fn unknown_names(profile: &LinuxSeccomp) -> Vec<UnknownName> {
    let mut found = Vec::new();
    if !is_permissive(profile.default_action()) {
        return found;
    }
    let rules = profile.syscalls().iter().flatten().enumerate();
    for (at, rule) in rules.filter(|(_, rule)| !is_permissive(rule.action())) {
        for (position, text) in rule.names().iter().enumerate() {
            let name = Name::new(text);
            let known = |one: &Architecture| names::number(*one, name).is_some();
            if !Architecture::ALL.iter().any(known) {
                let pointer = format!("/syscalls/{at}/names/{position}");
                found.push(UnknownName { pointer, name: text.clone() });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{UnknownName, unknown_names};

    fn found(default: &str, action: &str) -> Vec<UnknownName> {
        let names = ["mkdir", "mkdri", "breakpoint", "read"];
        let profile = json!({
            "defaultAction": default,
            "syscalls": [{ "names": ["read"], "action": action }, { "names": names, "action": action }]
        });
        unknown_names(&serde_json::from_value(profile).unwrap())
    }

    #[test]
    fn only_where_they_are_denied() {
        let pointer = "/syscalls/1/names/1".to_owned();
        let misspelt = [UnknownName { pointer, name: "mkdri".to_owned() }];
        assert_eq!(found("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"), misspelt);
        assert_eq!(found("SCMP_ACT_LOG", "SCMP_ACT_KILL_PROCESS"), misspelt);
        assert_eq!(found("SCMP_ACT_ALLOW", "SCMP_ACT_LOG"), []);
        assert_eq!(found("SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"), []);
    }
}
