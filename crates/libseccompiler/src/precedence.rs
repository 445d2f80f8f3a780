//! Which of several rules for one system call counts.

use crate::argument::Condition;

/// What one system call number of one architecture gets from one rule.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// All must hold; none for a rule without arguments.
    pub conditions: Vec<Condition>,
    /// The filter's return value.
    pub action: u32,
}

/// The cases that count, in the order in which they are to be tried.
pub(crate) fn order(cases: Vec<Case>) -> Vec<Case> {
    match cases.iter().find(|case| case.conditions.is_empty()) {
        Some(unconditional) => vec![unconditional.clone()],
        None => cases,
    }
}
