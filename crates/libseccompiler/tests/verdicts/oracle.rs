//! libseccomp, in a program beside the test.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::helper::Helper;
use crate::interpreter::Instruction;
use crate::machine::Machine;
use crate::profile::{list, operator_of, text, verdict_of};

pub(crate) struct Oracle(Helper);

/// How libseccomp searches for a number (`SCMP_FLTATR_CTL_OPTIMIZE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    /// One after the other: what libseccomp does by itself.
    Linear = 1,
    /// In a binary tree, which programs have to ask for.
    Tree = 2,
}

impl Oracle {
    /// Compiles and starts it.
    pub(crate) fn start(name: &str) -> Self {
        Self(Helper::start("oracle.c", &format!("oracle-{name}"), &["-lseccomp"]))
    }

    pub(crate) fn number(&mut self, architecture: &str, name: &str) -> i64 {
        self.0.ask(&format!("resolve {architecture} {name}")).parse().unwrap()
    }

    /// The profile without the names that libseccomp does not know, and rules that have none left.
    pub(crate) fn known(&mut self, profile: &Value, group: &[Machine]) -> Value {
        let mut profile = profile.clone();
        let mut known = |name: &Value| {
            let mut one = |machine: &Machine| self.number(machine.name, text(name)) != -1;
            group.iter().any(&mut one) && self.number("x86_64", text(name)) != -1
        };
        if let Some(rules) = profile["syscalls"].as_array_mut() {
            for rule in rules.iter_mut() {
                rule["names"].as_array_mut().unwrap().retain(&mut known);
            }
            rules.retain(|rule| !list(rule, "names").is_empty());
        }
        profile
    }

    /// libseccomp's program for a profile, given as runc gives it.
    pub(crate) fn compile(
        &mut self,
        profile: &Value,
        group: &[Machine],
        search: Search,
    ) -> Vec<Instruction> {
        let default =
            verdict_of(text(&profile["defaultAction"]), profile["defaultErrnoRet"].as_u64());
        assert_eq!(self.0.ask(&format!("init {default:x} {}", search as u8)), "0");
        for machine in group {
            assert_eq!(self.0.ask(&format!("arch {}", machine.name)), "0", "{}", machine.name);
        }
        for rule in list(profile, "syscalls") {
            self.add(rule, default);
        }
        self.export(group[0].little_endian)
    }

    /// How many nanoseconds each of `rounds` takes that does what [`Self::compile`] did last: for the bench.
    #[allow(dead_code)]
    pub(crate) fn times(&mut self, rounds: usize) -> Vec<u64> {
        let answer = self.0.ask(&format!("time {rounds}"));
        answer.split(' ').map(|time| time.parse().unwrap()).collect()
    }

    fn add(&mut self, rule: &Value, default: u32) {
        let action = verdict_of(text(&rule["action"]), rule["errnoRet"].as_u64());
        if action == default {
            return;
        }
        let arguments: Vec<String> = list(rule, "args")
            .iter()
            .map(|one| {
                let (value, other) = (one["value"].as_u64().unwrap(), one["valueTwo"].as_u64());
                let (index, operator) =
                    (one["index"].as_u64().unwrap(), operator_of(text(&one["op"])));
                format!(" {index} {operator} {value:x} {:x}", other.unwrap_or(0))
            })
            .collect();
        let indexes: BTreeSet<_> =
            list(rule, "args").iter().map(|one| one["index"].as_u64()).collect();
        let alternatives = if indexes.len() < arguments.len() {
            arguments.iter().map(|one| (1, one.clone())).collect()
        } else {
            vec![(arguments.len(), arguments.concat())]
        };
        for name in list(rule, "names") {
            for (count, arguments) in &alternatives {
                let line = format!("rule {action:x} {} {count}{arguments}", text(name));
                let answer = self.0.ask(&line);
                assert!(answer == "0" || answer == "-17", "{line}: {answer}");
            }
        }
    }

    /// The program for what was said since `init`.
    fn export(&mut self, little_endian: bool) -> Vec<Instruction> {
        let text = self.0.ask("export");
        let digits = text.as_bytes().as_chunks::<2>().0;
        let bytes: Vec<u8> = digits
            .iter()
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).expect(&text))
            .collect();
        let instructions = bytes.as_chunks::<8>().0.iter();
        let decode = |[a, b, jt, jf, k @ ..]: &[u8; 8]| match little_endian {
            true => (u16::from_le_bytes([*a, *b]), *jt, *jf, u32::from_le_bytes(*k)),
            false => (u16::from_be_bytes([*a, *b]), *jt, *jf, u32::from_be_bytes(*k)),
        };
        instructions.map(decode).collect()
    }
}
