//! Device rules as an eBPF program (`BPF_PROG_TYPE_CGROUP_DEVICE`, kernel documentation,
//! bpf/standardization/instruction-set.rst).
//!
//! The last rule about an access decides on it, so the program asks the rules from the last to the
//! first, until every access that is wanted is allowed or one is denied.

use super::{Kind, Rule};

// Registers: the context comes in R1, the verdict leaves in R0.
const R0: u64 = 0;
const R1: u64 = 1;
const KIND: u64 = 2;
const WANTED: u64 = 3;
const MAJOR: u64 = 4;
const MINOR: u64 = 5;
const SCRATCH: u64 = 6;

// Operation codes: class, size or operation, and source.
const LOAD_WORD: u64 = 0x61;
const MOVE_REGISTER: u64 = 0xbf;
const MOVE: u64 = 0xb7;
const AND: u64 = 0x57;
const SHIFT_RIGHT: u64 = 0x77;
const JUMP_NOT_EQUAL: u64 = 0x55;
const JUMP_EQUAL: u64 = 0x15;
/// Compares the low 32 bits: device numbers above 2^31 would be sign-extended otherwise.
const JUMP_NOT_EQUAL_32: u64 = 0x56;
const EXIT: u64 = 0x95;

/// `BPF_DEVCG_DEV_BLOCK` and `BPF_DEVCG_DEV_CHAR` (linux/bpf.h).
const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;

/// The 8 bytes of a `struct bpf_insn` as this machine's number.
const fn instruction(code: u64, destination: u64, source: u64, offset: i16, immediate: u32) -> u64 {
    let registers = if cfg!(target_endian = "little") {
        destination | source << 4
    } else {
        destination << 4 | source
    };
    let bytes = [code as u8, registers as u8];
    let (offset, immediate) = (offset.to_ne_bytes(), immediate.to_ne_bytes());
    u64::from_ne_bytes([
        bytes[0],
        bytes[1],
        offset[0],
        offset[1],
        immediate[0],
        immediate[1],
        immediate[2],
        immediate[3],
    ])
}

