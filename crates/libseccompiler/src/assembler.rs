//! A decision graph laid out as classic BPF.
//!
//! Jumps of BPF only go forward, and a conditional jump over at most 255 instructions. So the
//! program is written from its end to its beginning: what a test leads to is already placed when
//! the test is, and something placed too far away is brought nearer by one more instruction, a
//! copy of a return or a long jump.

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

/// The program would be longer than the kernel's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong {
    /// A lower bound for its length.
    pub instructions: usize,
}

/// Lays out what is reachable from `root`.
pub(crate) fn assemble(graph: &Graph, root: NodeId) -> Result<Vec<Instruction>, TooLong> {
    let uses = Uses::of(graph, root);
    // Every reachable node is at least one instruction: this also bounds the work below.
    let nodes = uses.reached.iter().filter(|reached| **reached).count();
    if nodes > MAXIMUM_INSTRUCTIONS {
        return Err(TooLong { instructions: nodes });
    }
    let mut assembler =
        Assembler { graph, reversed: Vec::new(), places: vec![None; uses.reached.len()] };
    for (index, node) in graph.nodes().iter().enumerate().take(uses.reached.len()) {
        match node {
            Node::Test(test) if uses.reached[index] => {
                let place = assembler.place_test(test, uses.loads[index]);
                assembler.places[index] = Some(place);
            }
            _ => {}
        }
    }
    // A test just placed is at the front; this adds code only where the root is a return.
    assembler.target(root, None);
    let mut instructions = assembler.reversed;
    if instructions.len() > MAXIMUM_INSTRUCTIONS {
        return Err(TooLong { instructions: instructions.len() });
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
    fn place_test(&mut self, test: &Test, loads: bool) -> Place {
        let holding = accumulator(test);
        let yes = self.target(test.yes, holding);
        let no = self.target(test.no, holding);
        match test.comparison {
            Comparison::Equal(value) => self.branch(JUMP_EQUAL, value, yes, no),
            Comparison::AtLeast(value) => self.branch(JUMP_AT_LEAST, value, yes, no),
            Comparison::AnySet(mask) => self.branch(JUMP_ANY_SET, mask, yes, no),
            Comparison::MaskedEqual { mask, value } => {
                self.branch(JUMP_EQUAL, value, yes, no);
                self.push(AND, mask);
            }
        }
        let loaded = self.reversed.len() - 1;
        if loads {
            self.push(LOAD, test.word);
        }
        Place { entry: self.reversed.len() - 1, loaded }
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

    fn branch(&mut self, code: u16, operand: u32, yes: usize, no: usize) {
        let skipped = |place| u8::try_from(self.reversed.len() - place - 1).unwrap_or(u8::MAX);
        let (jump_true, jump_false) = (skipped(yes), skipped(no));
        self.reversed.push(Instruction { code, jump_true, jump_false, operand });
    }

    fn push(&mut self, code: u16, operand: u32) {
        self.reversed.push(Instruction { code, jump_true: 0, jump_false: 0, operand });
    }
}
