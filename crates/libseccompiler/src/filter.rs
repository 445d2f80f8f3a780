//! A compiled filter.

use serde::{Deserialize, Serialize};

/// `SECCOMP_FILTER_FLAG_*` of linux/seccomp.h: the flags argument of seccomp(2).
pub mod flag {
    /// Install the filter on every thread of the process.
    pub const TSYNC: u32 = 1 << 0;
    /// Log every action but `SECCOMP_RET_ALLOW`.
    pub const LOG: u32 = 1 << 1;
    /// Leave the mitigation of speculative store bypass off.
    pub const SPEC_ALLOW: u32 = 1 << 2;
    /// Return a descriptor for notifications.
    pub const NEW_LISTENER: u32 = 1 << 3;
    /// A failing [`TSYNC`] is an errno and not a thread id (Linux 5.7); without it the kernel
    /// does not take TSYNC together with [`NEW_LISTENER`].
    pub const TSYNC_ESRCH: u32 = 1 << 4;
    /// Once a notification was received, only a fatal signal interrupts the call (Linux 5.19).
    pub const WAIT_KILLABLE_RECV: u32 = 1 << 5;
}

/// One instruction of classic BPF: `struct sock_filter` of linux/filter.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Instruction {
    /// The operation: `BPF_LD`, `BPF_JMP`, ... of linux/bpf_common.h.
    pub code: u16,
    /// How many instructions a conditional jump skips when its test holds.
    pub jump_true: u8,
    /// How many instructions a conditional jump skips when its test does not hold.
    pub jump_false: u8,
    /// The generic operand, `k`.
    pub operand: u32,
}

impl Instruction {
    /// The size of one instruction in a program, in bytes.
    pub const SIZE: usize = size_of::<Self>();

    fn to_bytes(self) -> [u8; Self::SIZE] {
        let [code_0, code_1] = self.code.to_ne_bytes();
        let [k_0, k_1, k_2, k_3] = self.operand.to_ne_bytes();
        [code_0, code_1, self.jump_true, self.jump_false, k_0, k_1, k_2, k_3]
    }

    fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let [code_0, code_1, jump_true, jump_false, k_0, k_1, k_2, k_3] = *bytes;
        Self {
            code: u16::from_ne_bytes([code_0, code_1]),
            jump_true,
            jump_false,
            operand: u32::from_ne_bytes([k_0, k_1, k_2, k_3]),
        }
    }
}

/// A filter as seccomp(2) takes it. It is saved as text: the program in hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Saved")]
pub struct Filter {
    /// The program: [`Instruction::SIZE`] bytes an instruction, in the machine's byte order.
    #[serde(with = "hex::serde")]
    pub program: Vec<u8>,
    /// The bits of [`flag`].
    pub flags: u32,
}

/// A filter as it was saved, which may not be one.
#[derive(Deserialize)]
struct Saved {
    #[serde(with = "hex::serde")]
    program: Vec<u8>,
    flags: u32,
}

impl TryFrom<Saved> for Filter {
    type Error = NotAProgram;

    fn try_from(Saved { program, flags }: Saved) -> Result<Self, NotAProgram> {
        let length = program.len();
        let limit = crate::MAXIMUM_INSTRUCTIONS * Instruction::SIZE;
        if length == 0 || !length.is_multiple_of(Instruction::SIZE) || length > limit {
            return Err(NotAProgram(length));
        }
        Ok(Self { program, flags })
    }
}

/// Bytes that cannot be a program of seccomp(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes are not 1 to 4096 BPF instructions of 8 bytes")]
pub struct NotAProgram(usize);

impl Filter {
    pub(crate) fn new(instructions: &[Instruction], flags: u32) -> Self {
        let program = instructions.iter().flat_map(|instruction| instruction.to_bytes()).collect();
        Self { program, flags }
    }

    /// The program, instruction by instruction.
    pub fn instructions(&self) -> impl ExactSizeIterator<Item = Instruction> {
        self.program.as_chunks().0.iter().map(Instruction::from_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_survive_the_bytes() {
        let instructions = [
            Instruction { code: 0x20, jump_true: 0, jump_false: 0, operand: 4 },
            Instruction { code: 0x15, jump_true: 1, jump_false: 255, operand: 0xc000_003e },
        ];
        let filter = Filter::new(&instructions, flag::LOG);
        assert_eq!(filter.program.len(), 16);
        assert_eq!(filter.instructions().collect::<Vec<_>>(), instructions);
    }

    #[test]
    fn a_filter_survives_being_saved() {
        let instruction =
            Instruction { code: 6, jump_true: 0, jump_false: 0, operand: 0x7fff_0000 };
        let filter = Filter::new(&[instruction], flag::LOG);
        let saved = serde_json::to_string(&filter).unwrap();
        assert_eq!(saved, r#"{"program":"060000000000ff7f","flags":2}"#);
        assert_eq!(serde_json::from_str::<Filter>(&saved).unwrap(), filter);
    }

    #[test]
    fn only_whole_programs_within_the_limit_are_accepted() {
        let read = |length: usize| {
            let saved = serde_json::json!({"program": "00".repeat(length), "flags": 0});
            serde_json::from_value::<Filter>(saved)
        };
        for length in [0, 1, 7, 9, 4097 * 8] {
            assert!(read(length).is_err(), "{length}");
        }
        assert!(read(4096 * 8).is_ok());
        assert!(serde_json::from_str::<Filter>(r#"{"program":"0g","flags":0}"#).is_err());
    }
}
