//! Our filter and libseccomp's for one profile, call by call.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use crate::interpreter::Instruction;
use crate::machine::{Call, Machine, X32, X32_BIT, X86_64, run};
use crate::oracle::{Oracle, Search};
use crate::profile::{boundaries, compiled, instructions, is_permissive, list, text, verdict_of};
use crate::random::Random;

/// `SCMP_ACT_ERRNO` with the machine's number of ENOSYS.
pub(crate) fn enosys(machine: &Machine) -> u32 {
    match machine.name {
        name if name.starts_with("mips") => 0x0005_0059,
        name if name.starts_with("parisc") => 0x0005_00fb,
        _ => 0x0005_0026,
    }
}

/// Numbers above the newest that the profile names get ENOSYS; `None` leaves it to libseccomp.
pub(crate) fn meant(
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
        &X86_64 if !x32 && call.number >= X32_BIT => return None,
        machine => *machine,
    };
    let newest = newest.get(machine.name)?;
    (call.number > *newest).then_some(enosys(&machine))
}

pub(crate) fn newest(
    oracle: &mut Oracle,
    profile: &Value,
    group: &[Machine],
) -> HashMap<&'static str, u32> {
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

/// See [`Comparison::direct`]: libseccomp has another number for these, and keeps theirs for itself.
/// A rule that does what is done anyway says nothing.
fn direct(oracle: &mut Oracle, profile: &Value, group: &[Machine]) -> BTreeSet<(u32, u32)> {
    let default = default_verdict(profile);
    let action = |rule: &Value| verdict_of(text(&rule["action"]), rule["errnoRet"].as_u64());
    let rules = list(profile, "syscalls").iter().filter(|rule| action(rule) != default);
    let names: Vec<&str> = rules.flat_map(|rule| list(rule, "names")).map(text).collect();
    let mut found = BTreeSet::new();
    for machine in group {
        for name in &names {
            let multiplexer = match oracle.number(machine.name, name) {
                -200..-100 => "socketcall",
                -300..-200 => "ipc",
                _ => continue,
            };
            let multiplexer = u32::try_from(oracle.number(machine.name, multiplexer)).ok();
            let numbers = own_number(machine, name).into_iter().chain(multiplexer);
            found.extend(numbers.map(|number| (machine.audit, number)));
        }
    }
    found
}

/// What calls get that no rule names.
fn default_verdict(profile: &Value) -> u32 {
    verdict_of(text(&profile["defaultAction"]), profile["defaultErrnoRet"].as_u64())
}

/// The number in the kernel's table, of machines with multiplexers.
fn own_number(machine: &Machine, name: &str) -> Option<u32> {
    let number = match machine.name {
        "x86" => name.parse::<syscalls::x86::Sysno>().ok()?.id(),
        "s390x" | "s390" => name.parse::<syscalls::s390x::Sysno>().ok()?.id(),
        "ppc" => name.parse::<syscalls::powerpc::Sysno>().ok()?.id(),
        "ppc64" | "ppc64le" => name.parse::<syscalls::powerpc64::Sysno>().ok()?.id(),
        "mips" | "mipsel" => name.parse::<syscalls::mips::Sysno>().ok()?.id(),
        _ => return None,
    };
    u32::try_from(number).ok()
}

/// For a machine of the other byte order libseccomp turns some return values around, and some not.
pub(crate) fn meaning(verdict: u32) -> u32 {
    match (verdict >> 16, verdict & 0xffff) {
        (0 | 3 | 0x7ffc | 0x7fff | 0x8000, 0) | (5 | 0x7ff0, _) => verdict,
        _ => verdict.swap_bytes(),
    }
}

/// Both programs for one profile, and what is needed to say whether they decide the same.
struct Comparison<'a> {
    profile: &'a Value,
    group: &'a [Machine],
    ours: Vec<Instruction>,
    theirs: Vec<Instruction>,
    newest: HashMap<&'static str, u32>,
    /// Architectures and numbers of what the profile names and a multiplexer has too, and of that:
    /// they are not newer than the newest.
    direct: BTreeSet<(u32, u32)>,
    default: u32,
}

impl Comparison<'_> {
    fn check(&self, call: &Call) {
        let little_endian = self.group[0].little_endian;
        let theirs = meaning(run(&self.theirs, call, little_endian));
        let meant = meant(self.profile, self.group, &self.newest, call);
        let is_named = self.direct.contains(&(call.audit, call.number));
        let expected = meant.filter(|_| theirs == self.default && !is_named).unwrap_or(theirs);
        let got = run(&self.ours, call, little_endian);
        let Self { profile, group, newest, .. } = self;
        assert_eq!(
            got, expected,
            "{call:x?} {got:#x} {expected:#x} {group:?} {newest:?} {profile}"
        );
    }
}

/// Every number that is compared, for every architecture.
pub(crate) fn numbers() -> Vec<u32> {
    (0..1024)
        .chain([4000, 4360, 5300, 6300, 0xf_0005, u32::MAX])
        .chain((0..1024).map(|number| X32_BIT | number))
        .chain(4000..4500)
        .chain(5000..5500)
        .chain(6000..6500)
        .collect()
}

