//! Conditions on a system call's arguments.

use crate::architecture::Architecture;
use crate::graph::{Branches, Comparison, Graph, NodeId};

/// A condition on one argument: an element of the spec's `args`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// Which argument: 0 to 5.
    pub argument: u8,
    pub operator: Operator,
}

/// What is asked of an argument, as an unsigned number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Equal(u64),
    GreaterOrEqual(u64),
    Greater(u64),
    MaskedEqual {
        /// The bits that count.
        mask: u64,
        /// Their values; other bits of it do not matter.
        value: u64,
    },
}

impl Condition {
    /// The condition as `architecture` sees it: without the bits that it does not compare.
    pub(crate) fn on(self, architecture: Architecture) -> Self {
        let width = if architecture.compares_64_bits() { u64::MAX } else { u32::MAX.into() };
        let operator = match self.operator {
            Operator::NotEqual(value) => Operator::NotEqual(value & width),
            Operator::Less(value) => Operator::Less(value & width),
            Operator::LessOrEqual(value) => Operator::LessOrEqual(value & width),
            Operator::Equal(value) => Operator::Equal(value & width),
            Operator::GreaterOrEqual(value) => Operator::GreaterOrEqual(value & width),
            Operator::Greater(value) => Operator::Greater(value & width),
            Operator::MaskedEqual { mask, value } => {
                Operator::MaskedEqual { mask: mask & width, value: value & mask & width }
            }
        };
        Self { operator, ..self }
    }

    /// Whether it asks for no bit at all. libseccomp treats such a condition as absent, so that
    /// a rule of nothing else is one without arguments.
    pub(crate) fn is_empty(self) -> bool {
        matches!(self.operator, Operator::MaskedEqual { mask: 0, .. })
    }
}

/// Where every condition in turn holds, `to.yes`, otherwise `to.no`. The conditions are already
/// those of `architecture` ([`Condition::on`]).
pub(crate) fn all(
    graph: &mut Graph,
    architecture: Architecture,
    conditions: &[Condition],
    to: Branches,
) -> NodeId {
    conditions.iter().rev().fold(to.yes, |yes, condition| {
        one(graph, architecture, *condition, Branches { yes, no: to.no })
    })
}

fn one(
    graph: &mut Graph,
    architecture: Architecture,
    condition: Condition,
    to: Branches,
) -> NodeId {
    let mut argument = Argument { graph, architecture, index: condition.argument };
    match condition.operator {
        Operator::Equal(value) => argument.equal(u64::MAX, value, to),
        Operator::NotEqual(value) => argument.equal(u64::MAX, value, to.swapped()),
        Operator::MaskedEqual { mask, value } => argument.equal(mask, value, to),
        Operator::GreaterOrEqual(value) => argument.at_least(value, to),
        Operator::Less(value) => argument.at_least(value, to.swapped()),
        Operator::Greater(value) => argument.more_than(value, to),
        Operator::LessOrEqual(value) => argument.more_than(value, to.swapped()),
    }
}

/// An argument to be compared, one word after the other.
struct Argument<'a> {
    graph: &'a mut Graph,
    architecture: Architecture,
    index: u8,
}

impl Argument<'_> {
    fn equal(&mut self, mask: u64, value: u64, to: Branches) -> NodeId {
        let words = self.architecture.argument(self.index);
        let masked = |shift| Comparison::MaskedEqual {
            mask: (mask >> shift) as u32,
            value: (value >> shift) as u32,
        };
        let low = self.graph.test(words.low, masked(0), to);
        match words.high {
            Some(high) => self.graph.test(high, masked(32), Branches { yes: low, no: to.no }),
            None => low,
        }
    }

    fn at_least(&mut self, value: u64, to: Branches) -> NodeId {
        let words = self.architecture.argument(self.index);
        let (value_low, value_high) = (value as u32, (value >> 32) as u32);
        let low = self.graph.test(words.low, Comparison::AtLeast(value_low), to);
        let Some(high) = words.high else { return low };
        // Where the high word is not the value's it is more, as it is at least the value's.
        let branches = Branches { yes: low, no: to.yes };
        let more = self.graph.test(high, Comparison::Equal(value_high), branches);
        let branches = Branches { yes: more, no: to.no };
        self.graph.test(high, Comparison::AtLeast(value_high), branches)
    }

    fn more_than(&mut self, value: u64, to: Branches) -> NodeId {
        let width = if self.architecture.compares_64_bits() { u64::MAX } else { u32::MAX.into() };
        if value == width { to.no } else { self.at_least(value + 1, to) }
    }
}
