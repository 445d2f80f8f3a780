//! Device rules as writes to devices.allow and devices.deny (kernel documentation,
//! admin-guide/cgroup-v1/devices.rst).

use super::{ALL, ConfigRule, Kind, MAKE, READ, Rule, WRITE};
use crate::limits::{Hierarchy, Table};

/// The kernel keeps one list of exceptions to "allow all" or to "deny all", and a rule only changes
/// the exceptions that name the very same numbers. This follows what the kernel will have, and
/// refuses a rule that it would not take as it is meant.
struct Emulator {
    allow_all: bool,
    exceptions: Vec<Rule>,
}

pub(crate) fn plan(
    rules: &[ConfigRule],
    defaults: &[Rule],
    hierarchy: Hierarchy,
    table: &mut Table<'_>,
) {
    let mut emulator = Emulator { allow_all: false, exceptions: Vec::new() };
    table.write(hierarchy, "devices.deny", "a", "/devices");
    let mut rest = rules;
    while let Some((ConfigRule { index, rule }, tail)) = rest.split_first() {
        rest = tail;
        let pointer = format!("/devices/{index}");
        // A rule about everything was made into one for each kind of node.
        let twin = rest.first().filter(|other| other.index == *index);
        if is_everything(rule) && twin.is_some_and(|twin| is_everything(&twin.rule)) {
            rest = rest.get(1..).unwrap_or_default();
            emulator = Emulator { allow_all: rule.allow, exceptions: Vec::new() };
            table.write(hierarchy, file(rule), "a", &pointer);
            continue;
        }
        if let Some(same) = emulator.take(*rule) {
            for one in &same {
                table.write(hierarchy, file(one), line(one), &pointer);
            }
        } else {
            let text = "the v1 device controller cannot take a part out of a wider rule before it";
            table.not_here(
                &pointer,
                line(rule),
                text,
                "order the rules from narrow denials to wide ones, or use cgroup v2",
            );
        }
    }
    if !emulator.allow_all {
        for rule in defaults {
            table.write(hierarchy, file(rule), line(rule), "/devices");
        }
    }
}

impl Emulator {
    /// The rules with which the kernel does what `rule` says; nothing if there are none.
    fn take(&mut self, rule: Rule) -> Option<Vec<Rule>> {
        if rule.allow != self.allow_all {
            self.exceptions.push(rule);
            return Some(vec![rule]);
        }
        // A rule in the direction of the default only takes exceptions back, each by its own numbers.
        let overlaps = |other: &&mut Rule| {
            other.kind == rule.kind
                && meet(other.major, rule.major)
                && meet(other.minor, rule.minor)
                && other.access & rule.access != 0
        };
        let mut taken_back = Vec::new();
        for other in self.exceptions.iter_mut().filter(overlaps) {
            if !(covers(rule.major, other.major) && covers(rule.minor, other.minor)) {
                return None;
            }
            let access = other.access & rule.access;
            taken_back.push(Rule { allow: rule.allow, access, ..*other });
            other.access &= !rule.access;
        }
        Some(taken_back)
    }
}

/// Whether the numbers that `wide` stands for have all of `narrow`.
fn covers(wide: Option<u32>, narrow: Option<u32>) -> bool {
    wide.is_none() || wide == narrow
}

fn meet(left: Option<u32>, right: Option<u32>) -> bool {
    left.is_none() || right.is_none() || left == right
}

fn is_everything(rule: &Rule) -> bool {
    rule.major.is_none() && rule.minor.is_none() && rule.access == ALL
}

const fn file(rule: &Rule) -> &'static str {
    if rule.allow { "devices.allow" } else { "devices.deny" }
}

