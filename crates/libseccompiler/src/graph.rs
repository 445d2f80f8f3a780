//! The decision graph: tests on words of `struct seccomp_data`, ending in verdicts.
//!
//! Nodes are only ever added, children before parents, and equal nodes are one node: so the graph
//! has no cycle, ids are a topological order, and code for equal decisions is shared.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A node of one [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId(u32);

impl NodeId {
    /// The node's place in [`Graph::nodes`].
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// The offset of a 32-bit word in `struct seccomp_data` (linux/seccomp.h), in bytes.
pub(crate) type Word = u32;

/// The word of `seccomp_data.nr`, the system call number.
pub(crate) const NUMBER: Word = 0;
/// The word of `seccomp_data.arch`, an `AUDIT_ARCH_*`.
pub(crate) const ARCHITECTURE: Word = 4;
/// The first word of `seccomp_data.args`, of two words each.
pub(crate) const ARGUMENTS: Word = 16;

/// What a test asks of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Comparison {
    /// It is this value.
    Equal(u32),
    /// As an unsigned number, it is this or more.
    AtLeast(u32),
    /// One of these bits is set.
    AnySet(u32),
    /// Its bits of `mask` are `value`.
    MaskedEqual {
        /// The bits that count.
        mask: u32,
        /// Their values; 0 outside `mask`.
        value: u32,
    },
}

impl Comparison {
    fn holds(self, word: u32) -> bool {
        match self {
            Self::Equal(value) => word == value,
            Self::AtLeast(value) => word >= value,
            Self::AnySet(mask) => word & mask != 0,
            Self::MaskedEqual { mask, value } => word & mask == value,
        }
    }

    /// Whether `self` holds for a word of which it is known that `known` holds (or, with
    /// `outcome` false, does not); `None` where that does not tell.
    fn implied_by(self, known: Self, outcome: bool) -> Option<bool> {
        if self == known {
            return Some(outcome);
        }
        match (known, outcome, self) {
            (Self::Equal(word), true, _) => Some(self.holds(word)),
            (Self::AtLeast(low), true, Self::AtLeast(other)) if other <= low => Some(true),
            (Self::AtLeast(low), true, Self::Equal(other)) if other < low => Some(false),
            (Self::AtLeast(end), false, Self::AtLeast(other)) if other >= end => Some(false),
            (Self::AtLeast(end), false, Self::Equal(other)) if other >= end => Some(false),
            _ => None,
        }
    }
}

/// A test of one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Test {
    pub word: Word,
    pub comparison: Comparison,
    /// Where the comparison holds.
    pub yes: NodeId,
    /// Where it does not.
    pub no: NodeId,
}

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Node {
    /// The filter's return value: `SECCOMP_RET_*` with its data.
    Return(u32),
    Test(Test),
}

/// A decision graph.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    ids: HashMap<Node, NodeId, BuildHasherDefault<NodeHasher>>,
}

impl Graph {
    /// All nodes, children before parents.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node that returns `value`.
    pub(crate) fn verdict(&mut self, value: u32) -> NodeId {
        self.add(Node::Return(value))
    }

    /// The node that asks `comparison` of `word`, or what already decides the same.
    pub(crate) fn test(&mut self, word: Word, comparison: Comparison, to: Branches) -> NodeId {
        let (comparison, Branches { yes, no }) = match comparison {
            Comparison::AtLeast(0) | Comparison::MaskedEqual { mask: 0, value: 0 } => {
                return to.yes;
            }
            Comparison::MaskedEqual { mask: u32::MAX, value } => (Comparison::Equal(value), to),
            Comparison::MaskedEqual { mask, value: 0 } => (Comparison::AnySet(mask), to.swapped()),
            Comparison::MaskedEqual { mask, value } if mask == value && mask.is_power_of_two() => {
                (Comparison::AnySet(mask), to)
            }
            other => (other, to),
        };
        let yes = self.after(yes, word, comparison, true);
        let no = self.after(no, word, comparison, false);
        if yes == no { yes } else { self.add(Node::Test(Test { word, comparison, yes, no })) }
    }

    /// Where `node` leads when `word` is known to satisfy `known`, or (`outcome` false) not to.
    fn after(&self, mut node: NodeId, word: Word, known: Comparison, outcome: bool) -> NodeId {
        while let Some(Node::Test(test)) = self.nodes.get(node.index())
            && test.word == word
            && let Some(holds) = test.comparison.implied_by(known, outcome)
        {
            node = if holds { test.yes } else { test.no };
        }
        node
    }

    fn add(&mut self, node: Node) -> NodeId {
        let next = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        *self.ids.entry(node).or_insert_with(|| {
            self.nodes.push(node);
            next
        })
    }
}

/// A hash of a few words, which is all that a node is: std's own is slower, and asks the kernel for a random key.
/// Who writes a profile whose nodes collide makes nobody slow but himself.
#[derive(Debug, Default)]
struct NodeHasher(u64);

impl Hasher for NodeHasher {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_isize(&mut self, discriminant: isize) {
        self.write_u64(discriminant as u64);
    }

    /// The multiplier is 2^64 divided by the golden ratio (Knuth, volume 3, 6.4).
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// Where a test leads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Branches {
    /// Where it holds.
    pub yes: NodeId,
    /// Where it does not hold.
    pub no: NodeId,
}

impl Branches {
    /// The branches of the opposite test.
    pub(crate) fn swapped(self) -> Self {
        Self { yes: self.no, no: self.yes }
    }
}
