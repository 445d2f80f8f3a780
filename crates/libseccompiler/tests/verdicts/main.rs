//! What the filters decide, compared with libseccomp's filters for the same profiles.
//!
//! Both programs run in a BPF interpreter, for every architecture of a profile, every number up to
//! 1023 (with and without x32's bit), foreign architectures, and arguments at, below and above
//! each value that a rule compares with. Two differences are meant: numbers above the newest that
//! a profile names get ENOSYS, as runc has it, and system calls that libseccomp is too old to know
//! are left out of the comparison. Profiles that contradict themselves are compared with a model.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
#![allow(missing_docs)]

mod interpreter;
mod machine;
mod model;
mod oracle;

use std::collections::{BTreeSet, HashMap};

use libseccompiler::{Architecture, Filter, compile};
use libviolation::Violation;
use oci_spec::runtime::LinuxSeccomp;
use serde_json::{Value, json};

use interpreter::Instruction;
use machine::{Call, GROUPS, Machine, X32, X32_BIT, X86_64, machine, run};
use model::Model;
use oracle::Oracle;

/// Numbers that anybody can check again: a linear congruential generator (Knuth, MMIX).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

fn verdict_of(action: &str, errno: Option<u64>) -> u32 {
    let errno = u32::try_from(errno.unwrap_or(1)).unwrap();
    match action {
        "SCMP_ACT_ALLOW" => 0x7fff_0000,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | errno,
        "SCMP_ACT_ERRNO" => 0x0005_0000 | errno,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => 0,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        other => panic!("{other}"),
    }
}

/// `SCMP_ACT_ERRNO` with the machine's number of ENOSYS.
fn enosys(machine: &Machine) -> u32 {
    if machine.name.starts_with("mips") { 0x0005_0059 } else { 0x0005_0026 }
}

/// Whether the default lets calls pass.
fn is_permissive(profile: &Value) -> bool {
    ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"].contains(&text(&profile["defaultAction"]))
}

fn operator_of(name: &str) -> u32 {
    let names = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
    let at = names.iter().position(|one| name == format!("SCMP_CMP_{one}")).expect(name);
    u32::try_from(at).unwrap() + 1
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Takes out the names that libseccomp does not know, and rules that have none left.
fn keep_known(profile: &mut Value, oracle: &mut Oracle, group: &[Machine]) {
    let mut known = |name: &Value| {
        let one = |machine: &Machine| oracle.number(machine.name, text(name)) != -1;
        group.iter().any(one) && oracle.number("x86_64", text(name)) != -1
    };
    let Some(rules) = profile["syscalls"].as_array_mut() else { return };
    for rule in rules.iter_mut() {
        rule["names"].as_array_mut().unwrap().retain(&mut known);
    }
    rules.retain(|rule| !list(rule, "names").is_empty());
}

/// libseccomp's program for a profile, given as runc gives it.
fn ask(oracle: &mut Oracle, profile: &Value, group: &[Machine]) -> Vec<Instruction> {
    let default = verdict_of(text(&profile["defaultAction"]), profile["defaultErrnoRet"].as_u64());
    assert_eq!(oracle.ask(&format!("init {default:x}")), "0");
    for machine in group {
        assert_eq!(oracle.ask(&format!("arch {}", machine.name)), "0", "{}", machine.name);
    }
    for rule in list(profile, "syscalls") {
        let action = verdict_of(text(&rule["action"]), rule["errnoRet"].as_u64());
        if action == default {
            continue;
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
                let answer = oracle.ask(&line);
                assert!(answer == "0" || answer == "-17", "{line}: {answer}");
            }
        }
    }
    oracle.export(group[0].little_endian)
}

fn compiled(profile: &Value, group: &[Machine]) -> Filter {
    try_compiled(profile, group).unwrap()
}

fn try_compiled(profile: &Value, group: &[Machine]) -> Result<Filter, Vec<Violation>> {
    let mut profile = profile.clone();
    let names: Vec<&str> = group.iter().map(|machine| machine.architecture.name()).collect();
    profile["architectures"] = json!(names);
    let profile: LinuxSeccomp = serde_json::from_value(profile).unwrap();
    compile(&profile, group[0].architecture)
}

fn instructions(filter: &Filter) -> Vec<Instruction> {
    filter
        .instructions()
        .map(|one| (one.code, one.jump_true, one.jump_false, one.operand))
        .collect()
}

