//! A decision graph laid out as classic BPF.
//!
//! Jumps of BPF only go forward, and a conditional jump over at most 255 instructions. So the
//! program is written from its end to its beginning: what a test leads to is already placed when
//! the test is, and something placed too far away is brought nearer by one more instruction, a
//! copy of a return or a long jump.

use libviolation::{Class, Violation};

use crate::MAXIMUM_INSTRUCTIONS;
use crate::filter::Instruction;
use crate::graph::{Comparison, Graph, Node, NodeId, Test, Word};

/// `BPF_LD | BPF_W | BPF_ABS`: load a word of `struct seccomp_data` into the accumulator.
const LOAD: u16 = 0x20;
/// `BPF_ALU | BPF_AND | BPF_K`: clear bits of the accumulator.
const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JA`: jump over `k` instructions.
const JUMP: u16 = 0x05;
/// `BPF_JMP | BPF_JEQ | BPF_K`: is the accumulator `k`?
const JUMP_EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JGE | BPF_K`: is the accumulator at least `k`?
const JUMP_AT_LEAST: u16 = 0x35;
/// `BPF_JMP | BPF_JSET | BPF_K`: has the accumulator a bit of `k`?
const JUMP_ANY_SET: u16 = 0x45;
/// `BPF_RET | BPF_K`: the verdict.
const RETURN: u16 = 0x06;

/// Why there is no program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// It would be longer than the kernel's limit.
    TooLong {
        /// A lower bound for its length.
        instructions: usize,
    },
    /// A conditional jump would be longer than BPF can say: a defect of this module, which must
    /// not become a filter that jumps elsewhere.
    TooFar,
}

impl From<Error> for Violation {
    fn from(error: Error) -> Self {
        let (class, value, rule, fix) = match error {
            Error::TooLong { instructions } => (
                Class::Specification,
                format!("at least {instructions} instructions"),
                "seccomp(2): a program has at most 4096 instructions",
                "name fewer architectures or write fewer rules with arguments",
            ),
            Error::TooFar => (
                Class::NotYet,
                "a jump that is too long".to_owned(),
                "seccomp(2): a conditional jump passes at most 255 instructions",
                "report it, with this profile: it is a defect of aril",
            ),
        };
        Self::new(class, "/syscalls", value, rule, fix)
    }
}

/// Lays out what is reachable from `root`.
pub(crate) fn assemble(graph: &Graph, root: NodeId) -> Result<Vec<Instruction>, Error> {
    let uses = Uses::of(graph, root);
    // Every reachable node is at least one instruction: this also bounds the work below.
    let nodes = uses.reached.iter().filter(|reached| **reached).count();
    if nodes > MAXIMUM_INSTRUCTIONS {
        return Err(Error::TooLong { instructions: nodes });
    }
    let mut assembler =
        Assembler { graph, reversed: Vec::new(), places: vec![None; uses.reached.len()] };
    for (index, node) in graph.nodes().iter().enumerate().take(uses.reached.len()) {
        match node {
            Node::Test(test) if uses.reached[index] => {
                let place = assembler.place_test(test, uses.loads[index])?;
                assembler.places[index] = Some(place);
            }
            _ => {}
        }
    }
    // A test just placed is at the front; this adds code only where the root is a return.
    assembler.target(root, None);
    let mut instructions = assembler.reversed;
    if instructions.len() > MAXIMUM_INSTRUCTIONS {
        return Err(Error::TooLong { instructions: instructions.len() });
    }
    instructions.reverse();
    Ok(instructions)
}

/// Which nodes are reachable, and which of them need to load their word on some way to them.
struct Uses {
    reached: Vec<bool>,
    loads: Vec<bool>,
}

