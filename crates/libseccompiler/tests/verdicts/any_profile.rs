//! Profiles of any kind: each becomes an error that points into it, or a filter that the kernel takes.
//!
//! Right profiles with something wrong in them, the same in each run: `hack/fuzz-seccomp` makes as many as one has
//! time for.

use std::collections::BTreeMap;

use libseccompiler::{ACTIONS, Architecture, FLAGS, Filter, OPERATORS, compile};
use libviolation::Violation;
use oci_spec::runtime::LinuxSeccomp;
use serde_json::{Map, Value, json};

use crate::engines;
use crate::kernel::Kernel;
use crate::machine::{Call, GROUPS, Machine, X32_BIT, run};
use crate::profile::{boundaries, instructions, list};
use crate::random::{Random, contradictory_profile, random_profile, seeds};

/// How many are made without being asked for more.
const PROFILES: u64 = 600;

/// What came of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// It has not the shape of a profile.
    NoProfile,
    Refused,
    TooLong,
    Compiled,
}

#[test]
fn any_profile_is_refused_or_taken_by_the_kernel() {
    let mut kernel = Kernel::start("any-profile");
    let mut outcomes: BTreeMap<Outcome, u64> = BTreeMap::new();
    for seed in seeds(PROFILES) {
        *outcomes.entry(outcome(&mut kernel, seed)).or_default() += 1;
    }
    let count: u64 = outcomes.values().sum();
    eprintln!("{count} profiles: {outcomes:?}");
    // Otherwise it would show little.
    let seen = |outcome| outcomes.get(&outcome).copied().unwrap_or(0);
    if count >= PROFILES {
        assert!(seen(Outcome::Compiled) > count / 5, "{outcomes:?}");
        assert!(seen(Outcome::Refused) > count / 20, "{outcomes:?}");
        assert!(seen(Outcome::TooLong) > 0, "{outcomes:?}");
    }
}

fn outcome(kernel: &mut Kernel, seed: u64) -> Outcome {
    let (mut random, _shown) = Random::of_seed(seed);
    let profile = any(&mut random);
    let Ok(parsed) = serde_json::from_value::<LinuxSeccomp>(profile.clone()) else {
        return Outcome::NoProfile;
    };
    let native = random.one(Architecture::ALL);
    match compile(&parsed, native) {
        Err(violations) => {
            violations.iter().for_each(|one| assert_points_into(&profile, one));
            let too_long = |one: &Violation| one.rule.contains("4096 instructions");
            if violations.iter().any(too_long) { Outcome::TooLong } else { Outcome::Refused }
        }
        Ok(filter) => {
            assert_eq!(kernel.load(&filter), 0, "{native:?} {:#x} {profile}", filter.flags);
            assert_eq!(compile(&parsed, native).as_ref(), Ok(&filter), "{profile}");
            run_some(&mut random, &profile, &filter);
            Outcome::Compiled
        }
    }
}

/// An error names a field that is there, its value, the rule and what to do.
fn assert_points_into(profile: &Value, violation: &Violation) {
    let Violation { pointer, value, rule, fix, .. } = violation;
    assert!(profile.pointer(pointer).is_some(), "{pointer} in {profile}");
    assert!(![value, rule, fix].iter().any(|text| text.is_empty()), "{violation}");
}

/// The interpreter comes to an end, with an action that the profile has or that the compiler adds.
fn run_some(random: &mut Random, profile: &Value, filter: &Filter) {
    let program = instructions(filter);
    let boundaries = boundaries(list(profile, "syscalls"));
    let machines: Vec<&Machine> = GROUPS.iter().copied().flatten().collect();
    for _ in 0..50 {
        let machine = random.one(&machines);
        let bit = if random.below(4) == 0 { X32_BIT } else { 0 };
        let number = u32::try_from(random.below(600)).unwrap() | bit;
        let arguments = [(); 6].map(|()| random.one(&boundaries));
        let call = Call { number, audit: machine.audit, arguments };
        let action = run(&program, &call, machine.little_endian) & 0xffff_0000;
        let known = [
            0,
            0x8000_0000,
            0x3_0000,
            0x5_0000,
            0x7fc0_0000,
            0x7ff0_0000,
            0x7ffc_0000,
            0x7fff_0000,
        ];
        assert!(known.contains(&action), "{action:#x} {call:x?} {profile}");
    }
}

