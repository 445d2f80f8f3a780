//! Profiles at random, the same in each run. Each is made from one number, its seed, which is printed where a test
//! fails for it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// Seeds from 1, or `ARIL_SECCOMP_SEED`, on: as many as a test makes by itself, or `ARIL_SECCOMP_PROFILES`.
pub(crate) fn seeds(count: u64) -> std::ops::Range<u64> {
    let first = number_of("ARIL_SECCOMP_SEED").unwrap_or(1);
    first..first + number_of("ARIL_SECCOMP_PROFILES").unwrap_or(count)
}

fn number_of(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// Says how to make what a test fails for again.
pub(crate) struct Shown(u64);

impl Drop for Shown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to see it again: ARIL_SECCOMP_SEED={} ARIL_SECCOMP_PROFILES=1", self.0);
        }
    }
}

/// Numbers that anybody can check again: a linear congruential generator (Knuth, MMIX).
pub(crate) struct Random(pub u64);

impl Random {
    /// What neighbouring seeds give is not alike.
    pub(crate) fn of_seed(seed: u64) -> (Self, Shown) {
        let mut random = Self(seed);
        for _ in 0..4 {
            random.next();
        }
        (random, Shown(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }

    pub(crate) fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

/// A profile of rules that do not contradict each other: where conditions overlap, libseccomp does
/// not say which action counts.
pub(crate) fn random_profile(random: &mut Random, names: &[&str]) -> Value {
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
            // libseccomp refuses the largest, 4095.
            rule["errnoRet"] = json!(random.below(4095));
        }
        rules.push(rule);
    }
    profile["syscalls"] = json!(rules);
    profile
}

/// Of different arguments, or several values of one. Other alternatives for one argument libseccomp
/// merges into a tree that forgets the second where the first holds by halves.
pub(crate) fn conditions(random: &mut Random) -> Vec<Value> {
    let mut conditions: Vec<Value> = (0..=random.below(3)).map(|_| condition(random)).collect();
    let mut seen = BTreeSet::new();
    let is_repeated = conditions.iter().any(|one| !seen.insert(one["index"].as_u64()));
    if is_repeated {
        conditions.iter_mut().for_each(|one| one["op"] = json!("SCMP_CMP_EQ"));
    }
    conditions
}

pub(crate) fn condition(random: &mut Random) -> Value {
    let operators = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
    let values =
        [0, 1, 2, 40, 0x7e02_0000, 0xffff_ffff, 0x1_0000_0000, 0xdead_beef_0000_0001, u64::MAX];
    let masks = [1, 0x7e02_0000, 0xffff_ffff, 0xff_0000_0000, u64::MAX];
    let operator = random.one(&operators);
    let mut condition = json!({ "index": random.below(6), "op": format!("SCMP_CMP_{operator}") });
    if operator == "MASKED_EQ" {
        let mask = random.one(&masks);
        condition["value"] = json!(mask);
        // Bits beside the mask do not count.
        let beside = if random.below(3) == 0 { u64::MAX } else { 0 };
        condition["valueTwo"] = json!(random.one(&values) & (mask | beside));
    } else {
        condition["value"] = json!(random.one(&values));
    }
    condition
}

/// Rules that contradict each other, of which there may be many.
pub(crate) fn contradictory_profile(random: &mut Random, names: &[&str], rules: usize) -> Value {
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
