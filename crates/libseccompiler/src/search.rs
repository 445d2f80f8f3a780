//! The search for a system call's number: from ranges of equal verdict to a tree of tests.

use crate::graph::{Branches, Comparison, Graph, NUMBER, NodeId};

/// System call numbers from `first` up to the next range's, and what is decided for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub first: u32,
    pub verdict: NodeId,
}

/// How many single numbers are tested for one after the other, where the numbers around them
/// share a verdict. A tree of the same ranges needs twice the tests, and is not less deep.
const CHAIN: usize = 3;

/// The decision for the ranges, the first of which begins at 0 and the last of which ends at
/// `u32::MAX`.
pub(crate) fn search(graph: &mut Graph, mut ranges: Vec<Range>) -> NodeId {
    ranges.dedup_by_key(|range| range.verdict);
    tree(graph, &ranges, u32::MAX)
}

/// The decision for `ranges`, the last of which ends at `last`.
fn tree(graph: &mut Graph, ranges: &[Range], last: u32) -> NodeId {
    if let Some(node) = chain(graph, ranges, last) {
        return node;
    }
    let (below, above) = ranges.split_at(ranges.len() / 2);
    let start = above[0].first;
    let no = tree(graph, below, start - 1);
    let yes = tree(graph, above, last);
    graph.test(NUMBER, Comparison::AtLeast(start), Branches { yes, no })
}

/// The decision as a few tests for single numbers, if all the others share a verdict.
fn chain(graph: &mut Graph, ranges: &[Range], last: u32) -> Option<NodeId> {
    let ends = ranges.iter().skip(1).map(|next| next.first - 1).chain([last]);
    let is_single = |(range, end): &(&Range, u32)| range.first == *end;
    let (singles, wide): (Vec<_>, Vec<_>) = ranges.iter().zip(ends).partition(is_single);
    let shared = wide.first().or(singles.last())?.0.verdict;
    let others = || singles.iter().filter(|(range, _)| range.verdict != shared);
    if wide.iter().any(|(range, _)| range.verdict != shared) || others().count() > CHAIN {
        return None;
    }
    Some(others().rev().fold(shared, |no, (range, _)| {
        let branches = Branches { yes: range.verdict, no };
        graph.test(NUMBER, Comparison::Equal(range.first), branches)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Node;

    /// The verdict of `number`, and how many tests it takes.
    fn decide(graph: &Graph, root: NodeId, number: u32) -> (u32, usize) {
        let (mut node, mut depth) = (root, 0);
        loop {
            match graph.nodes()[node.index()] {
                Node::Return(value) => return (value, depth),
                Node::Test(test) => {
                    depth += 1;
                    let holds = match test.comparison {
                        Comparison::Equal(value) => number == value,
                        Comparison::AtLeast(value) => number >= value,
                        other => panic!("{other:?} in a search"),
                    };
                    node = if holds { test.yes } else { test.no };
                }
            }
        }
    }

    fn ranges(graph: &mut Graph, verdicts: &[u32]) -> Vec<Range> {
        let range = |(first, verdict): (usize, &u32)| Range {
            first: u32::try_from(first).unwrap(),
            verdict: graph.verdict(*verdict),
        };
        verdicts.iter().enumerate().map(range).collect()
    }

    #[test]
    fn every_number_gets_its_verdict() {
        // All sequences of three verdicts over eight numbers; the last one goes on to the end.
        for pattern in 0..3_u32.pow(8) {
            let verdicts: Vec<u32> = (0..8).map(|digit| pattern / 3_u32.pow(digit) % 3).collect();
            let mut graph = Graph::default();
            let ranges = ranges(&mut graph, &verdicts);
            let root = search(&mut graph, ranges);
            for (number, verdict) in (0..).zip(&verdicts) {
                assert_eq!(decide(&graph, root, number).0, *verdict, "{verdicts:?} {number}");
            }
            assert_eq!(decide(&graph, root, u32::MAX).0, verdicts[7]);
        }
    }

    #[test]
    fn one_verdict_takes_no_test() {
        let mut graph = Graph::default();
        let ranges = ranges(&mut graph, &[7; 100]);
        let root = search(&mut graph, ranges);
        assert_eq!(decide(&graph, root, 50), (7, 0));
    }

    #[test]
    fn the_tree_is_balanced() {
        let mut graph = Graph::default();
        let verdicts: Vec<u32> = (0..256).collect();
        let ranges = ranges(&mut graph, &verdicts);
        let root = search(&mut graph, ranges);
        let deepest = (0..256).map(|number| decide(&graph, root, number).1).max();
        assert!(deepest <= Some(9), "{deepest:?}");
    }
}