/// Values at, below and above each that the profile compares with.
fn boundaries(profile: &Value) -> Vec<u64> {
    let mut values = BTreeSet::from([0, 1, u64::from(u32::MAX), 1 << 32, u64::MAX]);
    for rule in list(profile, "syscalls") {
        for one in list(rule, "args") {
            for value in [one["value"].as_u64(), one["valueTwo"].as_u64()].into_iter().flatten() {
                values.extend([value.wrapping_sub(1), value, value.wrapping_add(1)]);
                values.extend([value ^ 1 << 32, value ^ 1 << 63, value | 0xff00, !value]);
            }
        }
    }
    values.into_iter().collect()
}

/// Numbers above the newest that the profile names get ENOSYS; `None` leaves it to libseccomp.
fn meant(
    profile: &Value,
    group: &[Machine],
    newest: &HashMap<&str, u32>,
    call: &Call,
) -> Option<u32> {
    if is_permissive(profile) {
        return None;
    }
    let mut of_call = group.iter().filter(|machine| machine.audit == call.audit);
    let x32 = group.contains(&X32);
    let machine = match of_call.next()? {
        &X86_64 if x32 && call.number >= X32_BIT => X32,
        &X86_64 if !x32 && call.number >= X32_BIT && call.number != u32::MAX => return None,
        machine => *machine,
    };
    let newest = newest.get(machine.name)?;
    (call.number > *newest).then_some(enosys(&machine))
}

fn newest(oracle: &mut Oracle, profile: &Value, group: &[Machine]) -> HashMap<&'static str, u32> {
    let names: Vec<&str> =
        list(profile, "syscalls").iter().flat_map(|rule| list(rule, "names")).map(text).collect();
    group
        .iter()
        .filter_map(|machine| {
            let numbers = names.iter().map(|name| oracle.number(machine.name, name));
            let newest = numbers.filter_map(|number| u32::try_from(number).ok()).max();
            newest.map(|newest| (machine.name, newest))
        })
        .collect()
}

/// For a machine of the other byte order libseccomp turns some return values around, and some not.
fn meaning(verdict: u32) -> u32 {
    match (verdict >> 16, verdict & 0xffff) {
        (0 | 3 | 0x7ffc | 0x7fff | 0x8000, 0) | (5 | 0x7ff0, _) => verdict,
        _ => verdict.swap_bytes(),
    }
}

/// Compares both programs for all numbers; for each, with `samples` sets of arguments.
fn compare(oracle: &mut Oracle, profile: &Value, group: &[Machine], samples: usize) {
    let mut profile = profile.clone();
    keep_known(&mut profile, oracle, group);
    let ours = instructions(&compiled(&profile, group));
    let theirs = ask(oracle, &profile, group);
    let newest = newest(oracle, &profile, group);
    let default = verdict_of(text(&profile["defaultAction"]), profile["defaultErrnoRet"].as_u64());
    let boundaries = boundaries(&profile);
    let mut random = Random(7);
    let little_endian = group[0].little_endian;
    let audits = group.iter().map(|machine| machine.audit).chain([0, 0x1234_5678, u32::MAX]);
    let plain = (0..1024).chain([4000, 4360, 5300, 0xf_0005, u32::MAX]);
    let numbers: Vec<u32> = plain
        .chain((0..1024).map(|number| X32_BIT | number))
        .chain(4000..4500)
        .chain(5000..5500)
        .collect();
    for audit in audits {
        for &number in &numbers {
            for _ in 0..samples {
                let arguments = [(); 6].map(|()| random.one(&boundaries));
                let call = Call { number, audit, arguments };
                let theirs = meaning(run(&theirs, &call, little_endian));
                let meant = meant(&profile, group, &newest, &call).filter(|_| theirs == default);
                let expected = meant.unwrap_or(theirs);
                let got = run(&ours, &call, little_endian);
                assert_eq!(
                    got, expected,
                    "{call:x?} {got:#x} {expected:#x} {group:?} {newest:?} {profile}"
                );
            }
        }
    }
}

fn recorded(text: &str) -> Value {
    let config: Value = serde_json::from_str(text).unwrap();
    config["linux"]["seccomp"].clone()
}

const DOCKER: &str = include_str!("../../../../tests/bundles/docker-plain/config.json");
const CONTAINERD: &str = include_str!("../../../../tests/bundles/containerd-seccomp/config.json");

#[test]
fn profiles_of_the_engines_are_as_libseccomp_has_them() {
    let mut oracle = Oracle::start("engines");
    for text in [DOCKER, CONTAINERD] {
        for group in GROUPS {
            compare(&mut oracle, &recorded(text), group, 12);
        }
    }
}

