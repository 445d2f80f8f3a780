//! Which of several rules for one system call counts.

use crate::argument::Condition;

/// What one system call number of one architecture gets from one rule.
#[derive(Debug)]
pub(crate) struct Case {
    /// All must hold; none for a rule without arguments.
    pub conditions: Vec<Condition>,
    /// The filter's return value.
    pub action: u32,
}

/// The cases that count, in the order in which they are to be tried: the first that holds decides.
///
/// The order among cases with conditions is that of the kernel among several filters (seccomp(2)):
/// the most restrictive action first.
pub(crate) fn order<'a>(cases: impl Iterator<Item = &'a Case> + Clone) -> Vec<&'a Case> {
    if let Some(unconditional) = cases.clone().find(|case| case.conditions.is_empty()) {
        return vec![unconditional];
    }
    let mut cases: Vec<&Case> = cases.collect();
    cases.sort_by_key(|case| restriction(case.action));
    cases
}

/// The action of a return value as the kernel compares it, smaller where it is more restrictive
/// (`ACTION_ONLY` of kernel/seccomp.c): a signed number, so that `SECCOMP_RET_KILL_PROCESS` is the
/// smallest.
const fn restriction(value: u32) -> i32 {
    (value & 0xffff_0000).cast_signed()
}
