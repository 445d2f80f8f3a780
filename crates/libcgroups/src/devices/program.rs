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
    use super::{Kind, Rule, assemble};
    use crate::devices::{MAKE, READ, WRITE};

    /// What the kernel asks a program about.
    struct Access {
        kind: u32,
        access: u8,
        major: u32,
        minor: u32,
    }

    /// Runs a program: just the instructions used here.
    fn run(program: &[u64], asked: Access) -> u64 {
        let context = [u32::from(asked.access) << 16 | asked.kind, asked.major, asked.minor];
        let mut registers = [0u64; 11];
        let mut at = 0;
        loop {
            let bytes = program[at].to_ne_bytes();
            let (to, from) = (usize::from(bytes[1] & 15), usize::from(bytes[1] >> 4));
            let offset = i16::from_ne_bytes([bytes[2], bytes[3]]);
            let value = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            at += 1;
            let mut jump = |condition: bool| {
                if condition {
                    at += offset as usize
                }
            };
            match u64::from(bytes[0]) {
                super::LOAD_WORD => registers[to] = context[offset as usize / 4].into(),
                super::MOVE_REGISTER => registers[to] = registers[from],
                super::MOVE => registers[to] = value.into(),
                super::AND => registers[to] &= u64::from(value),
                super::SHIFT_RIGHT => registers[to] >>= value,
                super::JUMP_NOT_EQUAL => jump(registers[to] != u64::from(value)),
                super::JUMP_NOT_EQUAL_32 => jump(registers[to] as u32 != value),
                super::JUMP_EQUAL => jump(registers[to] == u64::from(value)),
                super::EXIT => return registers[0],
                code => panic!("unknown operation {code:#x}"),
            }
        }
    }

    #[test]
    fn the_last_rule_about_an_access_decides() {
        let rule = |allow, minor, access| Rule {
            allow,
            kind: Kind::Character,
            major: Some(1),
            minor,
            access,
        };
        let program = assemble(&[
            rule(true, None, READ | WRITE),
            rule(false, Some(8), WRITE),
            rule(true, Some(u32::MAX), MAKE),
        ]);
        let asked = |access, minor| Access { kind: super::CHARACTER, access, major: 1, minor };
        let allowed = |access, minor| run(&program, asked(access, minor)) == 1;
        assert!(allowed(READ | WRITE, 3) && allowed(READ, 8) && allowed(MAKE, u32::MAX));
        assert!(!allowed(WRITE, 8) && !allowed(READ | WRITE, 8) && !allowed(MAKE, 3));
        assert!(allowed(READ | MAKE, u32::MAX));
        assert_eq!(run(&program, Access { kind: super::BLOCK, ..asked(READ, 3) }), 0);
        assert_eq!(run(&program, Access { major: 2, ..asked(READ, 3) }), 0);
    }
}