/// Every name that any of the tables has.
fn all_names() -> BTreeSet<&'static str> {
    let mut names = BTreeSet::from(["socketcall", "ipc"]);
    names.extend(syscalls::x86_64::Sysno::iter().map(|call| call.name()));
    names.extend(syscalls::x86::Sysno::iter().map(|call| call.name()));
    names.extend(syscalls::arm::Sysno::iter().map(|call| call.name()));
    names.extend(syscalls::mips::Sysno::iter().map(|call| call.name()));
    names.extend(syscalls::powerpc::Sysno::iter().map(|call| call.name()));
    names.extend(syscalls::s390x::Sysno::iter().map(|call| call.name()));
    names.extend(["set_tls", "cacheflush", "breakpoint", "usr26", "usr32"]);
    names.remove("r#break");
    names
}

#[test]
fn numbers_are_as_libseccomp_has_them() {
    let mut oracle = Oracle::start("numbers");
    let mut wrong = Vec::new();
    for name in all_names() {
        let is_known =
            GROUPS.iter().copied().flatten().any(|one| oracle.number(one.name, name) != -1);
        for machine in GROUPS.iter().copied().flatten().filter(|_| is_known) {
            let theirs = oracle.number(machine.name, name);
            let profile = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": [name], "action": "SCMP_ACT_TRAP" }],
            });
            let ours = instructions(&compiled(&profile, &[*machine]));
            let trapped = |number: &u32| {
                let call = Call { number: *number, audit: machine.audit, arguments: [0; 6] };
                run(&ours, &call, machine.little_endian) == 0x0003_0000
            };
            let is_same = match u32::try_from(theirs) {
                Ok(number) => trapped(&number),
                // Between -100 and -300 it is reached through a multiplexer, and directly too.
                Err(_) if (-300..-100).contains(&theirs) => true,
                Err(_) => {
                    let bit = if *machine == X32 { X32_BIT } else { 0 };
                    !(0..6000).map(|number| number | bit).any(|number| trapped(&number))
                }
            };
            if !is_same {
                wrong.push(format!("{} {name} {theirs}", machine.name));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// A profile of rules that do not contradict each other: where conditions overlap, libseccomp does
/// not say which action counts.
fn random_profile(random: &mut Random, names: &[&str]) -> Value {
    let actions = ["ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "TRAP", "LOG", "TRACE"];
    let action = |random: &mut Random| format!("SCMP_ACT_{}", random.one(&actions));
    let mut profile = json!({ "defaultAction": action(random) });
    let mut rules = Vec::new();
    let mut used = BTreeSet::new();
    for _ in 0..random.below(25) {
        let chosen: Vec<&str> = (0..=random.below(4)).map(|_| random.one(names)).collect();
        let chosen: Vec<&str> = chosen.into_iter().filter(|name| used.insert(*name)).collect();
        if chosen.is_empty() {
            continue;
        }
        let mut rule = json!({ "names": chosen, "action": action(random) });
        if random.below(3) == 0 {
            rule["args"] = json!(conditions(random));
        }
        if rule["action"] == "SCMP_ACT_ERRNO" && random.below(2) == 0 {
            rule["errnoRet"] = json!(random.below(4096));
        }
        rules.push(rule);
    }
    profile["syscalls"] = json!(rules);
    profile
}

/// Of different arguments, or several values of one. Other alternatives for one argument libseccomp
/// merges into a tree that forgets the second where the first holds by halves.
fn conditions(random: &mut Random) -> Vec<Value> {
    let mut conditions: Vec<Value> = (0..=random.below(3)).map(|_| condition(random)).collect();
    let mut seen = BTreeSet::new();
    let is_repeated = conditions.iter().any(|one| !seen.insert(one["index"].as_u64()));
    if is_repeated {
        conditions.iter_mut().for_each(|one| one["op"] = json!("SCMP_CMP_EQ"));
    }
    conditions
}

fn condition(random: &mut Random) -> Value {
    let operators = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
    let values =
        [0, 1, 2, 40, 0x7e02_0000, 0xffff_ffff, 0x1_0000_0000, 0xdead_beef_0000_0001, u64::MAX];
    let masks = [1, 0x7e02_0000, 0xffff_ffff, 0xff_0000_0000, u64::MAX];
    let operator = random.one(&operators);
    let mut condition = json!({ "index": random.below(6), "op": format!("SCMP_CMP_{operator}") });
    if operator == "MASKED_EQ" {
        let mask = random.one(&masks);
        condition["value"] = json!(mask);
        condition["valueTwo"] = json!(random.one(&values) & mask);
    } else {
        condition["value"] = json!(random.one(&values));
    }
    condition
}

#[test]
fn random_profiles_are_as_libseccomp_has_them() {
    let mut oracle = Oracle::start("random");
    let mut random = Random(20_261_123);
    let all: Vec<&str> = syscalls::x86_64::Sysno::iter().map(|call| call.name()).collect();
    let more =
        ["mmap2", "stat64", "socketcall", "ipc", "send", "recv", "semop", "set_tls", "waitpid"];
    let names: Vec<&str> = all.iter().chain(&more).copied().collect();
    for round in 0..120 {
        let profile = random_profile(&mut random, &names);
        compare(&mut oracle, &profile, GROUPS[round % GROUPS.len()], 6);
    }
}

/// Rules that contradict each other, of which there may be many.
fn contradictory_profile(random: &mut Random, names: &[&str], rules: usize) -> Value {
    let actions = ["ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "TRAP", "LOG", "TRACE"];
    let rule = |random: &mut Random| {
        let names: Vec<&str> = (0..=random.below(2)).map(|_| random.one(names)).collect();
        let action = random.one(&actions);
        let mut rule = json!({ "names": names, "action": format!("SCMP_ACT_{action}") });
        if random.below(20) != 0 {
            let conditions: Vec<Value> = (0..=random.below(3)).map(|_| condition(random)).collect();
            rule["args"] = json!(conditions);
        }
        if ["ERRNO", "TRACE"].contains(&action) {
            rule["errnoRet"] = json!(random.below(4096));
        }
        rule
    };
    let default = random.one(&actions);
    let rules: Vec<Value> = (0..rules).map(|_| rule(random)).collect();
    json!({ "defaultAction": format!("SCMP_ACT_{default}"), "syscalls": rules })
}

/// Compares the filter with the model for the numbers of `names` and their neighbours. False if
/// the profile is too long for any filter.
fn follow(
    profile: &Value,
    group: &[Machine],
    numbers: &HashMap<(&str, &str), u32>,
    samples: usize,
) -> bool {
    let Ok(filter) = try_compiled(profile, group) else { return false };
    let (ours, model) = (instructions(&filter), Model::new(profile, group, numbers));
    let (boundaries, mut random) = (boundaries(profile), Random(11));
    let calls: BTreeSet<u32> = numbers
        .values()
        .flat_map(|number| [number.saturating_sub(1), *number, number + 1])
        .collect();
    for audit in group.iter().map(|machine| machine.audit).chain([0]) {
        for number in calls.iter().copied().chain([u32::MAX, X32_BIT]) {
            for _ in 0..samples {
                let arguments = [(); 6].map(|()| random.one(&boundaries));
                let call = Call { number, audit, arguments };
                let (got, expected) =
                    (run(&ours, &call, group[0].little_endian), model.verdict(&call));
                assert_eq!(got, expected, "{call:x?} {group:?} {profile}");
            }
        }
    }
    true
}

#[test]
fn contradictory_rules_and_long_filters_are_as_documented() {
    let mut oracle = Oracle::start("model");
    let few = ["chmod", "read", "write", "personality", "kill", "prctl", "clone", "fchmodat"];
    let all: Vec<&str> = syscalls::x86_64::Sysno::iter().map(|call| call.name()).collect();
    let mut random = Random(20_261_124);
    let mut longest = 0;
    for (round, rules) in [2, 3, 5, 12, 40, 120, 400].into_iter().cycle().take(84).enumerate() {
        let group = GROUPS[round % GROUPS.len()];
        let names = if rules < 40 { &few[..] } else { &all[..] };
        // What has no number of its own is multiplexed on some machine, or unknown to the oracle.
        let mut numbers = HashMap::new();
        let is_plain =
            |name: &&str| group.iter().all(|machine| oracle.number(machine.name, name) >= 0);
        let names: Vec<&str> = names.iter().copied().filter(is_plain).collect();
        for machine in group {
            for name in &names {
                let number = u32::try_from(oracle.number(machine.name, name)).unwrap();
                numbers.insert((machine.name, *name), number);
            }
        }
        let profile = contradictory_profile(&mut random, &names, rules);
        if follow(&profile, group, &numbers, 12) {
            longest = longest.max(rules);
        }
    }
    assert_eq!(longest, 400);
}

#[test]
fn loongarch_has_its_own_numbers() {
    let machine = machine(Architecture::Loongarch64, "loongarch64", 0xc000_0102);
    // asm-generic/unistd.h
    let numbers = [("openat", 56), ("read", 63), ("clone", 220), ("clone3", 435)];
    let numbers: HashMap<_, _> =
        numbers.into_iter().map(|(name, number)| ((machine.name, name), number)).collect();
    let condition = json!({ "index": 1, "value": 0x1_0000_0002_u64, "op": "SCMP_CMP_GE" });
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            { "names": ["openat", "clone3", "open"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["read"], "action": "SCMP_ACT_LOG", "args": [condition] },
            { "names": ["clone"], "action": "SCMP_ACT_KILL_PROCESS" },
        ],
    });
    assert!(follow(&profile, &[machine], &numbers, 60));
}
