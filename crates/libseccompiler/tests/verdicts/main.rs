//! What the filters decide, compared with libseccomp's filters for the same profiles.
//!
//! Both programs run in a BPF interpreter, for every architecture of a profile, every number up to
//! 1023 (with and without x32's bit), foreign architectures, and arguments at, below and above
//! each value that a rule compares with. Two differences are meant: numbers above the newest that
//! a profile names get ENOSYS, as runc has it, and system calls that libseccomp is too old to know
//! are left out of the comparison. Profiles that contradict themselves are compared with a model.
//!
//! The interpreter is compared with the kernel's (`kernel.rs`), and profiles of any kind become an
//! error or a filter that the kernel takes (`any_profile.rs`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
#![allow(missing_docs)]

mod any_profile;
mod comparison;
mod engines;
mod helper;
mod interpreter;
mod kernel;
mod machine;
mod model;
mod oracle;
mod profile;
mod random;
mod rules;

use std::collections::{BTreeSet, HashMap};

use libseccompiler::Architecture;
use serde_json::{Value, json};

use comparison::compare;
use machine::{Call, GROUPS, Machine, X32, X32_BIT, machine, run};
use model::Model;
use oracle::Oracle;
use profile::{boundaries, compiled, instructions, list, try_compiled};
use random::{Random, contradictory_profile, random_profile, seeds};

#[test]
fn profiles_of_the_engines_are_as_libseccomp_has_them() {
    let mut oracle = Oracle::start("engines");
    for group in GROUPS {
        for (name, profile) in engines::profiles(group) {
            assert!(compare(&mut oracle, &profile, group, 4), "{name} {group:?}");
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

#[test]
fn random_profiles_are_as_libseccomp_has_them() {
    let mut oracle = Oracle::start("random");
    let all: Vec<&str> = syscalls::x86_64::Sysno::iter().map(|call| call.name()).collect();
    let more = ["mmap2", "stat64", "send", "recv", "semop", "set_tls", "waitpid"];
    let calls: Vec<&str> = all.iter().chain(&more).copied().collect();
    // Rules for a multiplexer and for what is reached through it may contradict each other.
    let is_plain = |name: &&str| !(-300..-100).contains(&oracle.number("ppc", name));
    let plain: Vec<&str> = calls.iter().copied().filter(is_plain).collect();
    let multiplexers: Vec<&str> = plain.iter().copied().chain(["socketcall", "ipc"]).collect();
    let mut compared = 0;
    for seed in seeds(120) {
        let (mut random, _shown) = Random::of_seed(seed);
        let names = if seed % 5 == 0 { &multiplexers } else { &calls };
        let profile = random_profile(&mut random, names);
        compared += usize::from(compare(&mut oracle, &profile, cycle(GROUPS, seed), 6));
    }
    assert!(compared * 10 > seeds(120).count() * 9, "{compared}");
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
    let (boundaries, mut random) = (boundaries(list(profile, "syscalls")), Random(11));
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
    let mut longest = 0;
    // Each number of rules with each group.
    for seed in seeds(84) {
        let (mut random, _shown) = Random::of_seed(seed);
        let (rules, group) = (cycle(&[2, 3, 5, 12, 40, 120, 400], seed), cycle(GROUPS, seed));
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
    assert!(longest == 400 || seeds(84).count() < 84, "{longest}");
}

/// One of the list after the other.
fn cycle<T: Copy>(of: &[T], seed: u64) -> T {
    of[usize::try_from(seed).unwrap() % of.len()]
}

/// `openat`, `read`, `clone` and `mount_setattr` of a machine, against the model.
fn follow_few(machine: Machine, numbers: [u32; 4]) {
    let names = ["openat", "read", "clone", "mount_setattr"];
    let numbered = names.into_iter().zip(numbers);
    let numbers: HashMap<_, _> =
        numbered.map(|(name, number)| ((machine.name, name), number)).collect();
    let condition = json!({ "index": 1, "value": 0x1_0000_0002_u64, "op": "SCMP_CMP_GE" });
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            { "names": ["openat", "mount_setattr", "no_such_call"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["read"], "action": "SCMP_ACT_LOG", "args": [condition] },
            { "names": ["clone"], "action": "SCMP_ACT_KILL_PROCESS" },
        ],
    });
    assert!(follow(&profile, &[machine], &numbers, 60), "{machine:?}");
}

/// asm/unistd.h of each.
#[test]
fn machines_that_libseccomp_does_not_know_have_their_own_numbers() {
    follow_few(LOONGARCH64, [56, 63, 220, 442]);
    follow_few(machine(Architecture::M68k, "m68k", 4), [288, 3, 120, 442]);
    follow_few(machine(Architecture::Sh, "sh", 0x4000_002a), [295, 3, 120, 442]);
    follow_few(machine(Architecture::Sheb, "sheb", 42), [295, 3, 120, 442]);
}

const LOONGARCH64: Machine = machine(Architecture::Loongarch64, "loongarch64", 0xc000_0102);

/// Its table is that of asm-generic, as riscv64's is, which libseccomp knows.
#[test]
fn loongarch_has_the_numbers_of_riscv64() {
    let mut oracle = Oracle::start("loongarch");
    let mut same = 0;
    for name in all_names() {
        let profile = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": [name], "action": "SCMP_ACT_TRAP" }],
        });
        let ours = instructions(&compiled(&profile, &[LOONGARCH64]));
        let trapped = |number: &u32| {
            let call = Call { number: *number, audit: LOONGARCH64.audit, arguments: [0; 6] };
            run(&ours, &call, true) == 0x0003_0000
        };
        if let (Some(number), Ok(theirs)) =
            ((0..1024).find(trapped), u32::try_from(oracle.number("riscv64", name)))
        {
            assert_eq!(number, theirs, "{name}");
            same += 1;
        }
    }
    assert!(same > 280, "{same}");
}