/// Whether the part for each architecture looks at the number before it compares one. libseccomp 2.5
/// forgets that where the name that it tries first has no number there.
fn looks_at_the_number(program: &[Instruction], group: &[Machine]) -> bool {
    let (load, jump_equal, give_back) = (0x20, 0x15, 0x06);
    let is_part = |one: &Instruction| {
        one.0 == jump_equal && group.iter().any(|machine| machine.audit == one.3)
    };
    program.iter().enumerate().filter(|(_, one)| is_part(one)).all(|(at, one)| {
        let first = program[at + 1 + usize::from(one.1)];
        first.0 == give_back || (first.0, first.3) == (load, 0)
    })
}

/// Compares both programs: for all numbers with `samples` sets of arguments, and for those that a
/// rule with arguments names, with each argument at, below and above each boundary. False if
/// libseccomp's is wrong in itself.
#[must_use]
pub(crate) fn compare(
    oracle: &mut Oracle,
    profile: &Value,
    group: &[Machine],
    samples: usize,
) -> bool {
    let profile = oracle.known(profile, group);
    let comparison = Comparison {
        profile: &profile,
        group,
        ours: instructions(&compiled(&profile, group)),
        theirs: oracle.compile(&profile, group, Search::Linear),
        newest: newest(oracle, &profile, group),
        direct: direct(oracle, &profile, group),
        default: default_verdict(&profile),
    };
    if !looks_at_the_number(&comparison.theirs, group) {
        return false;
    }
    let boundaries = boundaries(list(&profile, "syscalls"));
    let mut random = Random(7);
    let audits = group.iter().map(|machine| machine.audit).chain([0, 0x1234_5678, u32::MAX]);
    for audit in audits {
        for number in numbers() {
            for _ in 0..samples {
                let arguments = [(); 6].map(|()| random.one(&boundaries));
                comparison.check(&Call { number, audit, arguments });
            }
        }
    }
    for machine in group {
        for (numbers, arguments) in calls_at_boundaries(oracle, &profile, machine) {
            for (number, arguments) in
                numbers.iter().flat_map(|one| arguments.iter().map(move |of| (*one, *of)))
            {
                comparison.check(&Call { number, audit: machine.audit, arguments });
            }
        }
    }
    true
}

/// For each name with rules about arguments: its numbers on the machine, and sets of arguments in
/// which one is at a boundary and the others are such that each rule in turn may hold.
fn calls_at_boundaries(
    oracle: &mut Oracle,
    profile: &Value,
    machine: &Machine,
) -> Vec<(Vec<u32>, Vec<[u64; 6]>)> {
    let has_arguments = |rule: &&Value| !list(rule, "args").is_empty();
    let names: BTreeSet<&str> = list(profile, "syscalls")
        .iter()
        .filter(has_arguments)
        .flat_map(|rule| list(rule, "names"))
        .map(text)
        .collect();
    let all_names: BTreeSet<&str> =
        list(profile, "syscalls").iter().flat_map(|rule| list(rule, "names")).map(text).collect();
    let mut calls = Vec::new();
    for name in names {
        let is_ipc = ["sem", "shm", "msg"].iter().any(|kind| name.starts_with(kind));
        let through = if is_ipc { "ipc" } else { "socketcall" };
        let mut numbers = vec![oracle.number(machine.name, name)];
        // A rule for the multiplexer itself may contradict those of its calls.
        if !all_names.contains(through) {
            numbers.push(oracle.number(machine.name, through));
        }
        let numbers = numbers.into_iter().filter_map(|number| u32::try_from(number).ok()).collect();
        let names = |rule: &&Value| list(rule, "names").iter().any(|one| text(one) == name);
        let rules: Vec<&Value> = list(profile, "syscalls").iter().filter(names).collect();
        let boundaries = boundaries(rules.iter().copied());
        let starts =
            rules.into_iter().map(held).chain([[0; 6], [u64::MAX; 6]]).collect::<BTreeSet<_>>();
        let mut arguments = BTreeSet::new();
        for start in starts {
            for (index, value) in
                (0..6).flat_map(|index| boundaries.iter().map(move |value| (index, *value)))
            {
                let mut one = start;
                one[index] = value;
                arguments.insert(one);
            }
        }
        calls.push((numbers, arguments.into_iter().collect()));
    }
    calls
}

/// Arguments for which all conditions of a rule hold, where they do not contradict each other.
fn held(rule: &Value) -> [u64; 6] {
    let mut arguments = [0; 6];
    for one in list(rule, "args") {
        let value = one["value"].as_u64().unwrap();
        let index = usize::try_from(one["index"].as_u64().unwrap()).unwrap();
        arguments[index] = match text(&one["op"]) {
            "SCMP_CMP_NE" => value ^ 1,
            "SCMP_CMP_LT" => value.wrapping_sub(1),
            "SCMP_CMP_GT" => value.wrapping_add(1),
            "SCMP_CMP_MASKED_EQ" => one["valueTwo"].as_u64().unwrap_or(0),
            _ => value,
        };
    }
    arguments
}