/// Makes the program that allows what `rules`, in their order, allow.
pub(crate) fn assemble(rules: &[Rule]) -> Vec<u64> {
    // struct bpf_cgroup_dev_ctx: access in the upper half and kind in the lower of the first
    // word, then major and minor.
    let mut program = vec![
        instruction(LOAD_WORD, KIND, R1, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(LOAD_WORD, WANTED, R1, 0, 0),
        instruction(SHIFT_RIGHT, WANTED, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, R1, 4, 0),
        instruction(LOAD_WORD, MINOR, R1, 8, 0),
    ];
    for rule in rules.iter().rev() {
        program.extend(block(rule));
    }
    program.extend(verdict(0));
    program
}

fn verdict(value: u32) -> [u64; 2] {
    [instruction(MOVE, R0, 0, 0, value), instruction(EXIT, 0, 0, 0, 0)]
}

/// The part of one rule: it falls through when the rule does not decide.
fn block(rule: &Rule) -> Vec<u64> {
    let action = if rule.allow { allow(rule.access) } else { deny(rule.access) };
    let kind = match rule.kind {
        Kind::Block => BLOCK,
        Kind::Character => CHARACTER,
    };
    let mut conditions = vec![(JUMP_NOT_EQUAL, KIND, kind)];
    conditions.extend(rule.major.map(|major| (JUMP_NOT_EQUAL_32, MAJOR, major)));
    conditions.extend(rule.minor.map(|minor| (JUMP_NOT_EQUAL_32, MINOR, minor)));
    let length = conditions.len() + action.len();
    let mut block: Vec<u64> = conditions
        .into_iter()
        .enumerate()
        .map(|(at, (code, register, value))| {
            instruction(code, register, 0, (length - at - 1) as i16, value)
        })
        .collect();
    block.extend(action);
    block
}

/// What is wanted and denied here decides.
fn deny(access: u8) -> Vec<u64> {
    let mut action = vec![
        instruction(MOVE_REGISTER, SCRATCH, WANTED, 0, 0),
        instruction(AND, SCRATCH, 0, 0, access.into()),
        instruction(JUMP_EQUAL, SCRATCH, 0, 2, 0),
    ];
    action.extend(verdict(0));
    action
}

/// What is allowed here is not wanted from earlier rules any more.
fn allow(access: u8) -> Vec<u64> {
    let others = u32::from(!access & 7);
    let mut action =
        vec![instruction(AND, WANTED, 0, 0, others), instruction(JUMP_NOT_EQUAL, WANTED, 0, 2, 0)];
    action.extend(verdict(1));
    action
}

#[cfg(test)]
mod tests {
    use crate::devices::machine::run;
    use crate::devices::{ALL, Kind, MAKE, READ, Rule, WRITE};
    use crate::{DeviceAccess, Layout, plan_devices};

    use super::assemble;

    /// What somebody wants to do.
    #[derive(Clone, Copy, Debug)]
    struct Wanted {
        kind: Kind,
        major: u32,
        minor: u32,
        access: u8,
    }

    impl Wanted {
        /// Whether the kernel would let it happen (`struct bpf_cgroup_dev_ctx`, linux/bpf.h).
        fn is_allowed_by(self, program: &[u64]) -> bool {
            let kind = match self.kind {
                Kind::Block => 1,
                Kind::Character => 2,
            };
            let context = [u32::from(self.access) << 16 | kind, self.major, self.minor];
            match run(program, context) {
                Ok(verdict) => verdict == 1,
                Err(refusal) => panic!("{refusal}: {program:x?}"),
            }
        }

        /// Whether the rules allow it: the last one about each access decides.
        fn is_allowed_by_rules(self, rules: &[Rule]) -> bool {
            let is_any_or = |one: Option<u32>, number| one.is_none_or(|one| one == number);
            [MAKE, READ, WRITE].into_iter().filter(|bit| self.access & bit != 0).all(|bit| {
                let about = |rule: &&Rule| {
                    rule.kind == self.kind
                        && is_any_or(rule.major, self.major)
                        && is_any_or(rule.minor, self.minor)
                        && rule.access & bit != 0
                };
                rules.iter().rev().find(about).is_some_and(|rule| rule.allow)
            })
        }
    }

    const KINDS: [Kind; 2] = [Kind::Block, Kind::Character];
    /// The low and the high ones, whose sign a machine may get wrong.
    const NUMBERS: [u32; 5] = [0, 1, 8, 1 << 31, u32::MAX];

    /// Numbers that anybody can check again: a linear congruential generator (Knuth, MMIX).
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % end
        }

        fn number(&mut self) -> Option<u32> {
            NUMBERS.get(self.below(3 * NUMBERS.len())).copied()
        }

        fn rule(&mut self) -> Rule {
            Rule {
                allow: self.below(2) == 0,
                kind: KINDS[self.below(2)],
                major: self.number(),
                minor: self.number(),
                access: 1 + self.below(usize::from(ALL)) as u8,
            }
        }
    }

    /// Everything that can be wanted of some devices.
    fn all_wanted() -> Vec<Wanted> {
        let mut all = Vec::new();
        for kind in KINDS {
            for major in NUMBERS.into_iter().chain([7]) {
                for minor in NUMBERS.into_iter().chain([7]) {
                    all.extend((1..=ALL).map(|access| Wanted { kind, major, minor, access }));
                }
            }
        }
        all
    }

    #[test]
    fn the_program_allows_what_the_rules_allow() {
        let mut random = Random(1);
        let all = all_wanted();
        let mut allowed = 0;
        for length in 0..150 {
            let rules: Vec<Rule> = (0..length % 15).map(|_| random.rule()).collect();
            let program = assemble(&rules);
            for wanted in &all {
                let expected = wanted.is_allowed_by_rules(&rules);
                assert_eq!(wanted.is_allowed_by(&program), expected, "{wanted:?} {rules:?}");
                allowed += usize::from(expected);
            }
        }
        // The lists are such that both verdicts are common.
        assert!((all.len() * 15..all.len() * 135).contains(&allowed), "{allowed}");
    }

    #[test]
    fn a_container_has_the_default_devices() {
        let layout = Layout::parse("1 0 0:1 / /c rw - cgroup2 c rw", "").unwrap();
        let Ok(DeviceAccess::Unified(program)) = plan_devices(&[], &layout) else { panic!() };
        let allowed = |kind, major, minor, access| {
            Wanted { kind, major, minor, access }.is_allowed_by(&program)
        };
        assert!(allowed(Kind::Character, 1, 3, ALL) && allowed(Kind::Character, 136, 9, ALL));
        assert!(allowed(Kind::Block, 8, 0, MAKE));
        assert!(!allowed(Kind::Block, 8, 0, READ) && !allowed(Kind::Character, 1, 1, MAKE | READ));
    }
}