impl Uses {
    fn of(graph: &Graph, root: NodeId) -> Self {
        let length = root.index() + 1;
        let mut uses = Self { reached: vec![false; length], loads: vec![false; length] };
        uses.reached[root.index()] = true;
        uses.loads[root.index()] = true;
        // Parents come after their children, so from the root down each node is complete.
        for (index, node) in graph.nodes().iter().enumerate().take(length).rev() {
            if let Node::Test(test) = node
                && uses.reached[index]
            {
                for child in [test.yes, test.no] {
                    uses.reached[child.index()] = true;
                    uses.loads[child.index()] |= word(graph, child) != accumulator(test);
                }
            }
        }
        uses
    }
}

/// The word that a node tests.
fn word(graph: &Graph, node: NodeId) -> Option<Word> {
    match graph.nodes()[node.index()] {
        Node::Return(_) => None,
        Node::Test(test) => Some(test.word),
    }
}

/// The word in the accumulator after a test.
fn accumulator(test: &Test) -> Option<Word> {
    match test.comparison {
        Comparison::MaskedEqual { .. } => None,
        _ => Some(test.word),
    }
}

/// Where a node is in the reversed program.
#[derive(Clone, Copy)]
struct Place {
    /// Its first instruction; for a test that loads its word, the load.
    entry: usize,
    /// The instruction to go to with its word in the accumulator.
    loaded: usize,
}

struct Assembler<'a> {
    graph: &'a Graph,
    /// The program so far, last instruction first.
    reversed: Vec<Instruction>,
    places: Vec<Option<Place>>,
}

impl Assembler<'_> {
    fn place_test(&mut self, test: &Test, loads: bool) -> Result<Place, Error> {
        let holding = accumulator(test);
        let yes = self.target(test.yes, holding);
        let no = self.target(test.no, holding);
        match test.comparison {
            Comparison::Equal(value) => self.branch(JUMP_EQUAL, value, yes, no)?,
            Comparison::AtLeast(value) => self.branch(JUMP_AT_LEAST, value, yes, no)?,
            Comparison::AnySet(mask) => self.branch(JUMP_ANY_SET, mask, yes, no)?,
            Comparison::MaskedEqual { mask, value } => {
                self.branch(JUMP_EQUAL, value, yes, no)?;
                self.push(AND, mask);
            }
        }
        let loaded = self.reversed.len() - 1;
        if loads {
            self.push(LOAD, test.word);
        }
        Ok(Place { entry: self.reversed.len() - 1, loaded })
    }

    /// A place near enough for a conditional jump that does the same as `node`, for a test that
    /// leaves the word `holding` in the accumulator.
    fn target(&mut self, node: NodeId, holding: Option<Word>) -> usize {
        let carried = holding.is_some() && word(self.graph, node) == holding;
        let place = self.places[node.index()];
        let near = place.map(|place| if carried { place.loaded } else { place.entry });
        if let Some(near) = near
            && self.in_reach(near)
        {
            return near;
        }
        match (self.graph.nodes()[node.index()], near) {
            (Node::Return(value), _) => self.push(RETURN, value),
            (Node::Test(_), near) => {
                let skipped = self.reversed.len() - near.unwrap_or_default() - 1;
                self.push(JUMP, u32::try_from(skipped).unwrap_or(u32::MAX));
            }
        }
        let here = self.reversed.len() - 1;
        self.places[node.index()] = Some(match place {
            Some(place) if carried && place.loaded != place.entry => {
                Place { loaded: here, ..place }
            }
            Some(place) if !carried && place.loaded != place.entry => {
                Place { entry: here, ..place }
            }
            _ => Place { entry: here, loaded: here },
        });
        here
    }

    /// Whether the next conditional jump can go to `place`, even if another instruction comes
    /// between (the long jump of its other branch).
    fn in_reach(&self, place: usize) -> bool {
        self.reversed.len() - place <= usize::from(u8::MAX)
    }

    fn branch(&mut self, code: u16, operand: u32, yes: usize, no: usize) -> Result<(), Error> {
        let skipped = |place| u8::try_from(self.reversed.len() - place - 1);
        let (Ok(jump_true), Ok(jump_false)) = (skipped(yes), skipped(no)) else {
            return Err(Error::TooFar);
        };
        self.reversed.push(Instruction { code, jump_true, jump_false, operand });
        Ok(())
    }

    fn push(&mut self, code: u16, operand: u32) {
        self.reversed.push(Instruction { code, jump_true: 0, jump_false: 0, operand });
    }
}

