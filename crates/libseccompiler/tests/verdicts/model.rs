//! What a profile says, word for word: the documentation of `compile` as a few loops.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::comparison::enosys;
use crate::machine::{Call, Machine, X32, X32_BIT, X86_64};
use crate::profile::{is_permissive, list, text, verdict_of};

const KILL_THREAD: u32 = 0;

/// What the profile says for one machine.
struct OnMachine {
    /// For each number that the profile names, its rules in order: conditions and verdict.
    rules: BTreeMap<u32, Vec<(Vec<Value>, u32)>>,
    newest: Option<u32>,
}

pub(crate) struct Model<'a> {
    profile: &'a Value,
    machines: Vec<(&'a Machine, OnMachine)>,
}

impl<'a> Model<'a> {
    /// `numbers` has the numbers of the names that the profile uses, for each machine by name.
    pub(crate) fn new(
        profile: &'a Value,
        group: &'a [Machine],
        numbers: &HashMap<(&str, &str), u32>,
    ) -> Self {
        let on = |machine: &'a Machine| (machine, on_machine(profile, machine, numbers));
        Self { profile, machines: group.iter().map(on).collect() }
    }

    pub(crate) fn verdict(&self, call: &Call) -> u32 {
        let Some((machine, rules)) = self.machine_of(call) else { return KILL_THREAD };
        let default = verdict_of(
            text(&self.profile["defaultAction"]),
            self.profile["defaultErrnoRet"].as_u64(),
        );
        let of_number = rules.rules.get(&call.number).map_or(&[][..], Vec::as_slice);
        if let Some((_, verdict)) = of_number.iter().find(|(conditions, _)| conditions.is_empty()) {
            return *verdict;
        }
        let holding = of_number
            .iter()
            .filter(|(conditions, _)| conditions.iter().all(|one| holds(one, machine, call)))
            .map(|(_, verdict)| *verdict);
        let order = ["KILL_PROCESS", "KILL_THREAD", "TRAP", "ERRNO", "TRACE", "LOG", "ALLOW"];
        let rank = |verdict: &u32| {
            let is = |name: &&str| {
                verdict_of(&format!("SCMP_ACT_{name}"), Some(0)) == verdict & 0xffff_0000
            };
            order.iter().position(is)
        };
        // What a tracer skips is no x32 call and no new one.
        let is_skipped = **machine == X86_64 && call.number == u32::MAX;
        let beyond = rules.newest.is_some_and(|newest| call.number > newest) && !is_skipped;
        match holding.min_by_key(rank) {
            Some(verdict) => verdict,
            None if beyond && !is_permissive(self.profile) => enosys(machine),
            None => default,
        }
    }

    fn machine_of(&self, call: &Call) -> Option<&(&'a Machine, OnMachine)> {
        let by_name = |machine: Machine| self.machines.iter().find(|(one, _)| **one == machine);
        if call.audit == X86_64.audit && call.number >= X32_BIT {
            let no_call = call.number == u32::MAX;
            return by_name(X32).or_else(|| by_name(X86_64).filter(|_| no_call));
        }
        self.machines.iter().find(|(machine, _)| machine.audit == call.audit)
    }
}

fn on_machine(
    profile: &Value,
    machine: &Machine,
    numbers: &HashMap<(&str, &str), u32>,
) -> OnMachine {
    let default = verdict_of(text(&profile["defaultAction"]), profile["defaultErrnoRet"].as_u64());
    let (mut rules, mut newest) = (BTreeMap::<u32, Vec<_>>::new(), None);
    for rule in list(profile, "syscalls") {
        let verdict = verdict_of(text(&rule["action"]), rule["errnoRet"].as_u64());
        for name in list(rule, "names") {
            let Some(&number) = numbers.get(&(machine.name, text(name))) else { continue };
            newest = newest.max(Some(number));
            if verdict != default {
                let alternatives = alternatives(rule, machine).into_iter();
                let alternatives = alternatives.map(|conditions| (conditions, verdict));
                rules.entry(number).or_default().extend(alternatives);
            }
        }
    }
    OnMachine { rules, newest }
}

/// One list of conditions, or one for each where two are of one argument.
fn alternatives(rule: &Value, machine: &Machine) -> Vec<Vec<Value>> {
    let all = list(rule, "args");
    let asks = |one: &&Value| one["op"] != "SCMP_CMP_MASKED_EQ" || cut(&one["value"], machine) != 0;
    let repeated =
        all.iter().any(|one| all.iter().filter(|other| other["index"] == one["index"]).count() > 1);
    if repeated {
        all.iter().map(|one| [one].into_iter().filter(asks).cloned().collect()).collect()
    } else {
        vec![all.iter().filter(asks).cloned().collect()]
    }
}

/// The bits of a value that the machine compares.
fn cut(value: &Value, machine: &Machine) -> u64 {
    // Bit 29 is that of n32.
    let is_64_bits = machine.audit & 0xa000_0000 == 0x8000_0000 && *machine != X32;
    let width = if is_64_bits { u64::MAX } else { u64::from(u32::MAX) };
    value.as_u64().unwrap() & width
}

fn holds(condition: &Value, machine: &Machine, call: &Call) -> bool {
    let index = usize::try_from(condition["index"].as_u64().unwrap()).unwrap();
    let argument = cut(&call.arguments[index].into(), machine);
    let value = cut(&condition["value"], machine);
    match text(&condition["op"]) {
        "SCMP_CMP_NE" => argument != value,
        "SCMP_CMP_LT" => argument < value,
        "SCMP_CMP_LE" => argument <= value,
        "SCMP_CMP_EQ" => argument == value,
        "SCMP_CMP_GE" => argument >= value,
        "SCMP_CMP_GT" => argument > value,
        _ => argument & value == cut(&condition["valueTwo"], machine) & value,
    }
}