/// A right profile in which a few things are changed.
fn any(random: &mut Random) -> Value {
    let names: Vec<&str> = syscalls::x86_64::Sysno::iter().map(|call| call.name()).collect();
    let mut profile = match random.below(10) {
        0 => random.one(&engines::profiles(GROUPS[0])).1,
        1 => contradictory_profile(random, &names, 2000),
        2..5 => {
            let rules = random.below(200);
            contradictory_profile(random, &names, rules)
        }
        5..9 => random_profile(random, &names),
        _ => json!({ "defaultAction": random.one(&ACTIONS) }),
    };
    add_optional(random, &mut profile);
    // One more change makes most profiles wrong, so many have none.
    for _ in 0..random.below(4) {
        change(random, &mut profile);
    }
    profile
}

fn add_optional(random: &mut Random, profile: &mut Value) {
    let architectures: Vec<&str> = Architecture::ALL.iter().map(|one| one.name()).collect();
    let some = |random: &mut Random, of: &[&str]| -> Value {
        (0..random.below(4)).map(|_| Value::from(random.one(of))).collect::<Vec<_>>().into()
    };
    if random.below(2) == 0 {
        profile["architectures"] = some(random, &architectures);
    }
    if random.below(2) == 0 {
        profile["flags"] = some(random, &FLAGS);
    }
    if random.below(4) == 0 {
        profile["listenerPath"] = json!("/run/agent.socket");
        let rules = list(profile, "syscalls").len();
        if rules > 0 {
            let at = random.below(rules);
            profile["syscalls"][at]["action"] = json!("SCMP_ACT_NOTIFY");
        }
    }
}

/// Changes one value somewhere: for another, for nothing, or for one more.
fn change(random: &mut Random, value: &mut Value) {
    let goes_on = random.below(4) != 0;
    match value {
        Value::Array(list) if !list.is_empty() && goes_on => {
            let at = random.below(list.len());
            match random.below(12) {
                0 => drop(list.remove(at)),
                1 => list.push(list[at].clone()),
                _ => change(random, &mut list[at]),
            }
        }
        Value::Object(map) if !map.is_empty() && goes_on => change_in(random, map),
        other => *other = like(random, other),
    }
}

fn change_in(random: &mut Random, map: &mut Map<String, Value>) {
    let keys: Vec<String> = map.keys().cloned().collect();
    let key = random.one(&keys);
    match random.below(12) {
        0 => drop(map.remove(&key)),
        1 => {
            let one = random.one(&[
                "errnoRet",
                "args",
                "defaultErrnoRet",
                "listenerMetadata",
                "valueTwo",
            ]);
            let number = number(random);
            map.insert(one.to_owned(), number);
        }
        _ => {
            if let Some(value) = map.get_mut(&key) {
                change(random, value);
            }
        }
    }
}

/// A value of the same type, or, one time in ten, of any.
fn like(random: &mut Random, value: &Value) -> Value {
    let architectures: Vec<&str> = Architecture::ALL.iter().map(|one| one.name()).collect();
    let words = [&ACTIONS[..], &OPERATORS, &FLAGS, &architectures].concat();
    if random.below(10) == 0 {
        return random.one(&[
            json!(null),
            json!([]),
            json!({}),
            json!(-1),
            json!(true),
            json!(1.5),
        ]);
    }
    match value {
        Value::Number(_) => number(random),
        Value::String(text) => match words.iter().find(|one| *one == text) {
            Some(word) => {
                let prefix = word.rsplit_once('_').map_or("", |(prefix, _)| prefix);
                let kind: Vec<&str> =
                    words.iter().copied().filter(|one| one.starts_with(&prefix[..8])).collect();
                json!(random.one(&kind))
            }
            None => json!(random.one(&[
                "",
                "socketcall",
                "ipc",
                "read",
                "no_such_call",
                "é\0\"",
                "break"
            ])),
        },
        other => other.clone(),
    }
}

fn number(random: &mut Random) -> Value {
    let edges = [
        0,
        1,
        5,
        6,
        4095,
        4096,
        65535,
        65536,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        1 << 32,
        u64::MAX - 1,
        u64::MAX,
    ];
    json!(random.one(&edges))
}