#[cfg(test)]
#[path = "../tests/verdicts/interpreter.rs"]
mod interpreter;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Branches;

    /// A linear congruential generator (Knuth, MMIX).
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: u32) -> u32 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) as u32 % end
        }
    }

    /// What the graph itself decides.
    fn decide(graph: &Graph, root: NodeId, words: &[u32; 16]) -> u32 {
        let mut node = root;
        loop {
            match graph.nodes()[node.index()] {
                Node::Return(value) => return value,
                Node::Test(test) => {
                    let word = words[test.word as usize / 4];
                    let holds = match test.comparison {
                        Comparison::Equal(value) => word == value,
                        Comparison::AtLeast(value) => word >= value,
                        Comparison::AnySet(mask) => word & mask != 0,
                        Comparison::MaskedEqual { mask, value } => word & mask == value,
                    };
                    node = if holds { test.yes } else { test.no };
                }
            }
        }
    }

    fn execute(program: &[Instruction], words: [u32; 16]) -> u32 {
        let program: Vec<_> = program
            .iter()
            .map(|one| (one.code, one.jump_true, one.jump_false, one.operand))
            .collect();
        interpreter::execute(&program, words)
    }

    /// A graph of many tests on few words, whose branches lead near and far.
    fn random_graph(random: &mut Random, size: u32) -> (Graph, NodeId) {
        let mut graph = Graph::default();
        let mut made: Vec<NodeId> = (0..4).map(|value| graph.verdict(value)).collect();
        while made.len() < size as usize {
            let child = |random: &mut Random, made: &[NodeId]| match random.below(4) {
                0 => made[random.below(4) as usize],
                1 => made[random.below(made.len() as u32) as usize],
                _ => made[made.len() - 1 - random.below(made.len().min(8) as u32) as usize],
            };
            let branches = Branches { yes: child(random, &made), no: child(random, &made) };
            let value = random.below(16);
            let comparison = match random.below(4) {
                0 => Comparison::Equal(value),
                1 => Comparison::AtLeast(value),
                2 => Comparison::AnySet(value),
                _ => Comparison::MaskedEqual { mask: 15, value },
            };
            made.push(graph.test(4 * random.below(3), comparison, branches));
        }
        let root = made[made.len() - 1];
        (graph, root)
    }

    #[test]
    fn a_program_decides_what_its_graph_decides() {
        let mut random = Random(7);
        for round in 0..60 {
            let (graph, root) = random_graph(&mut random, 4 + round * 40);
            let program = match assemble(&graph, root) {
                Err(Error::TooLong { .. }) => continue,
                result => result.unwrap(),
            };
            for _ in 0..2000 {
                let mut words = [0; 16];
                words[..3].fill_with(|| random.below(16));
                assert_eq!(execute(&program, words), decide(&graph, root, &words), "{words:?}");
            }
        }
    }

    #[test]
    fn the_longest_program_is_as_long_as_the_kernel_takes() {
        let length = |tests: u32| {
            let mut graph = Graph::default();
            let (yes, no) = (graph.verdict(1), graph.verdict(2));
            let root = (0..tests).fold(no, |no, value| {
                graph.test(0, Comparison::Equal(value), Branches { yes, no })
            });
            assemble(&graph, root).map(|program| program.len())
        };
        let lengths: Vec<_> = (3900..4200).map(length).collect();
        let longest = lengths.iter().flatten().max();
        assert!((4095..=4096).contains(longest.unwrap()), "{longest:?}");
        assert!(matches!(lengths[299], Err(Error::TooLong { instructions: 4097.. })));
    }
}