fn line(rule: &Rule) -> String {
    let kind = match rule.kind {
        Kind::Block => 'b',
        Kind::Character => 'c',
    };
    let number =
        |value: Option<u32>| value.map_or_else(|| "*".to_owned(), |value| value.to_string());
    let letters: String = [(READ, 'r'), (WRITE, 'w'), (MAKE, 'm')]
        .into_iter()
        .filter_map(|(bit, letter)| (rule.access & bit != 0).then_some(letter))
        .collect();
    format!("{kind} {}:{} {letters}", number(rule.major), number(rule.minor))
}

#[cfg(test)]
mod tests {
    use crate::{DeviceAccess, Layout, plan_devices};

    fn writes(devices: &str) -> Result<Vec<String>, String> {
        let layout = Layout::parse("1 0 0:1 / /c/devices rw - cgroup c rw,devices", "").unwrap();
        let devices: Vec<_> = serde_json::from_str(devices).unwrap();
        match plan_devices(&devices, &layout) {
            Ok(DeviceAccess::Unified(_) | DeviceAccess::Unlimited) => panic!("not v1"),
            Ok(DeviceAccess::Legacy(writes)) => Ok(writes
                .iter()
                .map(|write| {
                    format!("{} {}", write.file.trim_start_matches("devices."), write.value)
                })
                .collect()),
            Err(violations) => Err(violations[0].pointer.clone()),
        }
    }

    #[test]
    fn what_is_not_allowed_is_denied() {
        let writes = writes("[]").unwrap();
        assert_eq!(writes[..2], ["deny a", "allow c *:* m"]);
        assert!(writes.contains(&"allow c 1:3 rwm".to_owned()) && writes.len() == 12);
    }

    #[test]
    fn rules_come_in_order_before_the_defaults() {
        let rules = r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"b","major":8,"minor":0,"access":"r"}]"#;
        let writes = writes(rules).unwrap();
        assert_eq!(writes[..4], ["deny a", "deny a", "allow b 8:0 r", "allow c *:* m"]);
    }

    #[test]
    fn everything_allowed_needs_no_defaults() {
        assert_eq!(writes(r#"[{"allow":true,"access":"rwm"}]"#).unwrap(), ["deny a", "allow a"]);
    }

    #[test]
    fn a_hole_that_v1_cannot_have_is_refused() {
        let rules = r#"[{"allow":true,"type":"c","major":1,"access":"rwm"},
            {"allow":false,"type":"c","major":1,"minor":3,"access":"w"}]"#;
        assert_eq!(writes(rules).unwrap_err(), "/linux/resources/devices/1");
    }

    #[test]
    fn what_is_allowed_is_taken_back_one_by_one() {
        let rules = r#"[{"allow":true,"type":"c","major":1,"minor":7,"access":"rw"},
            {"allow":true,"type":"b","major":1,"minor":7,"access":"r"},
            {"allow":true,"type":"c","major":4,"access":"r"},
            {"allow":false,"type":"c","access":"r"},
            {"allow":false,"type":"c","access":"r"}]"#;
        let expected = [
            "deny a",
            "allow c 1:7 rw",
            "allow b 1:7 r",
            "allow c 4:* r",
            "deny c 1:7 r",
            "deny c 4:* r",
            "allow c *:* m",
        ];
        assert_eq!(writes(rules).unwrap()[..7], expected);
    }

    #[test]
    fn nothing_is_allowed_by_saying_nothing() {
        for rule in [r#"[{"allow":true}]"#, r#"[{"allow":true,"access":""}]"#] {
            assert_eq!(writes(rule).unwrap_err(), "/linux/resources/devices/0/access");
        }
        assert_eq!(writes(r#"[{"allow":false}]"#).unwrap()[1], "deny a");
    }

    #[test]
    fn nonsense_is_named() {
        assert_eq!(
            writes(r#"[{"allow":true,"access":"x"}]"#).unwrap_err(),
            "/linux/resources/devices/0/access"
        );
        assert_eq!(
            writes(r#"[{"allow":true,"access":"r","major":-7}]"#).unwrap_err(),
            "/linux/resources/devices/0/major"
        );
    }
}
